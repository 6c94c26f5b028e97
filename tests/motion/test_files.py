"""Files carried from fit to fit, and the files of a breath, by the command line."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lpm.apps.cli import run
from lpm.errors import FileError, InputError
from lpm.files.meshes import read_mesh
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.points import fit_points
from lpm.model.bundle import ModelBundle, write_bundle
from lpm.preparation.cohort import Cohort
from lpm.workflows.breath_training import found_pairs


@pytest.fixture(scope="module")
def work(tiny_atlas: ModelBundle, tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a fit in `exp`, and one of the same lungs stretched in `insp`."""
    folder = tmp_path_factory.mktemp("work")
    write_bundle(folder / "model", tiny_atlas)
    cohort = Cohort(tiny_cohort)
    points, config = cohort.surface(cohort.subjects("test")[0]).points_mm[:300], FitConfig(max_iterations=5)
    for name, scale in (("exp", 1.0), ("insp", np.array([1.05, 1.1, 1.2]))):
        fit_points(tiny_atlas, points * scale, config=config, spacing_mm=8.0).write(folder / name)
    return folder


def lpm(work: Path, *words: str) -> int:
    return run([*words, "--model", str(work / "model")])


def carry(work: Path, name: str, out: str) -> int:
    return lpm(
        work, "map-points", str(work / name), "--from", f"{work}/exp", "--to", f"{work}/insp", "--out", f"{work}/{out}"
    )


def test_a_table_keeps_its_rows_and_columns(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    middle = read_mesh(work / "exp" / "left_lung.ply").centroid
    rows = [["name", "x", "y", "z", "kind"], ["A", *map(str, middle), "vessel"], ["far", "900", "0", "0", ""]]
    with (work / "points.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert carry(work, "points.csv", "moved.csv") == 0
    assert "1 outside of the lungs, left empty: row 1" in capsys.readouterr().err
    with (work / "moved.csv").open() as file:
        written = list(csv.reader(file))
    assert [row[0] for row in written] == ["name", "A", "far"]
    assert [row[4] for row in written] == ["kind", "vessel", ""]
    assert written[2][1:4] == ["", "", ""]
    moved = np.array([float(cell) for cell in written[1][1:4]])
    assert np.linalg.norm(moved - middle * [1.05, 1.1, 1.2]) < 5.0


def test_a_mesh_comes_onto_the_other_fit(work: Path) -> None:
    assert carry(work, "exp/left_lung.ply", "moved.ply") == 0
    moved, there = read_mesh(work / "moved.ply"), read_mesh(work / "insp" / "left_lung.ply")
    assert moved.volume_ml == pytest.approx(there.volume_ml, rel=0.04)


def test_points_that_are_all_outside_are_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "far.csv").write_text("x,y,z\n900,0,0\n")
    assert carry(work, "far.csv", "moved2.csv") == 1
    assert "all points outside of the lungs" in capsys.readouterr().err
    assert not (work / "moved2.csv").exists()
    (work / "points.docx").write_text("x,y,z\n")
    assert carry(work, "points.docx", "moved2.csv") == 1
    assert "unknown kind" in capsys.readouterr().err


@pytest.mark.slow
def test_a_breath_has_all_its_files(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lpm(work, "breathe", f"{work}/exp", f"{work}/insp", "--phases", "3", "--out", f"{work}/breath") == 0
    names = {path.name for path in (work / "breath").iterdir()}
    assert names == {
        *(f"phase_{number:02d}" for number in range(3)),
        *("displacement.npz", "displacement.nii.gz", "volume_change.nii.gz"),
        *("breath.json", "breath.gif", "report.html"),
    }
    volumes = [sum(each.values()) for each in json.loads((work / "breath" / "breath.json").read_text())["volume_ml"]]
    assert volumes == sorted(volumes)
    field = nib.load(work / "breath" / "displacement.nii.gz")
    assert field.shape[3:] == (1, 3)
    assert field.header.get_intent()[0] == "vector"
    with Image.open(work / "breath" / "breath.gif") as loop:
        assert loop.n_frames == 4  # there and back
    assert lpm(work, "breathe", f"{work}/insp", f"{work}/exp", "--out", f"{work}/back") == 1
    assert "exchange the two fits" in capsys.readouterr().err


def test_options_that_do_not_go_with_the_number_of_fits(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [f"{work}/exp", f"{work}/insp"]
    assert lpm(work, "breathe", *both, "--to-volume", "5000", "--out", f"{work}/no") == 1
    assert "expected one fit" in capsys.readouterr().err
    assert lpm(work, "breathe", *both, "--times", "0,1", "--out", f"{work}/no") == 1
    assert "at least 3" in capsys.readouterr().err
    assert lpm(work, "breathe", *both, "--times", "0,one", "--out", f"{work}/no") == 2
    assert lpm(work, "breathe", both[0], "--to-volume", "5000", "--out", f"{work}/no") == 1
    assert "learned from fits of another model" in capsys.readouterr().err


def test_one_fit_is_no_pair(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lpm(work, "breathe", f"{work}/exp", f"{work}/exp", "--out", f"{work}/no") == 1
    assert f"{work}/exp and {work}/exp: the same fit twice" in unwrapped(capsys)


def unwrapped(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def moved(work: Path, name: str, by_mm: float) -> str:
    """A copy of a fit, somewhere else in the scanner."""
    shutil.copytree(work / name, work / f"{name}_{by_mm:g}")
    path = work / f"{name}_{by_mm:g}" / "fit.json"
    summary = json.loads(path.read_text())
    summary["pose"]["translation_mm"][0] += by_mm
    path.write_text(json.dumps(summary))
    return path.parent.name


@pytest.fixture(scope="module")
def patients(work: Path) -> list[tuple[str, str]]:
    """Three pairs of fits."""
    return [("exp", "insp"), *((moved(work, "exp", mm), moved(work, "insp", mm)) for mm in (1.0, 2.0))]


def test_pairs_that_nothing_can_be_learned_from(
    work: Path, patients: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = patients
    other = shutil.copytree(work / "exp", work / "exp_other")
    text = (other / "fit.json").read_text()
    (other / "fit.json").write_text(re.sub(r'("digest": ")\w+', r"\g<1>0", text))
    for pairs, said in (
        ([first, second], "pairs.csv: 2 pairs; expected at least 3. Try: fit more patients in both states"),
        ([first, second, first], f"{work}/exp: the same fit as {work}/exp, of another pair"),
        ([first, second, ("exp_1", "insp_2")], f"{work}/exp_1: the same fit as {work}/exp_1, of another pair"),
        ([first, second, ("exp", "exp")], f"{work}/exp: the same fit as"),
        ([("exp_1", "exp_1"), first, third], f"{work}/exp_1 and {work}/exp_1: the same fit twice"),
        ([first[::-1], second, third], f"{work}/insp and {work}/exp: expiration of"),
        ([first, second, ("exp_other", "insp_2")], f"{work}/exp_other: a fit of another model"),
        ([first, second, ("exp_2", "nothing")], f"{work}/nothing: no fit.json in it"),
    ):
        (work / "pairs.csv").write_text("Expiration;Inspiration\r\n" + "".join(f"{a};{b}\r\n" for a, b in pairs))
        assert lpm(work, "train-breath", f"{work}/pairs.csv", "--out", f"{work}/no.npz") == 1
        assert said in unwrapped(capsys)
        assert not (work / "no.npz").exists()


def test_pairs_are_named_by_folders_or_a_table(tmp_path: Path) -> None:
    for state in ("exp", "insp"):
        (tmp_path / "pairs" / "p1" / state).mkdir(parents=True)
    assert found_pairs(tmp_path / "pairs") == [(tmp_path / "pairs/p1/exp", tmp_path / "pairs/p1/insp")]
    table = tmp_path / "pairs.csv"
    table.write_text("expiration,inspiration\na,b\n")
    assert found_pairs(table) == [(tmp_path / "a", tmp_path / "b")]
    table.write_text("expiration,inspiration\na,\nc,d\n,f\n")
    with pytest.raises(FileError, match="line 2 has no inspiration; line 4 has no expiration"):
        found_pairs(table)
    table.write_text("expiration\na\n")
    with pytest.raises(InputError, match="no column inspiration"):
        found_pairs(table)
    for name in ("p2/insp", "p3/exp"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
    with pytest.raises(FileError, match="p2 has no folder expiration or exp; p3 has no folder inspiration or insp"):
        found_pairs(tmp_path / "pairs")


@pytest.mark.slow
def test_a_model_is_trained_and_predicts(
    work: Path, patients: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "pairs.csv").write_text("expiration,inspiration\n" + "".join(f"{a},{b}\n" for a, b in patients))
    assert lpm(work, "train-breath", f"{work}/pairs.csv", "--out", f"{work}/breath.npz") == 0
    given = ("--breath", f"{work}/breath.npz", "--phases", "3", "--out", f"{work}/predicted")
    assert lpm(work, "breathe", f"{work}/exp", *given) == 0
    assert "no volume was given" in capsys.readouterr().err
    found = json.loads((work / "predicted" / "breath.json").read_text())
    before, _, after = (sum(each.values()) for each in found["volume_ml"])
    assert after / before == pytest.approx(1.05 * 1.1 * 1.2, rel=0.05)
    assert set(found["volume_95_ml"]) == {"left_lung", "right_lung"}
    assert "uncertainty" in (work / "predicted" / "report.html").read_text()


@pytest.mark.slow
def test_a_series_has_all_its_files(work: Path) -> None:
    fits = [f"{work}/{name}" for name in ("exp", "insp", "exp")]
    given = ("--times", "0,0.5,1.5", "--phases", "4", "--out", f"{work}/series")
    assert lpm(work, "breathe", *fits, *given) == 0
    found = json.loads((work / "series" / "breath.json").read_text())
    assert found["times"] == [0.0, 0.5, 1.5]
    states = [sum(each.values()) for each in found["state_volume_ml"]]
    assert states[0] == pytest.approx(states[2], rel=0.01)
    assert states[1] > 1.2 * states[0]
    page = (work / "series" / "report.html").read_text()
    assert 'class="play"' in page

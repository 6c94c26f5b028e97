"""From written fits and a table to a report, tables and maps."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_cohorts import RADII, lungs, written

from lpm.errors import FileError, InputError, LpmError
from lpm.files.meshes import write_mesh
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.points import fit_points
from lpm.fitting.fit import Fit
from lpm.fitting.written import read_sureness
from lpm.lung_model import LungModel
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort as Prepared
from lpm.studies.cohort import find_fits, read_cohort
from lpm.studies.design import Asked
from lpm.studies.study import StudyConfig, study
from lpm.workflows.studying import StudyRun, run_study

QUICK = StudyConfig(permutations=100, direction_permutations=5)


@pytest.fixture(scope="module")
def first(tiny_atlas: ModelBundle, tiny_cohort: Path) -> Fit:
    prepared = Prepared(tiny_cohort)
    points = prepared.surface(prepared.subjects("test")[0]).points_mm[:400]
    return fit_points(tiny_atlas, points, config=FitConfig(max_iterations=4), spacing_mm=8.0)


@pytest.fixture(scope="module")
def fits(first: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch of fits: one that was made, and the same stretched by their poses."""
    folder = tmp_path_factory.mktemp("fits")
    first.write(folder / "c0")
    for number in range(8):
        if number:
            shutil.copytree(folder / "c0", folder / f"c{number}")
        path, rng = folder / f"c{number}" / "fit.json", np.random.default_rng(number)
        said = json.loads(path.read_text(encoding="utf-8"))
        scale = 1.0 + 0.02 * rng.normal(size=3) + np.array([0.0, 0.0, 0.1 * (number % 2)])
        said["pose"]["axis_scale"] = (np.array(said["pose"]["axis_scale"]) * scale).tolist()
        path.write_text(json.dumps(said), encoding="utf-8")
        height = 200.0 * scale[2]
        shape = {"height_mm": height, "height_mm_95_low": height - 2.0, "height_mm_95_high": height + 2.0}
        written(folder / f"c{number}" / "case.json", json.dumps({"shape": shape}))
    return folder


@pytest.fixture(scope="module")
def subjects(fits: Path) -> Path:
    rows = "".join(f"c{number};{'ill' if number % 2 else 'well'}\n" for number in range(8))
    return written(fits.parent / "subjects.csv", f"case;group\n{rows}")


def test_a_study_is_written(fits: Path, subjects: Path, tiny_atlas: ModelBundle, tmp_path: Path) -> None:
    pyvista = pytest.importorskip("pyvista")
    run = StudyRun(tiny_atlas, [fits], subjects, Asked("group"), QUICK)
    run_study(run, tmp_path / "study")
    run_study(run, tmp_path / "study")  # the earlier one gives way
    surface = pyvista.read(tmp_path / "study" / "map.vtp")
    assert {"difference_mm", "low", "high", "p_corrected", "q"} <= set(surface.point_data.keys())
    assert np.abs(surface["difference_mm"]).max() == pytest.approx(0.05 * 200.0, rel=0.5)  # half above the centre
    with (tmp_path / "study" / "measures.csv").open(encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert float(rows["height_mm"]["difference"]) == pytest.approx(20.0, abs=6.0)
    assert len((tmp_path / "study" / "shape.csv").read_text(encoding="utf-8").splitlines()) == 9
    text = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert "ill - well" in text
    assert "http" not in text.partition("<script>")[0].partition("<body>")[2]
    said = json.loads((tmp_path / "study" / "study.json").read_text(encoding="utf-8"))
    assert said["questions"][0]["direction"]["chance"] == 0.5
    assert (tmp_path / "study" / "direction" / "1" / "+2_sd" / "left_lung.ply").is_file()


def test_the_public_function_gives_the_same(fits: Path, subjects: Path, tiny_atlas: ModelBundle) -> None:
    found = study(fits, subjects, group="group", model=LungModel(tiny_atlas), config=QUICK)
    assert found.cohort.sigma_mm is not None
    assert found.answers[0].measures.names == ("size_mm", "height_mm", "scaled_height_mm")
    assert found.answers[0].measures.tested.weight.shape == (8, 3)


def test_a_fit_says_how_sure_it_is(first: Fit, fits: Path) -> None:
    sure = read_sureness(fits / "c0", tuple(first.meshes))
    for name, mesh in first.meshes.items():
        read, true = sure[name].at(mesh.vertices), first.sigma_mm(name)
        assert read.mean() == pytest.approx(true.mean(), rel=0.15)
        assert np.corrcoef(read, true)[0, 1] > 0.8


def test_meshes_in_correspondence_are_taken_too(tiny_atlas: ModelBundle, tmp_path: Path) -> None:
    for number in range(6):
        made = lungs(f"m{number}", np.array([1.0, 1.0 + 0.01 * number, 1.0 + 0.1 * (number % 2)]))
        for name, mesh in made.meshes.items():
            write_mesh(tmp_path / "lungs" / "deep" / made.name / f"{name}.ply", mesh)
    found = find_fits([tmp_path / "lungs"])
    assert list(found) == [f"deep/m{number}" for number in range(6)]
    read = read_cohort(found, tiny_atlas)
    assert read.subjects[1].measures["left_lung_height_mm"] == pytest.approx(1.1 * 2 * RADII[2], rel=0.02)
    assert read.sigma_mm is None


def test_what_is_no_fit_is_refused(fits: Path, tiny_atlas: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        find_fits([tmp_path / "none"])
    with pytest.raises(FileError, match=r"file\.csv: a file; expected folders that lpm fit wrote"):
        find_fits([written(tmp_path / "file.csv", "case,group\n")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="holds no fits; expected folders that lpm fit wrote"):
        find_fits([tmp_path / "empty"])
    shutil.copytree(fits / "c0", tmp_path / "other" / "c0")
    with pytest.raises(InputError, match="two fits called 'c0'"):
        find_fits([fits, tmp_path / "other"])
    path = tmp_path / "other" / "c0" / "fit.json"
    path.write_text(path.read_text(encoding="utf-8").replace(tiny_atlas.digest, "0" * 64), encoding="utf-8")
    with pytest.raises(InputError, match="a fit of another model"):
        read_cohort({"c0": fits / "c0", "c1": path.parent}, tiny_atlas)
    made = lungs("mesh", np.ones(3))
    for name, mesh in made.meshes.items():
        write_mesh(tmp_path / "mesh" / f"{name}.ply", mesh)
    with pytest.raises(InputError, match="c0 is a fit, mesh is not"):
        read_cohort({"c0": fits / "c0", "mesh": tmp_path / "mesh"}, tiny_atlas)


def test_damaged_records_and_other_folders_are_refused(
    fits: Path, subjects: Path, tiny_atlas: ModelBundle, tmp_path: Path
) -> None:
    shutil.copytree(fits / "c0", tmp_path / "fits" / "c0")
    written(tmp_path / "fits" / "c0" / "case.json", "{}")
    with pytest.raises(FileError, match="cannot be read"):
        read_cohort({"c0": tmp_path / "fits" / "c0"}, tiny_atlas)
    (tmp_path / "out").mkdir()
    written(tmp_path / "out" / "mine.txt", "")
    with pytest.raises(LpmError, match=r"holds mine\.txt, which would be lost"):
        run_study(StudyRun(tiny_atlas, [fits], subjects, Asked("group"), QUICK), tmp_path / "out")

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lpm.apps.cli import run
from lpm.files.volumes import write_volume
from lpm.geometry.volumes import Volume
from lpm.measurement.norms.learning import learn_norm
from lpm.measurement.norms.norm import Norm, write_norm
from lpm.model.bundle import ModelBundle, write_bundle
from lpm.preparation.cohort import Cohort


@pytest.fixture(scope="module")
def model(tiny_atlas: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("atlas") / "model"
    write_bundle(folder, tiny_atlas)
    return folder


def test_measure_writes_what_it_shows(phantom_labels: Volume, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_volume(tmp_path / "one" / "labels.nii.gz", phantom_labels)
    assert run(["measure", str(tmp_path / "one"), "--model", "none", "--json", "-"]) == 0
    printed = capsys.readouterr()
    (shown,) = json.loads(printed.out)
    assert "left_lung_volume_ml" in printed.err
    assert shown["values"]["total_volume_ml"]["value"] > 1000
    table = tmp_path / "table.csv"
    assert run(["measure", str(tmp_path / "one"), "--model", "none", "--csv", str(table)]) == 0
    with table.open() as file:
        assert float(next(csv.DictReader(file))["total_volume_ml"]) == pytest.approx(
            shown["values"]["total_volume_ml"]["value"], rel=1e-5
        )


def test_measure_says_where_lungs_stand(tiny_cohort: Path, model: Path, capsys: pytest.CaptureFixture) -> None:
    subject = Cohort(tiny_cohort).subjects("train")[0]
    folder = tiny_cohort / "subjects" / subject
    assert run(["measure", str(folder), "--model", str(model), "--json", "-"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert 0 < shown["values"]["total_volume_ml"]["percentile"] < 100


def test_measure_fails_where_a_file_does(phantom_labels: Volume, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in "abcd":
        write_volume(tmp_path / name / "labels.nii.gz", phantom_labels)
    (tmp_path / "a" / "labels.nii.gz").write_bytes(b"no volume")
    assert run(["measure", str(tmp_path), "--model", "none"]) == 1
    said = capsys.readouterr().err
    assert "1 of 4 subjects failed: a" in said


@pytest.mark.parametrize(
    "verb", [["mask", "x.nii.gz"], ["joint", "--mask", "x.nii.gz"], ["xray", "--frontal", "x.png"]]
)
@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        (["--age", "61"], 2, "--age: without a norm; expected --norm NORM beside it"),
        (["--norm", "none.json", "--no-report"], 2, "--norm: beside --no-report; expected a report"),
        (["--norm", "none.json"], 1, "none.json: cannot be read"),
    ],
)
def test_a_norm_for_a_report_is_checked_before_the_fit(
    verb: list[str], given: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(["fit", *verb, *given, "--out", str(tmp_path / "fit")]) == status
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("verb", ["mask", "points", "ct", "xray"])
def test_of_many_a_norm_is_not_of_one_person(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_norm(tmp_path / "norm.json", small_norm())
    given = ["--norm", str(tmp_path / "norm.json"), "--age", "61", "--jobs", "1", "--out", str(tmp_path / "fits")]
    assert run(["fit", verb, str(tmp_path), *given]) == 2
    assert "--age: an option of one case, and there may be many" in " ".join(capsys.readouterr().err.split())


def test_a_size_from_the_training_lungs_stands_nowhere_in_a_norm(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_norm(tmp_path / "norm.json", small_norm())
    given = ["--norm", str(tmp_path / "norm.json"), "--size-from-prior", "--out", str(tmp_path / "fit")]
    assert run(["fit", "xray", "--frontal", "x.png", *given]) == 2
    assert "--norm: beside --size-from-prior" in " ".join(capsys.readouterr().err.split())


def small_norm() -> Norm:
    return learn_norm({f"s{number}": {"total_volume_ml": 5000.0 + 100.0 * number} for number in range(9)})


def test_generate_writes_a_data_set(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "lungs"
    given = ["generate", "--n", "1", "--model", str(model), "--out", str(out), "--labels-mm", "8"]
    assert run([*given, "--where", "right_share_percent=40:60"]) == 0
    assert {path.name for path in out.iterdir()} == {"lungs_00000", "manifest.json", "report.html", "subjects.csv"}
    assert json.loads((out / "manifest.json").read_text())["request"]["ranges"] == {"right_share_percent": [40, 60]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--n", "0"], "--n: 0; expected at least 1"),
        (["--n", "1", "--volume-ml", "20000"], "as lungs of this population can be"),
        (["--n", "1", "--volume-ml", "much"], "a number, or two with a colon between"),
        (["--n", "1", "--volume-ml", "5000:3000"], "a number, or two with a colon between"),
        (["--n", "1", "--where", "hight_mm=200"], "did you mean height_mm"),
        (["--n", "1", "--where", "height_mm"], "name=value or name=low:high"),
    ],
)
def test_generate_refuses(
    given: list[str], said: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(["generate", *given, "--model", str(model), "--out", str(tmp_path / "lungs")]) in (1, 2)
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "lungs").exists()

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lpm.apps import cli
from lpm.apps.cli import run
from lpm.errors import InputError, LpmError, MisuseError
from lpm.evaluation.evaluate import EvaluationConfig
from lpm.files.points import write_points
from lpm.files.volumes import read_volume, write_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.model.bundle import ModelBundle, read_bundle, write_bundle
from lpm.preparation.cohort import Cohort

QUICK_TOML = "[sampling]\nn_surface = 2000\nn_off_surface = 2000\n"
TINY_TOML = """
[decoder]
latent_size = 4
width = 16
layers = 2
skip_at = 0
[training]
epochs = 4
checkpoint_every = 2
shapes_per_step = 4
surface_points = 64
off_surface_points = 64
points_kept = 1000
[augmentation]
copies = 1
faces = 1000
"""


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for index in range(3):
        labels = to_labels(random_lungs(rng=np.random.default_rng(index)), 8.0)
        write_volume(tmp_path / "scans" / f"case{index}.nii.gz", labels)
    (tmp_path / "quick.toml").write_text(QUICK_TOML)
    (tmp_path / "tiny.toml").write_text(TINY_TOML)
    return tmp_path / "scans"


@pytest.fixture(scope="module")
def model(tiny_model: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "model"
    write_bundle(folder, tiny_model)
    return folder


def prepare(scans: Path, *more: str) -> int:
    out = scans.parent / "cohort"
    return run(
        ["prepare", str(scans), "--out", str(out), "--config", str(scans.parent / "quick.toml"), "--jobs", "1", *more]
    )


def test_prepare_writes_a_cohort(scans: Path) -> None:
    assert prepare(scans) == 0
    cohort = Cohort(scans.parent / "cohort")
    assert cohort.subjects() == ["case0", "case1", "case2"]
    assert cohort.manifest.config.sampling.n_surface == 2000


def test_prepare_takes_the_split_beside_the_inputs(scans: Path) -> None:
    (scans / "split.json").write_text(json.dumps({"train": ["case1"], "test": ["case0", "case2"]}))
    assert prepare(scans) == 0
    assert Cohort(scans.parent / "cohort").subjects("train") == ["case1"]


def test_one_bad_case_exits_1_and_the_others_finish(scans: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (scans / "bad.nii.gz").write_bytes(b"\x1f\x8b not really")
    assert prepare(scans) == 1
    assert Cohort(scans.parent / "cohort").subjects() == ["case0", "case1", "case2"]
    printed = capfd.readouterr().err
    assert "1 of 4 cases failed: bad" in printed
    assert "Traceback" not in printed
    assert "bad" in Cohort(scans.parent / "cohort").manifest.failed


def test_train_then_evaluate(scans: Path) -> None:
    root = scans.parent
    assert prepare(scans) == 0
    train = [
        "train",
        str(root / "cohort"),
        "--out",
        str(root / "model"),
        "--preset",
        "lite",
        "--config",
        str(root / "tiny.toml"),
        "--device",
        "cpu",
    ]
    assert run([*train, "--jobs", "1", "--data", "generated"]) == 0
    assert read_bundle(root / "model").manifest.data == "generated"
    written = {path.name for path in (root / "model").iterdir()}
    assert {"bundle.json", "weights.safetensors", "epochs.csv", "checkpoint.safetensors"} <= written
    assert len(list((root / "model").glob("*.png"))) >= 3
    assert run(train) == 1, "a folder that holds a run is not overwritten"
    assert run([*train, "--resume"]) == 0


def test_evaluate_writes_tables_figures_and_a_report(
    model: Path, tiny_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = partial(EvaluationConfig, spacing_mm=5.0, paper_points=(1000, 3000))  # no option of the verb
    monkeypatch.setattr("lpm.evaluation.evaluate.EvaluationConfig", coarse)
    out = tmp_path / "evaluation"
    arguments = ["evaluate", str(model), str(tiny_cohort), "--points", "500", "--baselines", "mean", "--out", str(out)]
    assert run(arguments) == 0
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"LPM", "mean shape"} or len(rows) == 4
    assert all(float(row["assd_mm"]) > 0 for row in rows)
    tables = (out / "tables.md").read_text()
    assert "0.7047" in tables
    assert "floor" in tables
    html = (out / "report.html").read_text()
    assert "data:image/png" in html
    assert "sampling floor" in html


def test_an_atlas_is_trained_and_fitted(tiny_cohort: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "coarse.toml").write_text(
        "spacing_mm = 12.0\nwarp_scales = [[10.0, 70.0, 5]]\n[registration]\nrounds = 0\nscales = [[12.0, 60.0, 20]]\n"
    )
    train = ["train", str(tiny_cohort), "--preset", "atlas", "--config", str(tmp_path / "coarse.toml"), "--jobs", "1"]
    assert run([*train, "--out", str(tmp_path / "atlas"), "--all-subjects", "--data", "generated"]) == 0
    expected = r"round 1: training shapes and displaced average differ by left_lung \d\.\d\d mm, right_lung \d\.\d\d mm"
    assert re.search(expected, " ".join(capfd.readouterr().err.split()))
    manifest = read_bundle(tmp_path / "atlas").manifest
    assert (manifest.config.preset, manifest.data, len(manifest.training_subjects)) == ("atlas", "generated", 6)
    assert run([*train, "--out", str(tmp_path / "atlas")]) == 1, "a folder that holds a model is not overwritten"
    assert "holds a model" in capfd.readouterr().err
    left = next((tmp_path / "atlas" / "registration" / "subjects").iterdir()) / "fields.safetensors"
    assert not left.exists()
    left.touch()  # as a kill between the last two steps leaves it
    assert run([*train, "--out", str(tmp_path / "atlas"), "--resume"]) == 0
    assert not left.exists()


@pytest.mark.slow
def test_the_bundled_model_is_the_default(tmp_path: Path, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    write_points(tmp_path / "points.ply", cohort.surface(cohort.subjects("test")[0]).points_mm[:300])
    for name, more in (("with", ["--no-report"]), ("without", ["--no-report", "--prior-only"])):
        out = str(tmp_path / name)
        assert run(["fit", "points", str(tmp_path / "points.ply"), "--out", out, "--spacing-mm", "6", *more]) == 0
    left = [json.loads((tmp_path / name / "fit.json").read_text()) for name in ("with", "without")]
    assert left[0]["residuals_mm"]["mean_absolute"] < 0.5 * left[1]["residuals_mm"]["mean_absolute"]


def test_fit_points_and_mask(model: Path, tmp_path: Path, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    points = cohort.surface(cohort.subjects("test")[0]).points_mm[:1000]
    write_points(tmp_path / "points.ply", points)
    coarse = ["--model", str(model), "--spacing-mm", "4"]
    assert run(["fit", "points", str(tmp_path / "points.ply"), *coarse, "--out", str(tmp_path / "a")]) == 0
    assert (tmp_path / "a" / "left_lung.ply").is_file()
    assert "1000 surface points" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    labels = to_labels(random_lungs(rng=np.random.default_rng(5)), 6.0)
    write_volume(tmp_path / "labels.nrrd", labels)
    arguments = ["fit", "mask", str(tmp_path / "labels.nrrd"), *coarse, "--out", str(tmp_path / "b")]
    more = ["--points", "500", "--mesh-format", "stl", "--no-report", "--figures"]
    assert run([*arguments, *more]) == 0
    assert not (tmp_path / "b" / "report.html").exists()
    assert (tmp_path / "b" / "figures" / "slices.png").is_file()
    assert (tmp_path / "b" / "right_lung.stl").is_file()
    assert read_volume(tmp_path / "b" / "labels.nii.gz").voxels.shape == labels.voxels.shape


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        (["points", "p.ply"], [], "holds thesis.txt, which would be lost"),
        (["mask", "m.nii.gz"], [], "holds thesis.txt, which would be lost"),
        (["xray", "--frontal", "x.png"], [], "holds thesis.txt, which would be lost"),
        (["points", "p.ply"], ["--out", "new", "--figures"], "--figures: needs pyvista"),
    ],
)
def test_what_would_be_refused_after_a_fit_is_refused_before_anything_is_read(
    kind: list[str],
    more: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pyvista", None)  # as if it were not installed
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")
    assert run(["fit", *kind, "--out", "own", *more]) == 1  # no input is there: it is not looked for
    assert message in " ".join(capfd.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["own", "thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["prepare", "nowhere", "--out", "x"], 1, "no such file or folder"),
        (["train", "nowhere", "--out", "x"], 1, "cannot be read"),
        (["fit", "points", "none.ply", "--out", "x"], 1, "no such file"),
        (["evaluate", "nowhere", "nowhere", "--out", "x"], 1, "no such folder"),
        (["train", "c", "--out", "x", "--preset", "huge"], 2, "huge"),
        (["train", "c", "--out", "x", "--preset", "lite", "--all-subjects"], 2, "--all-subjects: --preset lite"),
        (["train", "c", "--out", "x", "--epochs", "3"], 2, "an atlas with --structures union, --epochs"),
        (["train", "c", "--out", "x", "--device", "cuda"], 2, "--preset lite trains a network"),
        (["generate", "--n", "1", "--volume-ml", "large", "--out", "x"], 2, "--volume-ml: 'large'"),
        (["prepare"], 2, "INPUT"),
        (["prepare", ".", "--out", "x", "--labels", "left"], 2, "name=value"),
        (["prepare", ".", "--out", "x", "--config", "nowhere.toml"], 1, "cannot be read"),
    ],
)
def test_misuse_is_told_plainly(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    printed = capfd.readouterr()
    assert message in printed.err + printed.out
    assert "Traceback" not in printed.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("text", "message"), [("seed = = 1", "not TOML"), ("speed = 1", "speed: Extra inputs")])
def test_bad_configuration_is_told(scans: Path, text: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    (scans.parent / "quick.toml").write_text(text)
    assert prepare(scans) in (1, 2)
    assert message in capfd.readouterr().err


def test_the_kind_of_an_error_decides_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(error: LpmError) -> int:
        def verb(_: list[str]) -> None:
            raise error

        monkeypatch.setattr(cli, "app", verb)
        return run([])

    assert refused(MisuseError("atlas", "with --epochs")) == 2
    assert refused(InputError("--looks-like-an-option.nii.gz", "an empty mask")) == 1


def test_debug_shows_the_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(tmp_path), "--out", "x"], debug=True) == 1
    assert "Traceback" in capfd.readouterr().err


def test_cuda_is_refused_where_there_is_none(scans: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert prepare(scans) == 0
    train = ["train", str(scans.parent / "cohort"), "--out", str(scans.parent / "m"), "--preset", "lite"]
    assert run([*train, "--device", "cuda"]) == 2
    assert "torch finds no GPU" in capfd.readouterr().err


@pytest.mark.parametrize(
    "verb", [[], ["prepare"], ["train"], ["fit"], ["fit", "points"], ["fit", "mask"], ["evaluate"], ["demo"], ["view"]]
)
def test_help_of_every_verb(verb: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*verb, "--help"]) == 0
    assert "Usage" in capfd.readouterr().out


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.startswith("0.")


def test_help_does_not_import_torch() -> None:
    code = "import sys; from lpm.apps.cli import run; run(['--help']); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"COLUMNS": "100"}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True).returncode == 0
    )


@pytest.fixture(scope="module")
def chest_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    ct, _ = render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(3.0, 3.0, 3.0)), rng=rng)
    path = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    write_volume(path, ct)
    return path


def test_lungs_of_a_ct(chest_ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "labels.png"
    assert run(["segment", str(chest_ct), "--out", str(tmp_path / "labels.nii.gz"), "--preview", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    labels, ct = read_volume(tmp_path / "labels.nii.gz"), read_volume(chest_ct)
    assert labels.voxels.shape == ct.voxels.shape
    assert set(np.unique(labels.voxels)) == {0, 1, 2}
    printed = capfd.readouterr().err
    assert "left lung" in printed
    assert "dense tissue" not in printed


@pytest.mark.slow
def test_disease_that_hides_a_lung_is_told_of_and_filled(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    phantom = PhantomScan(random_lungs(rng=rng), spacing_mm=(4.0, 4.0, 4.0), consolidated=0.3)
    ct, _ = render_scan(phantom, rng=rng)
    write_volume(tmp_path / "ct.nii.gz", ct)
    volumes_ml = []
    for more in ([], ["--no-fill"]):
        assert run(["segment", str(tmp_path / "ct.nii.gz"), "--out", str(tmp_path / "labels.nii.gz"), *more]) == 0
        labels = read_volume(tmp_path / "labels.nii.gz")
        volumes_ml.append([float((labels.voxels == side).sum()) * labels.voxel_ml for side in (1, 2)])
        printed = capfd.readouterr().err
        assert "right_lung: dense tissue before" in printed
        assert ("none of it was added" in printed) == bool(more)
    assert volumes_ml[0][0] == volumes_ml[1][0]
    assert volumes_ml[0][1] > 1.2 * volumes_ml[1][1]


def test_a_ct_and_a_table_are_prepared(chest_ct: Path, tmp_path: Path) -> None:
    table = chest_ct.parent / "cases.csv"
    table.write_text("subject,path,height_cm\nann,ct.nii.gz,171\nbob,ct.nii.gz,180\n")
    (tmp_path / "quick.toml").write_text(QUICK_TOML)
    out = tmp_path / "cohort"
    given = ["prepare", str(table), "--out", str(out), "--config", str(tmp_path / "quick.toml"), "--jobs", "1"]
    assert run(given) == 0
    cohort = Cohort(out)
    assert cohort.manifest.attributes == {"ann": {"height_cm": "171"}, "bob": {"height_cm": "180"}}
    assert cohort.subjects() == ["ann"], "bob is ann again"
    assert run([*given, "--resume", "--keep-rejected"]) == 0
    assert Cohort(out).subjects() == ["ann", "bob"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segment", "none.nii.gz", "--out", "x.nii.gz"], "no such file or folder"),
        (["segment", "none.nii.gz", "--out", "x.stl"], "no volume is written as '.stl'"),
        (["download", "lungs", "--out", "x"], "one of covid19-ct"),
    ],
)
def test_misuse_of_the_new_verbs(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 1
    assert message in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 9 GiB"), RuntimeError("can't allocate memory: 9")])
def test_want_of_memory_is_an_error_in_words(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("lpm.apps.cli.app", fail)
    assert run(["segment", "x.nii.gz", "--out", "y.nii.gz"]) == 1
    assert "it does not fit into memory" in capsys.readouterr().err

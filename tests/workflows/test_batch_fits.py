"""Fits and segmentations of many cases, by the command line: the same lungs as one by one, the model read once."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpm.apps.cli import run
from lpm.batch.workers import LocalWorkers
from lpm.errors import MisuseError
from lpm.files.points import write_points
from lpm.files.volumes import read_volume, write_volume
from lpm.geometry.meshes import sample_surface
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import PhantomLungs, random_lungs, to_labels
from lpm.lung_model import BUNDLED, load
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.workflows.batch import fits
from lpm.workflows.radiographs import PictureOptions, RadiographFiles, options_of_row
from lpm.xray.beam_options import BeamOptions

QUICK = ["--spacing-mm", "8", "--no-report"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients' points in a folder."""
    folder = tmp_path_factory.mktemp("points")
    for name, first in (("a", 0.6), ("b", -0.4)):
        rng, lungs = np.random.default_rng(3), load().shape([first], spacing_mm=8.0)
        parts = [sample_surface(mesh, 40, rng=rng).points for mesh in lungs.values()]
        write_points(folder / f"{name}.ply", np.concatenate(parts))
    return folder


@pytest.fixture(scope="module")
def many(points: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fits of both, for which the model is read once."""
    out, read = tmp_path_factory.mktemp("many") / "fits", list[Path]()

    def counted(folder: Path) -> ModelBundle:
        read.append(folder)
        return read_bundle(folder)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fits, "read_bundle", counted)
        fits.loaded.cache_clear()
        assert run(["fit", "points", str(points), "--out", str(out), *QUICK]) == 0
    assert len(read) == 1
    return out


def test_many_fits_are_those_of_one_by_one(points: Path, many: Path, tmp_path: Path) -> None:
    assert run(["fit", "points", str(points / "a.ply"), "--out", str(tmp_path / "one"), *QUICK]) == 0
    one, same = tmp_path / "one", many / "a"
    assert {path.name for path in same.iterdir()} == {path.name for path in one.iterdir()} | {"case.json"}
    for name in ("fit.json", "left_lung.ply", "labels.nii.gz"):
        assert (same / name).read_bytes() == (one / name).read_bytes()


def test_a_row_of_shapes_holds_shape_pose_and_measures_with_intervals(many: Path) -> None:
    first, second = rows(many / "shapes.csv")
    assert (first["case"], second["case"]) == ("a", "b")
    fit = json.loads((many / "a" / "fit.json").read_text())
    assert [float(first[f"beta_{n}"]) for n in range(1, len(fit["beta"]) + 1)] == pytest.approx(fit["beta"], rel=1e-5)
    assert float(first["mahalanobis"]) == pytest.approx(fit["mahalanobis"], rel=1e-5)
    for axis, translation, scale in zip("ras", fit["pose"]["translation_mm"], fit["pose"]["axis_scale"], strict=True):
        assert float(first[f"translation_{axis}_mm"]) == pytest.approx(translation, rel=1e-4)
        assert float(first[f"scale_{axis}"]) == pytest.approx(scale, rel=1e-4)
    assert float(first["total_volume_ml"]) == pytest.approx(fit["total_volume_ml"], rel=1e-5)
    ends = [float(first[f"total_volume_ml_95_{end}"]) for end in ("low", "high")]
    assert ends == pytest.approx(fit["total_volume_95_ml"], rel=1e-5)
    measures = [name for name in first if f"{name}_95_low" in first]
    assert len(measures) > 40
    for name in measures:
        low, value, high = (float(first[f"{name}{end}"]) for end in ("_95_low", "", "_95_high"))
        assert low < value < high, name


def test_what_is_finished_is_kept_and_another_model_or_option_is_another_fit(points: Path, many: Path) -> None:
    given = ["fit", "points", str(points), "--out", str(many), "--resume"]
    before, written = (many / "shapes.csv").read_text(), (many / "a" / "case.json").stat().st_mtime_ns
    assert run([*given, *QUICK]) == 0
    assert (many / "a" / "case.json").stat().st_mtime_ns == written
    assert (many / "shapes.csv").read_text() == before
    work = fits.FitCases(fits.PointFits())
    assert work.describe() == fits.FitCases(fits.PointFits()).describe()
    others = [fits.FitCases(fits.PointFits(9)), fits.FitCases(fits.PointFits(), seed=1), fits.FitCases(fits.MaskFits())]
    assert len({work.describe(), *(other.describe() for other in others)}) == 4


def test_another_model_has_another_digest(tmp_path: Path) -> None:
    for name in ("bundle.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((BUNDLED / name).read_bytes())
    same = fits.FitCases(fits.MaskFits()).describe()
    assert fits.FitCases(fits.MaskFits(), tmp_path).describe() == same, "wherever it lies"
    (tmp_path / "weights.safetensors").write_bytes(b"other")
    fits._digest.cache_clear()
    assert fits.FitCases(fits.MaskFits(), tmp_path).describe() != same


def count_reading(n: int) -> tuple[int, int]:
    """Ask for the model, in a worker: whose it is, and how often it has been read there."""
    import os

    fits.loaded(BUNDLED)
    return os.getpid(), fits.loaded.cache_info().misses


def test_the_model_is_read_once_in_each_worker() -> None:
    found = [result for _, result in LocalWorkers(2).each(count_reading, range(8)) if result]
    assert len(found) == 8
    assert {misses for _, misses in found} == {1}


@pytest.mark.slow
def test_a_bad_mask_never_stops_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path / "in" / "good" / "labels.nii.gz", to_labels(PhantomLungs(), 8.0))
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no volume")
    out = tmp_path / "out"
    given = ["fit", "mask", str(tmp_path / "in"), "--out", str(out), *QUICK, "--points", "100", "--jobs", "1"]
    assert run(given) == 1
    printed = capfd.readouterr().err.replace("\n", " ")
    assert "fit mask: 1 of 2 cases failed: bad. Try: see the column error of" in printed
    assert [(row["case"], row["status"]) for row in rows(out / "cases.csv")] == [("bad", "failed"), ("good", "done")]
    assert [row["case"] for row in rows(out / "shapes.csv")] == ["good"]
    assert not (out / "bad").exists()


def test_many_cts_are_segmented(tmp_path: Path) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        scan = PhantomScan(random_lungs(rng=rng), spacing_mm=(5.0, 5.0, 5.0))
        write_volume(tmp_path / "in" / f"s{seed}" / "ct.nii.gz", render_scan(scan, rng=rng)[0])
    out, one = tmp_path / "out", tmp_path / "one.nii.gz"
    assert run(["segment", str(tmp_path / "in"), "--out", str(out), "--no-fill"]) == 0
    assert run(["segment", str(tmp_path / "in" / "s0" / "ct.nii.gz"), "--out", str(one), "--no-fill"]) == 0
    assert {path.name for path in (out / "s1").iterdir()} == {"labels.nii.gz", "preview.png", "case.json"}
    np.testing.assert_array_equal(read_volume(out / "s0" / "labels.nii.gz").voxels, read_volume(one).voxels)
    assert [row["status"] for row in rows(out / "cases.csv")] == ["done", "done"]
    assert not (out / "shapes.csv").exists()


# --- Radiographs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What reaches the fit of radiographs."""
    found: list[dict[str, object]] = []

    def fit(self: object, radiographs: dict[str, object], inputs: list[Path]) -> None:
        found.append(dict(radiographs))
        raise MisuseError("mm_per_px", "enough", "no more")

    monkeypatch.setattr("lpm.workflows.batch.fits.fit_radiographs", fit)
    return found


def test_a_table_says_how_each_radiograph_was_taken(tmp_path: Path, fitted: list[dict[str, object]]) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (90, 80), dtype=np.uint8)).save(tmp_path / name)
    header = "case,frontal,lateral,mm_per_px,projection,age\n"
    (tmp_path / "t.csv").write_text(f"{header}p1,a.png,b.png,0.5,parallel,40\np2,b.png,,,,\np3,b.png,,wide,,\n")
    out = tmp_path / "out"
    assert run(["fit", "xray", str(tmp_path / "t.csv"), "--out", str(out), "--mm-per-px", "0.7"]) == 1
    first, second = fitted
    assert {side: (each.mm_per_px, each.magnification) for side, each in first.items()} == {  # type: ignore[attr-defined]
        "frontal": ((0.5, 0.5), 1.0),
        "lateral": ((0.5, 0.5), 1.0),
    }
    assert {side: each.mm_per_px for side, each in second.items()} == {"frontal": (0.7, 0.7)}  # type: ignore[attr-defined]
    assert "mm_per_px: 'wide'; expected one number" in rows(out / "cases.csv")[2]["error"]


def test_a_row_comes_before_the_options_of_all() -> None:
    options = PictureOptions((0.4, 0.4), BeamOptions(source_detector_mm=1500.0))
    row = {"ap": "yes", "patient_detector_mm": "150", "age": "40"}
    found = options_of_row(row, RadiographFiles(Path("a.png")), options)
    assert found == PictureOptions((0.4, 0.4), BeamOptions("cone", 1500.0, 150.0, ap=True))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"ap": "perhaps"}, "ap: 'perhaps'; expected one of yes, true, 1, no, false, 0"),
        ({"projection": "fan"}, "projection: 'fan'; expected one of cone, parallel"),
        ({"source_detector_mm": "far"}, "source_detector_mm: 'far'; expected a number of millimetres"),
        ({"mm_per_px": "0,4"}, "mm_per_px: '0,4'; expected one number, or two"),
    ],
)
def test_values_that_a_row_cannot_have(row: dict[str, str], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        options_of_row(row, RadiographFiles(Path("a.png")), PictureOptions())


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["fit", "points", "P", "--also", "a.ply"], "--also: an option of one case, and there may be many"),
        (["fit", "points", "P", "--grid", "a.nii"], "--grid: an option of one case"),
        (["fit", "mask", "P", "--also", "a.ply"], "--also: an option of one case"),
        (["fit", "ct", "P", "--also", "a.ply"], "--also: an option of one case"),
        (["fit", "xray", "P", "--lateral", "a.png"], "--lateral: an option of one case"),
        (["fit", "xray", "--lateral", "a.png", "--resume"], "--jobs, --dask, --resume: one patient; expected many"),
        (["segment", "P", "--preview", "a.png"], "--preview: an option of one case"),
        (["segment", "P", "--out", "a.nii.gz"], "--out: a.nii.gz, and there may be many cases; expected a folder"),
    ],
)
def test_options_of_one_case_are_misuse_with_many(
    points: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    out = [] if "--out" in given else ["--out", str(tmp_path / "out")]
    assert run([str(points) if each == "P" else each for each in given] + out) == 2
    assert message in capfd.readouterr().err.replace("\n", " ")

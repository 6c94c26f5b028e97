"""`lpm xray`, in process: what is written, where its pixels lie, and what is misuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpm.apps.cli import run
from lpm.files.volumes import write_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.geometry.volumes import Volume
from lpm.xray.files.reading import read_xray
from lpm.xray.files.views import read_views


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated chest CT and its labels, at 5 mm."""
    lungs = random_lungs(rng=np.random.default_rng(0))
    ct, labels = render_scan(PhantomScan(lungs, spacing_mm=(5.0, 5.0, 5.0)), rng=np.random.default_rng(1))
    folder = tmp_path_factory.mktemp("scan")
    write_volume(folder / "ct.nii.gz", ct)
    write_volume(folder / "labels.nii.gz", labels)
    return folder


def simulate(source: Path, out: Path, *more: str) -> int:
    return run(["xray", str(source), "--out", str(out), "--mm-per-px", "3", *more])


def test_a_ct_becomes_two_radiographs(scan: Path, tmp_path: Path) -> None:
    assert simulate(scan / "ct.nii.gz", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frontal.png", "lateral.png", "views.json"]
    assert simulate(scan / "labels.nii.gz", tmp_path / "labels") == 0
    for name, view in read_views(tmp_path / "views.json").items():
        picture = read_xray(tmp_path / f"{name}.png").pixels
        inside = np.asarray(Image.open(tmp_path / "labels" / f"{name}.png")) * 0.01
        assert picture.shape == inside.shape == view.shape
        body = picture > 0.15
        assert picture[inside > 80.0].mean() < picture[body & (inside == 0)].mean()


def test_labels_become_path_lengths(scan: Path, tmp_path: Path) -> None:
    assert simulate(scan / "labels.nii.gz", tmp_path, "--angle", "0", "--angle", "20") == 0
    names = ["angle20", "angle20_left_lung", "angle20_right_lung", "frontal", "frontal_left_lung", "frontal_right_lung"]
    assert list(json.loads((tmp_path / "views.json").read_text())["views"]) == [*names[3:], *names[:3]]
    pictures = {name: np.asarray(Image.open(tmp_path / f"{name}.png")).astype(float) for name in names}
    np.testing.assert_allclose(
        pictures["frontal"], pictures["frontal_left_lung"] + pictures["frontal_right_lung"], atol=2
    )
    middle = pictures["frontal"].shape[1] // 2
    left = pictures["frontal_left_lung"]
    assert left[:, middle:].sum() > 4 * left[:, :middle].sum()  # the patient's left is on the right
    view = read_views(tmp_path / "views.json")["frontal"]
    volume_ml = 0.01 * pictures["frontal"].sum() * 9.0 / 1000.0
    assert 2000.0 < volume_ml < 9000.0
    assert view.source_mm is None


def test_a_cone_beam_writes_its_distances(scan: Path, tmp_path: Path) -> None:
    distances = ["--source-detector-mm", "1200", "--source-patient-mm", "900"]
    cone = ["--projection", "cone", *distances, "--angle", "0", "--size", "80x90", "--ap"]
    assert simulate(scan / "labels.nii.gz", tmp_path, *cone) == 0
    record = json.loads((tmp_path / "views.json").read_text())["views"]["frontal"]
    assert (record["projection"], record["size_px"]) == ("cone", [80, 90])
    assert (record["source_detector_mm"], record["source_patient_mm"]) == (1200.0, 900.0)
    assert record["source_mm"][1] > 500.0  # AP: the source is in front
    assert np.asarray(Image.open(tmp_path / "frontal.png")).shape == (80, 90)


def test_noise_is_that_of_its_seed(scan: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["--angle", "0", "--photons", "5000", "--seed", seed]
        assert simulate(scan / "ct.nii.gz", tmp_path / name, *arguments) == 0
    a, b, c = (np.asarray(Image.open(tmp_path / name / "frontal.png")) for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        ("ct", ["--mm-per-px", "9"], "--mm-per-px: 9 mm; expected 0.02 to 5 mm"),
        ("ct", ["--mm-per-px", "0.02"], "--mm-per-px: 0.02 mm, for a picture of"),
        ("ct", ["--size", "a"], "--size: 'a'; expected 16 pixels a side at least, 16 megapixels at most"),
        ("ct", ["--size", "9x500"], "--size: '9x500'"),
        ("ct", ["--size", "99999"], "--size: '99999'"),
        ("ct", ["--angle", "nan"], "--angle: [nan]; expected finite degrees"),
        ("ct", ["--source-detector-mm", "900"], "--source-detector-mm: a distance, and a parallel beam"),
        ("ct", ["--source-patient-mm", "900"], "--source-patient-mm: a distance, and a parallel beam"),
        ("ct", ["--projection", "cone", "--source-patient-mm", "1900"], "--source-patient-mm: patient 1900 mm and"),
        ("ct", ["--projection", "cone", "--source-patient-mm", "100"], "--source-patient-mm: 100 mm, and the scan"),
        ("ct", ["--labels", "left_lung=1"], "--labels: structures, and ct.nii.gz is no label map"),
        ("labels", ["--photons", "100"], "--photons: noise, and labels.nii.gz is a label map"),
    ],
)
def test_misuse_exits_2(
    scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], source: str, more: list[str], message: str
) -> None:
    assert simulate(scan / f"{source}.nii.gz", tmp_path / "out", *more) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_projected_exits_1(scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path / "none.nii.gz", tmp_path / "out") == 1
    assert "no such file" in capfd.readouterr().err
    assert simulate(scan / "labels.nii.gz", tmp_path / "out", "--labels", "heart=7") == 1
    assert "no voxel of {'heart': (7,)}" in capfd.readouterr().err
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "t1.nii.gz", Volume(rng.normal(500.0, 99.0, (9, 9, 9)).astype(np.float32), np.eye(4)))
    assert simulate(tmp_path / "t1.nii.gz", tmp_path / "out") == 1
    assert "expected Hounsfield units" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()

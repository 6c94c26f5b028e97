"""From a DICOM series to DICOM results on the command line, and back into it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_writing import write_scan
from lpm.apps.cli import run
from lpm.files.scans import read_labels, read_scan
from lpm.files.volumes import read_volume_file, write_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.geometry.volumes import Volume

pytest.importorskip("highdicom")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient's folder, with a CT in `ct` and what `lpm segment` makes of it in `lungs`."""
    folder, rng = tmp_path_factory.mktemp("patient"), np.random.default_rng(1)
    ct, _ = render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(4.0, 4.0, 4.0)), rng=rng)
    write_scan(folder / "ct", ct, rng=rng)
    out = folder / "lungs"
    asked = ["--dicom-seg", str(out / "seg.dcm"), "--rtstruct", str(out / "rs.dcm"), "--dicom-stl", str(out / "stl")]
    assert run(["segment", str(folder / "ct"), "--out", str(out / "labels.seg.nrrd"), *asked]) == 0
    return folder


def test_segment_writes_the_same_lungs_in_every_format(found: Path) -> None:
    labels = read_volume_file(found / "lungs" / "labels.seg.nrrd")
    assert labels.segments == {1: "Left lung", 2: "Right lung"}
    for name in ("seg.dcm", "rs.dcm"):
        read = read_labels(found / "lungs" / name)
        np.testing.assert_array_equal(read.volume.voxels, labels.volume.voxels)
        np.testing.assert_allclose(read.volume.world_from_voxel, labels.volume.world_from_voxel, atol=1e-3)
    assert sorted(path.name for path in (found / "lungs" / "stl").iterdir()) == ["left_lung.dcm", "right_lung.dcm"]
    source = pydicom.dcmread(next((found / "ct").iterdir()))
    for path in (found / "lungs").rglob("*.dcm"):
        written = pydicom.dcmread(path)
        assert (written.PatientID, written.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
        assert written.FrameOfReferenceUID == source.FrameOfReferenceUID


def test_a_name_of_one_word_draws_no_warning(found: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    shutil.copytree(found / "ct", tmp_path / "ct")
    for path in (tmp_path / "ct").iterdir():
        image = pydicom.dcmread(path)
        image.PatientName = "Anonymous"
        image.save_as(path)
    asked = ["--out", str(tmp_path / "labels.nii.gz"), "--dicom-seg", str(tmp_path / "seg.dcm")]
    assert run(["segment", str(tmp_path / "ct"), *asked]) == 0
    assert pydicom.dcmread(tmp_path / "seg.dcm").PatientName == "Anonymous"
    assert not [each for each in recwarn if "person name" in str(each.message)]


@pytest.mark.slow
def test_dicom_masks_are_fitted_and_measured(found: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seg, out = found / "lungs" / "seg.dcm", tmp_path / "fit"
    quick = ["--points", "500", "--spacing-mm", "6", "--no-report"]
    assert run(["fit", "mask", str(seg), "--out", str(out), *quick, "--dicom-seg", str(tmp_path / "fit.dcm")]) == 0
    assert "seg.dcm: on the slices of series 2, which it was drawn on" in capfd.readouterr().err
    fitted = pydicom.dcmread(tmp_path / "fit.dcm")
    assert fitted.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "lpm fit mask"
    labels, scan = read_scan(out / "labels.nii.gz").volume, read_scan(found / "ct").volume
    np.testing.assert_allclose(labels.world_from_voxel, scan.world_from_voxel, atol=1e-3)
    shutil.copy(tmp_path / "fit.dcm", found / "lungs" / "fit.dcm")
    np.testing.assert_array_equal(read_labels(found / "lungs" / "fit.dcm").volume.voxels, labels.voxels)
    assert run(["measure", str(found / "lungs" / "rs.dcm"), "--csv", str(tmp_path / "m.csv"), "--model", "none"]) == 0
    (names, row) = (line.split(",") for line in (tmp_path / "m.csv").read_text().splitlines())
    truth = read_volume_file(found / "lungs" / "labels.seg.nrrd").volume
    volume = float(np.count_nonzero(truth.voxels == 1)) * truth.voxel_ml
    assert float(row[names.index("left_lung_volume_ml")]) == pytest.approx(volume, rel=0.01)


@pytest.mark.parametrize("option", ["--dicom-seg", "--rtstruct", "--dicom-stl"])
@pytest.mark.parametrize("verb", [["segment"], ["fit", "ct"], ["fit", "mask"]])
def test_without_dicom_it_is_refused_before_the_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], verb: list[str], option: str
) -> None:
    write_volume(tmp_path / "x.nii.gz", Volume(np.ones((4, 5, 6), np.int16), np.diag([2.0, 2.0, 2.0, 1.0])))
    out = tmp_path / ("out.nii.gz" if verb == ["segment"] else "out")
    assert run([*verb, str(tmp_path / "x.nii.gz"), "--out", str(out), option, str(tmp_path / "y")]) == 1
    assert "no DICOM series, so that DICOM results have nothing to refer to" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.nii.gz"]

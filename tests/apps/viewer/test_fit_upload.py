from __future__ import annotations

import shutil
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest

import lpm
from dicom_writing import write_scan
from lpm.apps.viewer.exports import dicom_seg
from lpm.apps.viewer.fits.upload import Kind, Options, fit_upload, read_truth
from lpm.errors import FileError, InputError
from lpm.files.dicom.writing.algorithm import fitting
from lpm.files.dicom.writing.results import DicomFiles, FoundLungs, dicom_source
from lpm.files.meshes import write_mesh
from lpm.files.points import write_points
from lpm.files.volumes import write_volume
from lpm.fitting.evidence.masks import MaskFitConfig
from lpm.geometry.grids import labels_of
from lpm.geometry.meshes import WorldMesh, joined, sample_surface
from lpm.geometry.phantoms import PhantomLungs, to_labels
from lpm.lung_model import LungModel
from lpm.workflows.evidence import EvidenceFiles, fit_evidence_files
from lpm.workflows.outcome import FitRun, Outcome, silent

COARSE = Options(spacing_mm=8.0)


@pytest.fixture(scope="module")
def model() -> LungModel:
    return lpm.load()


@pytest.fixture(scope="module")
def lungs(model: LungModel) -> dict[str, WorldMesh]:
    return model.shape([0.6], spacing_mm=8.0)


def fitted(model: LungModel, kind: Kind, path: Path) -> tuple[list[str], Outcome]:
    told: list[tuple[str, float]] = []
    outcome = fit_upload(model.bundle, [(kind, path)], COARSE, {}, lambda text, share: told.append((text, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    return [text for text, _ in told], outcome


def test_points_are_fitted_and_kept_to_be_shown(
    model: LungModel, lungs: dict[str, WorldMesh], tmp_path: Path, rng: np.random.Generator
) -> None:
    points = np.concatenate([sample_surface(mesh, 40, rng=rng).points for mesh in lungs.values()])
    write_points(tmp_path / "p.ply", points)
    told, found = fitted(model, "points", tmp_path / "p.ply")
    assert told[:3] == ["reading p.ply", "fitting 80 surface points", "fitting: step 1"]
    assert found.points_mm == pytest.approx(points, abs=1e-3)
    assert found.provenance["input p.ply"].startswith("SHA-256")
    true_ml = sum(mesh.volume_ml for mesh in lungs.values())
    assert sum(mesh.volume_ml for mesh in found.fit.lungs.values()) == pytest.approx(true_ml, rel=0.1)


def test_labels_are_fitted_and_kept_to_be_shown(
    model: LungModel, lungs: dict[str, WorldMesh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpm.workflows.evidence.MaskFitConfig", partial(MaskFitConfig, n_points=500))
    labels = labels_of(lungs, spacing_mm=6.0)
    write_volume(tmp_path / "l.nii.gz", labels)
    _, found = fitted(model, "labels", tmp_path / "l.nii.gz")
    assert found.scan is not None
    assert not found.is_ct
    assert found.scan.voxels.shape == labels.voxels.shape
    assert list(found.fit.lungs) == ["left_lung", "right_lung"]


@pytest.mark.parametrize("kind", ["labels", "ct", "truth"])
def test_a_header_that_claims_a_huge_scan_is_refused_before_it_is_read(
    kind: Kind, model: LungModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coarse_labels: Any
) -> None:
    monkeypatch.setattr("lpm.apps.viewer.fits.upload._MOST_VOXELS", 1000)
    path = tmp_path / "huge.nii.gz"
    write_volume(path, coarse_labels)
    with pytest.raises(FileError, match=r"huge\.nii\.gz: 0 million voxels; expected at most 0 million"):
        read_truth(path) if kind == "truth" else fit_upload(model.bundle, [(kind, path)], COARSE, {}, silent)


def test_a_zip_that_unpacks_to_too_much_is_refused(model: LungModel, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("lpm.apps.viewer.fits.upload._MOST_UNZIPPED", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(100_000))
    with pytest.raises(FileError, match=r"bomb\.zip: 0\.0 GiB unpacked; expected at most 9"):
        fit_upload(model.bundle, [("ct", tmp_path / "bomb.zip")], COARSE, {}, silent)


def test_a_truth_is_not_fitted(model: LungModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="to be fitted as truth"):
        fit_upload(model.bundle, [("truth", tmp_path / "t.ply")], COARSE, {}, silent)


# --- Several files of one patient ---


@pytest.fixture(scope="module")
def parts(lungs: dict[str, WorldMesh], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of one patient: points on the left lung alone, slices of the right one alone."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(3)
    write_points(folder / "left.csv", sample_surface(lungs["left_lung"], 150, rng=rng).points)
    labels = labels_of(lungs, spacing_mm=6.0)
    drawn = np.zeros_like(labels.voxels)
    drawn[:, :, 4::6] = 2 * (labels.voxels[:, :, 4::6] == 2)
    write_volume(folder / "right.nii.gz", labels.with_voxels(drawn))
    return {"points": folder / "left.csv", "labels": folder / "right.nii.gz"}


def test_files_of_one_patient_are_fitted_in_one_fit(
    model: LungModel, lungs: dict[str, WorldMesh], parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpm.apps.viewer.fits.upload._JOINT_POINTS", 300)
    files: list[tuple[Kind, Path]] = [("points", parts["points"]), ("labels", parts["labels"])]
    told: list[str] = []
    found = fit_upload(model.bundle, files, COARSE, {}, lambda text, _: told.append(text))
    assert told[0] == "reading left.csv, right.nii.gz"
    for name, mesh in lungs.items():  # neither file shows both
        assert found.fit.lungs[name].volume_ml == pytest.approx(mesh.volume_ml, rel=0.05)
        assert found.fit.lungs[name].centroid == pytest.approx(mesh.centroid, abs=3.0)
    assert {"input left.csv", "input right.nii.gz"} <= set(found.provenance)
    assert found.scan is not None
    joint = EvidenceFiles((parts["points"],), (parts["labels"],), meaning=MaskFitConfig(n_points=300))
    by_command = fit_evidence_files(FitRun(model.bundle, spacing_mm=8.0), joint)  # what `lpm fit joint` calls
    assert found.fit.beta == pytest.approx(by_command.fit.beta)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (("ct", "ct"), r"1, 0: 2 CTs; expected one. Try: fit each by itself"),
        (("ct", "frontal"), "0: radiographs beside a CT; expected points or label maps beside it. Try: leave them out"),
        (("ct", "views"), "0: radiographs beside a CT"),
        (("points", "views", "views"), "1, 0: 2 files of views; expected one. Try: remove the others"),
    ],
)
def test_kinds_that_do_not_go_together_are_refused(
    kinds: tuple[Kind, ...], message: str, model: LungModel, tmp_path: Path
) -> None:
    files = [(kind, tmp_path / str(n)) for n, kind in reversed(list(enumerate(reversed(kinds))))]
    with pytest.raises(InputError, match=message):
        fit_upload(model.bundle, files, COARSE, {}, silent)


def test_a_dicom_mask_keeps_the_series_that_a_seg_refers_to(
    model: LungModel, lungs: dict[str, WorldMesh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpm.workflows.evidence.MaskFitConfig", partial(MaskFitConfig, n_points=500))
    labels, rng = labels_of(lungs, spacing_mm=6.0), np.random.default_rng(4)
    folder = tmp_path / "DICOM"
    uid = write_scan(folder, labels.with_voxels(-1000.0 * (labels.voxels > 0)), rng=rng)
    files = DicomFiles(seg=folder / "seg.dcm")
    source = dicom_source(folder)
    files.write(FoundLungs(labels, {1: "left_lung", 2: "right_lung"}, {}), source, fitting("lpm fit ct"))
    found = fit_upload(model.bundle, [("labels", folder)], COARSE, {}, silent)
    assert found.dicom is not None
    shutil.rmtree(folder)  # uploads go when they were read
    (tmp_path / "saved.dcm").write_bytes(dicom_seg(found))
    saved = pydicom.dcmread(tmp_path / "saved.dcm")
    assert saved.ReferencedSeriesSequence[0].SeriesInstanceUID == uid
    assert [each.SegmentLabel for each in saved.SegmentSequence] == ["Left lung", "Right lung"]
    true = int((labels.voxels > 0).sum())
    assert int(saved.pixel_array.sum()) == pytest.approx(true, rel=0.05)


def test_a_scan_without_a_series_for_a_seg_is_fitted_and_that_is_told(
    model: LungModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome = Outcome(None)  # type: ignore[arg-type]
    monkeypatch.setattr("lpm.apps.viewer.fits.upload._fitted", lambda *_: outcome)
    told: list[str] = []
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("seg.dcm", b"words")
    files: list[tuple[Kind, Path]] = [("labels", tmp_path / "z.zip")]
    assert fit_upload(model.bundle, files, COARSE, {}, lambda text, _: told.append(text)) is outcome
    assert told[0].startswith("no DICOM SEG can be saved: ")
    with pytest.raises(InputError, match=r"expected a CT that was uploaded as DICOM\. Try: save labels instead"):
        dicom_seg(Outcome(SimpleNamespace(observed="a mask")))  # type: ignore[arg-type]


def test_a_mesh_of_both_lungs_is_told_apart_by_where_they_lie(lungs: dict[str, WorldMesh], tmp_path: Path) -> None:
    write_mesh(tmp_path / "both.ply", joined([lungs["right_lung"], lungs["left_lung"]]))
    truth = read_truth(tmp_path / "both.ply")
    for name, mesh in lungs.items():
        assert truth[name].volume_ml == pytest.approx(mesh.volume_ml, rel=1e-4)
        assert truth[name].centroid == pytest.approx(mesh.centroid, abs=0.01)


def test_one_piece_stands_for_all(lungs: dict[str, WorldMesh], tmp_path: Path) -> None:
    write_mesh(tmp_path / "one.stl", lungs["left_lung"])
    assert list(read_truth(tmp_path / "one.stl")) == ["lungs"]


def test_labels_are_a_truth_too(phantom: PhantomLungs, tmp_path: Path) -> None:
    write_volume(tmp_path / "t.nii.gz", to_labels(phantom, 5.0))
    truth = read_truth(tmp_path / "t.nii.gz")
    assert sorted(truth) == ["left_lung", "right_lung"]


def test_a_truth_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"letter\.txt: unknown kind '\.txt'; expected a label map, or \.ply"):
        read_truth(tmp_path / "letter.txt")

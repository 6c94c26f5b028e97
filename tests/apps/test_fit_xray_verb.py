"""`lpm fit xray`, in process: what is written, what each option does, and what is misuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from lpm.apps.cli import run
from lpm.errors import LpmError
from lpm.files.meshes import read_mesh
from lpm.files.volumes import read_volume, write_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.measurement.norms.learning import learn_norm
from lpm.measurement.norms.norm import write_norm
from lpm.xray.files.reading import read_xray
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import Reading, load_reader

NO_CHEST = "This may be no frontal chest radiograph, upright and whole (score 0.10 of 1)."


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated chest CT, its labels, and radiographs of it by a parallel and by a cone beam."""
    lungs = random_lungs(rng=np.random.default_rng(0))
    ct, labels = render_scan(PhantomScan(lungs, spacing_mm=(4.0, 4.0, 4.0)), rng=np.random.default_rng(1))
    folder = tmp_path_factory.mktemp("scan")
    write_volume(folder / "ct.nii.gz", ct)
    write_volume(folder / "labels.nii.gz", labels)
    for name, more in (("parallel", []), ("cone", ["--projection", "cone", "--source-patient-mm", "1500"])):
        assert run(["xray", str(folder / "ct.nii.gz"), "--out", str(folder / name), "--mm-per-px", "2", *more]) == 0
    return folder


@dataclass
class Caught:
    """What the verb would have fitted."""

    radiographs: list[Radiograph] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def fit_xray(self, _: object, radiographs: list[Radiograph], **options: object) -> None:
        self.radiographs, self.options = radiographs, options
        raise LpmError("caught", "before the fit")


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Caught:
    found = Caught()
    monkeypatch.setattr("lpm.workflows.radiographs.fit_xray", found.fit_xray)
    return found


def fit(out: Path, *arguments: object) -> int:
    return run(["fit", "xray", "--out", str(out), *(str(each) for each in arguments)])


def write_dicom(path: Path, picture: Path, **tags: object) -> Path:
    """A picture as a radiograph in DICOM."""
    levels = np.round(4000.0 * read_xray(picture).pixels).astype("<u2")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        DigitalXRayImageStorageForPresentation,
        generate_uid(),
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.Rows, image.Columns = levels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.Modality = 1, "MONOCHROME2", "DX"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.PixelData = levels.tobytes()
    for name, value in tags.items():
        setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)
    assert pydicom.dcmread(path).Rows == levels.shape[0]
    return path


# --- Whole runs ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_radiographs_become_lungs(scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pictures = scan / "parallel"
    out = tmp_path / "lungs"
    given = ["--frontal", pictures / "frontal.png", "--lateral", pictures / "lateral.png"]
    assert fit(out, *given, "--views", pictures / "views.json", "--spacing-mm", "5") == 0
    names = {"fit.json", "labels.nii.gz", "left_lung.ply", "report.html", "residual.npz", "right_lung.ply", "views.png"}
    assert {path.name for path in out.iterdir()} == names
    summary = json.loads((out / "fit.json").read_text())
    assert [each["picture"] for each in summary["radiographs"]] == ["frontal.png", "lateral.png"]
    assert all(each["placed"] and each["magnification"] == 1.0 for each in summary["radiographs"])
    assert summary["radiographs"][0]["mm_per_px"] == pytest.approx([2.0, 2.0])
    left, right = (read_mesh(out / f"{name}.ply") for name in ("left_lung", "right_lung"))
    assert left.is_closed
    assert right.is_closed
    assert left.centroid[0] < right.centroid[0]
    true = read_volume(scan / "labels.nii.gz")
    true_ml = float((true.voxels > 0).sum()) * true.voxel_ml
    assert summary["total_volume_ml"] == pytest.approx(true_ml, rel=0.5)  # drawn lungs, not a patient's
    middle = true.to_world(np.argwhere(true.voxels > 0).astype(float)).mean(axis=0)
    np.testing.assert_allclose(0.5 * (left.centroid + right.centroid), middle, atol=40.0)
    labels = read_volume(out / "labels.nii.gz")
    assert np.unique(labels.voxels).tolist() == [0, 1, 2]
    assert Image.open(out / "views.png").width > 200
    printed = capfd.readouterr().err
    assert "frontal and lateral radiographs; mean error of the lengths of the frontal radiograph's rays" in printed
    assert "total" in printed
    assert f"written to {out}" in printed.replace("\n", "")


class Doubtful:
    """The bundled reader, who doubts everything."""

    def frontal(self, *arguments: Any) -> Reading:
        return replace(load_reader().frontal(*arguments), doubts=(NO_CHEST,))


def test_doubts_are_printed_and_no_size_without_a_spacing(
    scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpm.xray.fit.load_reader", Doubtful)
    picture, norm, tmp_path = scan / "parallel" / "frontal.png", tmp_path / "norm.json", tmp_path / "lungs"
    write_norm(norm, learn_norm({f"s{number}": {"total_volume_ml": 5000.0 + number} for number in range(9)}))
    assert fit(tmp_path, "--frontal", picture, "--spacing-mm", "6", "--mesh-format", "stl", "--norm", norm) == 0
    printed = capfd.readouterr().err
    assert f"note: frontal: {NO_CHEST}" in printed
    assert "a shape and no size" in printed
    assert "they are not compared with the norm" in " ".join(printed.split())
    assert "they are not compared with the norm" in (tmp_path / "report.html").read_text()
    assert "volume (ml)" not in printed
    summary = json.loads((tmp_path / "fit.json").read_text())
    assert summary["total_volume_ml"] is None
    assert summary["radiographs"][0]["doubts"] == [NO_CHEST]
    assert f"frontal: {NO_CHEST}" in summary["notes"]
    assert {path.name for path in tmp_path.glob("*.stl")} == {"left_lung.stl", "right_lung.stl"}


# --- Options ---------------------------------------------------------------------------------------------------------


def test_sides_spacing_and_usual_distances(scan: Path, tmp_path: Path, caught: Caught) -> None:
    pictures = [scan / "parallel" / f"{side}.png" for side in ("frontal", "lateral")]
    given = ["--frontal", pictures[0], "--lateral", pictures[1], "--mm-per-px", "0.585,0.8", "--spacing-mm", "3"]
    assert fit(tmp_path, *given) == 1
    frontal, lateral = caught.radiographs
    assert (frontal.side, lateral.side) == ("frontal", "lateral")
    assert (frontal.name, lateral.name) == ("frontal.png", "lateral.png")
    assert frontal.mm_per_px == lateral.mm_per_px == (0.585, 0.8)
    assert (frontal.beam.source_detector_mm, frontal.beam.patient_detector_mm) == (1800.0, 200.0)
    assert frontal.view is None
    np.testing.assert_array_equal(lateral.pixels, read_xray(pictures[1]).pixels)
    assert caught.options == {"config": None, "spacing_mm": 3.0}


def test_one_number_is_both_spacings(scan: Path, tmp_path: Path, caught: Caught) -> None:
    fit(tmp_path, "--lateral", scan / "parallel" / "lateral.png", "--mm-per-px", "0.6")
    (lateral,) = caught.radiographs
    assert (lateral.side, lateral.mm_per_px) == ("lateral", (0.6, 0.6))
    fit(tmp_path, "--lateral", scan / "parallel" / "lateral.png")
    assert caught.radiographs[0].mm_per_px is None


def test_kinds_of_beam(scan: Path, tmp_path: Path, caught: Caught) -> None:
    frontal = ["--frontal", scan / "parallel" / "frontal.png"]
    fit(tmp_path, *frontal, "--projection", "parallel")
    assert caught.radiographs[0].beam.source_detector_mm is None
    assert caught.radiographs[0].magnification == 1.0
    fit(tmp_path, *frontal, "--source-detector-mm", "1000", "--patient-detector-mm", "150")
    beam = caught.radiographs[0].beam
    assert (beam.source_detector_mm, beam.patient_detector_mm, beam.back_to_front) == (1000.0, 150.0, True)


def test_a_tube_in_front_is_that_of_the_frontal_picture(scan: Path, tmp_path: Path, caught: Caught) -> None:
    pictures = [scan / "parallel" / f"{side}.png" for side in ("frontal", "lateral")]
    fit(tmp_path, "--frontal", pictures[0], "--lateral", pictures[1], "--ap")
    assert [each.beam.back_to_front for each in caught.radiographs] == [False, True]


def test_a_drawn_field_goes_with_the_picture_or_in_its_place(scan: Path, tmp_path: Path, caught: Caught) -> None:
    frontal, lateral = (scan / "parallel" / f"{side}.png" for side in ("frontal", "lateral"))
    drawn = np.zeros(read_xray(frontal).pixels.shape, dtype=bool)
    drawn[20:90, 15:50], drawn[25:80, 70:100] = True, True
    mask = tmp_path / "mask.png"
    Image.fromarray(drawn).save(mask)
    fit(tmp_path / "out", "--frontal", frontal, "--frontal-mask", mask, "--lateral", lateral)
    first, second = caught.radiographs
    assert first.is_picture
    assert first.name == "frontal.png"
    np.testing.assert_array_equal(first.field, drawn)
    assert second.field is None
    fit(tmp_path / "out", "--frontal-mask", mask, "--mm-per-px", "3", "--projection", "parallel")
    (alone,) = caught.radiographs
    assert not alone.is_picture
    assert (alone.name, alone.mm_per_px) == ("mask.png", (3.0, 3.0))
    np.testing.assert_array_equal(alone.field, drawn)
    Image.fromarray(drawn[1:]).save(mask)
    assert fit(tmp_path / "out", "--frontal", frontal, "--frontal-mask", mask) == 1


def test_views_say_what_their_beam_is(scan: Path, tmp_path: Path, caught: Caught) -> None:
    for name, magnification in (("parallel", 1.0), ("cone", 1800.0 / 1500.0)):
        folder = scan / name
        fit(tmp_path, "--frontal", folder / "frontal.png", "--views", folder / "views.json")
        (frontal,) = caught.radiographs
        assert frontal.view is not None
        assert frontal.magnification == pytest.approx(magnification)
        assert frontal.spacing_mm == pytest.approx((2.0, 2.0))
    fit(tmp_path, "--frontal", folder / "frontal.png", "--views", folder / "views.json", "--patient-detector-mm", "200")
    assert caught.radiographs[0].magnification == pytest.approx(1.125)


def test_a_dicom_says_how_it_was_taken(
    scan: Path, tmp_path: Path, caught: Caught, capfd: pytest.CaptureFixture[str]
) -> None:
    header = {"ViewPosition": "AP", "DistanceSourceToDetector": 1100, "DistanceSourceToPatient": 950}
    path = write_dicom(tmp_path / "a.dcm", scan / "parallel" / "frontal.png", ImagerPixelSpacing=[1.9, 1.8], **header)
    fit(tmp_path / "out", "--frontal", path)
    (frontal,) = caught.radiographs
    assert frontal.mm_per_px == (1.9, 1.8)
    beam = frontal.beam
    assert (beam.source_detector_mm, beam.patient_detector_mm, beam.back_to_front) == (1100.0, 150.0, False)
    assert "spacing 1.9 x 1.8 mm from ImagerPixelSpacing" in capfd.readouterr().err
    fit(tmp_path / "out", "--frontal", path, "--mm-per-px", "2", "--source-detector-mm", "1500")
    (frontal,) = caught.radiographs
    assert frontal.mm_per_px == (2.0, 2.0)
    assert (frontal.beam.source_detector_mm, frontal.beam.patient_detector_mm) == (1500.0, 550.0)
    assert "ImagerPixelSpacing says 1.9 x 1.8 mm; 2 mm was given" in capfd.readouterr().err


def test_ap_against_the_file_is_refused(scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_dicom(tmp_path / "a.dcm", scan / "parallel" / "frontal.png", ViewPosition="PA")
    assert fit(tmp_path / "out", "--frontal", path, "--ap") == 2
    assert "--ap: the file says PA" in capfd.readouterr().err


def test_an_absurd_spacing_of_a_file_can_be_overruled(scan: Path, tmp_path: Path, caught: Caught) -> None:
    path = write_dicom(tmp_path / "a.dcm", scan / "parallel" / "frontal.png", ImagerPixelSpacing=[190, 190])
    fit(tmp_path / "out", "--frontal", path, "--mm-per-px", "2")
    assert caught.radiographs[0].mm_per_px == (2.0, 2.0)


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bad(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are no frontal radiographs."""
    folder = tmp_path_factory.mktemp("bad")
    frontal = scan / "parallel" / "frontal.png"
    Image.fromarray(np.full((300, 300), 90, np.uint8)).save(folder / "blank.png")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)).save(folder / "photo.jpg")
    Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(folder / "small.png")
    (folder / "text.png").write_text("no picture")
    write_dicom(folder / "lateral.dcm", frontal, ViewPosition="LL", ImagerPixelSpacing=[2.0, 2.0])
    write_dicom(folder / "absurd.dcm", frontal, ViewPosition="PA", ImagerPixelSpacing=[190, 190])
    views = json.loads((scan / "parallel" / "views.json").read_text())
    views["views"]["frontal"]["size_px"] = [100, 100]
    (folder / "sizes.json").write_text(json.dumps(views))
    views["views"] = {"angle20": views["views"]["frontal"]}
    (folder / "others.json").write_text(json.dumps(views))
    (folder / "broken.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("none.png", 1, "no such file"),
        ("blank.png", 1, "blank: every pixel is 90"),
        ("photo.jpg", 1, "of the pixels are coloured"),
        ("small.png", 1, "40 x 40 pixels; expected at least 64 a side"),
        ("text.png", 1, "not an image of a kind that is read"),
        ("lateral.dcm", 1, "a lateral picture; expected a frontal one. Try: give it as the lateral one"),
        ("absurd.dcm", 1, "ImagerPixelSpacing 190 mm; expected 0.02 to 5 mm"),
    ],
)
def test_what_is_no_radiograph_exits_1(
    bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, code: int, message: str
) -> None:
    assert fit(tmp_path / "out", "--frontal", bad / name) == code
    printed = capfd.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mm-per-px", "wide"], "--mm-per-px: 'wide'; expected one number, or two of rows and columns"),
        (["--mm-per-px", "0"], "--mm-per-px: '0'"),
        (["--mm-per-px", "9"], "--mm-per-px: '9'"),
        (["--mm-per-px", "nan"], "--mm-per-px: 'nan'"),
        (["--mm-per-px", ""], "--mm-per-px: ''"),
        (["--mm-per-px", "1,1,1"], "--mm-per-px: '1,1,1'"),
        (["--projection", "parallel", "--source-detector-mm", "1800"], "--projection parallel: a distance"),
        (["--projection", "parallel", "--patient-detector-mm", "0"], "--projection parallel: a distance"),
        (["--source-detector-mm", "0"], "--source-detector-mm: 0 mm; expected above 0"),
        (["--source-detector-mm", "nan"], "--source-detector-mm: nan mm"),
        (["--patient-detector-mm", "-5"], "--patient-detector-mm: -5 mm"),
        (["--source-detector-mm", "150"], "--patient-detector-mm: the patient 200 mm from the detector, and the sour"),
        (["--ap", "--projection", "parallel"], "--ap: a parallel beam, which is the same both ways"),
        (["--ap", "--views", "PARALLEL"], "--ap: the views know where the tube was"),
        (["--views", "SIZES"], "--views: frontal.png has"),
        (["--views", "OTHERS"], "--views: others.json has angle20; expected one of frontal"),
        (["--views", "PARALLEL", "--patient-detector-mm", "300"], "--views: a parallel beam, and distances were given"),
        (["--views", "PARALLEL", "--mm-per-px", "0.5"], "--mm-per-px: 0.5 x 0.5 mm, and the views say 2 x 2"),
    ],
)
def test_misuse_exits_2(
    scan: Path, bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    files = {
        "SIZES": bad / "sizes.json",
        "OTHERS": bad / "others.json",
        "PARALLEL": scan / "parallel" / "views.json",
    }
    arguments = [files.get(each, each) for each in more]
    assert fit(tmp_path / "out", "--frontal", scan / "parallel" / "frontal.png", *arguments) == 2
    printed = capfd.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_a_cone_beam_of_the_views_is_not_overruled(
    scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--frontal", scan / "cone" / "frontal.png", "--views", scan / "cone" / "views.json"]
    assert fit(tmp_path / "out", *given, "--projection", "parallel") == 2
    assert "--projection: parallel, and the views have a cone beam" in capfd.readouterr().err
    assert fit(tmp_path / "out", *given, "--source-detector-mm", "1000") == 2
    assert "--source-detector-mm: 1000 mm, and the views say 1800" in capfd.readouterr().err


def test_no_picture_and_no_model_are_told(
    scan: Path, bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path / "out") == 2
    assert "--frontal, --lateral: neither was given" in capfd.readouterr().err
    frontal = ["--frontal", scan / "parallel" / "frontal.png"]
    assert fit(tmp_path / "out", *frontal, "--model", tmp_path) == 1
    assert "holds no bundle.json" in capfd.readouterr().err
    assert fit(tmp_path / "out", *frontal, "--views", tmp_path / "none.json") == 1
    assert "no such file" in capfd.readouterr().err
    assert fit(tmp_path / "out", *frontal, "--views", bad / "broken.json") == 1
    assert "expected JSON" in capfd.readouterr().err


def test_lengths_that_cannot_be_a_chests_exit_1(scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path / "out", "--frontal", scan / "parallel" / "frontal.png", "--mm-per-px", "0.05") == 1
    printed = capfd.readouterr().err
    assert "expected the size of a chest. Try: check the pixel spacing" in printed
    assert "Traceback" not in printed

"""Radiographs in DICOM: which values are dense, how large a pixel is, which way the picture was taken."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from lpm.errors import FileError, InputError
from lpm.xray.files.reading import read_xray

ROWS, COLUMNS = 80, 100


def chest() -> np.ndarray:
    """12 bits that tell every direction apart."""
    row, column = np.indices((ROWS, COLUMNS))
    return np.round(4000.0 * (row / ROWS + 0.5 * (column / COLUMNS) ** 2) / 1.5).astype(np.uint16)


EXPECTED = (chest() - chest().min()) / float(chest().max() - chest().min())
DX: dict[str, Any] = {
    "Modality": "DX",
    "ImagerPixelSpacing": [0.2, 0.15],
    "ViewPosition": "PA",
    "BodyPartExamined": "CHEST",
}


def write(path: Path, values: np.ndarray | None = None, **tags: Any) -> Path:
    """A radiograph of 16 bits; a tag given as None is left out."""
    values = chest() if values is None else values
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        DigitalXRayImageStorageForPresentation,
        generate_uid(),
    )
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if path.suffix == ".implicit" else ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID = "1", generate_uid(), generate_uid()
    image.Rows, image.Columns = values.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = int(values.dtype.kind == "i")
    image.PixelData = values.astype(f"<{values.dtype.kind}2").tobytes()
    for name, value in {**DX, **tags}.items():
        if value is None:
            image.pop(name, None)
        else:
            setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)
    return path


# --- Grey values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.dcm", "a.implicit", "a"])
def test_values_and_header(tmp_path: Path, name: str) -> None:
    more = {"DistanceSourceToDetector": 1800, "DistanceSourceToPatient": 1550}
    found = read_xray(write(tmp_path / name, **more))
    np.testing.assert_allclose(found.pixels, EXPECTED, atol=1e-6)
    assert (found.view, found.position, found.mm_per_px) == ("frontal", "PA", (0.2, 0.15))
    assert (found.source_detector_mm, found.source_patient_mm) == (1800.0, 1550.0)
    assert found.notes == ("spacing 0.2 x 0.15 mm from ImagerPixelSpacing, at the detector",)


def test_monochrome1_is_a_negative(tmp_path: Path) -> None:
    found = read_xray(write(tmp_path / "a", chest().max() - chest(), PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(found.pixels, EXPECTED, atol=1e-6)


def test_slope_and_intercept_come_before_the_window(tmp_path: Path) -> None:
    window = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 3000, "WindowWidth": 4000}
    found = read_xray(write(tmp_path / "a", **window))
    shown = np.clip((chest() * 2.0 - 1000.0 - 1000.0) / 4000.0, 0.0, 1.0)
    np.testing.assert_allclose(found.pixels, shown, atol=1e-3)
    assert "grey values by its window" in found.notes


def test_a_window_acts_before_a_negative(tmp_path: Path) -> None:
    more = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": [3000, 9], "WindowWidth": [2000, 9]}
    found = read_xray(write(tmp_path / "a", 4000 - chest(), **more))
    np.testing.assert_allclose(found.pixels, np.clip(chest() / 2000.0, 0.0, 1.0), atol=2e-3)


def test_a_sigmoid_window(tmp_path: Path) -> None:
    found = read_xray(write(tmp_path / "a", WindowCenter=2000, WindowWidth=2000, VOILUTFunction="SIGMOID"))
    shown = 1.0 / (1.0 + np.exp(-4.0 * (chest() - 2000.0) / 2000.0))
    np.testing.assert_allclose(found.pixels, (shown - shown.min()) / np.ptp(shown), atol=1e-3)


def table(first: int, entries: np.ndarray) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, 16])
    item.add_new("LUTData", "US", entries.tolist())
    return item


def test_a_voi_table(tmp_path: Path) -> None:
    squares = np.round((np.arange(4001) / 4000.0) ** 2 * 60000.0).astype(int)
    found = read_xray(write(tmp_path / "a", VOILUTSequence=[table(0, squares)]))
    shown = squares[chest()].astype(float)
    np.testing.assert_allclose(found.pixels, (shown - shown.min()) / np.ptp(shown), atol=1e-6)
    assert "grey values by its VOI table" in found.notes


def test_a_modality_table(tmp_path: Path) -> None:
    squares = np.round((np.arange(4001) / 4000.0) ** 2 * 60000.0).astype(int)
    item = table(0, squares)
    item.ModalityLUTType = "US"
    found = read_xray(write(tmp_path / "a", ModalityLUTSequence=[item]))
    shown = squares[chest()].astype(float)
    np.testing.assert_allclose(found.pixels, (shown - shown.min()) / np.ptp(shown), atol=1e-6)


@pytest.mark.parametrize(("center", "width", "note"), [(2000, 0, "cannot be used"), (90000, 2, "shows nothing")])
def test_a_useless_window_is_left_out(tmp_path: Path, center: int, width: int, note: str) -> None:
    found = read_xray(write(tmp_path / "a", WindowCenter=center, WindowWidth=width))
    np.testing.assert_allclose(found.pixels, EXPECTED, atol=1e-6)
    assert any(note in each and "all values are shown" in each for each in found.notes)


def test_signed_values(tmp_path: Path) -> None:
    found = read_xray(write(tmp_path / "a", chest().astype(np.int16) - 2000))
    np.testing.assert_allclose(found.pixels, EXPECTED, atol=1e-6)


def test_a_contradictory_sign_is_noted(tmp_path: Path) -> None:
    assert not any(
        "contradicts" in n for n in read_xray(write(tmp_path / "a", PixelIntensityRelationshipSign=-1)).notes
    )
    assert any("contradicts" in n for n in read_xray(write(tmp_path / "a", PixelIntensityRelationshipSign=1)).notes)


def test_rle(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
    image = pydicom.dcmread(path)
    image.compress(RLELossless)
    image.save_as(path)
    np.testing.assert_allclose(read_xray(path).pixels, EXPECTED, atol=1e-6)


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_jpeg(tmp_path: Path, kind: str, syntax: str, photometric: str) -> None:
    stored = EXPECTED if photometric == "MONOCHROME2" else 1.0 - EXPECTED
    stream = io.BytesIO()
    options = {"no_jp2": True} if kind == "JPEG2000" else {"quality": 95}
    Image.fromarray(np.round(255.0 * stored).astype(np.uint8)).save(stream, kind, **options)
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PhotometricInterpretation": photometric}
    path = compressed(write(tmp_path / "a", **eight), stream.getvalue(), syntax)
    np.testing.assert_allclose(read_xray(path).pixels, EXPECTED, atol=0.02)


def compressed(path: Path, stream: bytes, syntax: str) -> Path:
    image = pydicom.dcmread(path)
    image.PixelData = encapsulate([stream])
    image["PixelData"].VR = "OB"
    image.file_meta.TransferSyntaxUID = syntax
    image.save_as(path)
    return path


# --- Geometry --------------------------------------------------------------------------------------------------------


def notes(path: Path, mm_per_px: float | None = None) -> str:
    return "; ".join(read_xray(path, mm_per_px=mm_per_px).notes)


def test_of_two_spacings_the_detectors_is_taken_and_both_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a", PixelSpacing=[0.17, 0.17], EstimatedRadiographicMagnificationFactor=1.15)
    assert read_xray(path).mm_per_px == (0.2, 0.15)
    assert "0.2 x 0.15 mm from ImagerPixelSpacing, at the detector; PixelSpacing says 0.17 mm; " in notes(path)
    assert "magnification of 1.15" in notes(path)


def test_pixel_spacing_alone_is_taken_with_what_it_may_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "a", ImagerPixelSpacing=None, PixelSpacing=[0.17, 0.17])
    assert read_xray(path).mm_per_px == (0.17, 0.17)
    assert "0.17 mm from PixelSpacing, taken to be at the detector" in notes(path)
    path = write(tmp_path / "b", ImagerPixelSpacing=None, PixelSpacing=[1, 1], PixelSpacingCalibrationType="FIDUCIAL")
    assert "PixelSpacing, calibrated (FIDUCIAL): perhaps at the patient" in notes(path)
    path = write(tmp_path / "c", ImagerPixelSpacing=None, NominalScannedPixelSpacing=[0.3, 0.3])
    assert "0.3 mm from NominalScannedPixelSpacing, of the scanned film" in notes(path)


def test_no_spacing_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a", ImagerPixelSpacing=None)
    assert read_xray(path).mm_per_px is None
    assert "no pixel spacing: shape can be told, size cannot" in notes(path)


def test_a_given_spacing_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "a", ImagerPixelSpacing=[90, 90])
    assert read_xray(path, mm_per_px=0.3).mm_per_px == (0.3, 0.3)
    assert "ImagerPixelSpacing says 90 mm; 0.3 mm was given" in notes(path, 0.3)


@pytest.mark.parametrize("spacing", [[0.0, 0.2], [0.2, 9.0], [-1, -1], [0.001, 0.001]])
def test_an_absurd_spacing_is_refused(tmp_path: Path, spacing: list[float]) -> None:
    with pytest.raises(InputError, match=r"a: ImagerPixelSpacing .* mm; expected 0.02 to 5 mm. Try: give the spacing"):
        read_xray(write(tmp_path / "a", ImagerPixelSpacing=spacing))


@pytest.mark.parametrize(
    ("position", "view"), [("PA", "frontal"), ("AP", "frontal"), ("LL", "lateral"), ("LATERAL", "lateral"), ("X", None)]
)
def test_view_position(tmp_path: Path, position: str, view: str | None) -> None:
    found = read_xray(write(tmp_path / "a", ViewPosition=position))
    assert (found.view, found.position) == (view, position)


def test_no_view_position(tmp_path: Path) -> None:
    found = read_xray(write(tmp_path / "a", ViewPosition=None))
    assert (found.view, found.position) == (None, None)


def test_what_the_header_doubts_is_noted(tmp_path: Path) -> None:
    assert "BodyPartExamined says HAND" in notes(write(tmp_path / "a", BodyPartExamined="HAND"))
    mirrored = write(tmp_path / "b", PatientOrientation=["R", "F"])
    assert "PatientOrientation says R/F: perhaps mirrored or turned; left as it is" in notes(mirrored)
    assert "PatientOrientation" not in notes(write(tmp_path / "c", PatientOrientation=["L", "F"]))


def test_distances_that_cannot_be_are_left_out(tmp_path: Path) -> None:
    found = read_xray(write(tmp_path / "a", DistanceSourceToDetector=18, DistanceSourceToPatient=15))
    assert (found.source_detector_mm, found.source_patient_mm) == (None, None)
    assert "DistanceSourceToDetector 18 mm cannot be" in notes(tmp_path / "a")
    found = read_xray(write(tmp_path / "b", DistanceSourceToDetector=1800, DistanceSourceToPatient=1900))
    assert (found.source_detector_mm, found.source_patient_mm) == (1800.0, None)
    assert "DistanceSourceToPatient 1900 mm does not go with" in notes(tmp_path / "b")


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NumberOfFrames": 5}, r"a: 5 frames; expected one radiograph. Try: export one frame"),
        (
            {"Modality": "CT"},
            r"a: modality CT; expected a projection radiograph \(CR, DX\).*lpm segment",
        ),
        ({"Modality": "MR"}, r"a: modality MR; .*export the radiograph"),
        ({"PhotometricInterpretation": "RGB"}, r"a: colours \(RGB\); expected MONOCHROME1 or MONOCHROME2"),
        ({"Rows": 20000, "Columns": 10000}, r"a: 20000 x 10000 pixels; expected at most 100 megapixels"),
        ({"Rows": 63}, r"a: 63 x 100 pixels; expected at least 64 a side"),
    ],
)
def test_what_is_no_radiograph_is_refused(tmp_path: Path, tags: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "a", **tags)
    with pytest.raises(InputError, match=message):
        read_xray(path)


def test_blank_and_saturated_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a: blank: every pixel is 7"):
        read_xray(write(tmp_path / "a", np.full((ROWS, COLUMNS), 7, dtype=np.uint16)))
    with pytest.raises(InputError, match=r"b: \d+% of the pixels are the brightest value .*widen its window"):
        read_xray(write(tmp_path / "b", WindowCenter=100, WindowWidth=200))


@pytest.mark.parametrize("missing", ["PixelData", "Rows"])
def test_dicom_without_pixels_is_refused(tmp_path: Path, missing: str) -> None:
    path = write(tmp_path / "a", **{missing: None})
    with pytest.raises(FileError, match=r"a: DICOM \(DX\) without pixels; expected a radiograph. Try: .*not a report"):
        read_xray(path)


def test_deflated_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(path)
    with pytest.raises(FileError, match=r"a: a deflated DICOM file; expected another transfer syntax"):
        read_xray(path)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", RescaleSlope=1e308, RescaleIntercept=1e308)
    with pytest.raises((InputError, FileError), match=r"a: NaN or infinite pixels; expected finite"):
        read_xray(path)


def test_the_head_of_a_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FileError, match=r"a: (damaged DICOM|DICOM .* without pixels)"):
        read_xray(path)


@pytest.mark.parametrize("kept", [2000, -2])
def test_half_a_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "a")
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    sizes = f"{len(whole):,} of {len(whole[:kept]):,}"  # the pixels are the last of the file
    with pytest.raises(FileError, match=rf"a: damaged \(\(7FE0,0010\) ends at byte {sizes}\); .* Try: copy it again"):
        read_xray(path)


@pytest.mark.parametrize("keyword", ["Rows", "PhotometricInterpretation", "Modality", "ImagerPixelSpacing"])
def test_a_damaged_element_is_refused(tmp_path: Path, keyword: str) -> None:
    path = write(tmp_path / "a")
    tag = struct.pack("<HH", *divmod(int(pydicom.datadict.tag_for_keyword(keyword) or 0), 1 << 16))
    content = path.read_bytes()
    place = content.index(tag) + 4
    path.write_bytes(content[:place] + b"XX" + content[place + 2 :])  # no such kind of value
    with pytest.raises(FileError, match=r"a: damaged DICOM \(.*; expected an intact file. Try: export it again"):
        read_xray(path)


def test_a_damaged_stream_is_refused(tmp_path: Path) -> None:
    path = compressed(write(tmp_path / "a", BitsAllocated=8, BitsStored=8, HighBit=7), b"no stream", JPEG2000Lossless)
    with pytest.raises(FileError, match=r"a: cannot be decoded \(JPEG 2000 .*uncompressed"):
        read_xray(path)


def test_a_size_that_the_pixels_do_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"a: 16,000 bytes for 4000 x 4000 pixels"):
        read_xray(write(tmp_path / "a", Rows=4000, Columns=4000))

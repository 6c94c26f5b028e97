"""DICOM SEG and RTSTRUCT, read as label maps and written: every voxel at its place, whichever way the patient lay."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_writing import Writing, rewrite, write_multi_frame, write_series
from lpm.errors import FileError, InputError
from lpm.files.dicom.writing.algorithm import fitting, segmenting
from lpm.files.dicom.writing.results import DicomFiles, FoundLungs, dicom_source
from lpm.files.scans import is_mask_file, read_labels, read_scan
from lpm.files.volumes import write_volume
from lpm.geometry.surfaces import extract_surface
from lpm.geometry.volumes import Volume, canonical

highdicom = pytest.importorskip("highdicom")

_A, _B = np.radians(20.0), np.radians(12.0)
_TURNED = np.array([[np.cos(_B), 0, np.sin(_B)], [0, 1, 0], [-np.sin(_B), 0, np.cos(_B)]]) @ np.array(
    [[1, 0, 0], [0, np.cos(_A), -np.sin(_A)], [0, np.sin(_A), np.cos(_A)]]
)
ORIENTATIONS = {
    "head first, on the back": (1, 0, 0, 0, 1, 0),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "on the belly": (-1, 0, 0, 0, -1, 0),
    "feet first, on the belly": (1, 0, 0, 0, -1, 0),
    "oblique": (*np.round(_TURNED[:, 0], 6), *np.round(_TURNED[:, 1], 6)),
}
NAMES = {1: "left_lung", 2: "right_lung"}


def labels_like(scan: Volume) -> Volume:
    """Two bodies that no turn and no mirror makes the same, one with a hole, one at the image's border."""
    voxels = np.zeros(scan.voxels.shape, dtype=np.uint8)
    voxels[9:15, 2:10, 4:25], voxels[11:13, 5:8, 8:20] = 1, 0
    voxels[0:6, 3:9, 6:28], voxels[4:6, 3:5, 6:15], voxels[7, 7, 10] = 2, 0, 2
    voxels[scan.voxels <= -1000] = 0  # beside tilted slices
    return scan.with_voxels(voxels)


def written(folder: Path, series: str | None = None, source: Path | None = None) -> Volume:
    """SEG, RTSTRUCT and meshes of labels, beside the series."""
    labels = labels_like(read_scan(source or folder, series).volume)
    (folder / "stl").mkdir(exist_ok=True)
    files = DicomFiles(folder / "seg.dcm", folder / "rs.dcm", folder / "stl")
    meshes = {
        name: extract_surface(canonical(labels.with_voxels((labels.voxels == value).astype(np.float32))), 0.5)
        for value, name in NAMES.items()
    }
    found = files.source(source or folder, series)
    assert found is not None
    files.write(FoundLungs(labels, NAMES, meshes), found, segmenting("thresholds"))
    return labels


def check_same(path: Path, labels: Volume) -> None:
    read = read_labels(path)
    np.testing.assert_allclose(read.volume.world_from_voxel, labels.world_from_voxel, atol=1e-3)
    np.testing.assert_array_equal(read.volume.voxels, labels.voxels)
    assert read.structures == {"left_lung": (1,), "right_lung": (2,)}
    assert read.segments == {1: "Left lung", 2: "Right lung"}


def check_alone(path: Path, labels: Volume, tolerance: float = 0.0) -> None:
    """Without its series beside it: every labelled voxel of the scan has its value at its place."""
    alone = path.parent / "alone" / "deeper" / path.name
    alone.parent.mkdir(parents=True)
    shutil.copy(path, alone)
    read = read_labels(alone).volume
    inside = np.argwhere(labels.voxels >= 0)
    at = np.rint(read.to_voxel(labels.to_world(inside.astype(float)))).astype(int)
    is_within = ((at >= 0) & (at < read.voxels.shape)).all(axis=1)
    found = np.zeros(len(inside), dtype=int)
    found[is_within] = read.voxels[tuple(at[is_within].T)]
    assert (found != labels.voxels[tuple(inside.T)]).mean() <= tolerance
    shutil.rmtree(alone.parent.parent)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_labels_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / "d", Writing(orientation=ORIENTATIONS[name]))
    labels = written(tmp_path / "d")
    for file in ("seg.dcm", "rs.dcm"):
        check_same(tmp_path / "d" / file, labels)
    check_alone(tmp_path / "d" / "seg.dcm", labels)
    check_alone(tmp_path / "d" / "rs.dcm", labels, tolerance=0.04)  # of pixels of its own


def test_highdicom_reads_the_same(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(orientation=ORIENTATIONS["oblique"]))
    labels = written(tmp_path / "d")
    found = highdicom.seg.segread(tmp_path / "d" / "seg.dcm")
    volume = found.get_volume(combine_segments=True)
    theirs = np.argwhere(volume.array > 0)
    places = theirs @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    at = np.rint(labels.to_voxel(places * [-1.0, -1.0, 1.0])).astype(int)
    np.testing.assert_array_equal(labels.voxels[tuple(at.T)], volume.array[tuple(theirs.T)])
    assert len(theirs) == np.count_nonzero(labels.voxels)
    one = found.get_segment_description(1)
    assert (one.segmented_property_type.value, one.segmented_property_type.scheme_designator) == ("44029006", "SCT")
    assert found.get_segment_description(2).segmented_property_type.value == "3341006"
    assert one.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "lpm segment (thresholds)"
    assert len(found.get_source_image_uids()) == 30


@pytest.mark.parametrize("kind", ["multi-frame", "a UID each", "without a mark"])
def test_other_ways_to_store_the_series(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "d"
    write_series(folder, Writing(orientation=ORIENTATIONS["feet first"]))
    paths = sorted(folder.iterdir())
    if kind == "multi-frame":
        write_multi_frame(folder, [paths[(k * 7) % 30] for k in range(30)])
    for k, path in enumerate(paths):
        if kind == "a UID each":
            rewrite([path], SeriesInstanceUID=f"1.2.9.{k}")
        elif kind == "without a mark":
            image = Dataset()
            image.update({element.tag: element for element in pydicom.dcmread(path)})
            pydicom.dcmwrite(path, image, implicit_vr=True, little_endian=True, enforce_file_format=False)
    labels = written(folder)
    for file in ("seg.dcm", "rs.dcm"):
        check_same(folder / file, labels)
    if kind == "a UID each":
        assert len(pydicom.dcmread(folder / "seg.dcm").ReferencedSeriesSequence) == 30


def test_a_series_of_two_distances_or_a_tilt(tmp_path: Path) -> None:
    """Labels go to the slices that there are, and come back on the grid that the scan is read on."""
    lost = tuple(k for k in range(30, 60) if k % 2)
    write_series(tmp_path / "two", Writing(step_mm=2.0, left_out=lost), n=60)
    for k, path in enumerate(sorted((tmp_path / "two").iterdir())):
        rewrite([path], InstanceNumber=k + 1)
    write_series(tmp_path / "tilt", Writing(tilt_mm=1.0))
    for name in ("two", "tilt"):
        labels = written(tmp_path / name)
        for file in ("seg.dcm", "rs.dcm"):
            read = read_labels(tmp_path / name / file)
            np.testing.assert_allclose(read.volume.world_from_voxel, labels.world_from_voxel, atol=1e-3)
            same = 2.0 * np.count_nonzero((read.volume.voxels == labels.voxels) & (labels.voxels > 0))
            assert same / (np.count_nonzero(read.volume.voxels) + np.count_nonzero(labels.voxels)) > 0.9
            assert any("interpolated" in note or "tilted" in note for note in read.notes)


def test_segments_of_two_distances_alone_keep_their_volume(tmp_path: Path) -> None:
    lost = tuple(k for k in range(30, 60) if k % 2)
    write_series(tmp_path / "d", Writing(step_mm=2.0, left_out=lost), n=60)
    for k, path in enumerate(sorted((tmp_path / "d").iterdir())):
        rewrite([path], InstanceNumber=k + 1)
    scan = read_scan(tmp_path / "d").volume
    voxels = np.zeros(scan.voxels.shape, dtype=np.uint8)
    voxels[3:9, 3:9, 4:56] = 1
    files = DicomFiles(tmp_path / "out" / "seg.dcm", tmp_path / "out" / "rs.dcm")
    (tmp_path / "out").mkdir()
    files.write(FoundLungs(scan.with_voxels(voxels), NAMES, {}), dicom_source(tmp_path / "d"), fitting("lpm fit ct"))
    shutil.rmtree(tmp_path / "d")
    for file in ("seg.dcm", "rs.dcm"):
        volume = read_labels(tmp_path / "out" / file).volume
        assert np.count_nonzero(volume.voxels) * volume.voxel_ml == pytest.approx(52 * 36 * 6e-3, rel=0.08)


def test_meshes_lie_in_the_frame_of_the_patient(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(orientation=ORIENTATIONS["on the belly"]))
    labels = written(tmp_path / "d")
    stored = pydicom.dcmread(tmp_path / "d" / "stl" / "left_lung.dcm")
    content = stored.EncapsulatedDocument[: stored.EncapsulatedDocumentLength]
    (tmp_path / "x.stl").write_bytes(content)
    vertices = np.frombuffer(content[84:], dtype=[("n", "<3f4"), ("v", "<9f4"), ("a", "<u2")])["v"].reshape(-1, 3)
    center = labels.to_world(np.argwhere(labels.voxels == 1)).mean(axis=0)
    assert vertices.mean(axis=0) * [-1, -1, 1] == pytest.approx(center, abs=4.0)
    assert stored.FrameOfReferenceUID == "1.2.4"
    assert len(stored.SourceInstanceSequence) == 30


# --- What others write -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_series(tmp_path / "d", Writing())
    return tmp_path / "d"


def by_highdicom(folder: Path, kind: str, values: np.ndarray, names: list[tuple[str, str]]) -> Path:
    images = [pydicom.dcmread(path) for path in sorted(folder.glob("2_*"))]
    for image in images:
        for name in ("BirthDate", "Sex"):
            setattr(image, f"Patient{name}", "")
        image.AccessionNumber = image.StudyID = image.StudyDate = image.StudyTime = image.ReferringPhysicianName = ""
    coded = highdicom.sr.CodedConcept
    segments = [
        highdicom.seg.SegmentDescription(
            n, name, coded("123037004", "SCT", "Anatomical Structure"), coded(code, "SCT", "x"), "MANUAL"
        )
        for n, (name, code) in enumerate(names, start=1)
    ]
    uid = highdicom.UID
    found = highdicom.seg.Segmentation(images, values, kind, segments, uid(), 9, uid(), 1, "m", "m", "1", "1")
    found.save_as(folder / "theirs.dcm")
    return folder / "theirs.dcm"


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_every_type_of_segmentation(folder: Path, kind: str) -> None:
    labels = labels_like(read_scan(folder).volume)
    values = labels.voxels.transpose(2, 1, 0)
    given = values if kind != "FRACTIONAL" else np.stack([values == 1, values == 2], axis=-1) * np.float32(0.8)
    check_same(by_highdicom(folder, kind, given, [("Left lung", "44029006"), ("Right lung", "3341006")]), labels)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([("lung_r", "39607008"), ("Lung L", "39607008")], {"left_lung": (2,), "right_lung": (1,)}),
        ([("a", "3341006"), ("b", "44029006")], {"left_lung": (2,), "right_lung": (1,)}),
        ([("Heart", "80891009"), ("lung_upper_lobe_left", "45653009")], {"left_lung": (2,)}),
        ([("RUL", "42400003"), ("LLL", "41224006")], {"left_lung": (2,), "right_lung": (1,)}),
        ([("Liver", "10200004"), ("Nodule in left lung", "27925004")], {}),
    ],
)
def test_names_and_codes_say_which_is_which(folder: Path, names: list[tuple[str, str]], expected: dict) -> None:
    values = labels_like(read_scan(folder).volume).voxels.transpose(2, 1, 0)
    read = read_labels(by_highdicom(folder, "BINARY", values, names))
    assert read.structures == expected
    assert any("ignored: Heart" in note for note in read.notes) == (names[0][0] == "Heart")
    if not expected:
        with pytest.raises(InputError, match="1 Liver, 2 Nodule in left lung; expected one that is named as a lung"):
            read.meaning(None, "x")


def test_overlapping_segments_leave_the_lungs_whole(folder: Path) -> None:
    labels = labels_like(read_scan(folder).volume)
    values = labels.voxels.transpose(2, 1, 0)
    given = np.stack([values == 1, values == 2, values >= 0], axis=-1).astype(np.uint8)
    names = [("Left lung", "44029006"), ("Right lung", "3341006"), ("Body", "123037004")]
    read = read_labels(by_highdicom(folder, "BINARY", given, names)).volume
    np.testing.assert_array_equal(np.where(read.voxels == 3, 0, read.voxels), labels.voxels)


def test_a_name_and_a_code_that_contradict_each_other(folder: Path) -> None:
    values = labels_like(read_scan(folder).volume).voxels.transpose(2, 1, 0)
    path = by_highdicom(folder, "BINARY", values, [("Left lung", "3341006"), ("Right lung", "44029006")])
    with pytest.raises(InputError, match="'Left lung' is coded as right_lung"):
        read_labels(path)


def test_a_segmentation_that_says_nothing_of_its_segments(folder: Path) -> None:
    written(folder)
    rewrite([folder / "seg.dcm"], SegmentSequence=None)
    with pytest.raises(InputError, match="a DICOM SEG that does not say what its segments are"):
        read_labels(folder / "seg.dcm")


def test_a_damaged_segmentation(folder: Path) -> None:
    written(folder)
    plain = pydicom.dcmread(folder / "seg.dcm")
    pixels, plain.PixelData = plain.PixelData, plain.PixelData[:100]
    plain.save_as(folder / "seg.dcm")
    with pytest.raises(FileError, match=r"seg\.dcm: 100 bytes for \d+ frames of 12 x 16 pixels"):
        read_labels(folder / "seg.dcm")
    plain.PixelData, plain.BitsAllocated, plain.Rows = pixels, 7, 1
    plain.save_as(folder / "seg.dcm")
    with pytest.raises(FileError, match=r"cannot be read .* expected a DICOM SEG as the standard has it"):
        read_labels(folder / "seg.dcm")


def test_an_item_without_its_number_is_no_traceback(folder: Path) -> None:
    written(folder)
    plain = pydicom.dcmread(folder / "rs.dcm")
    del plain.ROIContourSequence[0].ReferencedROINumber
    plain.save_as(folder / "rs.dcm")
    with pytest.raises(FileError, match=r"rs\.dcm: cannot be read .*ReferencedROINumber.*; expected an intact SEG"):
        read_labels(folder / "rs.dcm")


def test_a_structure_set_without_contours(folder: Path) -> None:
    written(folder)
    rewrite([folder / "rs.dcm"], ROIContourSequence=None)
    with pytest.raises(InputError, match=r"structure set \(RTSTRUCT\) without closed contours"):
        read_labels(folder / "rs.dcm")


def test_contours_of_every_third_slice_make_slices_of_their_own(folder: Path) -> None:
    labels = written(folder)
    plain = pydicom.dcmread(folder / "rs.dcm")
    for item in plain.ROIContourSequence:
        kept = [each for each in item.ContourSequence if round((each.ContourData[2] + 200) / 4) % 3 == 0]
        item.ContourSequence = kept
    plain.save_as(folder / "rs.dcm")
    read = read_labels(folder / "rs.dcm")
    assert read.volume.spacing_mm == pytest.approx([1.5, 2.0, 12.0])
    assert "contours lie on few of its slices" in read.notes[0]
    volumes = [np.count_nonzero(each.voxels == 1) * each.voxel_ml for each in (read.volume, labels)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.2)


def test_contours_in_planes_that_cross_are_refused(folder: Path) -> None:
    written(folder)
    plain = pydicom.dcmread(folder / "rs.dcm")
    contour = plain.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [v + 3.0 * (n == 2) for n, v in enumerate(contour.ContourData)]
    plain.save_as(folder / "rs.dcm")
    with pytest.raises(InputError, match="contours that do not lie in parallel planes"):
        read_labels(folder / "rs.dcm")


def test_a_folder_of_one_mask_and_its_series(folder: Path) -> None:
    labels = written(folder)
    (folder / "rs.dcm").rename(folder.parent / "rs.dcm")
    check_same(folder, labels)
    (folder.parent / "rs.dcm").rename(folder / "rs.dcm")
    with pytest.raises(InputError, match=r"2 DICOM masks \(rs.dcm, seg.dcm\); expected one SEG or RTSTRUCT"):
        read_labels(folder)
    check_same(folder / "rs.dcm", labels)
    assert is_mask_file(folder / "rs.dcm")
    assert not is_mask_file(folder / "2_004")
    assert read_scan(folder).volume.voxels.min() < -100


def test_a_folder_of_nothing_but_a_mask_is_one_as_a_case_too(folder: Path) -> None:
    labels = written(folder)
    (folder.parent / "e").mkdir()
    shutil.copy(folder / "seg.dcm", folder.parent / "e")
    np.testing.assert_array_equal(read_scan(folder.parent / "e").volume.voxels, labels.voxels)


def test_a_folder_without_a_mask(folder: Path) -> None:
    with pytest.raises(FileError, match=r"0 DICOM masks \(none\)"):
        read_labels(folder)
    with pytest.raises(InputError, match="a DICOM image; expected a mask"):
        read_labels(folder / "2_004")


# --- What cannot be written ------------------------------------------------------------------------------------------


def test_without_a_series_nothing_can_be_referred_to(tmp_path: Path, folder: Path) -> None:
    write_volume(tmp_path / "x.nii.gz", Volume(np.ones((4, 5, 6), np.int16), np.diag([2.0, 2.0, 2.0, 1.0])))
    with pytest.raises(InputError, match="no DICOM series, so that DICOM results have nothing to refer to"):
        DicomFiles(seg=tmp_path / "x.dcm").source(tmp_path / "x.nii.gz")
    assert DicomFiles().source(tmp_path / "x.nii.gz") is None
    written(folder)
    shutil.copy(folder / "seg.dcm", tmp_path / "seg.dcm")
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="a DICOM mask whose series is not beside it"):
        dicom_source(tmp_path / "seg.dcm")


def test_a_series_without_a_frame_of_reference_cannot_be_referred_to(folder: Path) -> None:
    rewrite(folder.iterdir(), FrameOfReferenceUID=None)
    with pytest.raises(InputError, match="a DICOM series without a frame of reference"):
        dicom_source(folder)


def test_the_series_of_a_mask_is_that_of_its_results(folder: Path) -> None:
    written(folder)
    for file in ("seg.dcm", "rs.dcm"):
        assert dicom_source(folder / file).series.uid == dicom_source(folder).series.uid


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
@pytest.mark.parametrize("kind", ["single slices", "multi-frame", "a tilt"])
def test_dciodvfy_finds_no_error(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "d"
    write_series(folder, Writing(tilt_mm=0.5 if kind == "a tilt" else 0.0))
    if kind == "multi-frame":
        write_multi_frame(folder, sorted(folder.iterdir()))
    written(folder)
    for path in (folder / "seg.dcm", folder / "rs.dcm", folder / "stl" / "left_lung.dcm"):
        command = [str(shutil.which("dciodvfy")), "-new", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Error" not in said.stdout + said.stderr
        assert {"seg.dcm": "Segmentation", "rs.dcm": "RTStructureSet"}.get(path.name, "EncapsulatedSTL") in said.stderr

"""Segments that files name: of 3D Slicer, folders of organs, data sets of nnU-Net."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from lpm.errors import FileError, InputError
from lpm.files.scans import read_labels
from lpm.files.segments.names import is_automatic, lung_of
from lpm.files.segments.nnunet import read_dataset_labels
from lpm.files.segments.organ_folder import is_organ_folder
from lpm.files.volumes import count_voxels, write_volume
from lpm.geometry.volumes import Volume

SHAPE = (12, 6, 5)


@pytest.mark.parametrize(
    ("name", "lung"),
    [
        *(
            (name, "left_lung")
            for name in ("left lung", "Lung_L", "LeftLung", "lung left", "LUL", "L LUNG", "Lunge links")
        ),
        *(
            (name, "right_lung")
            for name in ("lung_middle_lobe_right", "superior lobe of right lung", "rt. lung", "RML")
        ),
        *((name, "lungs") for name in ("lungs", "Lung", "both lungs")),
        *((name, None) for name in ("airways", "lung_vessels", "Lungs-GTV", "nodule left lung", "right lobe of liver")),
    ],
)
def test_names_of_lungs(name: str, lung: str | None) -> None:
    assert lung_of(name) == lung


def test_names_that_say_nothing() -> None:
    assert [is_automatic(name) for name in ("Segment_1", "label 2", "3", "left lung")] == [True, True, True, False]


def write_segments(path: Path, voxels: np.ndarray, segments: list[tuple[str, int | None, int | None]]) -> None:
    """As 3D Slicer writes them; voxels (layer, i, j, k) or (i, j, k), segments of a name, a value, a layer."""
    is_layered = voxels.ndim == 4
    directions = f"{'none ' if is_layered else ''}(-3,0,0) (0,-3,0) (0,0,4)"
    lines = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {voxels.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, voxels.shape))}",
        f"space directions: {directions}",
        f"kinds: {'list ' if is_layered else ''}domain domain domain",
        "encoding: gzip",
        "space origin: (1,2,3)",
    ]
    for n, (name, value, layer) in enumerate(segments):
        lines += [f"Segment{n}_ID:=Segment_{n}", f"Segment{n}_Name:={name}"]
        lines += [] if value is None else [f"Segment{n}_LabelValue:={value}"]
        lines += [] if layer is None else [f"Segment{n}_Layer:={layer}"]
    body = gzip.compress(np.asarray(voxels, dtype=np.uint8).tobytes(order="F"))
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + body)


@pytest.fixture
def sides() -> np.ndarray:
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[1:5, 1:5, 1:4], voxels[7:11, 1:5, 1:4] = 1, 2
    return voxels


def test_names_say_which_value_is_which_lung(tmp_path: Path, sides: np.ndarray) -> None:
    path = tmp_path / "x.seg.nrrd"
    write_segments(path, sides, [("Right Lung", 1, 0), ("lung_left", 2, 0), ("Airways", 3, 0)])
    read = read_labels(path)
    assert read.meaning(None, "x") == {"left_lung": (2,), "right_lung": (1,)}
    assert read.meaning({"left_lung": (1,)}, "x") == {"left_lung": (1,)}
    np.testing.assert_array_equal(read.volume.voxels, sides)
    np.testing.assert_allclose(read.volume.spacing_mm, (3, 3, 4))
    assert read.segments[3] == "Airways"


@pytest.mark.parametrize("is_old", [False, True], ids=["layers named", "a layer each, not named"])
def test_layers_are_one_label_map_in_which_lungs_lie_above(tmp_path: Path, sides: np.ndarray, *, is_old: bool) -> None:
    airways = np.zeros(SHAPE, dtype=np.uint8)
    airways[3:9, 2:4, 2] = 1
    path = tmp_path / "x.seg.nrrd"
    names = ("left lung", "airways", "right lung")
    segments = [(name, None if is_old else 1, None if is_old else layer) for layer, name in enumerate(names)]
    write_segments(path, np.stack([sides == 1, airways, sides == 2]), segments)
    read = read_labels(path)
    assert read.structures == {"left_lung": (1,), "right_lung": (3,)}
    for value, own in ((1, sides == 1), (3, sides == 2)):
        np.testing.assert_array_equal(read.volume.voxels == value, own)
    assert read.notes == ("segments numbered 1 left lung, 2 airways, 3 right lung", "no lungs, ignored: airways")
    assert count_voxels(path) == np.prod(SHAPE)


def test_lungs_that_overlap_each_other_are_noted(tmp_path: Path, sides: np.ndarray) -> None:
    path = tmp_path / "x.seg.nrrd"
    write_segments(path, np.stack([sides > 0, sides == 2]), [("left lung", 1, 0), ("right lung", 1, 1)])
    assert any("left and right lung overlap in 48 voxels" in note for note in read_labels(path).notes)


def test_segments_without_names_are_plain_labels(tmp_path: Path, sides: np.ndarray) -> None:
    path = tmp_path / "x.seg.nrrd"
    write_segments(path, sides, [("Segment_1", 1, 0), ("Segment_2", 2, 0)])
    assert read_labels(path).meaning(None, "x") is None


def test_a_value_that_is_no_number_is_refused(tmp_path: Path, sides: np.ndarray) -> None:
    path = tmp_path / "x.seg.nrrd"
    write_segments(path, sides, [("left lung", 1, 0), ("right lung", 2, 0)])
    path.write_bytes(path.read_bytes().replace(b"LabelValue:=2", b"LabelValue:=1e30"))
    with pytest.raises(FileError, match=r"value '1e30'; expected whole numbers"):
        read_labels(path)


def test_segments_of_which_none_is_a_lung(tmp_path: Path, sides: np.ndarray) -> None:
    path = tmp_path / "x.seg.nrrd"
    write_segments(path, sides, [("liver", 1, 0), ("spleen", 2, 0)])
    with pytest.raises(InputError, match="segments 1 liver, 2 spleen; expected one that is named as a lung"):
        read_labels(path).meaning(None, "x")


def write_organs(folder: Path, sides: np.ndarray, **organs: int) -> None:
    for name, value in organs.items():
        write_volume(folder / f"{name}.nii.gz", Volume((sides == value).astype(np.uint8), np.diag([3.0, 3, 4, 1])))


def test_a_folder_with_a_mask_an_organ_is_one_label_map(tmp_path: Path, sides: np.ndarray) -> None:
    write_organs(tmp_path, sides, lung_upper_lobe_left=1, lung_lower_lobe_right=2, heart=3)
    assert is_organ_folder(tmp_path)
    read = read_labels(tmp_path)
    assert read.structures == {"left_lung": (2,), "right_lung": (1,)}
    np.testing.assert_array_equal(np.array([0, 2, 1])[read.volume.voxels], sides)
    assert "lung_lower_lobe_right, lung_upper_lobe_left; 1 other organs left out" in read.notes[0]


def test_a_folder_of_subjects_is_none_of_organs(tmp_path: Path, sides: np.ndarray) -> None:
    write_organs(tmp_path, sides, patient_7_left_lung=1, patient_8_left_lung=1)
    assert not is_organ_folder(tmp_path)


def test_organs_of_different_grids_are_refused(tmp_path: Path, sides: np.ndarray) -> None:
    write_organs(tmp_path, sides, left_lung=1)
    write_organs(tmp_path, sides[:-1], right_lung=2)
    with pytest.raises(InputError, match="another grid than that of the organs before it"):
        read_labels(tmp_path)


def test_organs_that_are_no_masks_are_refused(tmp_path: Path, sides: np.ndarray) -> None:
    write_organs(tmp_path, sides, left_lung=1)
    write_volume(tmp_path / "right_lung.nii.gz", Volume(sides, np.diag([3.0, 3, 4, 1])))
    with pytest.raises(InputError, match="more than two values; expected a mask of one organ"):
        read_labels(tmp_path)


@pytest.mark.parametrize(
    "labels", [{"background": 0, "Lung_L": 3, "right lung": [4, 5]}, {"3": "Lung_L", "4": "rul", "5": "rll"}]
)
def test_labels_of_a_data_set_of_nnunet(tmp_path: Path, labels: dict[str, object]) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": labels}))
    assert read_dataset_labels(path) == {"left_lung": (3,), "right_lung": (4, 5)}


def test_data_sets_without_lungs(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    for text, match in (('{"labels": {"liver": 1}}', "labels 1 liver; expected one that"), ("{}", "cannot be read")):
        path.write_text(text)
        with pytest.raises(FileError, match=match):
            read_dataset_labels(path)

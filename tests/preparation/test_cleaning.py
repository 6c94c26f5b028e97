from __future__ import annotations

import numpy as np
import pytest

from lpm.errors import InputError
from lpm.geometry.volumes import Volume
from lpm.preparation.cleaning import CleanLabels, clean_labels
from lpm.preparation.label_maps.values import integer_labels, is_label_map
from lpm.structures import DEFAULT_STRUCTURES


def two_boxes() -> np.ndarray:
    """Left (1) at low x, right (2) at high x, away from the border."""
    voxels = np.zeros((30, 16, 16), dtype=np.uint8)
    voxels[3:12, 4:12, 4:12] = 1
    voxels[18:27, 4:12, 4:12] = 2
    return voxels


def volume(voxels: np.ndarray) -> Volume:
    return Volume(voxels, np.diag([2.0, 3.0, 4.0, 1.0]))


def clean(voxels: np.ndarray, **options: bool) -> CleanLabels:
    return clean_labels(volume(voxels), DEFAULT_STRUCTURES, "case-7", **options)


def test_clean_labels_stay_as_they_are() -> None:
    result = clean(two_boxes())
    assert list(result.masks) == ["left_lung", "right_lung"]
    for value, (name, mask) in enumerate(result.masks.items(), start=1):
        np.testing.assert_array_equal(mask.voxels, result.labels.voxels == value)
        report = result.reports[name]
        assert (report.removed_islands, report.removed_ml, report.filled_ml, report.cut_cm2) == (0, 0.0, 0.0, {})
        indices = np.argwhere(two_boxes() == value)
        np.testing.assert_allclose(
            mask.to_world(np.argwhere(mask.voxels)).mean(axis=0), volume(two_boxes()).to_world(indices).mean(axis=0)
        )


def test_islands_go_and_are_counted() -> None:
    voxels = two_boxes()
    voxels[14, 8, 8:10] = 1
    voxels[15, 2, 2] = 1
    result = clean(voxels)
    assert result.reports["left_lung"].removed_islands == 2
    assert result.reports["left_lung"].removed_ml == pytest.approx(3 * 24 / 1000)
    assert result.masks["left_lung"].voxels.sum() == 9 * 8 * 8
    assert result.reports["right_lung"].removed_islands == 0


def test_holes_are_filled_and_counted() -> None:
    voxels = two_boxes()
    voxels[20:22, 6:8, 6:8] = 0
    result = clean(voxels)
    assert result.reports["right_lung"].filled_ml == pytest.approx(8 * 24 / 1000)
    assert result.masks["right_lung"].voxels.sum() == 9 * 8 * 8


def test_a_hole_of_one_lung_in_the_other_does_not_overlap() -> None:
    voxels = two_boxes()
    voxels[20, 6, 6] = 1
    result = clean(voxels)
    assert not (result.masks["left_lung"].voxels & result.masks["right_lung"].voxels).any()


@pytest.mark.parametrize("value", [1, 2, 255])
def test_a_mask_of_both_lungs_is_split_by_side(value: int) -> None:
    result = clean((two_boxes() > 0) * np.uint8(value))
    expected = clean(two_boxes())
    np.testing.assert_array_equal(result.labels.voxels, expected.labels.voxels)


def test_a_mask_of_both_lungs_in_las_is_split_by_the_world() -> None:
    voxels = (two_boxes() > 0)[:, :, ::-1].copy()
    voxels[18:27, 4:5] = 0  # the lung at high i is smaller, and lies on the left of the patient
    mirrored = Volume(voxels.astype(np.uint8), np.diag([-2.0, 3.0, 4.0, 1.0]))
    result = clean_labels(mirrored, DEFAULT_STRUCTURES, "case-7")
    assert result.masks["left_lung"].voxels.sum() < result.masks["right_lung"].voxels.sum()


def test_touching_lungs_with_their_own_labels_are_fine() -> None:
    voxels = two_boxes()
    voxels[12:18, 4:12, 4:12] = 1
    result = clean(voxels)
    assert [int(mask.voxels.sum()) for mask in result.masks.values()] == [15 * 64, 9 * 64]


def test_other_label_values_can_be_named() -> None:
    lobes = {"left_lung": (7, 8), "right_lung": (9,)}
    voxels = two_boxes()
    renamed = np.select([voxels == 2, voxels == 1], [9, 7], 0)
    renamed[5] = np.where(voxels[5] > 0, 8, 0)
    result = clean_labels(volume(renamed), lobes, "case-7")
    np.testing.assert_array_equal(result.labels.voxels, clean(two_boxes()).labels.voxels)


def test_cuts_by_each_border_are_measured() -> None:
    voxels = two_boxes()
    result = clean(voxels[5:25, 5:11, 5:11])
    left, right = result.reports["left_lung"].cut_cm2, result.reports["right_lung"].cut_cm2
    assert set(left) == {"left", "posterior", "anterior", "inferior", "superior"}
    assert set(right) == {"right", "posterior", "anterior", "inferior", "superior"}
    assert left["left"] == pytest.approx(36 * 12 / 100)
    assert left["superior"] == pytest.approx(7 * 6 * 6 / 100)


def test_cut_faces_are_named_in_the_patient_and_not_in_the_array() -> None:
    voxels = np.flip(two_boxes()[:, :, 6:], axis=2)
    flipped = Volume(voxels, np.diag([2.0, 3.0, -4.0, 1.0]))
    report = clean_labels(flipped, DEFAULT_STRUCTURES, "case-7").reports["left_lung"]
    assert set(report.cut_cm2) == {"inferior"}


def test_whole_numbers_in_floats_are_labels() -> None:
    assert is_label_map(volume(two_boxes().astype(np.float32)))
    assert integer_labels(volume(two_boxes().astype(np.float32)), "x").voxels.dtype == np.uint16


@pytest.mark.parametrize(
    "voxels",
    [
        np.array([[[-1000.0, 40.0]]]),
        np.arange(1000).reshape(10, 10, 10),
        np.array([[[0, 70_000]]]),
    ],
)
def test_a_scan_is_not_a_label_map(voxels: np.ndarray) -> None:
    assert not is_label_map(volume(voxels))
    with pytest.raises(InputError, match=r"case-7: \d+ values from .* expected a label map .*give the mask, not"):
        clean(voxels)


def test_empty() -> None:
    with pytest.raises(InputError, match=r"case-7: an empty mask \(all voxels are 0\); expected labels of"):
        clean(np.zeros((4, 4, 4), np.uint8))


@pytest.mark.parametrize(("value", "name"), [(1, "right_lung"), (2, "left_lung")])
def test_one_lung_only(value: int, name: str) -> None:
    voxels = np.where(two_boxes() == value, two_boxes(), 0)
    with pytest.raises(InputError, match=rf"case-7: no {name}; expected all of left_lung, right_lung"):
        clean(voxels)
    assert len(clean(voxels, need_all=False).masks) == 1


@pytest.mark.parametrize("value", [1, 5])
def test_one_wide_piece_that_no_seam_parts(value: int) -> None:
    voxels = (two_boxes() > 0) * np.uint8(value)
    voxels[12:18, 4:12, 4:12] = value
    with pytest.raises(
        InputError, match=rf"one piece of value {value}, wide as two lungs: the lungs touch, and no seam"
    ):
        clean(voxels)


def test_values_of_no_structure_are_ignored_and_noted() -> None:
    voxels = two_boxes()
    voxels[13:16, 6:8, 6:8] = 3
    result = clean(voxels)
    np.testing.assert_array_equal(result.labels.voxels, clean(two_boxes()).labels.voxels)
    assert result.notes == ("label value 3 is of no structure: ignored, as other organs",)


def test_a_mirrored_patient() -> None:
    with pytest.raises(InputError, match="the left lung lies on the patient's right; expected left at smaller R"):
        clean(two_boxes()[::-1].copy())

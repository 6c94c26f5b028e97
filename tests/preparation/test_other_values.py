"""Label maps with other values than those of lungs: organs, lesions, shells of interpolation, probabilities."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import ndimage

from bent_lungs import as_labels, bent_lungs
from lpm.errors import InputError
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.geometry.volumes import Volume
from lpm.preparation.label_maps.found import found_structures
from lpm.preparation.label_maps.others import refuse_background
from lpm.structures import PRESETS

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def labels() -> Volume:
    return to_labels(random_lungs(rng=np.random.default_rng(99)), 4.0)


def in_lobes(labels: Volume, numbers: tuple[int, int, int, int, int]) -> np.ndarray:
    """Two lobes of the left and three of the right lung, by height."""
    height = np.arange(labels.voxels.shape[2])
    n = len(height)
    left = np.where(height < n // 2, numbers[1], numbers[0])
    right = np.select([height < n // 3, height < n // 2], [numbers[4], numbers[3]], numbers[2])
    return np.where(labels.voxels == 1, left, np.where(labels.voxels == 2, right, 0)).astype(np.uint8)


def share(found: Volume, labels: Volume, side: int) -> float:
    return float((found.voxels == side).sum() / (labels.voxels == side).sum())


@pytest.mark.parametrize("value", [1, 255])
def test_an_inverted_mask_is_refused(labels: Volume, value: int) -> None:
    inverted = labels.with_voxels(np.where(labels.voxels == 0, value, 0).astype(np.uint8))
    with pytest.raises(InputError, match="a mask that lies around what is 0: inverted"):
        found_structures(inverted, None, "x")


def test_lungs_in_a_box_of_their_own_size_are_not_inverted(labels: Volume) -> None:
    low, high = (f(np.argwhere(labels.voxels), axis=0) for f in (np.min, np.max))
    box = labels.voxels[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    found = found_structures(labels.with_voxels(np.ascontiguousarray(box)), None, "x")
    assert share(found.labels, labels, 1) == share(found.labels, labels, 2) == 1.0


def test_lesions_in_the_lungs_are_told_with_their_volume(labels: Volume) -> None:
    voxels = labels.voxels.copy()
    centre = np.argwhere(voxels == 2)[len(np.argwhere(voxels == 2)) // 2]
    near = np.linalg.norm(np.moveaxis(np.indices(voxels.shape), 0, -1) - centre, axis=-1) < 6
    voxels[near & (voxels == 2) & ndimage.binary_erosion(voxels == 2)] = 3
    ml = np.count_nonzero(voxels == 3) * labels.voxel_ml
    found = found_structures(labels.with_voxels(voxels), None, "x")
    how = "--labels left_lung=1+3,right_lung=2+3 counts them"
    assert f"label value 3 within the lungs ({ml:,.0f} ml) were not counted as lung; {how}" in found.notes


def test_values_of_both_lungs_stay_in_what_counts_a_lesion(labels: Volume) -> None:
    voxels, inner = labels.voxels.copy(), ndimage.binary_erosion(labels.voxels == 2, iterations=2)
    places = np.argwhere(inner)
    half = places[:, 2] < np.median(places[:, 2])
    voxels[tuple(places[half].T)], voxels[tuple(places[~half].T)] = 3, 4
    said = {"left_lung": (1, 3), "right_lung": (2, 3)}
    notes = found_structures(labels.with_voxels(voxels), said, "x").notes
    assert any("label value 4 within" in note and "left_lung=1+3+4,right_lung=2+3+4 counts" in note for note in notes)


def test_an_organ_beside_the_lungs_is_not_within_them(labels: Volume) -> None:
    voxels = labels.voxels.copy()
    voxels[ndimage.binary_dilation(voxels > 0, iterations=6) & (voxels == 0)] = 3
    found = found_structures(labels.with_voxels(voxels), None, "x")
    assert found.notes == ("label value 3 is of no structure: ignored, as other organs",)


def test_interpolated_and_rounded_lobes_are_refused(labels: Volume) -> None:
    lobes = in_lobes(labels, (10, 11, 12, 13, 14)).astype(np.float32)
    rounded = ndimage.zoom(lobes, 1.5, order=1).round().astype(np.uint8)
    with pytest.raises(InputError, match=r"values 3, 4, .* make a thin shell around the lungs, as interpolation does"):
        found_structures(labels.with_voxels(rounded), None, "x")


def test_interpolated_and_rounded_lungs_are_told(labels: Volume) -> None:
    rounded = ndimage.zoom(labels.voxels.astype(np.float32), 1.5, order=1).round().astype(np.uint8)
    found = found_structures(labels.with_voxels(rounded), None, "x")
    assert re.search(r"\d+% of a lung lies on the side of the other one: interpolated labels", "; ".join(found.notes))


@pytest.mark.parametrize("most", [10, 100, 255])
def test_probabilities_in_whole_numbers_are_refused_and_the_hint_works(labels: Volume, most: int) -> None:
    soft = ndimage.gaussian_filter((labels.voxels > 0).astype(np.float32), 1.5)
    grey = (soft / soft.max() * most).round().astype(np.uint8)
    with pytest.raises(InputError, match=f"values up to {most}, nearly all across both lungs: probabilities") as caught:
        found_structures(labels.with_voxels(grey), None, "x")
    threshold = re.search(r"values from (\d+) on", caught.value.hint)
    assert threshold is not None
    found = found_structures(labels.with_voxels((grey >= int(threshold[1])).astype(np.uint8)), None, "x")
    assert share(found.labels, labels, 1) == pytest.approx(1.0, abs=0.05)


def test_organs_of_a_map_without_lungs_are_no_lungs(labels: Volume) -> None:
    voxels = np.zeros(labels.voxels.shape, np.uint8)
    n = voxels.shape[0]
    voxels[5:11, 10:16, 5:12] = 1  # a spleen
    voxels[n - 12 : n - 7, 10:15, 5:10] = 2  # a kidney
    voxels[n - 30 : n - 7, 16:35, 5:20] = 5  # the liver
    with pytest.raises(InputError, match=r"label values 1, 2, 5; .*if they are the two largest"):
        found_structures(labels.with_voxels(voxels), None, "x")


def test_lobes_of_a_mirrored_image_are_refused_by_their_place(labels: Volume) -> None:
    voxels = in_lobes(labels, (10, 11, 12, 13, 14))
    voxels[:6, :6, :6] = 51
    mirrored = Volume(voxels, MIRROR @ labels.world_from_voxel)
    with pytest.raises(InputError, match=r"the left lung lies on the patient's right; .*mend the affine or the header"):
        found_structures(mirrored, None, "x")


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize(
    ("tool", "numbers"), [("totalsegmentator", (10, 11, 12, 13, 14)), ("totalsegmentator-v1", (13, 14, 15, 16, 17))]
)
def test_lobes_of_one_lung_get_the_hint_that_reads_them(
    labels: Volume, side: int, tool: str, numbers: tuple[int, int, int, int, int]
) -> None:
    voxels = np.where(labels.voxels == side, in_lobes(labels, numbers), 0).astype(np.uint8)
    voxels[:6, :6, :6] = 51
    with pytest.raises(InputError, match=f"--labels {tool}, if these are its lobes of one lung"):
        found_structures(labels.with_voxels(voxels), None, "x")
    found = found_structures(labels.with_voxels(voxels), PRESETS[tool], "x")
    assert share(found.labels, labels, side) == 1.0


def test_numbers_of_other_organs_are_not_lobes_of_one_lung(labels: Volume) -> None:
    """TotalSegmentator's task for MR: lungs 10 and 11, bowel 13 and 14."""
    voxels = np.array([0, 10, 11], np.uint8)[labels.voxels]
    voxels[:6, :6, :6], voxels[8:14, :6, :6] = 13, 14
    with pytest.raises(InputError, match="--labels left_lung=10,right_lung=11"):
        found_structures(labels.with_voxels(voxels), None, "x")


def test_a_background_that_has_a_number_is_not_within_the_lungs(labels: Volume) -> None:
    voxels = np.where(labels.voxels == 0, 3, labels.voxels).astype(np.uint8)
    found = found_structures(labels.with_voxels(voxels), None, "x")
    assert found.notes == ("label value 3 is of no structure: ignored, as other organs",)


def test_lobes_of_unknown_numbers_are_not_called_the_whole_lung(labels: Volume) -> None:
    with pytest.raises(InputError, match="name all values of the lungs; if they are the two largest"):
        found_structures(labels.with_voxels(in_lobes(labels, (4, 5, 1, 2, 3))), None, "x")


# --- How lungs lie ----------------------------------------------------------------------------------------------------


def test_lungs_that_lie_as_they_say_are_not_doubted() -> None:
    assert found_structures(as_labels(bent_lungs()), None, "x").notes == ()


def test_one_value_of_an_lps_array_without_a_header_is_doubted() -> None:
    labels = as_labels(bent_lungs())
    turned = labels.with_voxels((labels.voxels[::-1, ::-1] > 0).astype(np.uint8))
    assert "front and back seem to be exchanged" in found_structures(turned, None, "x").notes[-1]


def test_exchanged_sides_of_a_turned_image_are_the_affine_s_fault() -> None:
    labels = as_labels(bent_lungs())
    turned = labels.with_voxels(np.ascontiguousarray(labels.voxels[::-1, ::-1]))
    with pytest.raises(InputError, match="mend the affine or the header: front and back seem to be exchanged as well"):
        found_structures(turned, None, "x")


def test_lungs_that_are_deeper_than_high_are_doubted() -> None:
    labels = as_labels(bent_lungs())
    lying = labels.with_voxels(np.ascontiguousarray(labels.voxels.transpose(0, 2, 1)))
    assert "the lungs are deeper than high" in found_structures(lying, None, "x").notes[-1]


def test_lungs_that_end_at_the_image_s_top_are_not_doubted() -> None:
    labels = as_labels(bent_lungs())
    cut = labels.with_voxels(np.ascontiguousarray(labels.voxels[::-1, ::-1, : labels.voxels.shape[2] // 2] > 0) * 1)
    assert not any("front and back" in note for note in found_structures(cut, None, "x").notes)


def test_a_view_of_the_heart_between_both_lungs_is_not_inverted(labels: Volume) -> None:
    """Lungs of one value fill most of its border to the sides."""
    middle = np.argwhere(labels.voxels > 0).mean(axis=0).astype(int)
    box = tuple(slice(at - half, at + half) for at, half in zip(middle, (16, 12, 10), strict=True))
    view = labels.with_voxels(np.ascontiguousarray(labels.voxels[box] > 0).astype(np.uint8))
    assert np.mean(view.voxels[[0, -1]]) > 0.5
    refuse_background(view, "x")

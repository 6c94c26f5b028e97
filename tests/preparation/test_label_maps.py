"""What any tool's label map is read as: the same for measure, fit, prepare and the viewer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lpm.errors import InputError
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.geometry.volumes import Volume
from lpm.preparation.label_maps.found import Structures, found_structures
from lpm.preparation.label_maps.values import is_label_map
from lpm.structures import PRESETS

LUNGMASK = PRESETS["lungmask"]


@pytest.fixture(scope="module")
def labels() -> Volume:
    return to_labels(random_lungs(rng=np.random.default_rng(99)), 4.0)


def renamed(labels: Volume, left: int, right: int) -> Volume:
    table = np.array([0, left, right], dtype=np.uint8)
    return labels.with_voxels(table[labels.voxels])


def in_lobes(labels: Volume, first: int) -> np.ndarray:
    """Five lobes, numbered on from the first, by height: two of the left and three of the right lung."""
    height = np.arange(labels.voxels.shape[2])
    n = len(height)
    lobes = np.where(labels.voxels == 1, first + (height < n // 2), 0)
    return np.where(labels.voxels == 2, first + 2 + (height < n // 2) + (height < n // 3), lobes).astype(np.uint8)


def check_same(found: Structures, labels: Volume, least: float = 1.0) -> None:
    for side, name in enumerate(("left_lung", "right_lung"), start=1):
        a, b = np.isin(found.labels.voxels, found.values[name]), labels.voxels == side
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= least


# --- What values mean -------------------------------------------------------------------------------------------------


def test_left_and_right_are_one_and_two(labels: Volume) -> None:
    found = found_structures(labels, None, "x")
    check_same(found, labels)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("first", "others", "tool"), [(10, (5, 51), "totalsegmentator"), (13, (5, 44), "totalsegmentator-v1")]
)
def test_lobes_of_totalsegmentator_beside_other_organs(
    labels: Volume, first: int, others: tuple[int, ...], tool: str
) -> None:
    voxels = in_lobes(labels, first)
    for place, other in enumerate(others):
        voxels[8 * place : 8 * place + 6, :6, :6] = other
    found = found_structures(labels.with_voxels(voxels), None, "x")
    check_same(found, labels)
    assert f"--labels {tool}" in found.notes[0]
    assert found.notes[1] == f"label values {others[0]}, {others[1]} are of no structure: ignored, as other organs"
    said = found_structures(labels.with_voxels(voxels), PRESETS[tool], "x")
    check_same(said, labels)


def test_all_organs_of_a_version_are_not_read_as_those_of_the_other(labels: Volume) -> None:
    for first in (10, 13):
        voxels = in_lobes(labels, first)
        for value in {*range(1, 30)} - {*range(first, first + 5)}:
            voxels[value, :3, :3] = value
        check_same(found_structures(labels.with_voxels(voxels), None, "x"), labels)


def test_lobes_from_one_to_five(labels: Volume) -> None:
    found = found_structures(labels.with_voxels(in_lobes(labels, 1)), None, "x")
    check_same(found, labels)
    assert "--labels lungmask-lobes" in found.notes[0]


def test_a_removed_middle_lobe_is_no_matter(labels: Volume) -> None:
    voxels = in_lobes(labels, 10)
    found = found_structures(labels.with_voxels(np.where(voxels == 13, 12, voxels)), None, "x")
    check_same(found, labels)


def test_lungs_and_a_trachea(labels: Volume) -> None:
    voxels = labels.voxels.copy()
    voxels[:4, :4, :9] = 3
    found = found_structures(labels.with_voxels(voxels), None, "x")
    check_same(found, labels)
    assert found.notes == ("label value 3 is of no structure: ignored, as other organs",)


def test_lungs_of_other_values_are_refused_with_the_option_that_reads_them(labels: Volume) -> None:
    voxels = renamed(labels, 4, 3).voxels.copy()
    voxels[:4, :4, :9] = 5
    with pytest.raises(InputError, match=r"label values 3, 4, 5; .*--labels left_lung=4,right_lung=3"):
        found_structures(labels.with_voxels(voxels), None, "x")
    check_same(found_structures(labels.with_voxels(voxels), {"left_lung": (4,), "right_lung": (3,)}, "x"), labels)


def test_nothing_left_of_what_was_named(labels: Volume) -> None:
    with pytest.raises(InputError, match=r"label values 1, 2; expected left_lung=10\+11, right_lung=12\+13\+14"):
        found_structures(labels, PRESETS["totalsegmentator"], "x")


def test_other_structures_than_lungs_are_taken_as_they_are_named(labels: Volume) -> None:
    found = found_structures(labels, {"liver": (2,), "spleen": (9,)}, "x")
    assert found.values == {"liver": (1,)}
    assert (found.labels.voxels > 0).sum() == (labels.voxels == 2).sum()


# --- Values that scaling and resampling made --------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0000153, 1.00001, 1.0039216, 0.99])
def test_scaled_values_are_rounded_and_noted(labels: Volume, factor: float) -> None:
    scaled = labels.with_voxels(labels.voxels * np.float64(factor))
    found = found_structures(scaled, None, "x")
    check_same(found, labels)
    assert "rounded to whole numbers" in found.notes[0]
    assert is_label_map(scaled)


def test_a_background_of_minus_one_is_named(labels: Volume) -> None:
    voxels = labels.voxels.astype(np.int16)
    found = found_structures(labels.with_voxels(np.where(voxels == 0, -1, voxels)), None, "x")
    check_same(found, labels)
    assert found.notes == ("the background is -1, not 0",)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ((-1, 0, 1), "0 as the background"),
        ((-1024, 1, 2), "0 as the background"),
        ((0.0, 0.3, 0.9), "probabilities; .*values from 0.5 on set to 1"),
        ((0.0, 1.5, 2.0), "between whole numbers; .*nearest neighbour"),
        ((-1000.0, 40.0, 400.0), "give the mask, not the scan"),
    ],
)
def test_values_that_are_no_labels(labels: Volume, values: tuple[float, ...], match: str) -> None:
    with pytest.raises(InputError, match=match):
        found_structures(labels.with_voxels(np.array(values)[labels.voxels]), None, "x")


def test_a_grey_picture_of_eight_bits_is_no_label_map(labels: Volume, rng: np.random.Generator) -> None:
    assert not is_label_map(labels.with_voxels(rng.integers(0, 255, labels.voxels.shape, dtype=np.uint8)))
    many = labels.with_voxels(np.repeat(np.arange(40, dtype=np.uint8), 25).reshape(10, 10, 10).transpose(2, 1, 0))
    assert is_label_map(many)


def test_metres_are_named_before_memory_is_taken(labels: Volume) -> None:
    affine = labels.world_from_voxel.copy()
    affine[:3] /= 1000.0
    with pytest.raises(InputError, match="multiply by 1000, they look like metres"):
        found_structures(Volume(labels.voxels, affine), None, "x")


# --- Both lungs in one value ------------------------------------------------------------------------------------------


def touching(labels: Volume, value: int) -> Volume:
    """Both lungs of one value, with a bridge in front where they come near each other."""
    lungs = labels.voxels > 0
    rows = np.argwhere(lungs.any(axis=0))
    j, k = rows[:, 0].max() - 6, int(rows[:, 1].mean())
    left, right = (np.flatnonzero(labels.voxels[:, j, k] == side) for side in (1, 2))
    lungs = lungs.copy()
    lungs[left[-1] : right[0] + 1, j - 1 : j + 2, k - 1 : k + 2] = True
    return labels.with_voxels(lungs * np.uint8(value))


@pytest.mark.parametrize("value", [1, 2, 255])
def test_lungs_that_touch_are_cut_along_their_seam(labels: Volume, value: int) -> None:
    found = found_structures(touching(labels, value), None, "x")
    check_same(found, labels, 0.99)
    assert f"value {value} holds both lungs: they touch, cut apart over" in found.notes[0]
    both = {"left_lung": (value,), "right_lung": (value,)}
    check_same(found_structures(touching(labels, value), both, "x"), labels, 0.99)


def test_lungs_of_one_value_that_do_not_touch(labels: Volume) -> None:
    found = found_structures(labels.with_voxels((labels.voxels > 0) * np.uint8(7)), None, "x")
    check_same(found, labels)
    assert "value 7 holds both lungs: told apart by their side" in found.notes[0]


def test_both_lungs_said_to_be_one(labels: Volume) -> None:
    with pytest.raises(InputError, match=r"said to be left_lung, holds both lungs.*left_lung=1,right_lung=1"):
        found_structures(touching(labels, 1), {"left_lung": (1,)}, "x")


@pytest.mark.parametrize(("lungs", "airway"), [(1, 2), (2, 1)])
def test_an_airway_beside_both_lungs_in_one_value_is_no_lung(labels: Volume, lungs: int, airway: int) -> None:
    voxels = (labels.voxels > 0) * np.uint8(lungs)
    middle = labels.voxels.shape[0] // 2
    voxels[middle - 2 : middle + 2, 28:32, 40:] = airway
    found = found_structures(labels.with_voxels(voxels), None, "x")
    check_same(found, labels, 0.99)
    assert f"label value {airway} lies between or in both lungs: ignored" in found.notes[1]


@pytest.mark.parametrize(("lungs", "nodule"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("side", [1, 2])
def test_a_nodule_beside_both_lungs_in_one_value_is_no_lung(labels: Volume, lungs: int, nodule: int, side: int) -> None:
    i, j, k = np.argwhere(labels.voxels == side).mean(axis=0).astype(int)
    voxels = (labels.voxels > 0) * np.uint8(lungs)
    voxels[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = nodule
    found = found_structures(labels.with_voxels(voxels), None, "x")
    check_same(found, labels, 0.99)
    assert f"label value {nodule} lies between or in both lungs: ignored" in found.notes[1]


def test_a_collapsed_lung_beside_a_whole_one_stays_a_lung(labels: Volume) -> None:
    height = np.arange(labels.voxels.shape[2])
    voxels = np.where((labels.voxels == 1) & (height > 20), 0, labels.voxels)
    found = found_structures(labels.with_voxels(voxels), None, "x")
    check_same(found, labels.with_voxels(voxels))
    assert (found.labels.voxels == 1).sum() < 0.2 * (found.labels.voxels > 0).sum()


def test_values_of_one_lung_that_lie_on_each_other_are_refused(labels: Volume) -> None:
    voxels = np.where(labels.voxels == 1, 1, 0).astype(np.uint8)
    voxels[:, :, 40:] *= 2
    with pytest.raises(InputError, match="values 1 and 2 do not lie side by side, as lungs do"):
        found_structures(labels.with_voxels(voxels), None, "x")


def only(labels: Volume, axis: int, *places: int) -> Volume:
    drawn = np.zeros_like(labels.voxels)
    for place in places:
        part = tuple(place if a == axis else slice(None) for a in range(3))
        drawn[part] = labels.voxels[part]
    return labels.with_voxels(drawn)


@pytest.mark.parametrize("axis", [1, 2])
def test_drawn_slices_of_both_lungs_in_one_value(labels: Volume, axis: int) -> None:
    n = labels.voxels.shape[axis]
    drawn = only(labels, axis, n // 3, n // 2, n // 2 + 5)
    found = found_structures(drawn.with_voxels((drawn.voxels > 0).astype(np.uint8)), None, "x")
    check_same(found, drawn, 0.98)
    assert found.drawn is not None
    one = drawn.with_voxels((drawn.voxels == 1).astype(np.uint8))
    assert set(found_structures(one, None, "x").values) == {"left_lung"}


# --- Sides ------------------------------------------------------------------------------------------------------------


def test_exchanged_lungs_are_refused_with_the_option_that_reads_them(labels: Volume) -> None:
    exchanged = renamed(labels, 2, 1)
    with pytest.raises(InputError, match=r"left_lung=2,right_lung=1, as lungmask numbers them"):
        found_structures(exchanged, None, "x")
    check_same(found_structures(exchanged, LUNGMASK, "x"), labels)


@pytest.mark.parametrize(("left", "right", "hint"), [(0, 1, "right_lung=1"), (2, 0, "left_lung=2")])
def test_one_lung_on_the_other_side_than_its_value_says(labels: Volume, left: int, right: int, hint: str) -> None:
    one = renamed(labels, left, right)
    with pytest.raises(InputError, match=rf"of the middle.*in lungmask: --labels lungmask, or --labels {hint}"):
        found_structures(one, None, "x")
    (name,) = found_structures(one, LUNGMASK, "x").values
    assert name == ("left_lung" if left else "right_lung")


def test_one_lung_in_a_crop_is_known_by_its_shape(labels: Volume) -> None:
    inside = np.flatnonzero((labels.voxels == 2).any(axis=(1, 2)))
    crop = labels.with_voxels((labels.voxels == 2)[inside[0] : inside[-1] + 1].astype(np.uint8))
    with pytest.raises(InputError, match="the lung called left has the shape of a right lung"):
        found_structures(crop, None, "x")
    assert found_structures(crop, {"right_lung": (1,)}, "x").notes == ()


def test_a_lung_that_is_named_and_lies_on_the_other_side_is_doubted(labels: Volume) -> None:
    found = found_structures(renamed(labels, 0, 1), {"left_lung": (1,)}, "x")
    assert "the lung called left lies on the right of the middle" in found.doubt
    assert found.notes == (found.doubt,)


def test_one_lung_of_a_value_that_stands_for_none(labels: Volume) -> None:
    with pytest.raises(InputError, match=r"one lung of value 9; it lies like the right one.*--labels right_lung=9"):
        found_structures(renamed(labels, 0, 9), None, "x")


def test_lungs_in_a_mirror_are_noted(labels: Volume) -> None:
    as_is = found_structures(labels, None, "x")
    mirrored = renamed(labels.with_voxels(labels.voxels[::-1]), 2, 1)
    found = found_structures(mirrored, None, "x")
    assert not any("mirrored" in note for note in as_is.notes)
    assert any("possibly mirrored" in note for note in found.notes)
    with pytest.raises(InputError, match="mend the affine or the header: the heart seems to lie on the right"):
        found_structures(labels.with_voxels(labels.voxels[::-1]), None, "x")


# --- What others hand over --------------------------------------------------------------------------------------------


def turned(labels: Volume, degrees: float) -> Volume:
    """The same lungs on a grid turned about the body's axis."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix() * 5.0
    n = 100
    affine[:3, 3] = labels.to_world(np.array([labels.voxels.shape]) / 2)[0] - affine[:3, :3] @ np.full(3, n / 2)
    grid = Volume(np.zeros((n, n, n), dtype=np.uint8), affine)
    places = np.rint(labels.to_voxel(grid.to_world(np.argwhere(grid.voxels == 0)))).astype(int)
    is_in = ((places >= 0) & (places < labels.voxels.shape)).all(axis=1)
    values = np.where(is_in, labels.voxels[tuple(np.where(is_in[:, None], places, 0).T)], 0)
    return grid.with_voxels(values.reshape(grid.voxels.shape))


@pytest.mark.parametrize("degrees", [30.0, 44.0, 46.0, -44.0])
def test_lungs_lie_side_by_side_in_the_patient_and_not_in_an_oblique_image(labels: Volume, degrees: float) -> None:
    found = found_structures(turned(labels, degrees), None, "x")
    assert found.notes == ()
    ml = [float((found.labels.voxels == side).sum()) * found.labels.voxel_ml for side in (1, 2)]
    true_ml = [float((labels.voxels == side).sum()) * labels.voxel_ml for side in (1, 2)]
    np.testing.assert_allclose(ml, true_ml, rtol=0.02)


@pytest.mark.parametrize("exchanged", [False, True])
def test_a_cord_that_is_one_is_no_lung(labels: Volume, exchanged: bool) -> None:
    """Spinal cord 1, lungs 2 and 3, heart 4, as thoracic challenges number them."""
    voxels = np.where(labels.voxels > 0, 4 - labels.voxels if exchanged else labels.voxels + 1, 0).astype(np.uint8)
    middle = voxels.shape[0] // 2
    voxels[middle - 1 : middle + 1, 2:4] = 1
    voxels[middle - 2 : middle + 2, -8:-4, :10] = 4
    left, right = (3, 2) if exchanged else (2, 3)
    with pytest.raises(InputError, match=f"left_lung={left},right_lung={right}$"):
        found_structures(labels.with_voxels(voxels), None, "x")


def test_255_as_a_signed_byte(labels: Volume) -> None:
    found = found_structures(labels.with_voxels(np.where(labels.voxels > 0, -1, 0).astype(np.int8)), None, "x")
    check_same(found, labels, 0.99)
    assert found.notes[0] == "signed bytes were read as unsigned ones: -1 as 255"


def test_a_lesion_that_both_lungs_have_goes_to_the_one_it_touches(labels: Volume) -> None:
    voxels = labels.voxels.copy()
    height = np.arange(voxels.shape[2])
    voxels[(voxels > 0) & (height < len(height) // 3)] = 3
    found = found_structures(labels.with_voxels(voxels), {"left_lung": (1, 3), "right_lung": (2, 3)}, "x")
    check_same(found, labels)
    assert found.notes == ("label value 3 is of both lungs: each part of it of the one that it touches",)
    with pytest.raises(InputError, match="no other to be the left_lung"):
        found_structures(labels.with_voxels(voxels), {"left_lung": (3,), "right_lung": (2, 3)}, "x")

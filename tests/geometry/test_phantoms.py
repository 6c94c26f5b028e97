from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.spatial import cKDTree

from lpm.errors import InputError
from lpm.geometry.phantoms import (
    PHANTOM_STRUCTURES,
    Box,
    Ellipsoid,
    PhantomLungs,
    random_lungs,
    to_labels,
    to_mask,
)
from lpm.geometry.volumes import Volume


def inside(volume: Volume, value: int) -> np.ndarray:
    return volume.to_world(np.argwhere(volume.voxels == value))


@pytest.mark.parametrize("seed", range(12))
def test_random_lungs_are_adult_lungs(seed: int) -> None:
    labels = to_labels(random_lungs(rng=np.random.default_rng(seed)), 5.0)
    left, right = inside(labels, 1), inside(labels, 2)
    left_l, right_l = (len(points) * labels.voxel_ml / 1000 for points in (left, right))
    assert 1.0 < left_l < right_l < 3.5
    assert left[:, 0].max() < right[:, 0].min()
    heights = [np.ptp(points[:, 2]) + 5.0 for points in (left, right)]
    assert all(180 <= height <= 280 for height in heights)
    gap = cKDTree(left).query(right)[0].min() - 5.0
    assert 2.0 < gap < 30.0
    border = labels.voxels.copy()
    border[1:-1, 1:-1, 1:-1] = 0
    assert not border.any()
    for value in (1, 2):
        sizes = np.bincount(label(labels.voxels == value)[0].ravel())[1:]
        assert sizes.max() > 0.999 * sizes.sum()


def test_lungs_keep_their_gap(phantom: PhantomLungs, rng: np.random.Generator) -> None:
    points = rng.uniform(*phantom.bounds_mm, size=(200_000, 3))
    for structure, side in (("left_lung", -1.0), ("right_lung", 1.0)):
        found = points[phantom.implicit(structure, points) < 0]
        assert (side * (found[:, 0] - phantom.center_mm[0])).min() > 0.5 * phantom.gap_mm


def test_heart_takes_from_the_left_lung(phantom: PhantomLungs) -> None:
    small, large = (to_labels(replace(phantom, heart=h), 6.0) for h in (0.6, 1.2))
    lost = [len(inside(small, value)) - len(inside(large, value)) for value in (1, 2)]
    assert lost[0] > 2 * lost[1] >= 0


def test_base_is_concave_and_deepest_behind_at_the_side(phantom: PhantomLungs) -> None:
    labels = to_labels(phantom, 4.0)
    for value in (1, 2):
        mask = labels.voxels == value
        lowest = np.where(mask.any(axis=2), mask.argmax(axis=2), 10_000)
        i, j = np.argwhere(mask.any(axis=2)).mean(axis=0).astype(int)
        center = lowest[i, j]
        columns = np.argwhere(lowest < center - 10)
        assert len(columns) > 50
        assert columns[:, 1].mean() < j


def test_field_is_about_the_distance_near_the_surface(phantom: PhantomLungs, rng: np.random.Generator) -> None:
    points = rng.uniform(*phantom.bounds_mm, size=(100_000, 3))
    near = points[np.abs(phantom.implicit("right_lung", points)) < 3.0]
    step = 1e-3 * np.eye(3)
    gradient = np.stack(
        [phantom.implicit("right_lung", near + e) - phantom.implicit("right_lung", near - e) for e in step], axis=1
    )
    lengths = np.linalg.norm(gradient, axis=1) / 2e-3
    assert 0.8 < np.median(lengths) < 1.2
    assert np.percentile(lengths, 5) > 0.5  # less only where two surfaces meet and are rounded


def test_parameters_move_the_surface_smoothly(phantom: PhantomLungs, rng: np.random.Generator) -> None:
    points = rng.uniform(*phantom.bounds_mm, size=(2000, 3))
    before = phantom.field(points)
    for name in ("height_mm", "half_width_mm", "dome", "heart", "mediastinum", "lean", "fullness"):
        value = getattr(phantom, name)
        change = np.abs(replace(phantom, **{name: value * 1.0001}).field(points) - before)
        assert 0 < change.max() < 1.0, name


def test_same_seed_same_lungs_other_seed_others() -> None:
    first, again, other = (random_lungs(rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_both_lungs_are_the_union(phantom: PhantomLungs, rng: np.random.Generator) -> None:
    points = rng.uniform(*phantom.bounds_mm, size=(100, 3))
    parts = [phantom.implicit(structure, points) for structure in PHANTOM_STRUCTURES]
    np.testing.assert_array_equal(phantom.field(points), np.minimum(*parts))


def test_oblique_labels_hold_the_same_lungs(phantom: PhantomLungs) -> None:
    angle = np.radians(25)
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    straight, oblique = to_labels(phantom, 5.0), to_labels(phantom, 5.0, directions=turned)
    for value in (1, 2):
        assert len(inside(oblique, value)) == pytest.approx(len(inside(straight, value)), rel=0.01)
        np.testing.assert_allclose(inside(oblique, value).mean(0), inside(straight, value).mean(0), atol=0.5)


def test_ellipsoid_distance_by_brute_force(rng: np.random.Generator) -> None:
    radii = np.array([20.0, 35.0, 50.0])
    unit = rng.standard_normal((400_000, 3))
    surface = unit / np.linalg.norm(unit, axis=1, keepdims=True) * radii + [1.0, 2.0, 3.0]
    points = rng.uniform(-70, 70, (300, 3))
    truth = cKDTree(surface).query(points)[0]
    found = Ellipsoid((1.0, 2.0, 3.0), radii).field(points)
    assert np.abs(np.abs(found) - truth).max() < 0.12
    np.testing.assert_array_equal(found < 0, (((points - [1, 2, 3]) / radii) ** 2).sum(axis=1) < 1)


def test_ellipsoid_distance_on_its_axes() -> None:
    points = np.array([[0.0, 0, 0], [0, 0, 60], [30, 0, 0], [0, 35, 0]])
    np.testing.assert_allclose(Ellipsoid(0.0, (20.0, 35.0, 50.0)).field(points), [-20, 10, 10, 0], atol=1e-5)


def test_sphere_distance_is_exact(rng: np.random.Generator) -> None:
    points = rng.uniform(-100, 100, (1000, 3))
    truth = np.linalg.norm(points, axis=1) - 40.0
    np.testing.assert_allclose(Ellipsoid(0.0, 40.0).field(points), truth, atol=1e-9)


def test_box_distance_in_each_zone() -> None:
    points = np.array([[0.0, 0, 0], [13, 0, 0], [13, 24, 0], [13, 24, 42], [9, 0, 0]])
    np.testing.assert_allclose(Box(0.0, (10.0, 20.0, 30.0)).field(points), [-10, 3, 5, 13, -1])


@pytest.mark.parametrize("shape", [Ellipsoid(3.0, (20.0, 30.0, 40.0)), Box((1.0, 2.0, 3.0), (20.2, 30.2, 40.2))])
def test_masks_have_the_volume_of_their_shape(shape: Ellipsoid | Box) -> None:
    mask = to_mask(shape, (1.0, 1.5, 2.0))
    assert mask.voxels.sum() * mask.voxel_ml == pytest.approx(shape.volume_ml, rel=0.03)
    assert mask.voxels.sum() * mask.voxel_ml != pytest.approx(1.1 * shape.volume_ml, rel=0.03)


def test_all_corners_of_the_bounds_are_outside(phantom: PhantomLungs) -> None:
    corners = np.array(list(product(*zip(*phantom.bounds_mm, strict=True))))
    assert (phantom.field(corners) > 0).all()


def test_an_unknown_structure_is_refused(phantom: PhantomLungs) -> None:
    with pytest.raises(InputError, match="structure 'heart'; expected left_lung or right_lung"):
        phantom.implicit("heart", np.zeros((1, 3)))


def test_a_spacing_of_zero_is_refused(phantom: PhantomLungs) -> None:
    with pytest.raises(InputError, match=r"phantom grid: spacing .* expected positive"):
        to_labels(phantom, 0.0)


def test_sheared_directions_are_refused(phantom: PhantomLungs) -> None:
    with pytest.raises(InputError, match=r"phantom grid: directions .* expected a \(3, 3\) orthogonal matrix"):
        to_labels(phantom, 5.0, directions=np.ones((3, 3)))

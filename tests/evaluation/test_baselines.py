from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lpm.errors import InputError
from lpm.evaluation.baselines import (
    BaselinesConfig,
    MeanShape,
    NearestLung,
    PcaOfGrids,
    build_baselines,
    fit_field,
    sdf_on_grid,
    train_grids,
)
from lpm.evaluation.metrics import surface_scores
from lpm.geometry.frames import WorldFromModel
from lpm.geometry.grids import grid_nodes, odd_grid, trilinear
from lpm.geometry.meshes import WorldMesh
from lpm.preparation.sampling import sample_surfaces

FAST = BaselinesConfig(names=("mean", "nearest", "pca"), spacing_mm=6.0, margin_mm=18.0)
SIDES = ("left_lung", "right_lung")
RADII = (24.0, 27.0, 30.0, 33.0, 36.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def ellipsoid(radius, center):
    made = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
    return WorldMesh(np.asarray(made.vertices) * (radius * np.array([0.8, 1.0, 1.3])) + center, np.asarray(made.faces))


def lungs(radius, center=(0, 0, 0)):
    """Two ellipsoids; the right one is larger, so that exchanged sides are seen."""
    x, y, z = center
    return {"left_lung": ellipsoid(radius, (x - 45, y, z)), "right_lung": ellipsoid(radius + 4, (x + 45, y, z))}


@pytest.fixture(scope="module")
def training():
    return [lungs(radius) for radius in RADII]


@pytest.fixture(scope="module")
def grids(training):
    return train_grids(training, FAST)


def points_on(meshes, n=1500):
    return sample_surfaces(meshes, n, rng=rng()).points_mm


def assd(predicted, true):
    return surface_scores(predicted, true, 1500, rng=rng())[0].assd_mm


def assert_closed_pair(meshes):
    assert tuple(meshes) == SIDES
    assert all(mesh.is_closed and mesh.n_pieces == 1 and mesh.volume_ml > 0 for mesh in meshes.values())
    assert meshes["left_lung"].centroid[0] < meshes["right_lung"].centroid[0]


# Grids


def test_sdf_on_a_grid_is_exact_near_the_surface_and_close_elsewhere():
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=20.0)
    grid = odd_grid(np.full(3, -50.0), np.full(3, 50.0), 4.0)
    field = sdf_on_grid(WorldMesh(np.asarray(mesh.vertices), np.asarray(mesh.faces)), grid)
    truth = np.linalg.norm(grid_nodes(grid), axis=-1) - 20.0
    near = np.abs(truth) < 6.0
    assert np.abs(field - truth)[near].max() < 0.1
    assert np.abs(field - truth)[np.abs(truth + 20.0) > 8.0].max() < 1.0
    assert np.array_equal(field < 0, truth < 0) or np.abs(truth[(field < 0) != (truth < 0)]).max() < 0.1


def test_grid_has_odd_sides_and_reaches_its_far_corner():
    grid = odd_grid(np.zeros(3), np.array([10.0, 11.0, 12.0]), 2.0)
    assert grid.shape == (7, 7, 7)
    assert (grid_nodes(grid)[-1, -1, -1] >= [10, 11, 12]).all()


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.floats(0.1, 7.9)] * 3), st.tuples(*[st.floats(-2, 2)] * 4))
def test_trilinear_interpolation_is_exact_for_linear_fields(point, coefficients):
    grid = odd_grid(np.zeros(3), np.full(3, 8.0), 2.0)
    slope, offset = np.array(coefficients[:3]), coefficients[3]
    values = (grid_nodes(grid) @ slope + offset).ravel()
    around = trilinear(np.array([point]), grid)
    assert (values[around.node] * around.weight).sum() == pytest.approx(slope @ point + offset, abs=1e-9)
    assert np.einsum("nc,nca->a", values[around.node], around.slope) == pytest.approx(slope, abs=1e-9)
    assert around.weight.sum() == pytest.approx(1.0)


def test_points_outside_a_grid_take_its_border_and_no_slope_across_it():
    grid = odd_grid(np.zeros(3), np.full(3, 8.0), 2.0)
    values = grid_nodes(grid)[..., 0].ravel()
    around = trilinear(np.array([[100.0, 4.0, 4.0]]), grid)
    assert (values[around.node] * around.weight).sum() == 8.0
    assert np.einsum("nc,nca->a", values[around.node], around.slope)[0] == 0.0


# Learning and fitting


def test_translation_is_found(grids):
    by_mm = np.array([12.0, -30.0, 7.0])
    fit = fit_field(grids.values[2], grids.values[:0], grids.grid, points_on(lungs(30.0)) + by_mm, FAST)
    assert fit.center_mm == pytest.approx(by_mm, abs=0.3)
    assert fit.b.shape == (0,)
    assert fit.residual_mm < 0.3


def test_mean_shape_lies_where_the_points_are_and_is_not_their_shape(grids):
    center = (100.0, -20.0, 300.0)
    small, middle = lungs(24.0, center), lungs(30.0, center)
    found = MeanShape(grids, FAST).reconstruct(points_on(middle))
    assert_closed_pair(found)
    assert assd(found, middle) < 0.5
    assert assd(MeanShape(grids, FAST).reconstruct(points_on(small)), small) > 3.0


@pytest.mark.parametrize("index", [0, 3])
def test_nearest_lung_is_the_training_lung_itself(training, grids, index):
    by_mm = np.array([50.0, -10.0, 5.0])
    found = NearestLung(training, grids, FAST).reconstruct(points_on(training[index]) + by_mm)
    assert_closed_pair(found)
    for name in SIDES:
        assert found[name].vertices == pytest.approx(training[index][name].vertices + by_mm, abs=0.5)


def test_pca_finds_a_size_between_those_it_saw_and_nearest_does_not(training, grids):
    true = lungs(28.5, (100.0, -20.0, 300.0))
    points = points_on(true)
    pca = PcaOfGrids(grids, FAST).reconstruct(points)
    assert_closed_pair(pca)
    assert assd(pca, true) < 0.4
    assert assd(NearestLung(training, grids, FAST).reconstruct(points), true) > 0.8


def test_the_same_points_give_the_same_lungs(grids):
    points = points_on(lungs(28.0))
    one, again, other = (PcaOfGrids(grids, FAST).reconstruct(p) for p in (points, points, points * 1.05))
    assert np.array_equal(one["left_lung"].vertices, again["left_lung"].vertices)
    assert not np.array_equal(one["left_lung"].vertices, other["left_lung"].vertices)


@pytest.mark.parametrize("kind", [MeanShape, PcaOfGrids])
def test_too_few_or_broken_points_are_refused(grids, kind):
    with pytest.raises(InputError, match=r"9 points; expected at least 10"):
        kind(grids, FAST).reconstruct(np.zeros((9, 3)))
    with pytest.raises(InputError, match=r"NaN or infinite"):
        kind(grids, FAST).reconstruct(np.full((20, 3), np.nan))


# All of them


class FakeCohort:
    """What `build_baselines` asks of a cohort, without files; subjects lie apart in the world."""

    def __init__(self, radii):
        self.radii = dict(zip("abcdefg", radii, strict=False))
        self.asked = []

    def subjects(self, split):
        self.asked.append(split)
        return list(self.radii)

    def world_from_model(self, subject):
        return WorldFromModel(np.full(3, 100.0), np.array([7.0 * self.radii[subject], 3.0, -5.0]))

    def meshes(self, subject):
        return lungs(self.radii[subject], self.world_from_model(subject).center_mm)


def test_baselines_are_built_from_training_subjects_in_the_order_asked():
    cohort = FakeCohort(RADII[:3])
    built = build_baselines(cohort, FAST)
    assert [baseline.name for baseline in built] == ["mean shape", "nearest training lung", "PCA of SDF grids"]
    assert set(cohort.asked) == {"train"}
    true = lungs(27.0, (3.0, 2.0, 1.0))
    for baseline in built:
        found = baseline.reconstruct(points_on(true))
        assert_closed_pair(found)
        assert assd(found, true) < 0.6


def test_baselines_need_training_subjects():
    with pytest.raises(InputError, match=r"no training subjects.*at least one"):
        build_baselines(SimpleNamespace(subjects=lambda split: []), FAST)


def test_config_refuses_unknown_baselines_and_keys():
    with pytest.raises(ValidationError, match="names"):
        BaselinesConfig(names=("magic",))
    with pytest.raises(ValidationError, match="spacing"):
        BaselinesConfig(spacing=3.0)

"""Points and label maps carried between two lungs of known motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lpm.errors import InputError
from lpm.fitting.corresponding import corresponding
from lpm.fitting.discrepancy.residual import ResidualConfig, ResidualField
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.pose import Pose
from lpm.geometry.frames import Floats
from lpm.geometry.grids import labels_of
from lpm.model.bundle import ModelBundle
from lpm.motion.breath import Breath, breathe
from lpm.motion.carrying import Motion, map_points
from lpm.motion.labels import carried_labels
from lpm.motion.smooth import Basis, SmoothDisplacement, Smoothness

SCALE, SHIFT = np.array([1.05, 1.12, 1.2]), np.array([6.0, -9.0, 14.0])  # no two axes alike


def field(model: ModelBundle, scale: Floats, shift: Floats) -> FittedField:
    residual = ResidualField.nothing(ResidualConfig(), len(model.structures))
    return FittedField(
        model, torch.zeros(model.latents.n_modes), Pose(shift, scale, np.zeros(3)), residual, model.structures
    )


@pytest.fixture(scope="module")
def lungs(tiny_atlas: ModelBundle) -> tuple[FittedField, FittedField]:
    """The average, and the same stretched and shifted: the motion is known everywhere."""
    return field(tiny_atlas, np.ones(3), np.zeros(3)), field(tiny_atlas, SCALE, SHIFT)


@pytest.fixture(scope="module")
def motion(lungs: tuple[FittedField, FittedField]) -> Motion:
    return Motion.between(*lungs)


@pytest.fixture(scope="module")
def breath(lungs: tuple[FittedField, FittedField]) -> Breath:
    return breathe(*lungs)


def _inside(lung: FittedField, name: str) -> Floats:
    vertices = corresponding(lung, 4000).meshes[name].vertices
    middle = vertices.mean(axis=0)
    points = middle + 0.6 * (vertices[::60] - middle)
    return points[lung.distances_mm(points, name) < 0.0]  # where a lung is hollow some are outside


def test_the_inside_moves_as_the_lungs_were_stretched(motion: Motion, lungs: tuple[FittedField, FittedField]) -> None:
    for name in motion.smooth:
        points = _inside(lungs[0], name)
        off_mm = np.linalg.norm(motion.points(points) - (points * SCALE + SHIFT), axis=1)
        unmoved_mm = np.linalg.norm(points * (SCALE - 1.0) + SHIFT, axis=1)
        assert off_mm.mean() < 2.5
        assert unmoved_mm.mean() > 12.0
        assert motion.smooth[name].volume_change(points).mean() == pytest.approx(SCALE.prod(), rel=0.08)


def test_the_surface_comes_onto_the_surface(motion: Motion, lungs: tuple[FittedField, FittedField]) -> None:
    for name, mesh in corresponding(lungs[0], 4000).meshes.items():
        carried = motion.carried(mesh.vertices, name)
        assert np.abs(lungs[1].distances_mm(carried, name)).mean() < 0.1


def test_rows_outside_are_named(lungs: tuple[FittedField, FittedField], motion: Motion) -> None:
    points = _inside(lungs[0], "left_lung")[:4].copy()
    points[[1, 3]] += 500.0
    carried = motion.points(points)
    assert np.isnan(carried[:, 0]).tolist() == [False, True, False, True]
    with pytest.raises(InputError, match=r"2 of 4 points outside of the lungs: rows 1, 3"):
        map_points(points, *lungs)
    with pytest.raises(InputError, match="points"):
        map_points(np.array([[np.nan, 0.0, 0.0]]), *lungs)


def test_fits_that_do_not_belong_together_are_refused(
    lungs: tuple[FittedField, FittedField], tiny_model: ModelBundle
) -> None:
    with pytest.raises(InputError, match="fits of two models"):
        Motion.between(lungs[0], replace(lungs[1], model=tiny_model))
    left, right = (replace(lungs[0], structures=(name,)) for name in lungs[0].structures)
    with pytest.raises(InputError, match="fits of the left_lung and of the right_lung; expected a lung in common"):
        Motion.between(left, right)
    with pytest.raises(InputError, match="expected an inspiration that is larger"):
        breathe(lungs[1], lungs[0])


def test_a_label_map_goes_where_its_lungs_go(lungs: tuple[FittedField, FittedField]) -> None:
    """Upper and lower halves keep their share, and lie where they should."""
    whole = labels_of(corresponding(lungs[0], 4000).meshes, spacing_mm=6.0)
    height = whole.to_world(np.argwhere(whole.voxels > 0))[:, 2]
    middle = float(np.median(height))
    voxels = whole.voxels.copy()
    voxels[tuple(np.argwhere(whole.voxels > 0)[height > middle].T)] = 7
    carried = carried_labels(whole.with_voxels(voxels), Motion.between(lungs[1], lungs[0]))
    upper = carried.to_world(np.argwhere(carried.voxels == 7))
    assert upper[:, 2].min() == pytest.approx(middle * SCALE[2] + SHIFT[2], abs=10.0)
    assert np.mean(carried.voxels[carried.voxels > 0] == 7) == pytest.approx(0.5, abs=0.05)


def test_a_breath_grows_evenly_and_most_at_the_base(breath: Breath) -> None:
    phases = breath.phases(5)
    volumes = [sum(mesh.volume_ml for mesh in lungs.values()) for lungs in phases]
    assert (np.diff(volumes) > 0).all()
    assert volumes[-1] / volumes[0] == pytest.approx(SCALE.prod(), rel=0.03)
    for lungs in phases:
        for name, mesh in lungs.items():
            assert np.array_equal(mesh.faces, phases[0][name].faces)
    regions = breath.regions()
    assert [region.name for region in regions] == ["base", "middle", "apex"] * 2
    for region in regions:
        assert region.growth == pytest.approx(SCALE.prod(), rel=0.1)
    assert regions[0].along_mm[2] < regions[1].along_mm[2] < regions[2].along_mm[2]  # stretched about the middle
    with pytest.raises(InputError, match="at least 2"):
        breath.phases(1)


def test_the_field_of_a_breath_moves_the_lungs_alone(breath: Breath) -> None:
    found = breath.field
    assert (found.displacement_mm[found.structure == 0] == 0).all()
    moved = np.linalg.norm(found.displacement_mm[found.structure > 0], axis=1)
    assert moved.mean() > 10.0


def test_growth_is_the_derivative_of_the_displacement() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-80.0, 80.0, (40, 3))
    basis = Basis.over(points, 10, Smoothness(100.0, 0.3, 8.0, 60.0))
    found = SmoothDisplacement(basis, rng.normal(0.0, 0.3, (basis.size, 3)))
    steps = 0.01 * np.eye(3)
    slopes = np.stack([(found(points + step) - found(points - step)) / 0.02 for step in steps], axis=2)
    assert found.volume_change(points) == pytest.approx(np.linalg.det(slopes), rel=1e-4)

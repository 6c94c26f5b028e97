"""Where a search begins: for whole lungs, one start is sized and turned as the points lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lpm
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.surface import SurfacePoints
from lpm.fitting.extraction import mean_shape
from lpm.fitting.initialisation import starts
from lpm.fitting.pose import rotation_matrix, rotation_vector
from lpm.fitting.state import State
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import sample_surface
from lpm.model.bundle import ModelBundle

TURN = torch.tensor([0.15, -0.2, 0.25])  # 20 degrees
SIZE = 0.7


@pytest.fixture(scope="module")
def lungs() -> ModelBundle:
    return lpm.load().bundle


@pytest.fixture(scope="module")
def turned(lungs: ModelBundle) -> Floats:
    """Small mean lungs, turned and moved, 100 points on each."""
    rng, meshes = np.random.default_rng(0), mean_shape(lungs, 5.0).meshes.values()
    points = np.concatenate([sample_surface(mesh, 100, rng=rng).points for mesh in meshes])
    return SIZE * points @ rotation_matrix(TURN).double().numpy().T + np.array([100.0, -50.0, 20.0])


def from_truth(state: State) -> tuple[float, float, float]:
    """Degrees, relative size and mm from the true pose."""
    turn = rotation_vector(rotation_matrix(TURN).T @ rotation_matrix(state.rotation)).norm()
    place = (state.translation - torch.tensor([100.0, -50.0, 20.0])).norm()
    return float(turn) * 57.3, abs(float(state.log_scale.exp().mean()) / SIZE - 1.0), float(place)


def test_one_start_lies_as_the_points_do(lungs: ModelBundle, turned: Floats) -> None:
    seen = SurfacePoints.of(turned, np.full(len(turned), -1))
    degrees, size, place_mm = min(from_truth(state) for state in starts(lungs, seen, FitConfig())[1])
    assert degrees < 9.0
    assert size < 0.08
    assert place_mm < 12.0


def test_a_pose_that_is_fixed_stays_as_it_is(lungs: ModelBundle, turned: Floats) -> None:
    config = FitConfig(axis_scale_sd=0.0, rotation_sd=0.0)
    first, second = starts(lungs, SurfacePoints.of(turned, np.full(len(turned), -1)), config)
    assert not second
    assert first
    assert all(not state.log_scale.any() and not state.rotation.any() for state in first)

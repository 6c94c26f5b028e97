"""The residual on a lattice: close to the residual itself, and nothing far from the surface."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpm.fitting.discrepancy.lattice_residual import LatticeResidual, asked, followed
from lpm.fitting.discrepancy.residual import Observed, ResidualConfig, ResidualField, condition, covariance
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid

CONFIG = ResidualConfig(sd_mm=4.0, length_mm=18.0)
LATTICE = VoxelGrid(np.array([-10.0, -10.0, -16.0]), 1.5, (65, 65, 17))


@pytest.fixture(scope="module")
def residual() -> ResidualField:
    """Given by 400 points on a plate whose errors are a draw of the residual itself, of the second structure only."""
    rng = np.random.default_rng(3)
    plate = torch.from_numpy(np.c_[rng.uniform(0, 80, (400, 2)), np.zeros(400)])
    factor = torch.linalg.cholesky(covariance(plate, plate, CONFIG) + 1e-8 * torch.eye(len(plate)))
    errors = factor @ torch.randn(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[:, 0]
    seen = Observed(plate, torch.ones(400, dtype=torch.int64), errors, torch.full((400,), 0.1, dtype=torch.float64))
    return condition(seen, 2, CONFIG)


def nodes_near_the_plate() -> Floats:
    nodes = LATTICE.points_mm(np.indices(LATTICE.shape).reshape(3, -1).T)
    return nodes[np.abs(nodes[:, 2]) < 3.0]


def test_many_places_take_the_residual_from_a_coarse_lattice(residual: ResidualField) -> None:
    between, places = LatticeResidual(residual, LATTICE), nodes_near_the_plate()
    exact = asked(residual, places, 1)
    wrong = np.abs(between(places, 1) - exact)
    assert exact.std() > 1.0
    assert wrong.mean() < 0.05
    assert wrong.max() < 0.6
    assert 0 < between.known[1].sum() < 0.5 * len(places)
    assert not between.known[0].any()
    assert not between(places, 0).any()  # nothing was seen of the other structure


def test_nodes_are_evaluated_once(residual: ResidualField) -> None:
    between, places = LatticeResidual(residual, LATTICE), nodes_near_the_plate()
    first = between(places, 1)
    known = between.known.sum()
    np.testing.assert_array_equal(between(places[:50], 1), first[:50])
    assert between.known.sum() == known


def test_scattered_places_ask_the_residual_itself(residual: ResidualField) -> None:
    between, places = LatticeResidual(residual, LATTICE), nodes_near_the_plate()[::997]
    np.testing.assert_array_equal(between(places, 1), asked(residual, places, 1))
    assert not between.known.any()


def test_every_corner_of_the_lattice_can_be_asked(residual: ResidualField) -> None:
    between = LatticeResidual(residual, LATTICE)
    corners = LATTICE.points_mm(np.array([[0, 0, 0], [64, 64, 16]]))
    close = (corners[:, None] + np.linspace(0, 1, 200)[:, None] * np.array([1e-6, 0, 0])).reshape(-1, 3)
    np.testing.assert_allclose(between(close, 1), asked(residual, close, 1), atol=0.05)
    assert between.known.any()


@pytest.mark.parametrize("length_mm", [18.0, 3.0])  # the second is too rough for a lattice
def test_far_from_the_surface_nothing_is_added(residual: ResidualField, length_mm: float) -> None:
    config = CONFIG.model_copy(update={"length_mm": length_mm})
    rough = ResidualField(config, residual.points, residual.factors, residual.weights)
    places = nodes_near_the_plate()
    distances = np.where(np.arange(len(places)) % 2 == 0, 0.0, 100.0)[:, None] * np.ones(2)
    changed = followed(lambda points: distances.copy(), rough, LATTICE)(places) - distances
    assert np.abs(changed[::2, 1]).max() > 1.0
    assert np.abs(changed[1::2]).max() == 0.0
    if length_mm == 3.0:
        np.testing.assert_array_equal(changed[::2, 1], asked(rough, places[::2], 1))

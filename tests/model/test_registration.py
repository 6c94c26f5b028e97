from __future__ import annotations

import numpy as np
import pytest
import torch

from lpm.geometry.distances import signed_distance
from lpm.geometry.grids import VoxelGrid, grid_nodes
from lpm.geometry.surfaces import surface_on_grid
from lpm.model.config import RegistrationConfig
from lpm.model.registration import Correspondence, GroupRegistration, StructureFields, n_registrations
from lpm.model.warp import WarpScale

GRID = VoxelGrid(np.array([-60.0, -60.0, -60.0]), 5.0, (25, 25, 25))
NODES = grid_nodes(GRID).reshape(-1, 3)
QUICK = RegistrationConfig(rounds=1, spacing_mm=15.0, scales=(WarpScale(12.0, 60.0, 30), WarpScale(5.0, 28.0, 60)))


def notched(size: float, notch_z: float) -> torch.Tensor:
    """A ball with a deep notch in its right side, at a height of its own."""
    ball = np.linalg.norm(NODES, axis=1) - size
    notch = np.linalg.norm(NODES - np.array([size, 0.0, notch_z]), axis=1) - 14.0
    return torch.from_numpy(np.maximum(ball, -notch).reshape(GRID.shape)).float()


@pytest.fixture(scope="module")
def found() -> tuple[torch.Tensor, Correspondence]:
    """Balls whose notches lie at five heights, made to correspond."""
    distances = torch.stack([notched(size, z) for size, z in ((36, -14), (40, -7), (38, 0), (42, 7), (36, 14))])
    vertices = NODES[np.abs(distances[2].numpy().ravel()) < 4.0]
    registration = GroupRegistration([StructureFields(distances, GRID, vertices)], QUICK, jobs=1)
    assert len(list(registration.rounds())) == n_registrations(registration.config, 5, 1) == 10
    first, last = registration.errors_mm
    assert first != last
    assert last[0] == pytest.approx(np.mean(registration.found[0].errors_mm))
    return distances, registration.found[0]


def test_every_shape_is_the_displaced_template(found: tuple[torch.Tensor, Correspondence]) -> None:
    distances, correspondence = found
    assert max(correspondence.errors_mm) < 1.0
    fields = StructureFields(distances, GRID, NODES)
    points = fields.box.nodes(GRID.shape)
    for distance, displacement in zip(distances, correspondence.displacements, strict=True):
        moved = points + correspondence.box.sample(displacement, points)
        value = fields.box.distance(correspondence.template, moved)
        near = distance.flatten().abs() < 4.0
        assert float((value - distance.flatten())[near].abs().mean()) < 1.2
    near = distances[0].flatten().abs() < 4.0
    assert float((correspondence.template - distances[0]).flatten()[near].abs().mean()) > 1.3


def test_the_average_keeps_a_notch_that_a_mean_of_distances_loses(found: tuple[torch.Tensor, Correspondence]) -> None:
    distances, correspondence = found
    along = np.stack([np.linspace(0.0, 45.0, 46), np.zeros(46), np.zeros(46)], axis=1)

    def depth(field: torch.Tensor) -> float:
        mesh = surface_on_grid(field.numpy(), GRID).outward()
        return float((signed_distance(mesh, along) < 0).sum())

    single = np.mean([depth(each) for each in distances[2:3]])
    assert abs(depth(correspondence.template) - single) < 3.0
    assert depth(distances.mean(dim=0)) > single + 4.0

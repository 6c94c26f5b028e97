from __future__ import annotations

import numpy as np
import torch

from lpm.model.warp import Box, Eigenfunctions, WarpScale, inverted


def test_eigenfunctions_have_the_processs_spread_and_length() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.uniform(-60.0, 60.0, (2000, 3))
    functions = Eigenfunctions.over(vertices, WarpScale(8.0, 50.0, 100), 150)
    points = torch.from_numpy(vertices[:400]).float()
    covariance = functions.at(points) @ functions.at(points).T
    assert 0.9 * 64.0 < float(covariance.diagonal().mean()) < 1.05 * 64.0
    apart = torch.cdist(points, points)
    pairs = (apart > 45.0) & (apart < 55.0)
    correlation = float((covariance[pairs] / 64.0).mean())
    assert abs(correlation - np.exp(-0.5)) < 0.08


def test_a_box_gives_values_between_nodes_and_distances_outside() -> None:
    box = Box(torch.tensor([0.0, 0.0, 0.0]), torch.tensor([4.0, 6.0, 8.0]))
    nodes = box.nodes((3, 4, 5))
    field = (nodes @ torch.tensor([1.0, 10.0, 100.0])).reshape(3, 4, 5)
    inside = torch.tensor([[1.0, 2.5, 7.0], [3.9, 0.1, 0.2]])
    expected = inside @ torch.tensor([1.0, 10.0, 100.0])
    torch.testing.assert_close(box.sample(field[None], inside)[:, 0], expected)
    outside = torch.tensor([[4.0, 6.0, 11.0]])
    torch.testing.assert_close(box.distance(field, outside), torch.tensor([4.0 + 60.0 + 800.0 + 3.0]))


def test_a_boxs_nodes_lie_no_farther_apart_than_asked() -> None:
    box = Box(torch.zeros(3), torch.tensor([10.0, 11.0, 30.0]))
    assert box.shape_at(5.0) == (3, 4, 7)
    assert box.wider(5.0).shape_at(5.0) == (5, 6, 9)


def test_an_inverse_takes_points_back() -> None:
    box = Box(torch.full((3,), -100.0), torch.full((3,), 100.0))
    nodes = box.nodes((21, 21, 21))
    bump = 15.0 * torch.exp(-nodes.square().sum(dim=1) / 40.0**2)
    there = torch.stack([bump, -0.5 * bump, 0.1 * nodes[:, 2]], dim=1).T.reshape(3, 21, 21, 21)
    back = inverted(there, box)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-60.0, 60.0, (200, 3))).float()
    moved = points + box.sample(there, points)
    again = moved + box.sample(back, moved)
    assert float((again - points).norm(dim=1).max()) < 1.0
    assert float((moved - points).norm(dim=1).max()) > 8.0

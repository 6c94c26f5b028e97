from __future__ import annotations

import numpy as np
import pytest

from lpm.errors import InputError, NoSurfaceError
from lpm.geometry.extraction import evaluate_sparse, extract_meshes, lattice_over, without_overlap
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid
from lpm.geometry.surfaces import extract_surface

LOW, HIGH = np.full(3, -160.0), np.full(3, 160.0)


def two_balls(points_mm: Floats) -> Floats:
    """Exact distances to balls of 60 and 50 mm."""
    left = np.linalg.norm(points_mm - (70, 5, 0), axis=1) - 60.0
    right = np.linalg.norm(points_mm - (-70, 0, -10), axis=1) - 50.0
    return np.stack([left, right], axis=1)


def test_same_surface_as_the_dense_grid_at_a_fraction_of_the_evaluations() -> None:
    lattice = lattice_over(LOW, HIGH, 320 / 128)
    sparse = extract_meshes(two_balls, ("a", "b"), lattice)
    nodes = np.indices(lattice.shape).reshape(3, -1).T
    dense = two_balls(lattice.points_mm(nodes)).T.reshape(2, *lattice.shape).astype(np.float32)
    for index, name in enumerate("ab"):
        expected = extract_surface(lattice.volume(dense[index]), 0.0, inside_is_above=False)
        np.testing.assert_allclose(sparse.meshes[name].vertices, expected.vertices, atol=0.01 * lattice.spacing_mm)
        np.testing.assert_array_equal(sparse.meshes[name].faces, expected.faces)
    assert sparse.n_nodes == lattice.n_nodes
    assert sparse.n_evaluated < 0.12 * sparse.n_nodes


def test_the_share_of_evaluations_falls_with_the_resolution() -> None:
    shares = []
    for n in (64, 256):
        sparse = evaluate_sparse(two_balls, lattice_over(LOW, HIGH, 320 / n))
        shares.append(sparse.n_evaluated / sparse.lattice.n_nodes)
    assert shares[1] <= 0.06 < shares[0]


def test_no_node_is_asked_twice() -> None:
    asked: list[Floats] = []

    def field(points_mm: Floats) -> Floats:
        asked.append(points_mm)
        return two_balls(points_mm)

    sparse = evaluate_sparse(field, lattice_over(LOW, HIGH, 5.0))
    points = np.concatenate(asked)
    assert len(np.unique(points, axis=0)) == len(points) == sparse.n_evaluated


def test_meshes_are_closed_outward_and_of_the_right_volume() -> None:
    meshes = extract_meshes(two_balls, ("a", "b"), lattice_over(LOW, HIGH, 2.0)).meshes
    for name, radius in (("a", 60.0), ("b", 50.0)):
        assert meshes[name].is_closed
        assert meshes[name].n_pieces == 1
        assert meshes[name].volume_ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=2e-3)


def test_a_shape_that_leaves_the_lattice_is_closed_there() -> None:
    lattice = lattice_over(LOW, np.array([80.0, 160, 160]), 4.0)
    end_mm = lattice.origin_mm[0] + lattice.spacing_mm * (lattice.shape[0] - 1)
    assert end_mm < 70 + 60, "the ball must reach past the lattice"
    mesh = extract_meshes(two_balls, ("a", "b"), lattice).meshes["a"]
    assert mesh.is_closed
    assert end_mm - lattice.spacing_mm <= mesh.vertices[:, 0].max() <= end_mm


def test_crumbs_are_left_out_and_a_union_keeps_both_pieces() -> None:
    def union(points_mm: Floats) -> Floats:
        crumb = np.linalg.norm(points_mm - (0, 0, 140), axis=1) - 8.0
        return np.minimum(two_balls(points_mm).min(axis=1), crumb)[:, None]

    lattice = lattice_over(LOW, HIGH, 4.0)
    assert extract_meshes(union, ("lungs",), lattice).meshes["lungs"].n_pieces == 1
    assert extract_meshes(union, ("lungs",), lattice, pieces_each=2).meshes["lungs"].n_pieces == 2
    assert extract_meshes(union, ("lungs",), lattice, pieces_each=3).meshes["lungs"].n_pieces == 2


def test_overlap_is_divided_and_the_rest_left_alone() -> None:
    distances = np.array([[-5.0, 10.0], [-5.0, -3.0], [2.0, 1.0], [-2.0, -2.0]])
    divided = without_overlap(distances)
    np.testing.assert_allclose(divided, [[-5.0, 10.0], [-1.0, 1.0], [2.0, 1.0], [0.0, 0.0]])
    assert not (divided < 0).all(axis=1).any()
    np.testing.assert_array_equal(without_overlap(distances[:, :1]), distances[:, :1])


def test_sheets_that_touch_along_an_edge_are_told_apart() -> None:
    """Two boxes that share an edge of the lattice make an edge of four triangles at level 0, and none a hair away."""

    def touching(points_mm: Floats) -> Floats:
        boxes = [np.abs(points_mm - center).max(axis=1) - 40.0 for center in ((-40.0, -40.0, 0.0), (40.0, 40.0, 0.0))]
        return np.minimum(*boxes)[:, None]

    lattice = VoxelGrid(np.full(3, -160.0), 4.0, (81, 81, 81))
    mesh = extract_meshes(touching, ("a",), lattice, pieces_each=2).meshes["a"]
    assert mesh.is_closed
    assert mesh.volume_ml == pytest.approx(2 * 80**3 / 1000, rel=0.02)


def test_a_field_without_surface_is_refused() -> None:
    with pytest.raises(NoSurfaceError, match="a: the field runs from"):
        extract_meshes(lambda points: np.full((len(points), 1), 7.0), ("a",), lattice_over(LOW, HIGH, 10.0))


@pytest.mark.parametrize(("spacing", "message"), [(0.0, "spacing 0.0 mm"), (0.01, "spacing 0.01 mm over")])
def test_impossible_lattices_are_refused(spacing: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lattice_over(LOW, HIGH, spacing)

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.errors import InputError
from lpm.geometry.distances import closest_points, morton_order, signed_distance, spread_apart
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import Box, Ellipsoid


@pytest.fixture(scope="module")
def box_mesh() -> WorldMesh:
    solid = trimesh.creation.box((20.0, 40.0, 60.0))
    return WorldMesh(np.asarray(solid.vertices) + np.array([5.0, 6.0, 7.0]), np.asarray(solid.faces))


@pytest.fixture(scope="module")
def ball_mesh() -> WorldMesh:
    ball = trimesh.creation.icosphere(subdivisions=5, radius=50.0)
    return WorldMesh(np.asarray(ball.vertices), np.asarray(ball.faces))


def test_box_is_exact_inside_outside_and_beside_edges(box_mesh: WorldMesh, rng: np.random.Generator) -> None:
    points = rng.uniform(-60, 70, (5000, 3))
    truth = Box((5.0, 6.0, 7.0), (10.0, 20.0, 30.0)).field(points)
    np.testing.assert_allclose(signed_distance(box_mesh, points), truth, atol=1e-9)
    assert (truth < 0).any()


def test_sphere_within_its_tessellation(ball_mesh: WorldMesh, rng: np.random.Generator) -> None:
    points = rng.uniform(-80, 80, (3000, 3))
    truth = Ellipsoid(0.0, 50.0).field(points)
    np.testing.assert_allclose(signed_distance(ball_mesh, points), truth, atol=0.02)


def test_a_flipped_mesh_has_the_opposite_sign(ball_mesh: WorldMesh) -> None:
    center = np.zeros((1, 3))
    assert signed_distance(ball_mesh, center)[0] == pytest.approx(-50.0, abs=0.05)
    assert signed_distance(ball_mesh.flipped(), center)[0] == pytest.approx(50.0, abs=0.05)


def test_no_points_no_distances(ball_mesh: WorldMesh) -> None:
    assert signed_distance(ball_mesh, np.zeros((0, 3))).shape == (0,)


def test_inside_of_an_open_mesh_is_not_defined(ball_mesh: WorldMesh) -> None:
    opened = ball_mesh.with_faces(ball_mesh.faces[5:])
    with pytest.raises(InputError, match="signed_distance: an open mesh; expected a closed one"):
        signed_distance(opened, np.zeros((1, 3)))


def test_closest_points_of_an_open_mesh() -> None:
    triangle = WorldMesh(np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]]), np.array([[0, 1, 2]]))
    found = closest_points(triangle, np.array([[2.0, 2.0, 5.0], [-3.0, -4.0, 0.0]]))
    np.testing.assert_allclose(found.distance, [5.0, 5.0])
    np.testing.assert_allclose(found.point, [[2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    assert found.face.tolist() == [0, 0]


def test_closest_points_agree_with_the_magnitude_of_the_sign(box_mesh: WorldMesh, rng: np.random.Generator) -> None:
    points = rng.uniform(-60, 70, (500, 3))
    np.testing.assert_allclose(
        closest_points(box_mesh, points).distance, np.abs(signed_distance(box_mesh, points)), atol=1e-9
    )


def test_the_order_of_points_changes_nothing(ball_mesh: WorldMesh, rng: np.random.Generator) -> None:
    points = rng.uniform(-80, 80, (500, 3))
    shuffled = rng.permutation(len(points))
    np.testing.assert_array_equal(
        signed_distance(ball_mesh, points)[shuffled], signed_distance(ball_mesh, points[shuffled])
    )
    there, back = closest_points(ball_mesh, points), closest_points(ball_mesh, points[shuffled])
    np.testing.assert_array_equal(there.point[shuffled], back.point)
    np.testing.assert_array_equal(there.face[shuffled], back.face)


def test_morton_order_keeps_neighbours_together(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 1, (4000, 3))
    order = morton_order(points)
    assert sorted(order) == list(range(4000))
    steps = np.linalg.norm(np.diff(points[order], axis=0), axis=1)
    assert steps.mean() < 0.2 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()


def test_morton_order_of_one_place() -> None:
    assert morton_order(np.ones((3, 3))).tolist() == [0, 1, 2]
    assert morton_order(np.zeros((0, 3))).shape == (0,)


def test_points_that_lie_apart_come_one_after_the_other() -> None:
    line = np.array([[x, 0.0, 0.0] for x in (0.0, 1.0, 2.0, 3.0, 10.0)])
    assert spread_apart(line, 3)[:, 0].tolist() == [10.0, 0.0, 2.0]  # 3 lies beside the middle, at 3.2
    assert len(spread_apart(line, 9)) == 5

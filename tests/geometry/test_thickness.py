from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.geometry.meshes import WorldMesh
from lpm.geometry.thickness import thickness, vertex_normals


def mesh_of(solid: trimesh.Trimesh) -> WorldMesh:
    return WorldMesh(np.asarray(solid.vertices), np.asarray(solid.faces))


def test_a_ball_is_as_thick_as_its_diameter_everywhere() -> None:
    ball = mesh_of(trimesh.creation.icosphere(subdivisions=4, radius=50.0))
    assert thickness(ball) == pytest.approx(100.0, abs=1.6)


def test_a_plate_is_as_thick_as_it_is_flat_and_not_as_it_is_wide() -> None:
    plate = mesh_of(trimesh.creation.box((100.0, 80.0, 10.0)).subdivide_to_size(4.0))
    x, y, z = np.abs(plate.vertices).T
    on_faces = (z > 4.9) & (x < 40.0) & (y < 30.0)
    assert on_faces.sum() > 100
    assert thickness(plate)[on_faces] == pytest.approx(10.0, abs=1e-6)


def test_a_cone_is_thinner_towards_its_tip() -> None:
    cone = mesh_of(trimesh.creation.cone(radius=30.0, height=100.0).subdivide_to_size(5.0))
    height, thick = cone.vertices[:, 2], thickness(cone)
    on_side = (height > 40.0) & (height < 95.0)
    assert np.corrcoef(height[on_side], thick[on_side])[0, 1] < -0.95


def test_twice_the_size_is_twice_as_thick() -> None:
    solid = trimesh.creation.capsule(height=40.0, radius=12.0)
    once = mesh_of(solid)
    twice = WorldMesh(2.0 * once.vertices, once.faces)
    assert thickness(twice) == pytest.approx(2.0 * thickness(once), rel=1e-6)


def test_normals_of_a_ball_point_outwards() -> None:
    ball = mesh_of(trimesh.creation.icosphere(subdivisions=3, radius=5.0))
    assert vertex_normals(ball) == pytest.approx(ball.vertices / 5.0, abs=0.02)
    assert vertex_normals(ball.flipped()) == pytest.approx(-ball.vertices / 5.0, abs=0.02)

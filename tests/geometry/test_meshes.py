from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.errors import InputError
from lpm.geometry.meshes import Mesh, WorldMesh, joined, sample_surface


def sphere(radius_mm: float = 50.0, center: tuple[float, float, float] = (0.0, 0.0, 0.0), level: int = 5) -> WorldMesh:
    ball = trimesh.creation.icosphere(subdivisions=level, radius=radius_mm)
    return WorldMesh(np.asarray(ball.vertices) + center, np.asarray(ball.faces))


def box(size: tuple[float, float, float]) -> WorldMesh:
    solid = trimesh.creation.box(size)
    return WorldMesh(np.asarray(solid.vertices), np.asarray(solid.faces))


def test_sphere_volume_area_and_centroid() -> None:
    ball = sphere(50.0, (10.0, -20.0, 300.0))
    assert ball.volume_ml == pytest.approx(4 / 3 * np.pi * 50**3 / 1000, rel=1e-3)
    assert ball.area_cm2 == pytest.approx(4 * np.pi * 50**2 / 100, rel=1e-3)
    np.testing.assert_allclose(ball.centroid, (10.0, -20.0, 300.0), atol=1e-6)


def test_box_is_exact() -> None:
    solid = box((10.0, 20.0, 30.0))
    assert solid.enclosed_volume == pytest.approx(6000.0, rel=1e-12)
    assert solid.area_cm2 == pytest.approx(22.0, rel=1e-12)


def test_centroid_is_of_the_volume_and_not_of_the_vertices() -> None:
    cone = trimesh.creation.cone(radius=10.0, height=40.0, sections=64)
    mesh = WorldMesh(np.asarray(cone.vertices), np.asarray(cone.faces))
    assert mesh.centroid[2] == pytest.approx(10.0, abs=0.01)
    assert mesh.vertices.mean(axis=0)[2] != pytest.approx(10.0, abs=1.0)


def test_normals_point_out_of_a_sphere_and_into_a_flipped_one() -> None:
    ball = sphere(level=3)
    outward = ball.corners.mean(axis=1)
    assert (np.einsum("ij,ij->i", ball.face_normals, outward) > 0).all()
    assert (np.einsum("ij,ij->i", ball.flipped().face_normals, outward) < 0).all()


def test_flipped_mesh_has_negative_volume_until_turned_outward() -> None:
    inward = sphere(level=2).flipped()
    assert inward.enclosed_volume < 0
    assert inward.outward().enclosed_volume > 0
    assert inward.is_closed


def test_a_triangle_without_area_has_no_normal() -> None:
    mesh = WorldMesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    np.testing.assert_array_equal(mesh.face_normals, np.zeros((1, 3)))


def test_closed_open_and_inconsistent() -> None:
    ball = sphere(level=2)
    assert ball.is_closed
    assert not ball.with_faces(ball.faces[1:]).is_closed
    turned = ball.faces.copy()
    turned[0] = turned[0, ::-1]
    assert not WorldMesh(ball.vertices, turned).is_closed


def test_pieces_and_the_largest() -> None:
    small, large = sphere(5.0, (100.0, 0.0, 0.0), level=3), sphere(30.0, level=2)
    both = WorldMesh(
        np.concatenate([small.vertices, large.vertices]),
        np.concatenate([small.faces, large.faces + len(small.vertices)]),
    )
    assert both.n_pieces == 2
    kept = both.largest_piece()
    assert kept.n_pieces == 1
    assert kept.volume_ml == pytest.approx(large.volume_ml)
    assert len(kept.vertices) == len(large.vertices)
    assert large.largest_piece().volume_ml == large.volume_ml


def test_trimesh_agrees() -> None:
    ball = sphere(level=3)
    other = ball.to_trimesh()
    assert other.volume == pytest.approx(ball.enclosed_volume)
    assert len(other.vertices) == len(ball.vertices)


def test_samples_lie_on_the_surface_evenly(rng: np.random.Generator) -> None:
    solid = box((10.0, 20.0, 30.0))
    samples = sample_surface(solid, 20_000, rng=rng)
    on_face = np.isclose(np.abs(samples.points), [5.0, 10.0, 15.0], atol=1e-9)
    assert on_face.any(axis=1).all()
    shares = on_face.mean(axis=0)
    np.testing.assert_allclose(shares, np.array([600, 300, 200]) / 1100, atol=0.015)
    np.testing.assert_allclose(np.linalg.norm(samples.normals, axis=1), 1.0)
    assert (np.einsum("ij,ij->i", samples.normals, samples.points) > 0).all()


def test_samples_follow_the_seed() -> None:
    ball = sphere(level=2)
    first, again = (sample_surface(ball, 50, rng=np.random.default_rng(3)).points for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, sample_surface(ball, 50, rng=np.random.default_rng(4)).points)


BOX = trimesh.creation.box((2.0, 3.0, 4.0))


def test_joined_meshes_keep_their_triangles() -> None:
    boxes = [WorldMesh(np.asarray(BOX.vertices) + offset, np.asarray(BOX.faces)) for offset in (0.0, 10.0)]
    both = joined(boxes)
    assert both.n_pieces == 2
    assert both.enclosed_volume == pytest.approx(sum(part.enclosed_volume for part in boxes))


@pytest.mark.parametrize("faces", [np.zeros((0, 3)), np.zeros((1, 4)), np.zeros(3)])
def test_faces_that_are_not_triangles_are_refused(faces: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"mesh: faces of shape .* expected \(f, 3\) triangles"):
        Mesh(np.zeros((3, 3)), faces)


@pytest.mark.parametrize("index", [3, -1])
def test_faces_past_the_vertices_are_refused(index: int) -> None:
    with pytest.raises(InputError, match=f"a face names vertex {index}; expected indices from 0 to 2"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, index]]))


def test_vertices_with_nan_are_refused() -> None:
    with pytest.raises(InputError, match="mesh vertices: 1 of 3 points are NaN"):
        Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]]), np.array([[0, 1, 2]]))


def test_other_libraries_take_and_give_the_same_mesh() -> None:
    mesh = WorldMesh(
        np.array([[0.0, 0, 0], [30, 0, 0], [0, 20, 0], [0, 0, 10]]),
        np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
    )
    again = WorldMesh.from_trimesh(mesh.to_trimesh())
    assert np.array_equal(again.vertices, mesh.vertices)
    assert np.array_equal(again.faces, mesh.faces)
    shown = pytest.importorskip("pyvista").wrap(mesh.to_trimesh())
    assert mesh.to_pyvista().volume == pytest.approx(shown.volume)
    assert mesh.to_pyvista().bounds == pytest.approx((0, 30, 0, 20, 0, 10))


def test_means_over_neighbours() -> None:
    """Of a tetrahedron every vertex has all others as neighbours."""
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    mesh = WorldMesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), faces)
    assert mesh.neighbour_means() @ np.array([0.0, 3.0, 6.0, 9.0]) == pytest.approx([6.0, 5.0, 4.0, 3.0])

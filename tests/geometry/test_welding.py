"""A closed surface is closed whatever a file did to its vertices; bodies that only touch are bodies of their own."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.geometry.meshes import WorldMesh, joined
from lpm.geometry.welding import welded


def ball(x: float = 0.0, radius: float = 80.0) -> WorldMesh:
    found = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return WorldMesh(np.asarray(found.vertices) * (0.6, 0.8, 1.0) + (x, 30.0, -400.0), np.asarray(found.faces))


@pytest.fixture
def two() -> WorldMesh:
    return joined([ball(-70.0), ball(70.0, 60.0)])


def soup(mesh: WorldMesh, noise_mm: float = 0.0) -> WorldMesh:
    """Every triangle with corners of its own, as normals and textures split them."""
    corners = mesh.corners.reshape(-1, 3) + np.random.default_rng(0).normal(0.0, noise_mm, (3 * len(mesh.faces), 3))
    return WorldMesh(corners, np.arange(3 * len(mesh.faces)).reshape(-1, 3))


def volumes_ml(mesh: WorldMesh) -> list[float]:
    return sorted(piece.volume_ml for piece in mesh.pieces())


@pytest.mark.parametrize("noise_mm", [0.0, 1e-5, 2e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("unit", [1.0, 0.001, 0.1, 1000.0])
def test_split_corners_are_merged(two: WorldMesh, noise_mm: float, unit: float) -> None:
    split = soup(two, noise_mm)
    found = welded(WorldMesh(split.vertices * unit, split.faces))
    assert found.is_closed
    assert found.n_pieces == 2
    assert len(found.vertices) == len(two.vertices)
    assert np.array(volumes_ml(found)) / unit**3 == pytest.approx(volumes_ml(two), rel=1e-4)


@pytest.mark.parametrize("digits", [0, 1, 2])
def test_rounded_corners_are_merged(two: WorldMesh, digits: int) -> None:
    split = soup(two)
    found = welded(WorldMesh(np.round(split.vertices, digits), split.faces))
    assert found.is_closed
    assert volumes_ml(found)[-2:] == pytest.approx(volumes_ml(two), rel=0.005)


def test_a_closed_mesh_stays_as_it_is(two: WorldMesh) -> None:
    assert welded(two) is two


def test_a_hole_stays_open(two: WorldMesh) -> None:
    assert not welded(two.with_faces(two.faces[5:])).is_closed
    found = welded(soup(two.with_faces(two.faces[5:])))
    assert not found.is_closed
    assert found.n_pieces == 2


def test_triangles_that_face_another_way_are_turned(two: WorldMesh) -> None:
    faces = np.where(np.random.default_rng(0).random(len(two.faces))[:, None] < 0.3, two.faces[:, ::-1], two.faces)
    found = welded(WorldMesh(two.vertices, faces))
    assert found.is_closed
    assert volumes_ml(found) == pytest.approx(volumes_ml(two))


def blocks(*boxes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]], together: bool) -> WorldMesh:
    """Faces of voxels of 10 mm, corners shared; each box by itself, or all as one mask."""
    masks = [np.zeros((12, 12, 12), dtype=bool) for _ in boxes]
    for mask, box in zip(masks, boxes, strict=True):
        mask[tuple(slice(*span) for span in box)] = True
    corners: dict[tuple[int, ...], int] = {}
    faces = []
    for mask in [np.any(masks, axis=0)] if together else masks:
        for axis, step in ((axis, step) for axis in range(3) for step in (1, -1)):
            u, v = (other for other in range(3) if other != axis)
            for cell in np.argwhere(mask & ~np.roll(mask, -step, axis)):
                start = cell + np.eye(3, dtype=int)[axis] * (step > 0)
                square = [start + np.eye(3, dtype=int)[u] * a + np.eye(3, dtype=int)[v] * b for a, b in CYCLE]
                own = [corners.setdefault(tuple(corner), len(corners)) for corner in square]
                own = own if (step > 0) == (axis != 1) else own[::-1]
                faces += [own[:3], [own[0], own[2], own[3]]]
    return WorldMesh(10.0 * np.array(list(corners)), np.array(faces))


CYCLE = ((0, 0), (1, 0), (1, 1), (0, 1))
ONE = ((1, 5), (1, 5), (1, 10))
TOUCHING = {
    "at a corner": ((5, 10), (5, 10), (10, 11)),
    "along an edge": ((5, 10), (5, 10), (2, 8)),
    "over a face": ((5, 10), (2, 8), (2, 8)),
}


@pytest.mark.parametrize("inside_out", [False, True])
@pytest.mark.parametrize("how", TOUCHING)
def test_bodies_that_touch_are_told_apart(how: str, inside_out: bool) -> None:
    mesh = blocks(ONE, TOUCHING[how], together=how != "over a face")
    found = welded(mesh.flipped() if inside_out else mesh)
    assert found.is_closed
    sizes = [float(np.prod([b - a for a, b in box])) for box in (ONE, TOUCHING[how])]
    assert [abs(volume) for volume in volumes_ml(found)] == pytest.approx(sorted(sizes, reverse=inside_out))


def test_a_body_that_touches_itself_is_one() -> None:
    """Two arms that meet along an edge: four triangles at it, of one body."""
    arms = (((1, 10), (1, 10), (1, 3)), ((1, 5), (1, 5), (3, 8)), ((5, 10), (5, 10), (3, 8)))
    mesh = blocks(*arms, together=True)
    assert not mesh.is_closed
    found = welded(mesh)
    assert found.is_closed
    assert found.n_pieces == 1
    assert found.volume_ml == pytest.approx(mesh.volume_ml)


@pytest.mark.parametrize("is_turned", [False, True])
def test_a_surface_that_is_stored_twice_is_one(is_turned: bool) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=50.0)
    again = ball.faces[:, ::-1] if is_turned else ball.faces
    found = welded(WorldMesh(ball.vertices, np.concatenate([ball.faces, again])))
    assert found.is_closed
    assert abs(found.enclosed_volume) == pytest.approx(ball.volume)

"""Closed surfaces of meshes whose files split vertices along textures and normals, or join those of two bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Indices, WorldMesh

N = TypeVar("N", np.float64, np.int64)
# of the mesh's extent, tried in turn: corners that differ by nothing, by rounding of float32, by that of text. The
# last is a hundredth of a millimetre of a lung
_APART = (0.0, 1e-7, 1e-6, 1e-5, 3e-5)
_SAME_ANGLE = 1e-6  # rad: triangles at an edge that lie on each other


def welded(mesh: WorldMesh) -> WorldMesh:
    """Close a surface whose vertices only need to be told apart by place.

    Vertices in the same place are merged, and vertices or edges that join bodies which only touch there are split, so
    that each body is a piece of its own. Triangles that face another way than their neighbours are turned; of a
    surface that is stored twice one is left.

    Args:
        mesh: As a file holds it.

    Returns:
        A closed mesh, the mesh itself if it is one; if merging does not close it, with vertices of one place merged.
    """
    mesh = _once(mesh)
    apart = _bodies_apart(mesh)
    if apart is not None:
        return apart
    extent = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    tries = (merged(mesh, share * extent) for share in _APART)
    found = next((apart for each in tries if (apart := _bodies_apart(each)) is not None), None)
    if found is None:
        exact = merged(mesh, 0.0)
        return exact if len(exact.vertices) < len(mesh.vertices) else mesh
    return found


def merged(mesh: WorldMesh, apart_mm: float) -> WorldMesh:
    """Merge vertices that lie no farther apart; triangles that lose a corner go, and repeated ones.

    Args:
        mesh: Any mesh.
        apart_mm: Distance, mm; chains of such neighbours become one vertex.
    """
    places, own = _different(mesh.vertices)
    if apart_mm > 0:
        pairs = cKDTree(places).query_pairs(apart_mm, output_type="ndarray")
        group = _groups(len(places), pairs)
        first = np.unique(group, return_index=True)[1]
        places, own = places[first], group[own]
    faces = own[mesh.faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    turned = np.take_along_axis(faces, (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3, axis=1)
    faces = _different(turned)[0]
    return WorldMesh(handed_over(places), faces) if len(faces) else mesh


def _once(mesh: WorldMesh) -> WorldMesh:
    """A mesh whose every triangle is stored twice, facing one way or both, with each of them once."""
    off = np.abs(mesh.corners.sum(axis=1) - mesh.corners[0].sum(axis=0)).max(axis=1)
    if np.count_nonzero(off <= 1e-9 * np.abs(mesh.corners[0]).max()) != 2:
        return mesh  # the first triangle is not stored twice: all that is looked at of most meshes
    places, own = _different(mesh.vertices)
    corners, number = _different(np.sort(own[mesh.faces], axis=1))
    if 2 * len(corners) != len(mesh.faces) or (np.bincount(number) != 2).any():
        return mesh
    return WorldMesh(handed_over(places), own[mesh.faces][np.unique(number, return_index=True)[1]])


def _different(rows: NDArray[N]) -> tuple[NDArray[N], Indices]:
    """Rows each once, and the number of each row's like among them (`numpy.unique` takes ten times as long)."""
    order = np.lexsort(rows.T[::-1])
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (np.diff(rows[order], axis=0) != 0).any(axis=1)
    number = np.empty(len(rows), dtype=np.int64)
    number[order] = np.cumsum(is_first) - 1
    return rows[order][is_first], number


def _groups(n: int, pairs: Indices) -> Indices:
    """(n,) number of the connected group of each node."""
    ones = np.ones(len(pairs), dtype=bool)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _bodies_apart(mesh: WorldMesh) -> WorldMesh | None:
    """Join triangles across edges only, each with the one that bounds the same body; None if an edge is left over."""
    oriented = _oriented(mesh)
    if oriented is None:
        return None
    turned = oriented.enclosed_volume < 0
    faces = oriented.faces[:, ::-1] if turned else oriented.faces
    pairs = _paired_edges(oriented.vertices, faces)
    if pairs is None:
        return None
    # an edge runs from corner 3 f + k to the next of its triangle; its like runs the other way
    ahead = 3 * (pairs // 3) + (pairs + 1) % 3
    links = np.concatenate([np.stack([pairs[:, 0], ahead[:, 1]], 1), np.stack([ahead[:, 0], pairs[:, 1]], 1)])
    vertex = _groups(3 * len(faces), links)
    if vertex.max() + 1 == len(np.unique(faces)) and oriented is mesh:
        return mesh
    first = np.unique(vertex, return_index=True)[1]
    found = WorldMesh(handed_over(oriented.vertices[faces.ravel()[first]]), vertex.reshape(-1, 3))
    apart = found if found.is_closed else _bodies_apart(_with_midpoints(found, pairs))
    return apart.flipped() if turned and apart is not None else apart


def _with_midpoints(mesh: WorldMesh, pairs: Indices) -> WorldMesh:
    """Cut triangles along an edge that sheets of one body share with both its ends: each gets an edge of its own.

    Args:
        mesh: Outward.
        pairs: (e, 2) edges of triangles that belong together.
    """
    start, end = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    first = np.unique(start[pairs[:, 0]] * len(mesh.vertices) + end[pairs[:, 0]], return_index=True)[1]
    shared = np.delete(pairs, first, axis=0)
    cut, touched = list[Indices](), set[int]()
    for pair in shared:
        if not touched & set((pair // 3).tolist()):  # a triangle is cut along one edge at a time
            cut.append(pair)
            touched |= set((pair // 3).tolist())
    edges = np.concatenate(cut)
    middles = 0.5 * (mesh.vertices[start[edges[::2]]] + mesh.vertices[end[edges[::2]]])
    middle = len(mesh.vertices) + np.repeat(np.arange(len(middles)), 2)
    a, b, c = (mesh.faces[edges // 3, (edges + i) % 3] for i in range(3))
    halves = [np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)]
    faces = np.concatenate([np.delete(mesh.faces, edges // 3, axis=0), *halves])
    return WorldMesh(np.concatenate([mesh.vertices, middles]), faces)


def _paired_edges(vertices: Floats, faces: Indices) -> Indices | None:
    """(e, 2) edges, numbered 3 f + k, and those that run the other way, of the same body; None if some have no like."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    is_forward = start < end
    edge = np.minimum(start, end) * len(vertices) + np.maximum(start, end)
    order = np.lexsort((~is_forward, edge))
    n_forward, n_all = (np.unique(edge[chosen], return_counts=True) for chosen in (is_forward, slice(None)))
    if len(n_forward[0]) != len(n_all[0]) or (2 * n_forward[1] != n_all[1]).any():
        return None
    first = np.cumsum(n_all[1]) - n_all[1]
    plain = first[n_all[1] == 2]
    pairs = [np.stack([order[plain], order[plain + 1]], axis=1)]
    crowded = n_all[1] > 2
    for at, n in zip(first[crowded], n_all[1][crowded], strict=True):
        pairs.append(np.array(list(_about_an_edge(vertices, faces, order[at : at + n]))))
    return np.concatenate(pairs)


def _about_an_edge(vertices: Floats, faces: Indices, edges: Indices) -> Iterator[tuple[int, int]]:
    """Pair the edges of triangles that meet in one place, so that solid lies between the two of a pair.

    Args:
        vertices: Of the mesh.
        faces: Outward.
        edges: Half of them run forward, and come first.
    """
    face, k = edges // 3, edges % 3
    a, b, c = (vertices[faces[face, (k + i) % 3]] for i in range(3))
    along = (b - a)[0] / max(float(np.linalg.norm((b - a)[0])), 1e-300)
    beside = c - a[0]
    sideways = beside - (beside @ along)[:, None] * along
    u = sideways[0] / max(float(np.linalg.norm(sideways[0])), 1e-300)
    angle = np.arctan2(sideways @ np.cross(along, u), sideways @ u)
    rounded = np.round(angle / _SAME_ANGLE).astype(np.int64) % round(2 * np.pi / _SAME_ANGLE)
    is_forward = np.arange(len(edges)) < len(edges) // 2
    # going round the edge, solid begins behind a backward triangle and ends before a forward one
    turns = np.lexsort((~is_forward, rounded))
    depth = np.cumsum(np.where(is_forward[turns], -1, 1))
    waiting: list[int] = []
    for i in np.roll(turns, -1 - int(depth.argmin())):
        if is_forward[i]:
            yield int(edges[i]), waiting.pop()
        else:
            waiting.append(int(edges[i]))


def _oriented(mesh: WorldMesh) -> WorldMesh | None:
    """The mesh with all triangles of a piece facing the same way; as it is if they do, or if edges are crowded."""
    faces = mesh.faces
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edge = np.minimum(start, end) * len(mesh.vertices) + np.maximum(start, end)
    counts = np.unique(edge, return_counts=True)[1]
    if (counts % 2).any():
        return None
    if mesh.is_closed or (counts > 2).any():
        return mesh
    one, other = np.argsort(edge, kind="stable").reshape(-1, 2).T
    differ = (start[one] == start[other]).astype(np.int64)
    f, g, n = one // 3, other // 3, len(faces)
    # each triangle as it is, and turned: of the two groups of a piece one is taken whole
    links = np.concatenate([np.stack([f, g + n * differ], 1), np.stack([f + n, g + n * (1 - differ)], 1)])
    group = _groups(2 * n, links)
    kept = np.bincount(group[:n], minlength=group.max() + 1)
    as_is, turned = kept[group[:n]], kept[group[n:]]
    is_turned = (turned > as_is) | ((turned == as_is) & (group[n:] < group[:n]))
    if not is_turned.any() or (group[:n] == group[n:]).any():
        return mesh
    return WorldMesh(mesh.vertices, np.where(is_turned[:, None], faces[:, ::-1], faces))

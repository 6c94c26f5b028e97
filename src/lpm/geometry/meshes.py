"""Triangle meshes: areas, normals, volumes, pieces, sampling."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from lpm.errors import InputError
from lpm.extras import import_extra
from lpm.geometry.arrays import ComparedByContent, handed_over, read_only_arrays
from lpm.geometry.frames import Floats, as_points

if TYPE_CHECKING:
    import trimesh

Indices = NDArray[np.int64]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Mesh(ComparedByContent):
    """Vertices and triangles; counter-clockwise seen from outside. In the patient it is a `WorldMesh`.

    Args:
        vertices: (v, 3) finite numbers.
        faces: (f, 3) indices into the vertices.

    Raises:
        InputError: A shape is off, a vertex is not finite, or a face points past the last vertex.
    """

    vertices: Floats
    faces: Indices

    def __post_init__(self) -> None:
        vertices = as_points(self.vertices, "mesh vertices")
        faces = np.asarray(self.faces, dtype=np.int64)
        if faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
            raise InputError(
                "mesh", f"faces of shape {faces.shape}", "(f, 3) triangles, at least one", "triangulate it"
            )
        if faces.min() < 0 or faces.max() >= len(vertices):
            worst = faces.min() if faces.min() < 0 else faces.max()
            raise InputError("mesh", f"a face names vertex {worst}", f"indices from 0 to {len(vertices) - 1}")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", faces)

    @cached_property
    def corners(self) -> Floats:
        """(f, 3, 3) the three corners of each triangle."""
        return handed_over(self.vertices[self.faces])

    @cached_property
    def _cross(self) -> Floats:
        a, b, c = self.corners[:, 0], self.corners[:, 1], self.corners[:, 2]
        return handed_over(np.asarray(np.cross(b - a, c - a)))

    @property
    def face_areas(self) -> Floats:
        """(f,) triangle areas, in square units of the frame."""
        return np.asarray(0.5 * np.linalg.norm(self._cross, axis=1))

    @property
    def face_normals(self) -> Floats:
        """(f, 3) outward unit normals; zero for a triangle without area."""
        length = np.linalg.norm(self._cross, axis=1, keepdims=True)
        return np.asarray(np.divide(self._cross, length, out=np.zeros_like(self._cross), where=length > 0))

    @property
    def enclosed_volume(self) -> float:
        """Signed volume by the divergence theorem, in cubic units: positive for an outward closed mesh."""
        corners = self.corners - self.vertices.mean(axis=0)
        return float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0)

    @property
    def centroid(self) -> Floats:
        """(3,) centre of the enclosed volume."""
        origin = self.vertices.mean(axis=0)
        corners = self.corners - origin
        six_volumes = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
        return np.asarray(origin + (six_volumes[:, None] * corners.sum(axis=1)).sum(axis=0) / (4.0 * six_volumes.sum()))

    @property
    def is_closed(self) -> bool:
        """Whether every edge joins exactly two triangles, run through once in each direction."""
        start, end = self.faces[:, [0, 1, 2]].ravel(), self.faces[:, [1, 2, 0]].ravel()
        n = len(self.vertices)
        forward, backward = np.sort(start * n + end), np.sort(end * n + start)
        return bool((np.diff(forward) > 0).all() and np.array_equal(forward, backward))

    def neighbour_means(self) -> csr_matrix:
        """(v, v) what takes a number of each vertex to the mean over the vertices that share an edge with it."""
        start, end = self.faces[:, [0, 1, 2]].ravel(), self.faces[:, [1, 2, 0]].ravel()
        n = len(self.vertices)
        ones = np.ones(2 * len(start))
        graph = coo_matrix((ones, (np.concatenate([start, end]), np.concatenate([end, start]))), shape=(n, n)).tocsr()
        graph.data[:] = 1.0
        return csr_matrix(graph.multiply(1.0 / np.maximum(graph.sum(axis=1), 1.0)))

    @cached_property
    def _piece_of_face(self) -> tuple[int, Indices]:
        n = len(self.vertices)
        start, end = self.faces[:, [0, 1, 2]].ravel(), self.faces[:, [1, 2, 0]].ravel()
        graph = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(n, n))
        _, piece_of_vertex = connected_components(graph, directed=False)
        pieces, piece_of_face = np.unique(piece_of_vertex[self.faces[:, 0]], return_inverse=True)
        return len(pieces), handed_over(piece_of_face)

    @property
    def n_pieces(self) -> int:
        """Number of pieces that share no vertex."""
        return self._piece_of_face[0]

    def pieces(self) -> list[Self]:
        """Return each piece, with only its own vertices."""
        n_pieces, piece_of_face = self._piece_of_face
        return [self.with_faces(self.faces[piece_of_face == piece]) for piece in range(n_pieces)]

    def largest_piece(self) -> Self:
        """Keep the piece that encloses the most volume; unused vertices go."""
        return self.largest_pieces(1)

    def largest_pieces(self, n: int) -> Self:
        """Keep the n pieces that enclose the most volume, without crumbs under 5 % of the first."""
        _, piece_of_face = self._piece_of_face
        volumes = np.array([abs(piece.enclosed_volume) for piece in self.pieces()])
        largest = np.argsort(-volumes, kind="stable")[:n]
        kept = largest[volumes[largest] >= 0.05 * volumes.max()]
        return self.with_faces(self.faces[np.isin(piece_of_face, kept)])

    def with_faces(self, faces: Indices) -> Self:
        """Return a mesh of these faces with only the vertices that they use."""
        used, renumbered = np.unique(faces, return_inverse=True)
        return type(self)(handed_over(self.vertices[used]), renumbered.reshape(-1, 3))

    def flipped(self) -> Self:
        """Return the mesh with inside and outside exchanged."""
        return type(self)(self.vertices, self.faces[:, ::-1].copy())

    def outward(self) -> Self:
        """Return the mesh with its normals pointing out of the enclosed volume."""
        return self.flipped() if self.enclosed_volume < 0 else self


class WorldMesh(Mesh):
    """A mesh in the patient: RAS, mm."""

    @property
    def volume_ml(self) -> float:
        """Enclosed volume in millilitres."""
        return self.enclosed_volume / 1000.0

    @property
    def area_cm2(self) -> float:
        """Surface area in square centimetres."""
        return float(self.face_areas.sum()) / 100.0

    def to_trimesh(self) -> trimesh.Trimesh:
        """Return the same mesh as a `trimesh.Trimesh` (RAS mm, nothing merged or repaired)."""
        import trimesh  # slow to import: only when it is needed

        return trimesh.Trimesh(self.vertices, self.faces, process=False)

    @classmethod
    def from_trimesh(cls, mesh: trimesh.Trimesh) -> Self:
        """Take a `trimesh.Trimesh`, RAS mm, as it is."""
        return cls(np.asarray(mesh.vertices), np.asarray(mesh.faces))

    def to_pyvista(self) -> Any:
        """Return the same mesh as a `pyvista.PolyData` (RAS mm).

        Raises:
            MissingExtraError: pyvista is not installed.
        """
        pyvista = import_extra("pyvista", "pictures", "to_pyvista")
        return pyvista.PolyData.from_regular_faces(self.vertices, self.faces.astype(int))


def joined(meshes: Iterable[WorldMesh]) -> WorldMesh:
    """Put several meshes into one, nothing merged."""
    parts = list(meshes)
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in parts[:-1])])
    faces = [mesh.faces + offset for mesh, offset in zip(parts, offsets, strict=True)]
    return WorldMesh(np.concatenate([mesh.vertices for mesh in parts]), np.concatenate(faces))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points drawn uniformly by area from a mesh.

    Args:
        points: (n, 3) in the mesh's frame.
        normals: (n, 3) outward unit normals of the triangles they lie on.
    """

    points: Floats
    normals: Floats


def sample_surface(mesh: Mesh, n: int, *, rng: np.random.Generator) -> SurfaceSamples:
    """Draw points uniformly by area.

    Args:
        mesh: Any mesh with area.
        n: Number of points.
        rng: Source of randomness.
    """
    areas: NDArray[Any] = mesh.face_areas
    face = rng.choice(len(areas), size=n, p=areas / areas.sum())
    u, v = rng.random((2, n, 1))
    folded = u + v > 1.0
    u, v = np.where(folded, 1.0 - u, u), np.where(folded, 1.0 - v, v)
    a, b, c = mesh.corners[face].transpose(1, 0, 2)
    return SurfaceSamples(a + u * (b - a) + v * (c - a), mesh.face_normals[face])

"""Axis-aligned grids in the world: voxelised meshes, exactly, and values between nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpm.errors import InputError
from lpm.geometry.arrays import ComparedByContent, handed_over, read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Indices, WorldMesh
from lpm.geometry.volumes import Volume

Mask = NDArray[np.bool_]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class VoxelGrid(ComparedByContent):
    """An axis-aligned grid in the world: voxel centres, or nodes of a lattice.

    Args:
        origin_mm: (3,) centre of the first voxel.
        spacing_mm: Distance between neighbours, the same along each axis.
        shape: Number of voxels along R, A and S.
    """

    origin_mm: Floats
    spacing_mm: float
    shape: tuple[int, int, int]

    @property
    def n_nodes(self) -> int:
        """Number of voxels: what a dense evaluation would ask of the network."""
        return int(np.prod(self.shape))

    def points_mm(self, indices: NDArray[np.int64]) -> Floats:
        """World position of (n, 3) indices."""
        return np.asarray(self.origin_mm + self.spacing_mm * indices)

    def volume(self, values: NDArray[Any]) -> Volume:
        """Wrap values at the voxel centres as a volume."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return Volume(values, affine)


def grid_around(meshes: Sequence[WorldMesh], spacing_mm: float) -> VoxelGrid:
    """A grid that holds the meshes with a voxel to spare on each side."""
    lower = np.min([mesh.vertices.min(axis=0) for mesh in meshes], axis=0)
    upper = np.max([mesh.vertices.max(axis=0) for mesh in meshes], axis=0)
    return grid_between(lower, upper, spacing_mm)


def grid_between(lower_mm: Floats, upper_mm: Floats, spacing_mm: float) -> VoxelGrid:
    """A grid that holds a box, given by its least and greatest coordinates (3,), with a voxel to spare on each side."""
    lower, upper = lower_mm - spacing_mm, upper_mm + spacing_mm
    i, j, k = (int(n) for n in np.ceil((upper - lower) / spacing_mm) + 1)
    return VoxelGrid(lower, spacing_mm, (i, j, k))


def voxelise(mesh: WorldMesh, grid: VoxelGrid) -> Mask:
    """Whether each voxel centre lies inside a closed mesh, exactly: rays along S count signed crossings.

    Edges and vertices under a ray are no special case: whether a ray passes left of an edge is decided once for
    both triangles that share it, so that the crossings of every ray of a closed mesh add up to zero. A centre is
    inside where the winding number is positive: pieces and self-overlaps unite.

    Args:
        mesh: Closed and outward, inside the grid.
        grid: Voxel centres.

    Returns:
        Mask of the grid's shape.

    Raises:
        InputError: The mesh is open.
    """
    if not mesh.is_closed:
        raise InputError("voxelise", "an open mesh", "a closed one", "repair it")
    vertices = (mesh.vertices - grid.origin_mm) / grid.spacing_mm
    face, column = _columns_under(vertices[mesh.faces][..., :2], grid.shape)
    turns = sum(_turn(vertices, mesh.faces[face][:, [a, (a + 1) % 3]], column) for a in range(3))
    hit = np.flatnonzero(turns)
    height = _height(vertices[mesh.faces[face[hit]]], column[hit])
    first_above = np.clip(np.floor(height).astype(np.int64) + 1, 0, grid.shape[2] - 1)
    flat = np.ravel_multi_index((column[hit, 0], column[hit, 1], first_above), grid.shape)
    # a triangle that turns clockwise seen from above faces down: there the ray enters
    crossings = np.bincount(flat, weights=-np.asarray(turns)[hit], minlength=int(np.prod(grid.shape)))
    return np.asarray(crossings.reshape(grid.shape).cumsum(axis=2) > 0.5)


def voxelise_on(mesh: WorldMesh, volume: Volume) -> Mask:
    """Whether each voxel centre of a volume lies inside a closed mesh; any affine, and the mesh may reach beyond.

    Args:
        mesh: Closed and outward, RAS mm.
        volume: Its grid counts, its values do not.
    """
    in_voxels = WorldMesh(volume.to_voxel(mesh.vertices), mesh.faces).outward()
    i, j, k = volume.voxels.shape
    # one slice more takes the crossings beyond the last
    return voxelise(in_voxels, VoxelGrid(np.zeros(3), 1.0, (i, j, k + 1)))[..., :k]


def labels_of(meshes: Mapping[str, WorldMesh], grid: Volume | None = None, spacing_mm: float = 1.5) -> Volume:
    """Label map of meshes: 1, 2, ... in their order; a voxel in two of them belongs to the first.

    Args:
        meshes: Closed and outward, RAS mm.
        grid: Take its voxels and affine; default a grid of `spacing_mm` around the meshes.
        spacing_mm: Voxel size of the default grid.

    Raises:
        InputError: An open mesh.
    """
    if grid is None:
        around = grid_around(list(meshes.values()), spacing_mm)
        grid = around.volume(np.zeros(around.shape, dtype=np.uint8))
    labels = np.zeros(grid.voxels.shape, dtype=np.uint8)
    for index, mesh in reversed(list(enumerate(meshes.values(), start=1))):
        labels[voxelise_on(mesh, grid)] = index
    return grid.with_voxels(labels)


def _columns_under(corners: Floats, shape: tuple[int, int, int]) -> tuple[Indices, Indices]:
    """Pair each triangle with the grid columns of its bounding box: (p,) faces and (p, 2) columns."""
    first = np.maximum(np.ceil(corners.min(axis=1)).astype(np.int64), 0)
    last = np.minimum(np.floor(corners.max(axis=1)).astype(np.int64), np.array(shape[:2]) - 1)
    size = np.maximum(last - first + 1, 0)
    count = size.prod(axis=1)
    face = np.repeat(np.arange(len(corners)), count)
    rank = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    width = size[face, 1]
    return face, first[face] + np.stack([rank // np.maximum(width, 1), rank % np.maximum(width, 1)], axis=1)


def _turn(vertices: Floats, edge: Indices, column: Indices) -> NDArray[np.int64]:
    """Signed crossing of each edge by the half-line from a column towards +i: +1 upwards in j, -1 downwards.

    Ends are taken in the order of their indices, so that both triangles of an edge round alike.
    """
    is_swapped = edge[:, 0] > edge[:, 1]
    a, b = vertices[edge.min(axis=1), :2], vertices[edge.max(axis=1), :2]
    is_up = (a[:, 1] <= column[:, 1]) & (column[:, 1] < b[:, 1])
    is_down = (b[:, 1] <= column[:, 1]) & (column[:, 1] < a[:, 1])
    rise = np.where(is_up | is_down, b[:, 1] - a[:, 1], 1.0)
    crossing = a[:, 0] + (column[:, 1] - a[:, 1]) / rise * (b[:, 0] - a[:, 0])
    turn = np.where(is_up, 1, np.where(is_down, -1, 0)) * (column[:, 0] < crossing)
    return np.where(is_swapped, -turn, turn)


def _height(corners: Floats, column: Indices) -> Floats:
    """Height at which columns meet triangles, kept within each triangle's own range (slivers seen on edge)."""
    a, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(u, v)
    slope = np.divide(-normal[:, :2], normal[:, 2:], out=np.zeros((len(a), 2)), where=np.abs(normal[:, 2:]) > 1e-300)
    height = a[:, 2] + np.einsum("ij,ij->i", slope, column - a[:, :2])
    return np.asarray(np.clip(height, corners[..., 2].min(axis=1), corners[..., 2].max(axis=1)))


def odd_grid(lower_mm: Floats, upper_mm: Floats, spacing_mm: float) -> VoxelGrid:
    """A grid from one corner to at least the other, with an odd number of nodes along each axis."""
    i, j, k = (int(n) // 2 * 2 + 1 for n in np.ceil((upper_mm - lower_mm) / spacing_mm) + 1)
    return VoxelGrid(lower_mm, spacing_mm, (i, j, k))


def grid_nodes(grid: VoxelGrid) -> Floats:
    """(i, j, k, 3) the place of every node."""
    nodes = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return np.asarray(grid.origin_mm + grid.spacing_mm * nodes)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Trilinear:
    """Trilinear interpolation weights of points: eight nodes around each.

    Args:
        node: (n, 8) flat index into the grid.
        weight: (n, 8) share of each node.
        slope: (n, 8, 3) derivative of the share by the point, 1/mm; zero along axes where it left the grid.
    """

    node: Indices
    weight: Floats
    slope: Floats


def trilinear(points_mm: Floats, grid: VoxelGrid) -> Trilinear:
    """Weights of trilinear interpolation; points outside take the value of the grid's border.

    Args:
        points_mm: (n, 3) in the grid's frame.
        grid: The nodes.
    """
    last = np.array(grid.shape) - 1
    place = (points_mm - grid.origin_mm) / grid.spacing_mm
    is_inside = (place >= 0) & (place <= last)
    place = np.clip(place, 0, last)
    base = np.minimum(place.astype(np.int64), last - 1)
    part = (place - base)[:, None, :]
    corner = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(1, 8, 3)
    share = np.where(corner == 1, part, 1.0 - part)
    node = np.ravel_multi_index(tuple(np.moveaxis(base[:, None, :] + corner, -1, 0)), grid.shape)
    others = np.stack([share[..., [1, 2]].prod(-1), share[..., [0, 2]].prod(-1), share[..., [0, 1]].prod(-1)], axis=-1)
    slope = (2.0 * corner - 1.0) * others * is_inside[:, None, :] / grid.spacing_mm
    return Trilinear(*map(handed_over, (np.asarray(node), share.prod(axis=-1), slope)))

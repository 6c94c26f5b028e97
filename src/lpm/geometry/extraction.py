"""From a field to closed surfaces, coarse to fine: evaluated only where the surface can be (paper II.H)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lpm.errors import InputError, NoSurfaceError
from lpm.geometry.arrays import handed_over, read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import extract_surface

Field = Callable[[Floats], Floats]
"""World points (n, 3) in mm to signed distances (n, s) in mm, negative inside."""

# strides of the lattice in nodes, each half of the one before, so that nodes are nodes of all finer strides
_STEPS = (16, 8, 4, 2, 1)
# cells from a surface within which a cell is divided, by stride; see `evaluate_sparse`
_REACH = (1.08, 1.08, 0.87, 0.5)
# levels in voxels: where two sheets of a ragged surface share an edge, one a hair away has none
_LEVELS = np.array([0.0, 1e-3, -1e-3, 4e-3, -4e-3])


def lattice_over(lower_mm: Floats, upper_mm: Floats, spacing_mm: float) -> VoxelGrid:
    """Lay a lattice over a box, rounded up to whole coarse cells: along each axis one node more than a multiple of 16.

    Raises:
        InputError: The spacing is not positive, or the lattice would have more than 1024 nodes along an axis.
    """
    if not spacing_mm > 0:
        raise InputError("lattice", f"spacing {spacing_mm} mm", "a positive length")
    cells = np.ceil((upper_mm - lower_mm) / (spacing_mm * _STEPS[0])).astype(int) * _STEPS[0]
    if cells.max() > 1024:
        finest = float((upper_mm - lower_mm).max() / 1024)
        raise InputError(
            "lattice", f"spacing {spacing_mm} mm over {(upper_mm - lower_mm).round()} mm", f">= {finest:.2f}"
        )
    slack = cells * spacing_mm - (upper_mm - lower_mm)
    shape = (int(cells[0]) + 1, int(cells[1]) + 1, int(cells[2]) + 1)
    return VoxelGrid(np.asarray(lower_mm - slack / 2), spacing_mm, shape)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class SparseField:
    """A field known where the surface can be; elsewhere only its sign is right.

    Args:
        lattice: The nodes.
        values_mm: (s, i, j, k) float32.
        n_evaluated: Nodes at which the network was asked.
    """

    lattice: VoxelGrid
    values_mm: NDArray[np.float32]
    n_evaluated: int


def evaluate_sparse(field: Field, lattice: VoxelGrid) -> SparseField:
    """Evaluate a field coarse to fine.

    A cell is divided if its corners differ in sign, or if one of them is nearer to a surface than `_REACH` cells. For
    a large cell that is half its diagonal times a bound of 1.25 on the field's gradient, so that no surface can hide
    in it; in a small one the field is nearly straight, and less will do. The last level is asked only at the nodes of
    the cells that are left; the other nodes take a value of the right sign from their coarse cell.

    Args:
        field: World mm to signed distances in mm.
        lattice: Lattice to evaluate on.

    Returns:
        The field, exact in every cell that the surface crosses.
    """
    coarse_shape = tuple((n - 1) // _STEPS[0] + 1 for n in lattice.shape)
    nodes = _nodes_of(coarse_shape)
    first = field(lattice.points_mm(_STEPS[0] * nodes))
    values = first.T.reshape(-1, *coarse_shape).astype(np.float32)
    n_evaluated, known = len(nodes), np.ones(coarse_shape, dtype=bool)
    for (coarser, step), reach in zip(pairwise(_STEPS), _REACH, strict=True):
        crossed = _crossed_cells(values, known, reach * coarser * lattice.spacing_mm)
        values, known = _refine(values), _refine_known(known)
        nodes = _missing_nodes(crossed, known)
        values[(slice(None), *nodes.T)] = field(lattice.points_mm(step * nodes)).T
        known[tuple(nodes.T)] = True
        n_evaluated += len(nodes)
    return SparseField(lattice, handed_over(values), n_evaluated)


def _nodes_of(shape: Sequence[int]) -> NDArray[np.int64]:
    return np.indices(tuple(shape)).reshape(3, -1).T


def _crossed_cells(values: NDArray[np.float32], known: NDArray[np.bool_], reach_mm: float) -> NDArray[np.int64]:
    """Cells that any structure's surface can pass through, judged by the values at their eight known corners."""
    crossed = _over_corners(np.abs(values).min(axis=0) <= reach_mm, np.logical_or)
    for inside in values < 0:
        crossed |= _over_corners(inside, np.logical_or) & ~_over_corners(inside, np.logical_and)
    return np.argwhere(crossed & _over_corners(known, np.logical_and))


def _over_corners(nodes: NDArray[np.bool_], combine: np.ufunc) -> NDArray[np.bool_]:
    """Combine the eight corners of every cell."""
    for axis in range(3):
        lines = np.moveaxis(nodes, axis, 0)
        nodes = np.moveaxis(combine(lines[:-1], lines[1:]), 0, axis)
    return nodes


def _refine(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Halve the spacing; a new node takes the value before it, whose sign it has unless its cell is crossed."""
    for axis in (1, 2, 3):
        values = np.repeat(values, 2, axis=axis)[(slice(None),) * axis + (slice(None, -1),)]
    return values


def _refine_known(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    finer = np.zeros([2 * n - 1 for n in known.shape], dtype=bool)
    finer[::2, ::2, ::2] = known
    return finer


def _missing_nodes(crossed: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Nodes of the finer level in crossed cells that have no value yet, each once."""
    wanted = np.zeros(known.shape, dtype=bool)
    for offset in _nodes_of((3, 3, 3)):
        wanted[tuple((2 * crossed + offset).T)] = True
    return np.argwhere(wanted & ~known)


def without_overlap(distances_mm: Floats) -> Floats:
    """Remove overlap of two structures: divide it at the surface where their fields are equal.

    g_s = max(f_s, (f_s - min of the others) / 2): where only one structure is inside, nothing changes.

    Args:
        distances_mm: (n, s) signed distances.
    """
    if distances_mm.shape[1] == 1:
        return distances_mm
    others = [np.delete(distances_mm, s, axis=1).min(axis=1) for s in range(distances_mm.shape[1])]
    return np.asarray(np.maximum(distances_mm, 0.5 * (distances_mm - np.stack(others, axis=1))))


@dataclass(frozen=True)
class Extraction:
    """Extracted surfaces of all structures, with the number of field evaluations.

    Args:
        meshes: Meshes by structure; closed, outward, one piece, RAS mm.
        n_evaluated: Nodes at which the network was asked.
        n_nodes: Nodes that a dense evaluation would have asked.
    """

    meshes: dict[str, WorldMesh]
    n_evaluated: int
    n_nodes: int


def extract_meshes(field: Field, structures: Sequence[str], lattice: VoxelGrid, *, pieces_each: int = 1) -> Extraction:
    """Extract closed surfaces, one piece a structure.

    Args:
        field: World mm (n, 3) to signed distances (n, s) in mm.
        structures: Names, in the order of the field's columns.
        lattice: Lattice to evaluate on.
        pieces_each: Pieces that a structure may have: more than one only for a union of lungs.

    Raises:
        NoSurfaceError: A structure's field never changes sign.
    """
    sparse = evaluate_sparse(lambda points: without_overlap(field(points)), lattice)
    meshes = {name: _extract_one(sparse, index, name, pieces_each) for index, name in enumerate(structures)}
    return Extraction(meshes, sparse.n_evaluated, lattice.n_nodes)


def _extract_one(sparse: SparseField, index: int, name: str, n_pieces: int) -> WorldMesh:
    values = sparse.values_mm[index].copy()
    if values.min() >= 0 or values.max() <= 0:
        raise NoSurfaceError(
            name, f"the field runs from {values.min():.3g} to {values.max():.3g} mm", "a change of sign"
        )
    for axis in range(3):
        for end in (0, -1):
            border = np.moveaxis(values, axis, 0)[end]
            np.maximum(border, sparse.lattice.spacing_mm, out=border)
    volume = sparse.lattice.volume(handed_over(values))
    for level_mm in _LEVELS * sparse.lattice.spacing_mm:
        mesh = extract_surface(volume, float(level_mm), inside_is_above=False).largest_pieces(n_pieces).outward()
        if mesh.is_closed:
            return mesh
    raise NoSurfaceError(name, "two sheets of the surface touch", "a closed surface", "another spacing of the lattice")

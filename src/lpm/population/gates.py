"""What a generated pair of lungs must be: sound, within the population's range, and no copy of anyone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from lpm.calibration import count, number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import signed_distance
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid, voxelise
from lpm.geometry.meshes import WorldMesh

Meshes = Mapping[str, WorldMesh]
_MOST_OVERLAP_ML = number("population.most_overlap_ml")
_OVERLAP_VOXEL_MM = number("population.overlap_voxel_mm")
_QUERIES = count("population.compared_points")


def unsound(meshes: Meshes) -> str:
    """List what is wrong with meshes, in words: not closed, not outward, in several pieces, or overlapping."""
    for name, mesh in meshes.items():
        if not mesh.is_closed or mesh.n_pieces != 1 or mesh.enclosed_volume <= 0:
            return f"{name} is not one closed piece"
    for first, second in itertools.combinations(meshes, 2):
        shared = overlap_ml(meshes[first], meshes[second])
        if shared >= _MOST_OVERLAP_ML:
            return f"{first} and {second} overlap by {shared:.1f} ml"
    return ""


def overlap_ml(first: WorldMesh, second: WorldMesh) -> float:
    """Volume that two closed meshes share, ml, counted in voxels of 1 mm where a vertex of one lies in the other."""
    lower = np.maximum(first.vertices.min(axis=0), second.vertices.min(axis=0))
    upper = np.minimum(first.vertices.max(axis=0), second.vertices.max(axis=0))
    if (lower >= upper).any() or not (_enters(first, second, lower, upper) or _enters(second, first, lower, upper)):
        return 0.0
    i, j, k = (int(n) + 2 for n in np.ceil((upper - lower) / _OVERLAP_VOXEL_MM))
    grid = VoxelGrid(lower - 0.5 * _OVERLAP_VOXEL_MM, _OVERLAP_VOXEL_MM, (i, j, k + 1))
    return float(np.count_nonzero((voxelise(first, grid) & voxelise(second, grid))[..., :k])) / 1000.0


def _enters(mesh: WorldMesh, other: WorldMesh, lower: Floats, upper: Floats) -> bool:
    """Whether a vertex of a mesh lies in another."""
    near = mesh.vertices[((mesh.vertices > lower) & (mesh.vertices < upper)).all(axis=1)]
    return bool(len(near)) and bool((signed_distance(other, near) < 0).any())


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Cloud:
    """Surface points of a structure about its subject's middle.

    Args:
        tree: Search tree of all of them.
        some: (q, 3) a few, spread over the surface.
    """

    tree: cKDTree
    some: Floats

    def apart_mm(self, other: Cloud) -> float:
        """Mean distance from some points of each to the other's, both ways."""
        return 0.5 * float(other.tree.query(self.some)[0].mean() + self.tree.query(other.some)[0].mean())


def clouds(meshes: Meshes) -> tuple[Cloud, ...]:
    """Points of each structure, about the middle of all."""
    middle = np.concatenate([mesh.vertices for mesh in meshes.values()]).mean(axis=0)
    centred = [mesh.vertices - middle for mesh in meshes.values()]
    return tuple(Cloud(cKDTree(points), points[:: max(len(points) // _QUERIES, 1)]) for points in centred)


@dataclass(frozen=True)
class Familiar:
    """Surface points of the training subjects, for distances of generated shapes from them.

    Args:
        subjects: Points of each subject's structures.
    """

    subjects: tuple[tuple[Cloud, ...], ...]

    @classmethod
    def of(cls, shapes: Sequence[Meshes]) -> Familiar:
        """Make the points from the subjects' meshes."""
        return cls(tuple(clouds(meshes) for meshes in shapes))

    def nearest_mm(self, meshes: Meshes) -> float:
        """Mean distance of surface points from the nearest subject's, mm."""
        own = clouds(meshes)
        return min(_apart_mm(own, other) for other in self.subjects)

    def nearest_each_mm(self) -> Floats:
        """(n,) distance of each subject from the nearest other one, mm."""
        apart = np.full((len(self.subjects), len(self.subjects)), np.inf)
        for i, j in itertools.combinations(range(len(self.subjects)), 2):
            apart[i, j] = apart[j, i] = _apart_mm(self.subjects[i], self.subjects[j])
        return np.asarray(apart.min(axis=1))


def _apart_mm(first: Sequence[Cloud], second: Sequence[Cloud]) -> float:
    return float(np.mean([one.apart_mm(other) for one, other in zip(first, second, strict=True)]))

"""What a generated pair of lungs must be: sound, within the population's range, and no copy of anyone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from lpm.geometry.distances import signed_distance
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid, voxelise
from lpm.geometry.meshes import WorldMesh

Meshes = Mapping[str, WorldMesh]
_MOST_OVERLAP_ML = 1.0
_OVERLAP_VOXEL_MM = 1.0
_QUERIES = 400


def unsound(meshes: Meshes) -> str:
    """What is wrong with meshes, in words; nothing if all is well: closed, outward, one piece each, apart."""
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


@dataclass(frozen=True)
class Familiar:
    """The training subjects' shapes, to see how near others come to them.

    Args:
        clouds: A structure's (v, 3) vertices about the subject's middle, for each structure of each subject.
    """

    clouds: tuple[tuple[Floats, ...], ...]

    @classmethod
    def of(cls, shapes: Sequence[Meshes]) -> Familiar:
        """From the subjects' meshes."""
        return cls(tuple(_centred(meshes) for meshes in shapes))

    def nearest_mm(self, meshes: Meshes) -> float:
        """Mean distance of surface points from the nearest subject's, mm."""
        return min(_apart_mm(_centred(meshes), other) for other in self.clouds)

    def nearest_each_mm(self) -> Floats:
        """(n,) distance of each subject from the nearest other one, mm."""
        apart = [[_apart_mm(a, b) if a is not b else np.inf for b in self.clouds] for a in self.clouds]
        return np.asarray(np.min(apart, axis=1))


def _centred(meshes: Meshes) -> tuple[Floats, ...]:
    middle = np.concatenate([mesh.vertices for mesh in meshes.values()]).mean(axis=0)
    return tuple(mesh.vertices - middle for mesh in meshes.values())


def _apart_mm(first: Sequence[Floats], second: Sequence[Floats]) -> float:
    """Mean distance from some vertices of each structure of two subjects to the other's, both ways."""
    pairs = [(a, b) for one, other in zip(first, second, strict=True) for a, b in ((one, other), (other, one))]
    return float(np.mean([cKDTree(b).query(a[:: max(len(a) // _QUERIES, 1)])[0].mean() for a, b in pairs]))

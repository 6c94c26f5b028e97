"""Shapes in correspondence laid onto each other, and how far each lies from their mean along its normal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Mesh, WorldMesh
from lpm.geometry.thickness import vertex_normals

_ROUNDS = 20  # of the mean and the rotations onto it, at most: some settle it
_SETTLED_MM = 1e-4  # far below any difference
_TOP_SHARE = number("studies.top_share")

Anchor = Literal["whole", "tops"]
Size = Literal["keep", "remove"]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Aligned:
    """Shapes laid onto each other.

    Args:
        shapes: (n, v, 3) R, A, S, mm.
        sizes_mm: (n,) root mean square distance of the vertices from their centre, before any scaling.
    """

    shapes: Floats
    sizes_mm: Floats

    @property
    def mean(self) -> Floats:
        """(v, 3) mean shape."""
        return np.asarray(self.shapes.mean(axis=0))

    def along(self, normals: Floats) -> Floats:
        """(n, v) how far each shape's vertices lie from the mean's, along (v, 3) normals."""
        return np.asarray(np.einsum("nvi,vi->nv", self.shapes - self.mean, normals))


def align(vertices: Floats, members: NDArray[np.int64], size: Size, anchor: Anchor, tops: NDArray[np.bool_]) -> Aligned:
    """Lay shapes onto their mean by shifts and rotations, all structures jointly (generalised Procrustes analysis).

    Members of a pair keep their rotation to each other: their mean is what is turned.

    Args:
        vertices: (n, v, 3) RAS mm.
        members: (n,) number of the pair of each, or of the subject itself.
        size: Whether sizes stay, or all are scaled to the mean one.
        anchor: What is laid on each other in the end: the centres, or the centres of the tops.
        tops: (v,) whether a vertex is of a top.
    """
    centred = vertices - vertices.mean(axis=1, keepdims=True)
    sizes = np.sqrt((centred**2).sum(axis=2).mean(axis=1))
    scaled = centred * (sizes.mean() / sizes)[:, None, None] if size == "remove" else centred
    own = _means_of(scaled, members)
    mean = own[0]
    for _ in range(_ROUNDS):
        turned = own @ rotations_onto(mean, own)
        before, mean = mean, turned.mean(axis=0)
        if np.abs(mean - before).max() < _SETTLED_MM:
            break
    upright = rotations_onto(own.mean(axis=0), mean[None])[0]
    shapes = scaled @ (rotations_onto(mean, own) @ upright)[members]
    if anchor == "tops":
        shapes = shapes - shapes[:, tops].mean(axis=1, keepdims=True)
        shapes = shapes - shapes.mean(axis=(0, 1))
    return Aligned(shapes, sizes)


def _means_of(shapes: Floats, members: NDArray[np.int64]) -> Floats:
    """(m, v, 3) mean of the shapes of each member."""
    return np.stack([shapes[members == number].mean(axis=0) for number in range(int(members.max()) + 1)])


def rotations_onto(target: Floats, shapes: Floats) -> Floats:
    """(n, 3, 3) rotations R for which shapes (n, v, 3) @ R lie nearest to a target (v, 3), all about their centres."""
    left, _, right = np.linalg.svd(np.einsum("nvi,vj->nij", shapes, target))
    handed = np.sign(np.linalg.det(left @ right))
    left[:, :, 2] *= handed[:, None]
    return np.asarray(left @ right)


def normals_of(meshes: Mapping[str, WorldMesh]) -> Floats:
    """(v, 3) outward unit normals of the vertices of all structures, one after the other."""
    return np.concatenate([vertex_normals(mesh) for mesh in meshes.values()])


def tops_of(meshes: Mapping[str, Mesh]) -> NDArray[np.bool_]:
    """(v,) whether a vertex is of the top of its structure: the highest share of its height."""
    return np.concatenate([heights_of(mesh) > 1.0 - _TOP_SHARE for mesh in meshes.values()])


def heights_of(mesh: Mesh) -> Floats:
    """(v,) height of each vertex in its structure's, from 0 to 1."""
    heights = mesh.vertices[:, 2] - mesh.vertices[:, 2].min()
    return np.asarray(heights / heights.max())

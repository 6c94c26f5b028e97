"""Volumes: voxels and the affine that leads them to the world (RAS, mm). Voxel index = voxel centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpm.errors import InputError
from lpm.geometry.arrays import ComparedByContent, handed_over, read_only_arrays
from lpm.geometry.frames import Floats


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Volume(ComparedByContent):
    """A 3-D image in the patient.

    Args:
        voxels: (i, j, k) values.
        world_from_voxel: (4, 4) affine to RAS mm. A negative determinant (LAS and the like) is legal.

    Raises:
        InputError: The image is not 3-D or empty, or the affine is not finite and invertible.
    """

    voxels: NDArray[Any]
    world_from_voxel: Floats

    def __post_init__(self) -> None:
        affine = np.asarray(self.world_from_voxel, dtype=np.float64)
        if self.voxels.ndim != 3:
            raise InputError(
                "volume",
                f"{self.voxels.ndim}-D image of shape {self.voxels.shape}",
                "3-D",
                "pick one volume of a series",
            )
        if 0 in self.voxels.shape:
            raise InputError("volume", f"no voxels (shape {self.voxels.shape})", "at least one voxel an axis")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
            raise InputError("volume", f"affine {affine.tolist()}", "a finite 4 x 4 matrix with last row 0 0 0 1")
        norms = np.linalg.norm(affine[:3, :3], axis=0)
        if (norms < 1e-6).any() or abs(np.linalg.det(affine[:3, :3] / np.maximum(norms, 1e-12))) < 1e-3:
            raise InputError(
                "volume", f"affine {affine.tolist()} cannot be inverted", "independent axes", "repair the file's header"
            )
        object.__setattr__(self, "world_from_voxel", affine)

    @property
    def spacing_mm(self) -> Floats:
        """(3,) voxel size along each voxel axis."""
        return np.asarray(np.linalg.norm(self.world_from_voxel[:3, :3], axis=0))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.world_from_voxel[:3, :3]))) / 1000.0

    def with_voxels(self, voxels: NDArray[Any]) -> Volume:
        """Return other values on the same grid."""
        return Volume(voxels, self.world_from_voxel)

    def to_world(self, indices: NDArray[Any]) -> Floats:
        """Take (n, 3) voxel indices to world mm."""
        return np.asarray(indices @ self.world_from_voxel[:3, :3].T + self.world_from_voxel[:3, 3])

    def to_voxel(self, points_mm: Floats) -> Floats:
        """Take (n, 3) world mm to (fractional) voxel indices."""
        voxel_from_world = np.linalg.inv(self.world_from_voxel)
        return np.asarray(points_mm @ voxel_from_world[:3, :3].T + voxel_from_world[:3, 3])


def canonical(volume: Volume) -> Volume:
    """Reorder and flip the voxel axes so that they run as nearly as possible along R, A, S.

    Only axes are permuted and flipped: no value is resampled and no voxel moves in the world. All 48 ways of
    storing the same image become one.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import: only when it is needed

    directions = volume.world_from_voxel[:3, :3] / volume.spacing_mm
    world_axis, voxel_axis = linear_sum_assignment(-np.abs(directions))
    order = voxel_axis[np.argsort(world_axis)]
    affine = volume.world_from_voxel.copy()
    affine[:3, :3] = volume.world_from_voxel[:3, order]
    voxels = volume.voxels.transpose(order)
    for axis in range(3):
        if affine[axis, axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
            voxels = np.flip(voxels, axis)
    return Volume(handed_over(np.ascontiguousarray(voxels)), affine)


def as_stored(volume: Volume, stored: Volume) -> Volume:
    """Undo `canonical`: the same image with the voxel axes of the volume that it was made of.

    Args:
        volume: Volume on the grid of ``canonical(stored)``.
        stored: Its axes count, its values do not.
    """
    back = np.rint(np.linalg.inv(stored.world_from_voxel) @ volume.world_from_voxel).astype(int)
    order = np.abs(back[:3, :3]).argmax(axis=0)
    flips = tuple(axis for axis in range(3) if back[axis, :3].sum() < 0)
    return stored.with_voxels(np.ascontiguousarray(np.flip(volume.voxels.transpose(np.argsort(order)), flips)))


def on_grid(volume: Volume, grid: Volume) -> Volume:
    """Values on a grid whose voxels are those of the volume, cropped or padded by whole voxels; 0 beyond.

    Args:
        volume: Any values.
        grid: Grid of the same spacing and directions.

    Raises:
        InputError: The grid's voxels are not the volume's.
    """
    first = volume.to_voxel(grid.world_from_voxel[None, :3, 3])[0]
    start = np.rint(first).astype(int)
    is_shifted = np.allclose(first, start, atol=1e-2)
    if not is_shifted or not np.allclose(volume.world_from_voxel[:3, :3], grid.world_from_voxel[:3, :3], atol=1e-4):
        raise InputError("on_grid", "voxels between the volume's", "a part of its grid", "resample it first")
    stop, shape = start + grid.voxels.shape, np.array(volume.voxels.shape)
    found = np.zeros(grid.voxels.shape, dtype=volume.voxels.dtype)
    kept = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(start, stop, shape, strict=True))
    target = tuple(slice(k.start - a, k.stop - a) for k, a in zip(kept, start, strict=True))
    found[target] = volume.voxels[kept]
    return grid.with_voxels(handed_over(found))


def cropped(volume: Volume, inside: NDArray[np.bool_], margin: int) -> Volume:
    """Crop (and pad with zeros where needed) to the bounding box of ``inside`` plus a margin in voxels.

    Args:
        volume: Any values.
        inside: (i, j, k) mask with at least one voxel set.
        margin: Voxels kept or added on each side.

    Raises:
        InputError: No voxel is set.
    """
    if not inside.any():
        raise InputError("cropped", "an empty mask", "at least one voxel set")
    extents = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    lower = np.array([extent[0] for extent in extents]) - margin
    upper = np.array([extent[-1] for extent in extents]) + margin + 1
    shape = np.array(volume.voxels.shape)
    kept = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(lower, upper, shape, strict=True))
    widths = [(max(-a, 0), max(b - n, 0)) for a, b, n in zip(lower, upper, shape, strict=True)]
    affine = volume.world_from_voxel.copy()
    affine[:3, 3] = volume.to_world(lower[None].astype(float))[0]
    return Volume(handed_over(np.pad(volume.voxels[kept], widths)), affine)

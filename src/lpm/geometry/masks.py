"""Operations on masks and label maps: connected pieces, distances, dilation and erosion in mm, other resolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

Mask = NDArray[np.bool_]
_ROUNDING = 1.0 + 1e-5  # what a whole number of voxels' lengths may be off in float32


def pieces(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Connected pieces of a mask of any dimension (neighbours share a face).

    Returns:
        The number of each voxel's piece, from 1, and the voxels of each piece; number 0 counts none.
    """
    found, n = ndimage.label(mask)
    sizes = np.bincount(found.ravel(), minlength=n + 1)
    sizes[0] = 0
    return found, sizes


def largest_piece(mask: Mask) -> Mask:
    """The largest connected piece of a mask; an empty mask as it is."""
    found, sizes = pieces(mask)
    return np.asarray(found == sizes.argmax()) if sizes.any() else mask


def pieces_touching(mask: Mask, other: Mask, least: float = 0.0) -> Mask:
    """Connected pieces of a mask that share a face with another mask, and have at least some number of voxels."""
    found, sizes = pieces(mask)
    touching = np.unique(found[ndimage.binary_dilation(other) & mask])
    return np.isin(found, touching[(touching > 0) & (sizes[touching] >= least)])


def distance_mm(mask: Mask, grid: Volume) -> NDArray[np.float32]:
    """Distance of each voxel of a grid to a mask on it, mm; 0 within."""
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm), dtype=np.float32)


def signed_distance_mm(mask: Mask, spacing_mm: Floats) -> Floats:
    """Distance of each voxel to the mask's border, mm; negative within."""
    outside, inside = (ndimage.distance_transform_edt(each, sampling=spacing_mm) for each in (~mask, mask))
    return np.asarray(outside - inside)


def grown(mask: Mask, by_mm: float, grid: Volume) -> Mask:
    """Dilation by a ball: the mask and all within a distance of it."""
    return _squared_mm(mask, by_mm, grid) <= by_mm**2 * _ROUNDING


def shrunk(mask: Mask, by_mm: float, grid: Volume) -> Mask:
    """Erosion by a ball: what lies farther than a distance from the mask's border; the image's border is none."""
    return _squared_mm(~mask, by_mm, grid) > by_mm**2 * _ROUNDING


def _squared_mm(mask: Mask, most_mm: float, grid: Volume) -> NDArray[np.float32]:
    """Squared distance of each voxel to a mask, where it is at most some: several times faster than all distances."""
    squared = np.where(mask, np.float32(0.0), np.float32(np.inf))
    for axis, step in enumerate(grid.spacing_mm):
        before = np.moveaxis(squared.copy(), axis, 0)
        nearest = np.moveaxis(squared, axis, 0)
        for n in range(1, min(int(most_mm / step * _ROUNDING), len(before) - 1) + 1):
            away = np.float32((n * step) ** 2)
            np.minimum(nearest[n:], before[:-n] + away, out=nearest[n:])
            np.minimum(nearest[:-n], before[n:] + away, out=nearest[:-n])
    return squared


def block_means(volume: Volume, factors: NDArray[np.int64]) -> Volume:
    """Means of blocks of voxels; the last block of an axis is filled up with the image's border.

    Args:
        volume: Any values.
        factors: (3,) voxels of a block along each axis.

    Returns:
        float32, on the grid of the blocks' middles.
    """
    padding = [(0, int(-n % f)) for n, f in zip(volume.voxels.shape, factors, strict=True)]
    means: NDArray[Any] = np.pad(volume.voxels, padding, mode="edge")
    for axis, factor in enumerate(factors):
        split = list(means.shape)
        split[axis : axis + 1] = [split[axis] // factor, int(factor)]
        means = means.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    affine = volume.world_from_voxel.copy()
    affine[:3, :3] = affine[:3, :3] * factors
    affine[:3, 3] = volume.to_world((factors - 1)[None] / 2.0)[0]
    return Volume(means, affine)


def averaged(volume: Volume, spacing_mm: float) -> Volume:
    """Block means of about a spacing; an axis that is coarser already is left alone."""
    return block_means(volume, np.maximum(np.round(spacing_mm / volume.spacing_mm), 1).astype(int))


def nearest_on(volume: Volume, grid: Volume) -> NDArray[Any]:
    """The nearest values at the voxels of another grid with the same axes, such as one that `averaged` made.

    Args:
        volume: Any values.
        grid: Its grid counts, its values do not.
    """
    corner, far = (volume.to_voxel(grid.to_world(np.array([each])))[0] for each in ([0, 0, 0], [1, 1, 1]))
    places = [
        np.clip(np.rint(first + np.arange(n) * step), 0, most - 1).astype(int)
        for first, step, n, most in zip(corner, far - corner, grid.voxels.shape, volume.voxels.shape, strict=True)
    ]
    return np.asarray(volume.voxels[np.ix_(*places)])


def refined(labels: Volume, grid: Volume) -> Volume:
    """Labels on a finer grid over the same place: each label's mask interpolated, inside from a share of a half on.

    Args:
        labels: 0 is background; where two labels claim a voxel, the higher one has it.
        grid: Grid with the same axes; its values do not count.

    Returns:
        uint8.
    """
    to_coarse = np.linalg.inv(labels.world_from_voxel) @ grid.world_from_voxel
    factors, offset = np.diag(to_coarse[:3, :3]), to_coarse[:3, 3]
    fine = np.zeros(grid.voxels.shape, dtype=np.uint8)
    for value in np.unique(labels.voxels[labels.voxels > 0]):
        mask = (labels.voxels == value).astype(np.float32)
        share = ndimage.affine_transform(mask, factors, offset, output_shape=fine.shape, order=1, mode="nearest")
        fine[share >= 0.5] = value
    return grid.with_voxels(fine)

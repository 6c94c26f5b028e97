"""What lies between lungs and ribs: a few millimetres of muscle in health; dense lung, or fluid, in disease.

From a line within each lung, rays run to its side and its back in every axial slice. Where each leaves the lung, and
where it meets bone, are found; the inside of the rib cage is a smooth surface through the innermost bone. Healthy lungs
lie against it at the side and the back from top to bottom. Front, middle and diaphragm say nothing: heart and liver lie
there as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial.chebyshev import chebvander2d
from numpy.typing import NDArray

from lpm.calibration import number, span
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.masks import Mask, grown, nearest_on, shrunk
from lpm.geometry.sides import LEFT
from lpm.geometry.volumes import Volume
from lpm.segmentation.hounsfield import Scan
from lpm.structures import DEFAULT_STRUCTURES

_SPACING_MM = number("segmentation.wall_spacing_mm")
_STEP_MM = number("segmentation.wall_step_mm")
_FARTHEST_MM = number("segmentation.wall_farthest_mm")
_NEAREST_MM = number("segmentation.wall_nearest_mm")
_ANGLES = np.radians(np.arange(-30.0, 101.0, 5.0))  # from the side, to the back
_BACK = np.radians(number("segmentation.back_deg"))
_BONE_HU = number("segmentation.bone_hu")
_SOFT_HU = span("segmentation.wall_soft_hu")
_RIB_MM = number("segmentation.rib_mm")
_DEGREES = (4, 5)  # of the polynomials of the smooth surface through the ribs, by angle and height
_ROUNDS = 12  # of reweighting
_INWARDS_MM = number("segmentation.wall_inwards_mm")
_OUTWARDS_MM = number("segmentation.wall_outwards_mm")
_APEX_SHARE = number("segmentation.apex_share")
_BASE_MM = number("segmentation.base_mm")
_FAR_MM = number("segmentation.far_mm")
_MOST_GAP_MM = number("segmentation.most_gap_mm")
_LEAST_SOFT = number("segmentation.least_soft")
_SICK_SHARE = number("segmentation.sick_share")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class LungBeforeRibs:
    """One lung and the ribs at its side and back.

    Args:
        hidden_share: Share of the rib cage from which soft tissue, more than 15 mm of it, parts the lung.
        pleura_mm: (n, 3) where the lung would end if it reached the ribs there, world.
        outwards: (n, 3) unit vectors from the lung's middle to there.
        is_sure: (n,) at the back and above the base; elsewhere heart, liver and spleen also part lung and ribs.
    """

    hidden_share: float
    pleura_mm: Floats
    outwards: Floats
    is_sure: Mask

    @property
    def is_hidden(self) -> bool:
        """Whether so much is parted that dense disease must be the cause."""
        return self.hidden_share > _SICK_SHARE

    def scaled(self, by: float) -> LungBeforeRibs:
        """The same of a patient scaled about the world's origin."""
        return self if by == 1.0 else replace(self, pleura_mm=self.pleura_mm * by)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class _Rays:
    """Rays of one lung, by angle and slice; lengths in mm, NaN for none.

    Args:
        start: (2,) voxel of the line from which they run.
        outwards: -1 towards the patient's left, 1 towards the right.
        lung_mm: (a, k) where each leaves the lung.
        bone_mm: (a, k) where it meets bone beyond.
        is_soft: (a, r, k) whether each step along a ray lies in soft tissue.
    """

    start: Floats
    outwards: float
    lung_mm: Floats
    bone_mm: Floats
    is_soft: Mask


def lungs_before_ribs(scan: Scan, labels: Volume) -> dict[str, LungBeforeRibs]:
    """Look for dense tissue between each lung and the ribs behind it.

    Args:
        scan: Scan in HU.
        labels: Labels on the grid of its upright volume: 1 left, 2 right.

    Returns:
        By structure, of the lungs that there are. Where no rib cage is seen, nothing is hidden.
    """
    grid = scan.averaged(_SPACING_MM)
    lungs, body = nearest_on(labels, grid), nearest_on(scan.body, grid)
    sides = {name: value for name, (value,) in DEFAULT_STRUCTURES.items() if (lungs == value).any()}
    slices = np.flatnonzero((lungs > 0).any(axis=(0, 1)))
    ribs = _ribs(grid, body)
    rays = {name: _rays(grid, lungs, ribs, side) for name, side in sides.items()}
    walls = {name: _wall(each.bone_mm, slices) for name, each in rays.items()}
    gap_mm = min((_gap(rays[name], walls[name]) for name in sides), default=np.inf)
    return {name: _before_ribs(rays[name], walls[name] - gap_mm, gap_mm, grid, slices) for name in sides}


def _ribs(grid: Volume, body: Mask) -> Mask:
    """Bone that is no thicker than ribs; not the spine, nor heart and vessels that contrast medium fills."""
    bone = body & (grid.voxels > _BONE_HU)
    return bone & ~grown(shrunk(bone, _RIB_MM, grid), 1.5 * _RIB_MM, grid)


def _rays(grid: Volume, lungs: NDArray[np.uint8], ribs: Mask, side: int) -> _Rays:
    lung, outwards = lungs == side, -1.0 if side == LEFT else 1.0
    across, along = np.flatnonzero(lung.any(axis=(1, 2))), np.flatnonzero((lungs > 0).any(axis=(0, 2)))
    start = np.array([across[0] + across[-1], along[0] + along[-1]]) / 2.0
    lengths = np.arange(0.0, _FARTHEST_MM, _STEP_MM)
    i = np.rint(start[0] + outwards * np.cos(_ANGLES)[:, None] * lengths / grid.spacing_mm[0]).astype(int)
    j = np.rint(start[1] - np.sin(_ANGLES)[:, None] * lengths / grid.spacing_mm[1]).astype(int)
    n_across, n_along = lung.shape[:2]
    inside = ((i >= 0) & (i < n_across) & (j >= 0) & (j < n_along))[:, :, None]
    at = np.clip(i, 0, n_across - 1), np.clip(j, 0, n_along - 1)
    is_lung, values = lung[at] & inside, grid.voxels[at]
    n, order = len(lengths), np.arange(len(lengths))[None, :, None]
    last = np.where(is_lung.any(axis=1), n - 1 - is_lung[:, ::-1].argmax(axis=1), -1)
    is_beyond = order > last[:, None]
    is_bone = ribs[at] & inside & is_beyond & (lengths > _NEAREST_MM)[None, :, None]
    first = np.where(is_bone.any(axis=1), is_bone.argmax(axis=1), n)
    return _Rays(
        start,
        outwards,
        np.where(last >= 0, (last + 0.5) * _STEP_MM, np.nan),
        np.where(first < n, (first - 0.5) * _STEP_MM, np.nan),
        (values > _SOFT_HU[0]) & (values < _SOFT_HU[1]) & inside,
    )


def _wall(bone_mm: Floats, slices: NDArray[np.int64]) -> Floats:
    """(a, k) a smooth surface through the innermost bone: between ribs there is none, and shoulder blades lie behind.

    NaN beyond the slices that hold lung, and everywhere if bone was met too seldom.
    """
    height = (np.arange(bone_mm.shape[1]) - slices.mean()) / max(0.5 * np.ptp(slices), 1.0)
    wall, within = np.full(bone_mm.shape, np.nan), np.abs(height) <= 1.0
    met = bone_mm[:, within]
    known = np.isfinite(met)
    if known.mean() < 0.2:
        return wall
    angle, height = np.meshgrid(np.linspace(-1.0, 1.0, len(met)), height[within], indexing="ij")
    terms, lengths, weight = chebvander2d(angle, height, _DEGREES), np.where(known, met, 0.0), known.astype(float)
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)
        weights = np.linalg.lstsq((terms * root[:, :, None])[known], (lengths * root)[known], rcond=None)[0]
        beyond = lengths - terms @ weights
        doubt = np.where(beyond > 0, (1.0 + (beyond / _OUTWARDS_MM) ** 2) ** 2, 1.0 + (beyond / _INWARDS_MM) ** 2)
        weight = known / doubt
    wall[:, within] = terms @ weights
    return wall


def _gap(rays: _Rays, wall_mm: Floats) -> float:
    """What parts a healthy lung from the ribs: muscle and pleura; infinite where no lung comes near any."""
    apart = (wall_mm - rays.lung_mm)[_ANGLES >= _BACK]
    apart = apart[np.isfinite(apart)]
    gap = float(np.quantile(apart, 0.25)) if len(apart) else np.inf
    return gap if gap < _MOST_GAP_MM else np.inf


def _before_ribs(
    rays: _Rays, pleura_mm: Floats, gap_mm: float, grid: Volume, slices: NDArray[np.int64]
) -> LungBeforeRibs:
    if not np.isfinite(gap_mm) or not np.isfinite(pleura_mm).any():
        return LungBeforeRibs(0.0, np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=bool))
    is_far = _is_far(rays, pleura_mm)
    looked_at, last = np.zeros_like(is_far), slices[-1] - round(_APEX_SHARE * len(slices))
    looked_at[_ANGLES >= _BACK, slices[0] + round(_BASE_MM / grid.spacing_mm[2]) : last] = True
    angle, k = np.nonzero(is_far & (np.arange(is_far.shape[1]) < last))
    across = np.stack([rays.outwards * np.cos(_ANGLES[angle]), -np.sin(_ANGLES[angle])], axis=1)
    i, j = (rays.start + across * pleura_mm[angle, k][:, None] / grid.spacing_mm[:2]).T
    directions = across @ (grid.world_from_voxel[:3, :2] / grid.spacing_mm[:2]).T
    share = float(is_far[looked_at].mean()) if looked_at.any() else 0.0
    return LungBeforeRibs(share, grid.to_world(np.stack([i, j, k], axis=1)), directions, looked_at[angle, k])


def _is_far(rays: _Rays, pleura_mm: Floats) -> Mask:
    """(a, k) where much soft tissue, and little else, lies between lung and pleura."""
    lung_mm = np.where(np.isfinite(rays.lung_mm), rays.lung_mm, 0.0)
    lengths = (np.arange(rays.is_soft.shape[1]) * _STEP_MM)[None, :, None]
    is_between = (lengths > lung_mm[:, None]) & (lengths < pleura_mm[:, None])
    soft_share = (rays.is_soft & is_between).sum(axis=1) / np.maximum(is_between.sum(axis=1), 1)
    return np.asarray((pleura_mm - lung_mm > _FAR_MM) & (soft_share > _LEAST_SOFT))

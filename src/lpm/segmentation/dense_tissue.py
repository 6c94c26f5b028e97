"""Where dense lung ends: its density, where that differs from what lies beside it, and a guess of its shape.

Consolidated lung is a little less dense than liver, spleen and muscle, and much denser or thinner than they are where
contrast medium was given; a radiologist sees the border after smoothing, and so does this. Where densities are the same
the guess stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.calibration import count, number, span
from lpm.geometry.frames import Floats
from lpm.geometry.masks import Mask, pieces_touching, signed_distance_mm
from lpm.geometry.volumes import Volume

_SOFT_HU = span("segmentation.border_soft_hu")
_ORGAN_HU = number("segmentation.organ_hu")
_LOGIT = 1.7  # the logistic function of 1.7 x is nearly the normal distribution's
_GUESS_SD_MM = number("segmentation.guess_sd_mm")
_BAND_MM = number("segmentation.border_band_mm")
_SURE_MM = number("segmentation.border_sure_mm")
_SMOOTH_MM = number("segmentation.border_smooth_mm")
_REGION_MM = number("segmentation.border_region_mm")
_BESIDE_MM = number("segmentation.border_beside_mm")
_LEAST_SD_HU = number("segmentation.border_least_sd_hu")
_MOST_EVIDENCE = number("segmentation.border_most_evidence")
_LEAST_VOXELS = count("segmentation.border_least_voxels")


def settled_border(grid: Volume, lungs: Mask, lung: Mask, guess: Mask) -> Mask:
    """Move the border of dense lung to where density changes, if it does within 15 mm.

    Every voxel of soft tissue is dense lung or not by the odds of its smoothed density under the middle of the guess
    and under what lies beyond the guess nearby, times the odds of a guess that is right within 6 mm.

    Args:
        grid: HU.
        lungs: Aerated lung of both sides.
        lung: Lung mask of the side that is dense in part.
        guess: Guess of its dense part.

    Returns:
        The dense part; the guess itself if too little of it is far from all borders to know its density.
    """
    box = _box_around(guess, grid)
    hu, lungs, lung, guess_there = grid.voxels[box], lungs[box], lung[box], guess[box]
    soft = (hu > _SOFT_HU[0]) & (hu < _SOFT_HU[1]) & ~lungs
    outside_mm = signed_distance_mm(guess_there | lung, grid.spacing_mm)
    away_mm = ndimage.distance_transform_edt(~lungs, sampling=grid.spacing_mm)
    smooth, _ = _means(hu, soft, _SMOOTH_MM, grid.spacing_mm)
    core = guess_there & soft & (outside_mm < -_SURE_MM) & (away_mm > 2.0 * _SMOOTH_MM)
    if core.sum() < _LEAST_VOXELS:
        return guess
    beside = soft & (outside_mm > _SURE_MM) & (outside_mm < _BESIDE_MM) & (hu > _ORGAN_HU)
    odds = _evidence(smooth, core, beside, grid.spacing_mm) - _LOGIT * outside_mm / _GUESS_SD_MM
    near = ndimage.distance_transform_edt(~guess_there, sampling=grid.spacing_mm) < _BAND_MM
    dense = ((odds > 0) & near & (outside_mm > -_BAND_MM)) | (guess_there & (outside_mm <= -_BAND_MM))
    found = np.zeros_like(guess)
    found[box] = _in_one_piece(dense & soft, soft, lung)
    return found


def _box_around(mask: Mask, grid: Volume) -> tuple[slice, ...]:
    margin = np.ceil((_BESIDE_MM + _REGION_MM) / grid.spacing_mm).astype(int)
    (found,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(one.start - m, 0), one.stop + m) for one, m in zip(found, margin, strict=True))


def _means(values: NDArray[np.floating[Any]], of: Mask, width_mm: float, spacing_mm: Floats) -> tuple[Floats, Floats]:
    """Local means over some voxels, and how much of them there is nearby."""
    sigma = width_mm / spacing_mm
    weight = ndimage.gaussian_filter(of.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(of, values, 0.0).astype(np.float32), sigma)
    return total / np.maximum(weight, 1e-4), weight


def _evidence(smooth: Floats, core: Mask, beside: Mask, spacing_mm: Floats) -> Floats:
    """Log odds of each voxel's density as dense lung's, against what lies beyond it nearby; 0 where they are the same.

    Both are taken to spread alike, by the larger spread: then equal densities say nothing.
    """
    own = float(np.median(smooth[core]))
    own_sd = max(1.4826 * float(np.median(np.abs(smooth[core] - own))), _LEAST_SD_HU)
    other, weight = _means(smooth, beside, _REGION_MM, spacing_mm)
    squares, _ = _means(smooth**2, beside, _REGION_MM, spacing_mm)
    variance = np.maximum(squares - other**2, own_sd**2)
    odds = (own - other) * (smooth - 0.5 * (own + other)) / variance
    return np.where(weight > 1e-3, np.clip(odds, -_MOST_EVIDENCE, _MOST_EVIDENCE), 0.0)


def _in_one_piece(dense: Mask, soft: Mask, lung: Mask) -> Mask:
    """Without specks and holes, and what touches the lung only."""
    opened = ndimage.binary_opening(dense | lung) & dense
    return pieces_touching(ndimage.binary_closing(opened | lung) & soft, lung)

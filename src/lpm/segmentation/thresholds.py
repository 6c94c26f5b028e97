"""The stage `segment`: left and right lung in a chest CT, by thresholds and shape alone; no network, no weights.

Read `ThresholdSegmenter.segment` top to bottom: the patient, the air in the patient, the airway, the lungs, left and
right, what vessels and disease left open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.geometry.masks import Mask, grown, pieces, refined, shrunk
from lpm.geometry.seam import cheapest_way, cut_along, grown_within
from lpm.geometry.sides import LEFT, RIGHT, left_share
from lpm.geometry.volumes import Volume
from lpm.records import StrictModel
from lpm.segmentation.body import lateral_border
from lpm.segmentation.hounsfield import BODY_GRID_MM, Scan

_SEAM_REACH_MM = number("segmentation.seam_reach_mm")
_SEAM_HU = number("segmentation.seam_hu")
_JOINED_SHARE = number("segmentation.joined_share")
_CRUMB_SHARE = number("segmentation.crumb_share")
_TOUCHING_SHARE = number("segmentation.touching_share")
_LEAST_CUT_ML = number("segmentation.least_cut_ml")
_TOUCHING_ML = number("segmentation.touching_ml")


class SegmentationConfig(StrictModel):
    """What can be chosen in the built-in segmenter; lengths in mm, densities in HU."""

    air_hu: float = Field(number("segmentation.air_hu"), description="below: air or lung; above: tissue")
    airway_hu: float = Field(-880.0, description="the airway's lumen is below, lung mostly above")
    gas_hu: float = Field(
        number("segmentation.gas_hu"), description="mean of a pocket of gas in stomach or bowel is below"
    )
    least_ml: float = Field(60.0, gt=0, description="smallest piece taken for a part of a lung")
    hole_cm2: float = Field(4.0, ge=0, description="holes of an axial slice up to this size are lung")
    closing_mm: float = Field(7.5, ge=0, description="vessels and nodules up to twice this wide are lung")


class Segmenter(Protocol):
    """Anything that finds lungs in a CT."""

    @property
    def name(self) -> str:
        """Name in reports, with its version."""
        ...

    def segment(self, scan: Scan, subject: str) -> Volume:
        """Labels on the grid of `Scan.upright`: 1 left lung, 2 right lung.

        Raises:
            InputError: No lung was found.
        """
        ...


@dataclass(frozen=True)
class ThresholdSegmenter:
    """The built-in segmenter.

    Args:
        config: Thresholds and lengths.
    """

    config: SegmentationConfig = field(default_factory=SegmentationConfig)

    @property
    def name(self) -> str:
        """Name in reports."""
        return "thresholds"

    def segment(self, scan: Scan, subject: str) -> Volume:
        """Labels on the grid of `Scan.upright`: 1 left lung, 2 right lung.

        Args:
            scan: Scan in HU, at least from the apices to the bases for whole lungs.
            subject: Case name for messages.

        Raises:
            InputError: Nothing like a lung was found.
        """
        config, sized = self.config, scan.adult_sized
        coarse, in_body = sized.averaged(BODY_GRID_MM), sized.body.voxels
        air = in_body & (coarse.voxels < config.air_hu)
        airway = find_airway(coarse, air, config)
        beside = lateral_border(air.shape, sized.padding_on(BODY_GRID_MM)) if sized.cut_sides else None
        lungs = aerated_lungs(coarse, air & ~grown(airway, 1.5 * BODY_GRID_MM, coarse), beside, config, subject)
        labels = left_and_right(coarse, lungs, _middle(sized))
        labels = closed(coarse, labels, in_body & ~airway, config)
        return scan.upright.with_voxels(refined(coarse.with_voxels(labels), sized.upright).voxels)


def find_airway(scan: Volume, air: Mask, config: SegmentationConfig) -> Mask:
    """Trachea and main bronchi: grown from the trachea's cross-section, as far as they do not leak into lung."""
    seed = _trachea(scan, air)
    nothing = np.zeros_like(air)
    if seed is None:
        return nothing
    best, limit_ml = nothing, 120.0
    for threshold in np.arange(-960.0, config.airway_hu + 1.0, 20.0):
        lumen = air & (scan.voxels < threshold)
        found, _ = ndimage.label(lumen)
        number = found[seed]
        if number == 0:
            continue
        grown_to = found == number
        if grown_to.sum() * scan.voxel_ml > limit_ml:
            break
        best = grown_to
    return best


def _trachea(scan: Volume, air: Mask) -> tuple[int, int, int] | None:
    """A voxel of the trachea's lumen: a round hole near the middle that goes on through many slices."""
    pixel_mm2 = float(np.prod(scan.spacing_mm[:2]))
    columns = np.flatnonzero(air.any(axis=(1, 2)))
    if not len(columns):
        return None
    middle_mm = float(columns.mean()) * scan.spacing_mm[0]
    chains: list[tuple[tuple[int, int, int], Floats, int]] = []
    most = 0
    best: tuple[int, int, int] | None = None
    for k in range(air.shape[2] - 1, -1, -1):
        going_on = []
        for place, center_mm in _holes(air[:, :, k], scan, k, pixel_mm2, middle_mm):
            near = [n for _, at, n in chains if np.linalg.norm(at - center_mm) < 4.0 * max(scan.spacing_mm[2] / 1.5, 1)]
            length = max(near, default=0) + 1
            going_on.append((place, center_mm, length))
            if length > most:
                most, best = length, place
        chains = going_on
    return best if most * scan.spacing_mm[2] >= 15.0 else None


def _holes(
    slice_air: Mask, scan: Volume, k: int, pixel_mm2: float, middle_mm: float
) -> Iterator[tuple[tuple[int, int, int], Floats]]:
    """Round holes of a trachea's size near the middle of an axial slice."""
    found, _ = ndimage.label(slice_air)
    for index, box in enumerate(ndimage.find_objects(found), start=1):
        hole = found[box] == index
        area = hole.sum() * pixel_mm2
        sides = np.array(hole.shape) * scan.spacing_mm[:2]
        if not 60.0 <= area <= 900.0 or sides.max() > 2.5 * sides.min() or area < 0.5 * sides.prod():
            continue
        depth = ndimage.distance_transform_edt(np.pad(hole, 1))[1:-1, 1:-1]
        i, j = (int(a + b.start) for a, b in zip(np.unravel_index(depth.argmax(), hole.shape), box, strict=True))
        center = np.array([i, j]) * scan.spacing_mm[:2]
        if abs(center[0] - middle_mm) < 50.0 and scan.voxels[i, j, k] < -800.0:
            yield (i, j, k), center


def aerated_lungs(scan: Volume, air: Mask, beside: Mask | None, config: SegmentationConfig, subject: str) -> Mask:
    """Pieces of the body's air that are lung: large enough, and not pure gas as in stomach and bowel.

    Args:
        scan: CT in HU.
        air: Air in the body, without the airway.
        beside: Where the view cuts the chest: a piece that ends there may be small. None if it does nowhere.
        config: Thresholds and lengths.
        subject: Case name for messages.

    Raises:
        InputError: There is none.
    """
    found, sizes = pieces(air)
    least = np.full(len(sizes), config.least_ml)
    if beside is not None:
        least[np.unique(found[beside])] = _LEAST_CUT_ML
    large = np.flatnonzero(sizes * scan.voxel_ml >= least)
    inner = shrunk(air, max(scan.spacing_mm), scan)
    kept = [n for n in large if _is_lung(scan, (found == n) & inner, config)]
    if not kept:
        given = f"{len(large)} large pieces of air in the body, none like lung"
        raise InputError(subject, given, "a chest CT with aerated lungs", "look at the scan, or give a mask")
    return np.isin(found, kept)


def _is_lung(scan: Volume, inside: Mask, config: SegmentationConfig) -> bool:
    """Gas is as thin as air; lung holds blood and tissue, even in emphysema."""
    values = scan.voxels[inside]
    return bool(len(values)) and float(np.mean(values)) > config.gas_hu


def left_and_right(scan: Volume, lungs: Mask, middle: float) -> NDArray[np.uint8]:
    """1 in the left lung, 2 in the right; lungs that touch are cut along the densest seam between them.

    The seam leads around one lung that reaches across the middle, so that little is cut from it: it stays whole.

    Args:
        scan: CT in HU, with axes along R, A, S.
        lungs: Aerated lung in it.
        middle: Index along the first axis that parts left from right.
    """
    found, sizes = pieces(lungs)
    share, total = left_share(found, sizes, middle), sizes.sum()
    sides = np.where(sizes > _CRUMB_SHARE * total, np.where(share > 0.5, LEFT, RIGHT), 0).astype(np.int32)[found]
    touching = (np.minimum(share, 1.0 - share) > _TOUCHING_SHARE) & (sizes > _JOINED_SHARE * total)
    if touching.any():
        both = touching[found]
        cut = cut_along(both, _seam(scan, lungs, middle))
        if min((cut == side).sum() for side in (LEFT, RIGHT)) * scan.voxel_ml >= _TOUCHING_ML:
            sides[both] = cut[both]
    return grown_within(sides, lungs, scan)


def _seam(scan: Volume, lungs: Mask, middle: float) -> NDArray[np.int64]:
    """(1, j, k) where left ends along the first axis: the cheapest way from back to front in each axial slice.

    Tissue costs nothing and lung costs by how little dense it is, so that the way runs through the mediastinum and then
    along the double layer of pleura where lungs touch, denser than lung even where it is thinner than a voxel.
    """
    reach = round(_SEAM_REACH_MM / scan.spacing_mm[0])
    first = max(round(middle) - reach, 0)
    near = slice(first, round(middle) + reach)
    aerated = np.clip((_SEAM_HU - scan.voxels[near]) / 500.0, 0.0, 1.0)
    cost = np.where(lungs[near], 0.02 + aerated, 0.0)
    cost = ndimage.uniform_filter1d(cost, 3, axis=2) + ndimage.gaussian_filter(0.02 * lungs[near], 2.0)
    return np.asarray(cheapest_way(cost) + first)


def _middle(scan: Scan) -> float:
    """The plane between left and right, by voxel index along R: the body's middle, or the spine's if a side is cut."""
    step_mm = float(scan.body.spacing_mm[0])
    if {"left", "right"} & set(scan.cut_sides):
        if scan.spine.across_mm is not None:
            return scan.spine.across_mm / step_mm
        return float(np.clip(scan.body.to_voxel(np.zeros((1, 3)))[0, 0], 0.0, scan.body.voxels.shape[0]))
    across = np.flatnonzero(scan.body.voxels.any(axis=(1, 2)))
    return float(across.mean()) if len(across) else 0.5 * scan.body.voxels.shape[0]


def closed(scan: Volume, labels: NDArray[np.uint8], allowed: Mask, config: SegmentationConfig) -> NDArray[np.uint8]:
    """Close each lung over vessels, nodules and small consolidations; sides do not overlap."""
    whole = labels.copy()
    for side in (LEFT, RIGHT):
        lung = labels == side
        if not lung.any():
            continue
        solid = ~grown(~grown(lung, config.closing_mm, scan), config.closing_mm, scan) | lung
        solid = ndimage.binary_fill_holes(solid) | _small_holes(solid, scan, config.hole_cm2)
        whole[solid & allowed & (whole == 0)] = side
    return whole


def _small_holes(mask: Mask, grid: Volume, most_cm2: float) -> Mask:
    """Holes of axial slices up to a size: a vessel's section is one, the dome of the liver is not."""
    most = most_cm2 * 100.0 / float(np.prod(grid.spacing_mm[:2]))
    holes = np.zeros_like(mask)
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        inside = ndimage.binary_fill_holes(mask[:, :, k]) & ~mask[:, :, k]
        found, sizes = pieces(inside)
        holes[:, :, k] = inside & (sizes[found] <= most)
    return holes

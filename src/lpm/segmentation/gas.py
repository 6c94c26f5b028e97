"""Gas in a chest that no lung tissue holds: bullae, which belong to the lung, and pneumothoraces, which do not.

Both are as thin as air. A bulla is compact and meets the chest wall in one place; a pneumothorax is a layer between
lung and chest wall, along much of it. Gas below lung, with none beneath, is that of stomach and bowel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from lpm.calibration import number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.masks import Mask, grown, nearest_on, pieces, refined, shrunk
from lpm.geometry.sides import LEFT, RIGHT
from lpm.geometry.volumes import Volume
from lpm.segmentation.hounsfield import BONE_GRID_MM, Scan
from lpm.segmentation.thresholds import SegmentationConfig, find_airway
from lpm.structures import GasPolicy

_THIN_HU = number("segmentation.pocket_hu")
_EDGE_HU = number("segmentation.pocket_edge_hu")
_LEAST_ML = number("segmentation.pocket_ml")
_CORE_MM = number("segmentation.pocket_core_mm")
_SCATTER = number("segmentation.pocket_scatter")
_BENEATH = number("segmentation.pocket_beneath")
_BENEATH_ML = number("segmentation.beneath_ml")
_CLOSE_MM = number("segmentation.beneath_close_mm")
_CLOSE_SHARE = number("segmentation.beneath_close_share")
_SHEET = number("segmentation.pneumothorax_sheet")
_SPREAD = number("segmentation.pneumothorax_spread")
_WALL_MM = number("segmentation.pocket_wall_mm")
_AIRWAY_MM = number("segmentation.airway_reach_mm")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Pocket:
    """Gas in one place of the chest.

    Args:
        side: 1 left, 2 right.
        ml: Its volume.
        sheet: How much of a layer along the chest wall it is: above 1 rather a pneumothorax, below a bulla.
        is_beneath: Whether it lies under the lung, as that of stomach and bowel does: it is no lung then.
        place: Its voxels on the grid in which it was found.
    """

    side: int
    ml: float
    sheet: float
    is_beneath: bool
    place: Mask

    @property
    def is_pneumothorax(self) -> bool:
        """Whether it is rather a pneumothorax than a bulla."""
        return self.sheet > 1.0

    @property
    def confidence(self) -> float:
        """Chance that it is what it is taken for, 0.5 to 1; judged by shape alone."""
        return float(1.0 / (1.0 + np.exp(-abs(np.log(self.sheet)) / _SPREAD)))

    def note(self, policy: GasPolicy, adult_share: float) -> str:
        """What is told of it."""
        name, ml = "left_lung" if self.side == LEFT else "right_lung", self.ml * adult_share**3
        if self.is_beneath:
            what = "taken for stomach or bowel and left out; a bulla at the base looks alike"
            return f"{name}: {ml:,.0f} ml of gas close beneath it, {what}"
        kind = "a pneumothorax" if self.is_pneumothorax else "a bulla"
        what = "left out of the lung" if self.is_pneumothorax and policy == "leave-out" else "counted as lung"
        return f"{name}: {ml:,.0f} ml of gas without lung tissue, {kind} (confidence {self.confidence:.0%}), {what}"


def find_pockets(scan: Scan, labels: Volume) -> tuple[Pocket, ...]:
    """Find gas in the chest beside the airway, of 15 ml and more in one place.

    Args:
        scan: Scan in HU, of an adult's size.
        labels: Labels on the grid of its upright volume: 1 left, 2 right.
    """
    grid = scan.averaged(BONE_GRID_MM)
    lungs, body = nearest_on(labels, grid), nearest_on(scan.body, grid)
    airway = find_airway(grid, body & (grid.voxels < SegmentationConfig().air_hu), SegmentationConfig())
    free = body & ~grown(airway, _AIRWAY_MM, grid)
    found = []
    for thin in _thin_pieces(grid, free, lungs):
        place = ndimage.binary_dilation(thin) & free & (grid.voxels < _EDGE_HU)
        ml, is_beneath = float(place.sum()) * grid.voxel_ml, not _is_in_chest(place, lungs)
        if ml >= (_BENEATH_ML if is_beneath else _LEAST_ML) and not (is_beneath and _is_far(place, lungs, grid)):
            found.append(_pocket(place, is_beneath, lungs, grid))
    return tuple(found)


def _thin_pieces(grid: Volume, free: Mask, lungs: NDArray[np.uint8]) -> Iterator[Mask]:
    """Connected gas: in emphysema, where noise makes much of the lung as thin, only what holds a ball of gas."""
    thin = free & (grid.voxels < _THIN_HU)
    smooth = free & (ndimage.uniform_filter(grid.voxels, 3) < _THIN_HU)
    core = shrunk(smooth, _CORE_MM, grid)
    numbers, sizes = pieces(thin)
    large = np.flatnonzero(sizes * grid.voxel_ml >= 0.5 * _LEAST_ML)
    scattered = thin & (lungs > 0) & ~np.isin(numbers, large)
    if float(scattered.sum()) > _SCATTER * float((lungs > 0).sum()):
        numbers, sizes = pieces(smooth)
        large = np.setdiff1d(np.unique(numbers[core]), [0])
    for n in large:
        yield numbers == n


def _is_in_chest(place: Mask, lungs: NDArray[np.uint8]) -> bool:
    """Whether gas lies in or beside lung: that of stomach and bowel has lung above it only, or none."""
    if float((lungs[place] > 0).mean()) > 0.5:
        return True
    other = (lungs > 0) & ~place
    beneath = np.cumsum(other, axis=2)[place] > 0
    return float(beneath.mean()) > _BENEATH


def _is_far(place: Mask, lungs: NDArray[np.uint8], grid: Volume) -> bool:
    """Whether gas lies apart from the lungs."""
    rim = place & ~ndimage.binary_erosion(place)
    return float(grown(lungs > 0, _CLOSE_MM, grid)[rim].mean()) < _CLOSE_SHARE


def _pocket(place: Mask, is_beneath: bool, lungs: NDArray[np.uint8], grid: Volume) -> Pocket:
    beside = lungs[grown(place, 2.0 * _WALL_MM, grid)]
    side = LEFT if (beside == LEFT).sum() > (beside == RIGHT).sum() else RIGHT
    whole = (lungs == side) | place
    whole = ~grown(~grown(whole, _WALL_MM, grid), _WALL_MM, grid) | whole
    surface = whole & ~shrunk(whole, 1.1 * float(max(grid.spacing_mm)), grid)
    depth_mm = float(ndimage.distance_transform_edt(place, sampling=grid.spacing_mm).max())
    ml = float(place.sum()) * grid.voxel_ml
    roundness = ml / (4.0 / 3.0 * np.pi * depth_mm**3 / 1000.0)
    contact = float(grown(place, 0.5 * _WALL_MM, grid)[surface].mean())
    sheet = max(roundness * contact / _solidity(place, ml, grid) ** 2, 1e-3) / _SHEET
    return Pocket(side, ml, sheet, is_beneath, place)


def _solidity(place: Mask, ml: float, grid: Volume) -> float:
    """Share of its convex hull that gas takes: a bulla nearly all, a layer little."""
    rim = np.argwhere(place & ~ndimage.binary_erosion(place)) * grid.spacing_mm
    corners = [rim + 0.5 * sign * grid.spacing_mm for sign in (-1.0, 1.0)]
    return ml / max(float(ConvexHull(np.concatenate(corners)).volume) / 1000.0, ml)


def with_gas(scan: Scan, labels: Volume, pockets: tuple[Pocket, ...], policy: GasPolicy) -> Volume:
    """Labels with bullae, and with or without pneumothoraces.

    Args:
        scan: Scan in HU, of an adult's size.
        labels: Labels on the grid of its upright volume: 1 left, 2 right.
        pockets: Gas that was found in it.
        policy: Whether pneumothoraces are left out or counted as lung.
    """
    grid, settled = scan.averaged(BONE_GRID_MM), labels.voxels
    for pocket in (each for each in pockets if not each.is_beneath):
        lung = nearest_on(labels, grid) == pocket.side
        if pocket.is_pneumothorax and policy == "leave-out":
            near = grown(pocket.place, _WALL_MM, grid) & ((grid.voxels < _EDGE_HU) | ~_core(lung & ~pocket.place, grid))
            settled = np.where(_on(near, grid, labels) & (settled == pocket.side), 0, settled)
        else:
            joined = ~grown(~grown(lung | pocket.place, _WALL_MM, grid), _WALL_MM, grid) | pocket.place
            more = joined & grown(pocket.place, _WALL_MM, grid)
            settled = np.where(_on(more, grid, labels) & (settled == 0), pocket.side, settled)
        labels = labels.with_voxels(settled.astype(np.uint8))
    return labels


def _core(lung: Mask, grid: Volume) -> Mask:
    """What is more than a rim of a lung."""
    return grown(shrunk(lung, 1.5 * float(max(grid.spacing_mm)), grid), 1.5 * float(max(grid.spacing_mm)), grid)


def _on(mask: Mask, grid: Volume, labels: Volume) -> Mask:
    return np.asarray(refined(grid.with_voxels(mask.astype(np.uint8)), labels).voxels > 0)

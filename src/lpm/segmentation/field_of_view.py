"""What the field of view shows of a chest: all of it, or one that is cut sideways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.geometry.masks import Mask, nearest_on
from lpm.geometry.volumes import Volume
from lpm.segmentation.body import lateral_border
from lpm.segmentation.hounsfield import BODY_GRID_MM, Scan

_LUNGS_CM2 = number("segmentation.cut_lungs_cm2")


@dataclass(frozen=True)
class FieldOfView:
    """How the field of view cuts a chest sideways.

    Args:
        sides: Sides of the patient on which the skin is out of view in more than half of the chest's slices.
        lungs_cm2: Area over which lungs meet the border of the view sideways.
    """

    sides: tuple[str, ...]
    lungs_cm2: float

    @property
    def cuts_lungs(self) -> bool:
        """Whether lungs go on beyond the view."""
        return self.lungs_cm2 > _LUNGS_CM2

    @property
    def notes(self) -> tuple[str, ...]:
        """A line if the chest is cut."""
        where = f"the chest is cut sideways by the field of view ({', '.join(self.sides) or 'at a corner'})"
        if self.cuts_lungs:
            return (f"{where}: {self.lungs_cm2:,.0f} cm2 of lung lie at its border; only what is in view was found",)
        return (f"{where}: the skin is out of view, the lungs are not",) if self.sides else ()


def field_of_view(scan: Scan, labels: Volume) -> FieldOfView:
    """Look at where lungs and body meet the border of the view sideways.

    Args:
        scan: Scan in HU.
        labels: Labels on the grid of its upright volume: 1 left, 2 right.
    """
    grid = scan.body
    border = lateral_border(grid.voxels.shape, scan.padding_on(BODY_GRID_MM))
    lungs = nearest_on(labels, grid) > 0
    return FieldOfView(scan.cut_sides, _border_cm2(lungs & border, grid))


def _border_cm2(met: Mask, grid: Volume) -> float:
    """Area of voxels one thick: in each axial slice as long as they reach along an axis, the longer of the two."""
    lengths: NDArray[np.float64] = np.maximum(
        met.any(axis=1).sum(axis=0) * grid.spacing_mm[0], met.any(axis=0).sum(axis=0) * grid.spacing_mm[1]
    )
    return float(lengths.sum()) * float(grid.spacing_mm[2]) / 100.0

"""Distances between the slices of a series: even, two of them, or with slices missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

SAME_PLACE_MM = 0.01  # between images at one place: no scanner's slices lie so near
_ROUNDED = 0.2  # of a distance: as far off, a place was stored roundly, and is no other distance
_UNEVEN = 0.1  # of a step: slices farther off their even place are interpolated
_A_RUN = 5  # gaps of one size that follow each other: fewer are slices that are missing
_SKIPS = 1.5  # times the usual step between instance numbers: more, and slices in between were lost
_USUAL_MM = 6.0  # distance of slices of a chest CT, at most: what lies farther apart was lost, not left out


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Distances:
    """How slices follow each other.

    Args:
        heights_mm: (n,) place of each slice along the normal, rising.
        step_mm: Usual distance; of two usual ones the finer.
        is_coarser: (n - 1,) whether a gap is one of a second usual distance.
    """

    heights_mm: Floats
    step_mm: float
    is_coarser: NDArray[np.bool_]

    @property
    def apart_mm(self) -> Floats:
        """(n - 1,) distances between neighbours."""
        return np.diff(self.heights_mm)

    @property
    def is_even(self) -> bool:
        """Whether every slice lies at a multiple of the step."""
        heights = self.heights_mm - self.heights_mm[0]
        return bool(np.abs(heights / self.step_mm - np.arange(len(heights))).max() < _UNEVEN)

    @property
    def missing_mm(self) -> list[float]:
        """Where slices are missing, along the normal."""
        missing = np.where(self.is_coarser, 0.0, np.rint(self.apart_mm / self.step_mm - 1.0)).clip(min=0).astype(int)
        return [
            float(below + self.step_mm * n)
            for below, many in zip(self.heights_mm, missing, strict=False)
            for n in range(1, many + 1)
        ]

    @property
    def coarser_mm(self) -> float | None:
        """Size of the gaps of a second usual distance, if there are any."""
        return float(self.apart_mm[self.is_coarser].mean()) if self.is_coarser.any() else None


def distances(heights_mm: Floats, numbers: NDArray[np.int64], thickness_mm: float) -> Distances:
    """Find how slices follow each other.

    The usual distance is the mean of those that are no gaps, for places may be stored roundly. Scanners also give
    series of two distances (thin slices through the lungs, then thicker ones): a distance that follows itself and is
    usual for a chest is no gap, unless instance numbers skip there.

    Args:
        heights_mm: (n,) place of each slice along the normal, rising.
        numbers: (n,) instance numbers.
        thickness_mm: Nominal slice thickness: the step where no two slices lie apart.
    """
    apart = np.diff(heights_mm)
    usual = float(np.percentile(apart, 50, method="lower")) if len(apart) else 0.0
    if usual < SAME_PLACE_MM:
        return Distances(heights_mm, thickness_mm, np.zeros(len(apart), dtype=bool))
    step = float(apart[np.abs(apart - usual) < _ROUNDED * usual].mean())
    runs = [(run, float(apart[run].mean())) for run in _runs(apart)]
    finer = min((mean for _, mean in runs if mean < step * (1 - _ROUNDED)), default=step)
    step = finer if step <= _USUAL_MM else step
    is_coarser = np.zeros(len(apart), dtype=bool)
    for run, mean in runs:
        is_usual = step * (1 + _ROUNDED) < mean <= _USUAL_MM
        is_coarser[run] = is_usual and not _skips(numbers, run, np.abs(apart - step) < _ROUNDED * step)
    return Distances(heights_mm, step, is_coarser)


def _runs(apart_mm: Floats) -> Iterator[slice]:
    """Gaps of one size that follow each other."""
    start = 0
    for end in range(1, len(apart_mm) + 1):
        if end == len(apart_mm) or abs(apart_mm[end] - apart_mm[start:end].mean()) > _ROUNDED * apart_mm[end]:
            if end - start >= _A_RUN:
                yield slice(start, end)
            start = end


def _skips(numbers: NDArray[np.int64], run: slice, is_fine: NDArray[np.bool_]) -> bool:
    """Whether instance numbers skip within a run, as they do where slices were lost."""
    if len(set(numbers.tolist())) < len(numbers) or not is_fine.any():
        return False
    jumps = np.abs(np.diff(numbers))
    return bool(np.median(jumps[run]) > _SKIPS * np.median(jumps[is_fine]))

"""How each value of a label map is spread from the patient's left to the right."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Spread:
    """Voxels of each value in each sagittal slice of the patient, which those of an oblique image are not.

    Args:
        counts: (i, n) voxels of each value, from the left to the right slice.
        across_mm: (i,) R of each slice's middle.
        voxel_ml: Volume of a voxel.
    """

    counts: NDArray[np.int64]
    across_mm: Floats
    voxel_ml: float

    @classmethod
    def of(cls, labels: Volume) -> Spread:
        """That of an upright label map."""
        most = int(labels.voxels.max()) + 1
        drift_mm = np.abs(labels.world_from_voxel[0, 1:3]) @ (np.array(labels.voxels.shape[1:]) - 1)
        if drift_mm > labels.spacing_mm[0]:
            return cls(*_across_oblique(labels, most), labels.voxel_ml)
        counts = np.stack([np.bincount(each.ravel(), minlength=most) for each in labels.voxels])
        middles = np.tile((np.array(labels.voxels.shape) - 1) / 2.0, (len(counts), 1))
        middles[:, 0] = np.arange(len(counts))
        return cls(counts, labels.to_world(middles)[:, 0], labels.voxel_ml)

    @property
    def present(self) -> list[int]:
        """Values that are there, but for the background."""
        return [int(value) for value in np.flatnonzero(self.counts.sum(axis=0)) if value]

    def profile(self, values: Collection[int]) -> NDArray[np.int64]:
        """(i,) voxels of some values in each slice."""
        known = [value for value in set(values) if value < self.counts.shape[1]]
        return np.asarray(self.counts[:, known].sum(axis=1))

    def ml(self, values: Collection[int]) -> float:
        """Volume of some values."""
        return float(self.profile(values).sum()) * self.voxel_ml

    def center_mm(self, values: Collection[int]) -> float:
        """R of the centre of some values that are there."""
        return float(np.average(self.across_mm, weights=self.profile(values)))

    def box_mm(self, values: Collection[int]) -> tuple[float, float]:
        """R of the first and the last slice that holds some values."""
        inside = np.flatnonzero(self.profile(values))
        return float(self.across_mm[inside[0]]), float(self.across_mm[inside[-1]])

    def apart(self, left: Collection[int], right: Collection[int]) -> float:
        """How well a sagittal plane parts left from right: the smaller of their shares on their own side of it."""
        before, after = (self.profile(values).cumsum() for values in (left, right))
        if not before[-1] or not after[-1]:
            return 0.0
        return float(np.minimum(before / before[-1], 1.0 - after / after[-1]).max())


def _across_oblique(labels: Volume, most: int) -> tuple[NDArray[np.int64], Floats]:
    """Voxels of each value but 0 in slices across R, and R of these slices."""
    step_mm = float(labels.spacing_mm.min())
    corners = np.array(list(product(*((0, n - 1) for n in labels.voxels.shape))))
    ends_mm = labels.to_world(corners)[:, 0]
    first_mm, n = float(ends_mm.min()), int(np.ptp(ends_mm) / step_mm) + 2
    across_of_slices_mm = np.asarray(first_mm + step_mm * np.arange(n), dtype=np.float64)
    counts = np.zeros(n * most, dtype=np.int64)
    for i, each in enumerate(labels.voxels):
        places = np.argwhere(each)
        across_mm = labels.to_world(np.column_stack([np.full(len(places), i), places]))[:, 0]
        slices = np.rint((across_mm - first_mm) / step_mm).astype(np.int64)
        counts += np.bincount(slices * most + each[tuple(places.T)], minlength=n * most)
    return counts.reshape(n, most), across_of_slices_mm

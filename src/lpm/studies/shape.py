"""The shape parameters of a study: principal components of its own lungs in correspondence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.studies.alignment import Aligned


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Modes:
    """Principal components of aligned shapes.

    Args:
        mean: (v, 3) mean shape, mm.
        per_sd: (k, v, 3) what a standard deviation of each adds to it, mm.
        scores: (n, k) of the subjects, in standard deviations.
        share: (k,) of the variance.
    """

    mean: Floats
    per_sd: Floats
    scores: Floats
    share: Floats

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modes."""
        return tuple(f"mode_{number}" for number in range(1, len(self.share) + 1))


def modes_of(aligned: Aligned, most: int, share: float) -> Modes:
    """Principal components of aligned shapes.

    Args:
        aligned: Shapes.
        most: Modes at most.
        share: Of the variance that they must explain, if `most` allows.
    """
    n = len(aligned.shapes)
    left, sizes, axes = np.linalg.svd((aligned.shapes - aligned.mean).reshape(n, -1), full_matrices=False)
    shares = sizes**2 / (sizes**2).sum()
    k = min(most, int(np.searchsorted(np.cumsum(shares), share)) + 1, n - 2)
    signs = np.sign(axes[np.arange(k), np.abs(axes[:k]).argmax(axis=1)])
    per_sd = (signs * sizes[:k] / np.sqrt(n - 1.0))[:, None] * axes[:k]
    return Modes(aligned.mean, per_sd.reshape(k, -1, 3), left[:, :k] * signs * np.sqrt(n - 1.0), shares[:k])

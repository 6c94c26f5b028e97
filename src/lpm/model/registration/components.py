"""Principal components of displacements, and how many of them help with lungs that were not learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from lpm.calibration import count, number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import spread_apart
from lpm.geometry.frames import Floats
from lpm.model.warp import WarpScale

_PLACES = count("model.component_places")
_NOISE_MM = number("model.component_noise_mm")
_FOLDS = count("model.component_folds")


def whitened_components(
    centred: NDArray[np.float32], n_most: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Principal components, each scaled so that its coefficient has variance 1 over the training shapes.

    Args:
        centred: (n, m) shapes less their mean.
        n_most: Keep at most this many.

    Returns:
        (k, m) components by falling variance, those below a millionth of the first dropped, and the (n, k)
        coefficients of the shapes.
    """
    mixture, spread = _mixture(centred, n_most), np.sqrt(max(len(centred) - 1, 1))
    components = mixture.T.astype(np.float32) @ centred / np.float32(spread)
    return components, (mixture * spread).astype(np.float32)


def _mixture(centred: NDArray[np.float32], n_most: int | None) -> Floats:
    """(n, k) orthonormal coefficients of the shapes, by falling variance; from the smaller of the two products."""
    n, m = centred.shape
    gram = (centred @ centred.T if n <= m else centred.T @ centred).astype(np.float64)
    variance, vectors = np.linalg.eigh(gram)
    kept = np.flatnonzero(variance > 1e-6 * max(variance[-1], 1e-12))[::-1][:n_most]
    if n <= m:
        return np.asarray(vectors[:, kept])
    return np.asarray(centred @ vectors[:, kept] / np.sqrt(variance[kept]))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Places:
    """Where displacements are compared: surface points of each structure.

    Args:
        functions: By structure, (p, r) functions of displacements there.
        points_mm: (q, 3) the points of all structures.
    """

    functions: Sequence[NDArray[np.float32]]
    points_mm: Floats

    def displaced(self, coefficients: NDArray[np.float32]) -> Floats:
        """(n, 3 q) displacements of (n, s, r, 3) coefficients, mm."""
        parts = [functions @ each for functions, each in zip(self.functions, coefficients.swapaxes(0, 1), strict=True)]
        whole: Floats = np.concatenate(parts, axis=1).reshape(len(coefficients), -1).astype(np.float64)
        return whole


def places_on(vertices_mm: Floats) -> Floats:
    """Some places far from each other."""
    return np.asarray(spread_apart(vertices_mm, _PLACES))


def held_out_count(displaced_mm: Floats, points_mm: Floats, scales: Sequence[WarpScale], most: int) -> int:
    """The number of components under which lungs that were not learnt from are most probable.

    A lung's displacements are normal about the mean of the others: their components, the atlas's smooth displacements
    besides, and noise. Too few components leave what lungs have in common to the smooth part; too many, of few lungs,
    take chance for knowledge.

    Args:
        displaced_mm: (n, 3 q) displacements of the training lungs.
        points_mm: (q, 3) where.
        scales: The smooth displacements.
        most: Largest number that may be chosen.

    Returns:
        At least 1.
    """
    squared = ((points_mm[:, None] - points_mm) ** 2).sum(axis=-1)
    smooth = sum(scale.sd_mm**2 * np.exp(-0.5 * squared / scale.length_mm**2) for scale in scales)
    lower = np.linalg.cholesky(smooth + _NOISE_MM**2 * np.eye(len(points_mm)))
    columns = displaced_mm.reshape(len(displaced_mm), -1, 3).transpose(1, 0, 2).reshape(len(points_mm), -1)
    whitened = solve_triangular(lower, columns, lower=True).reshape(len(points_mm), -1, 3)
    whitened = np.ascontiguousarray(whitened.transpose(1, 0, 2)).reshape(len(displaced_mm), -1)
    fold, scores = np.arange(len(whitened)) % min(_FOLDS, len(whitened)), np.zeros(most)
    for own in range(int(fold.max()) + 1):
        learnt, left_out = displaced_mm[fold != own], fold == own
        mixture = _mixture((learnt - learnt.mean(axis=0)).astype(np.float32), most)
        centred = whitened[~left_out] - whitened[~left_out].mean(axis=0)
        components = mixture.T @ centred / np.sqrt(max(len(learnt) - 1, 1))
        errors = whitened[left_out] - whitened[~left_out].mean(axis=0)
        found = [_log_density(components[:k], errors) for k in range(1, len(components) + 1)]
        scores += np.array(found + [-np.inf] * (most - len(found)))
    return int(scores.argmax()) + 1


def _log_density(components: Floats, errors: Floats) -> float:
    """Of (n, m) errors under N(0, I + C' C) of (k, m) components, up to a constant (Woodbury)."""
    inner = np.eye(len(components)) + components @ components.T
    lower = np.linalg.cholesky(inner)
    explained = solve_triangular(lower, components @ errors.T, lower=True)
    return float(-0.5 * ((errors**2).sum() - (explained**2).sum()) - len(errors) * np.log(np.diag(lower)).sum())

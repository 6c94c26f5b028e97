"""The direction of shape that separates groups, or predicts a number: how well, for lungs that it has not seen.

All are ridge regressions on the vertices, whose penalty is chosen within each training fold (nested cross-validation).
Of groups the labels are regressed, which is the linear discriminant with a covariance shrunk towards the same variance
everywhere (Hastie, Buja and Tibshirani 1995). All permutations share the folds, and are fitted at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lpm.extras import import_extra
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

_FOLDS = 10  # at most: the usual number; of fewer subjects each is a fold
_PENALTIES = np.logspace(-3.0, 3.0, 13)  # of the ridge, in the shapes' mean square: next to none, to all
_TIE = 1e-9  # of an accuracy: what differs by less is equal


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of shape.

    Args:
        per_sd: (v, 3) by how much the lungs change with a standard deviation of the score, mm.
        scores: (n,) of the subjects, in standard deviations; of pairs (2 n,) of first and second states about the
            pairs' middles.
        accuracy: For lungs left out: balanced accuracy of groups, share of pairs told the right way round, or R2.
        chance: What guessing gives.
        p: By permutation.
        kind: What the accuracy is, in words.
    """

    per_sd: Floats
    scores: Floats
    accuracy: float
    chance: float
    p: float
    kind: str


def separating(shapes: Floats, is_second: Floats, n_permutations: int, *, rng: np.random.Generator) -> Direction:
    """Find the direction that separates two groups.

    Args:
        shapes: (n, v, 3) aligned, mm.
        is_second: (n,) whether each is of the second group.
        n_permutations: Of the labels.
        rng: Draws folds and permutations.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    labels = np.where(is_second, 1.0, -1.0)
    x, drawn = _coordinates(shapes), _with_permutations(labels, n_permutations, rng)
    left_out = _left_out(x, drawn, _Fit(is_split=True), rng)
    right = [np.where(drawn == side, left_out * side > 0, np.nan) for side in (-1.0, 1.0)]
    accuracy = np.mean([np.nanmean(each, axis=0) for each in right], axis=0)
    scores = _Fit().predicted(x, labels[:, None], x)[:, 0]
    return _direction(shapes, scores, accuracy, 0.5, "balanced accuracy")


def predicting(shapes: Floats, values: Floats, n_permutations: int, *, rng: np.random.Generator) -> Direction:
    """Find the direction that predicts a number.

    Args:
        shapes: (n, v, 3) aligned, mm.
        values: (n,) what is predicted.
        n_permutations: Of the values.
        rng: Draws folds and permutations.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    centred = (values - values.mean()) / values.std()
    x, drawn = _coordinates(shapes), _with_permutations(centred, n_permutations, rng)
    explained = 1.0 - ((drawn - _left_out(x, drawn, _Fit(), rng)) ** 2).mean(axis=0)
    scores = _Fit().predicted(x, centred[:, None], x)[:, 0]
    return _direction(shapes, scores, explained, 0.0, "R2")


def parting(differences: Floats, n_permutations: int, *, rng: np.random.Generator) -> Direction:
    """Find the direction in which the second state of pairs lies from the first.

    Args:
        differences: (n, v, 3) second less first, mm.
        n_permutations: Flips of which state is which.
        rng: Draws folds and flips.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    n = len(differences)
    x = differences.reshape(n, -1) @ np.linalg.svd(differences.reshape(n, -1), full_matrices=False)[2].T
    x, fit = x / np.sqrt((x**2).sum(axis=1).mean()), _Fit(has_mean=False)
    signs = np.column_stack([np.ones(n), rng.choice([-1.0, 1.0], (n, n_permutations))])
    right = (_left_out(x, signs, fit, rng) * signs > 0).mean(axis=0)
    scores = fit.predicted(x, np.ones((n, 1)), x)[:, 0]
    halves, apart = (0.5 * np.concatenate([-each, each]) for each in (differences, scores))
    return _direction(halves, apart, right, 0.5, "share of pairs told the right way round")


@dataclass(frozen=True)
class _Fit:
    """A ridge regression with a penalty for each target.

    Args:
        has_mean: Whether targets have a mean of their own; differences of pairs have none.
        is_split: Whether targets are groups, -1 and 1: predictions are then from the middle between the groups'.
    """

    has_mean: bool = True
    is_split: bool = False

    def predicted(self, x: Floats, targets: Floats, new: Floats) -> Floats:
        """(m, b) predictions for (m, k) of targets (n, b) at (n, k)."""
        models = import_extra("sklearn.linear_model", "study", "lpm study")
        ridge: Any = models.RidgeCV(alphas=_PENALTIES, fit_intercept=self.has_mean, alpha_per_target=True)
        ridge.fit(x, targets)
        found = np.asarray(ridge.predict(new)).reshape(len(new), -1)
        if not self.is_split:
            return found
        own = np.asarray(ridge.predict(x)).reshape(len(x), -1)
        middles = [np.where(targets == side, own, 0.0).sum(axis=0) / (targets == side).sum(axis=0) for side in (-1, 1)]
        return np.asarray(found - 0.5 * (middles[0] + middles[1]))


def _left_out(x: Floats, targets: Floats, fit: _Fit, rng: np.random.Generator) -> Floats:
    """(n, b) predictions of each subject by the others."""
    found = np.empty_like(targets)
    for fold in np.array_split(rng.permutation(len(x)), min(_FOLDS, len(x))):
        rest = np.setdiff1d(np.arange(len(x)), fold)
        found[fold] = fit.predicted(x[rest], targets[rest], x[fold])
    return found


def _with_permutations(values: Floats, n: int, rng: np.random.Generator) -> Floats:
    """(n, b) the values, and permutations of them beside."""
    drawn = rng.permuted(np.tile(values, (n, 1)), axis=1)
    return np.column_stack([values, drawn.T])


def _coordinates(shapes: Floats) -> Floats:
    """(n, k) the same shapes in as few numbers as there are of them, of mean square 1; nothing is learned by it."""
    flat = shapes.reshape(len(shapes), -1)
    left, sizes, _ = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    return np.asarray(left * sizes / np.sqrt((sizes**2).sum() / len(flat)))


def _direction(shapes: Floats, scores: Floats, accuracy: Floats, chance: float, kind: str) -> Direction:
    """What goes with a score, not its weights: those also cancel what disturbs it (Haufe et al. 2014).

    `accuracy` is that of the observed order, and then of permutations.
    """
    centred = scores - scores.mean()
    sd = centred.std(ddof=1)
    per_sd = np.einsum("nvi,n->vi", shapes - shapes.mean(axis=0), centred) / (len(scores) - 1.0) / sd
    p = float((accuracy >= accuracy[0] - _TIE).mean())
    return Direction(per_sd, centred / sd, float(accuracy[0]), chance, p, kind)

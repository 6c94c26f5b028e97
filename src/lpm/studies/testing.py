"""Tests of a linear model at many places at once: weighted estimates, intervals, permutations, corrected p-values.

A value of subject i at place v is modelled as y = x'b + e, with variance tau^2 + s^2: tau^2 between subjects, the same
for all, and s^2 of the fit itself, which is known; weights are 1 / (tau^2 + s^2). tau^2 is that for which the weighted
squares of the residuals are as many as they should be (Paule and Mandel). The variance of an estimate is scaled by the
weighted residuals (Knapp and Hartung), so that weights need be right only relative to each other. Permutations follow
Freedman and Lane: the residuals of the model without the effect are exchanged. Of differences of pairs the signs are
flipped. The largest statistic of all places in each permutation corrects for their number, whatever their correlation
(Westfall and Young). At the places of a map the variance is averaged in part over the surface, as in small studies of
brains (pseudo-t, Nichols and Holmes): where few subjects happen to agree, their own variance would say too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

_BATCH = 100  # permutations at a time: bounds memory, changes nothing
_TIE = 1e-9  # of a statistic: what differs by less is the same permutation, in another order of sums
_ROUNDS = 15  # of Newton steps to tau, from one side once it is passed: they double what is far too small
_NOTHING = 1e-12  # of the largest variance: places whose values differ by rounding only


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Model:
    """A linear model of subjects, and the effect in it that is asked for.

    Args:
        design: (n, k) of full rank; a column a term.
        contrast: (q, k) combinations of the terms that are zero if there is no effect.
        by_signs: Whether values are differences, whose signs are flipped; design and contrast are then one.
    """

    design: Floats
    contrast: Floats
    by_signs: bool = False

    @property
    def freedom(self) -> int:
        """Degrees of freedom that are left."""
        return int(self.design.shape[0] - self.design.shape[1])

    @property
    def parts(self) -> tuple[Floats, Floats]:
        """(n, q) design of the effect and (n, k - q) of the rest; the effect's coefficients are the contrast's."""
        inverse = np.linalg.pinv(self.contrast)
        rest = np.linalg.svd(self.contrast)[2][len(self.contrast) :].T
        return self.design @ inverse, self.design @ rest

    @property
    def spread(self) -> Floats:
        """(q,) variance of the contrasts, unweighted, in that of the residuals: 1 / n1 + 1 / n2 of two groups."""
        inverse = np.linalg.inv(self.design.T @ self.design)
        return np.asarray(np.diag(self.contrast @ inverse @ self.contrast.T))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Tested:
    """An effect at each of m places.

    Args:
        estimate: (m,) of the contrast; of several (three groups and more) the root of their mean square.
        low: (m,) lower end of its 95 % interval; NaN for several.
        high: (m,) upper end.
        statistic: (m,) t; of several contrasts the root of F.
        p: (m,) by permutation, two-sided.
        p_corrected: (m,) by permutation, for all places together (family-wise).
        q: (m,) share of false discoveries if all places of this or a smaller p are called one (Benjamini-Hochberg).
        weight: (n, m) of the subjects, mean 1.
        between_sd: (m,) between subjects, beside what the fits are unsure of.
        n_permutations: Number of permutations, the observed order among them.
    """

    estimate: Floats
    low: Floats
    high: Floats
    statistic: Floats
    p: Floats
    p_corrected: Floats
    q: Floats
    weight: Floats
    between_sd: Floats
    n_permutations: int


@dataclass(frozen=True)
class Permutations:
    """How chances are found.

    Args:
        n: Permutations; fewer are made where there are only so many flips of signs.
        pooled: Degrees of freedom of the mean variance of all places, with which that of each is averaged; zero where
            they have different units. Intervals have each place's own.
    """

    n: int
    pooled: float = 0.0


def compared(
    values: Floats, model: Model, own_sd: Floats | None, permutations: Permutations, *, rng: np.random.Generator
) -> Tested:
    """Test an effect at many places.

    Args:
        values: (n, m) of each subject at each place.
        model: Linear model, and the effect.
        own_sd: (n, m) how unsure each value is; None if all are equally sure.
        permutations: How chances are found.
        rng: Draws the permutations.

    Raises:
        InputError: Fewer subjects than terms of the model.
    """
    if model.freedom < 1:
        given = f"{model.design.shape[0]} subjects for {model.design.shape[1]} terms"
        raise InputError("study", given, "more subjects than terms", "leave covariates out, or add subjects")
    between, weight = _weights(values, model, own_sd)
    whitened = _Whitened.of(values, model, weight, permutations.pooled)
    observed = whitened.statistic(whitened.residuals[None])[0]
    counts, most, total = np.zeros(len(observed)), np.zeros(len(observed)), 0
    for drawn in whitened.permuted(model, permutations.n, rng):
        counts += (drawn >= observed * (1.0 - _TIE)).sum(axis=0)
        most += (drawn.max(axis=1)[:, None] >= observed * (1.0 - _TIE)).sum(axis=0)
        total += len(drawn)
    p = np.minimum(counts / total, 1.0)
    estimate, low, high = whitened.interval(model.freedom)
    return Tested(
        estimate,
        low,
        high,
        statistic=np.sqrt(observed) * (np.sign(estimate) if len(model.contrast) == 1 else 1.0),
        p=p,
        p_corrected=most / total,
        q=false_discovery_control(p),
        weight=np.broadcast_to(weight, values.shape),
        between_sd=between,
        n_permutations=total,
    )


def _weights(values: Floats, model: Model, own_sd: Floats | None) -> tuple[Floats, Floats]:
    """(m,) standard deviation between subjects, and weights of mean 1: (n, m), or (n, 1) where all are equal."""
    basis = np.linalg.qr(model.design)[0]
    squares = (values**2).sum(axis=0) - ((basis.T @ values) ** 2).sum(axis=0)
    if own_sd is None or not own_sd.any():
        return np.sqrt(np.maximum(squares, 0.0) / model.freedom), np.ones((len(values), 1))
    least = _NOTHING * np.maximum(squares, 1.0)
    between = np.maximum(squares / model.freedom - (own_sd**2).mean(axis=0), 0.0)
    for _ in range(_ROUNDS):
        weight = 1.0 / (between + own_sd**2 + least)
        left = weight * _left(values, model.design, weight)
        excess = (left**2 / weight).sum(axis=0) - model.freedom
        between = np.maximum(between + excess / np.maximum((left**2).sum(axis=0), np.finfo(float).tiny), 0.0)
    weight = 1.0 / (between + own_sd**2 + least)
    return np.sqrt(between), weight / weight.mean(axis=0)


def _left(values: Floats, design: Floats, weight: Floats) -> Floats:
    """(n, m) residuals of a weighted model."""
    normal = np.einsum("nk,nm,nl->mkl", design, weight, design, optimize=True)
    moments = np.einsum("nk,nm->mk", design, weight * values)
    return np.asarray(values - design @ np.linalg.solve(normal, moments[:, :, None])[:, :, 0].T)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class _Whitened:
    """The model with every subject's row times the root of its weight.

    Args:
        residuals: (n, m) of the model without the effect.
        effect: (q, n, m or 1) orthonormal columns of the effect, orthogonal to the rest.
        rest: (k - q, n, m or 1) orthonormal columns of the rest.
        factor: (m or 1, q, q) takes the effect's coordinates to its contrasts.
        pooled: Degrees of freedom of the mean variance of all places, which is averaged with each one's own.
    """

    residuals: Floats
    effect: Floats
    rest: Floats
    factor: Floats
    pooled: float

    @classmethod
    def of(cls, values: Floats, model: Model, weight: Floats, pooled: float) -> _Whitened:
        root = np.sqrt(weight).T[:, :, None]
        effect, rest = (root * part for part in model.parts)
        n_rest = rest.shape[2]
        basis, upper = np.linalg.qr(np.concatenate([rest, effect], axis=2))
        basis = np.ascontiguousarray(basis.transpose(2, 1, 0))
        residuals = values * np.sqrt(weight)
        for column in basis[:n_rest]:
            residuals = residuals - column * (column * residuals).sum(axis=0)
        return cls(residuals, basis[n_rest:], basis[:n_rest], np.linalg.inv(upper[:, n_rest:, n_rest:]), pooled)

    @property
    def is_common(self) -> bool:
        """Whether all places have one set of weights."""
        return int(self.effect.shape[2]) == 1

    def statistic(self, residuals: Floats) -> Floats:
        """(b, m) F of (b, n, m) residuals."""
        along = np.einsum("qnm,bnm->bqm", self._spread(self.effect), residuals)
        beside = np.einsum("qnm,bnm->bqm", self._spread(self.rest), residuals)
        return self._ratio((along**2).sum(axis=1), (beside**2).sum(axis=1))

    def _spread(self, basis: Floats) -> Floats:
        return np.broadcast_to(basis, (*basis.shape[:2], self.residuals.shape[1]))

    def _ratio(self, along: Floats, beside: Floats) -> Floats:
        whole = (self.residuals**2).sum(axis=0)
        freedom = self.residuals.shape[0] - len(self.effect) - len(self.rest)
        left = np.maximum(whole - along - beside, _NOTHING * np.maximum(whole, whole.max() * _NOTHING))
        common = left.mean(axis=-1, keepdims=True) / freedom
        variance = (left + self.pooled * common) / (freedom + self.pooled)
        found = (along / len(self.effect)) / np.maximum(variance, np.finfo(float).tiny)
        return np.where(whole > _NOTHING * max(whole.max(), np.finfo(float).tiny), found, 0.0)

    def permuted(self, model: Model, n: int, rng: np.random.Generator) -> Iterator[Floats]:
        """(b, m) statistics of permutations, the observed order first."""
        subjects = len(self.residuals)
        signs = _flips(subjects, n, rng) if model.by_signs else None
        total = n if signs is None else len(signs)
        for start in range(0, total, _BATCH):
            size = min(_BATCH, total - start)
            if signs is not None:
                yield self._flipped(signs[start : start + size])
            else:
                orders = rng.permuted(np.tile(np.arange(subjects), (size, 1)), axis=1)
                if start == 0:
                    orders[0] = np.arange(subjects)
                yield self._exchanged(orders)

    def _flipped(self, signs: Floats) -> Floats:
        """Statistics with signs (b, n) of the subjects."""
        along = signs @ (self.effect[0] * self.residuals)
        return self._ratio(along**2, np.zeros_like(along))

    def _exchanged(self, orders: np.ndarray) -> Floats:
        """Statistics with the residuals in orders (b, n) of the subjects."""
        if self.is_common:
            back = np.argsort(orders, axis=1)
            squares = [
                ((basis[:, :, 0][:, back].transpose(1, 0, 2).reshape(-1, len(self.residuals)) @ self.residuals) ** 2)
                .reshape(len(orders), len(basis), self.residuals.shape[1])
                .sum(axis=1)
                for basis in (self.effect, self.rest)
            ]
            return self._ratio(*squares)
        both = np.concatenate([self.effect, self.rest])
        found = np.stack([np.einsum("qnm,nm->qm", both, self.residuals[order]) ** 2 for order in orders])
        n_effect = len(self.effect)
        return self._ratio(found[:, :n_effect].sum(axis=1), found[:, n_effect:].sum(axis=1))

    def interval(self, freedom: int) -> tuple[Floats, Floats, Floats]:
        """(m,) estimate and ends of its 95 % interval; of several contrasts the root of their mean square."""
        along = (self.effect * self.residuals).sum(axis=1)
        estimates = np.einsum(
            "mqr,rm->qm", np.broadcast_to(self.factor, (along.shape[1], *self.factor.shape[1:])), along
        )
        if len(self.effect) > 1:
            unknown = np.full(along.shape[1], np.nan)
            return np.sqrt((estimates**2).mean(axis=0)), unknown, unknown
        left = np.maximum((self.residuals**2).sum(axis=0) - along[0] ** 2, 0.0) / freedom
        reach = student.ppf(0.975, freedom) * np.sqrt(left) * np.abs(self.factor[:, 0, 0])
        return estimates[0], estimates[0] - reach, estimates[0] + reach


def _flips(n: int, most: int, rng: np.random.Generator) -> Floats:
    """(b, n) signs, the observed ones first: all that there are, or so many drawn."""
    if 2**n <= most:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return np.asarray(1.0 - 2.0 * bits)
    signs = rng.choice([-1.0, 1.0], (most, n))
    signs[0] = 1.0
    return np.asarray(signs)

"""The fit: the decoder is frozen, shape parameters and pose follow all evidence together (paper III.D, IV.C).

Levenberg-Marquardt minimises

    E(beta, t, s, w, n) = sum over terms |e_i(beta, t, s, w, n_i)|^2
                          + |beta|^2 + |log s / axis_scale_sd|^2 + |w / rotation_sd|^2 + sum |n_i / sd_i|^2

with e_i the whitened errors of each kind of evidence (`evidence`) and n_i its own nuisance parameters. On a plateau
each term may estimate its noise anew; the search then goes on, and ends on a plateau where none does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.term import Linearised, Term
from lpm.fitting.prior import prior_precision
from lpm.fitting.state import State
from lpm.model.bundle import ModelBundle
from lpm.model.levenberg_marquardt import LevenbergMarquardt, NormalEquations

StopReason = Literal["plateau", "iteration limit"]
_STEPS: ContextVar[Callable[[], None]] = ContextVar("_STEPS", default=lambda: None)  # told of each step of a search
_QUIET_STEPS = 2  # steps in a row that gain next to nothing: one alone may be a failed try


@dataclass(frozen=True, eq=False)
class Unknowns:
    """A point of the search.

    Args:
        state: Shape and pose.
        nuisances: (m,) all terms' own parameters, one after the other.
    """

    state: State
    nuisances: Tensor


@dataclass(frozen=True, eq=False)
class Found:
    """Result of a search.

    Args:
        state: Shape and pose.
        nuisances: Nuisance parameters of each term.
        precision: (k + 9, k + 9) of the posterior over shape and pose, nuisance parameters marginalised.
        shares: Each term's part of the precision, (k + 9, k + 9), and of the gradient (k + 9,) of half the energy.
        prior_gradient: (k + 9,) the prior's part of the gradient.
        iterations: Steps tried.
        stop_reason: Why it ended.
    """

    state: State
    nuisances: tuple[Tensor, ...]
    precision: Tensor
    shares: tuple[tuple[Tensor, Tensor], ...]
    prior_gradient: Tensor
    iterations: int
    stop_reason: StopReason


class JointProblem:
    """The energy of all terms and of the prior.

    Args:
        model: Trained.
        terms: Evidence of one patient.
        config: Prior widths.
    """

    def __init__(self, model: ModelBundle, terms: Sequence[Term], config: FitConfig) -> None:
        self.terms, self.model = terms, model
        self.n_state = len(prior_precision(model, config))
        sds = [term.nuisance_sd for term in terms]
        self._sizes = [len(sd) for sd in sds]
        self.prior = torch.cat([prior_precision(model, config), *(sd**-2 for sd in sds)])

    def at(self, state: State) -> Unknowns:
        """A state, with nuisance parameters of zero."""
        return Unknowns(state, torch.zeros(sum(self._sizes), dtype=torch.float64))

    def split(self, nuisances: Tensor) -> tuple[Tensor, ...]:
        """Nuisance parameters of each term."""
        parts: tuple[Tensor, ...] = nuisances.split(self._sizes)
        return parts

    def moved(self, at: Unknowns, step: Tensor) -> Unknowns:
        """Another point."""
        return Unknowns(at.state.moved(step[: self.n_state].float()), at.nuisances + step[self.n_state :])

    def offsets(self, at: Unknowns) -> Tensor:
        """Deviations of the unknowns from the prior's mean."""
        return torch.cat([at.state.offsets().double(), at.nuisances])

    def energy(self, at: Unknowns) -> float:
        """What the fit minimises, by the weights of the last linearisation."""
        pairs = zip(self.terms, self.split(at.nuisances), strict=True)
        data = sum(float(term.errors(at.state, own).square().sum()) for term, own in pairs)
        return data + float((self.prior * self.offsets(at).square()).sum())

    def contributions(self, at: Unknowns) -> list[NormalEquations]:
        """Each term's part of the equations, over all unknowns."""
        first, parts = self.n_state, []
        for term, own in zip(self.terms, self.split(at.nuisances), strict=True):
            parts.append(self._spread_out(term.linearise(at.state, own), first))
            first += len(own)
        return parts

    def _spread_out(self, part: Linearised, first: int) -> NormalEquations:
        """A term's equations, its nuisance parameters in their place among all."""
        n_own = part.by_nuisance.shape[1]
        jacobian = torch.cat([part.by_state, part.by_nuisance], dim=1)
        if jacobian.shape[1] == len(self.prior):  # a single term: all unknowns are its own
            energy = float(part.errors.square().sum())
            return NormalEquations(energy, jacobian.T @ part.errors, jacobian.T @ jacobian)
        index = torch.cat([torch.arange(self.n_state), torch.arange(first, first + n_own)])
        normal = torch.zeros(len(self.prior), len(self.prior), dtype=torch.float64)
        normal[index[:, None], index] = jacobian.T @ jacobian
        gradient = torch.zeros(len(self.prior), dtype=torch.float64)
        gradient[index] = jacobian.T @ part.errors
        return NormalEquations(float(part.errors.square().sum()), gradient, normal)

    def linearise(self, at: Unknowns) -> NormalEquations:
        """The equations of all terms and the prior."""
        parts, offsets = self.contributions(at), self.offsets(at)
        return NormalEquations(
            sum(part.energy for part in parts) + float((self.prior * offsets.square()).sum()),
            sum((part.gradient for part in parts), self.prior * offsets),
            sum((part.normal for part in parts), torch.diag(self.prior)),
        )


@contextmanager
def counted_steps(told: Callable[[int], None]) -> Iterator[None]:
    """While this lasts, the steps of all searches of this thread are counted.

    Args:
        told: Told how many were done, after each.
    """
    n = itertools.count(1)
    token = _STEPS.set(lambda: told(next(n)))
    try:
        yield
    finally:
        _STEPS.reset(token)


def search(model: ModelBundle, terms: Sequence[Term], config: FitConfig, start: State) -> Found:
    """Search for the shape and pose that explain all evidence, from a start.

    Args:
        model: Trained.
        terms: Evidence of one patient.
        config: Prior widths and stopping.
        start: State from which the search starts.

    Raises:
        InputError: The energy is not finite.
    """
    problem = JointProblem(model, terms, config)
    for term in terms:
        term.begin(start)
    descent = LevenbergMarquardt(problem, problem.at(start))
    iterations, quiet = 0, 0
    stop_reason: StopReason | None = None
    while stop_reason is None:
        gain = advance(descent, terms)
        iterations += 1
        _STEPS.get()()
        quiet = quiet + 1 if gain < config.tolerance else 0
        if quiet >= _QUIET_STEPS:
            settled = [term.settle(descent.at.state) for term in terms]
            quiet = 0
            stop_reason = None if any(settled) else "plateau"
        elif iterations >= config.max_iterations:
            stop_reason = "iteration limit"
    return _found(problem, descent.at, iterations, stop_reason)


def advance(descent: LevenbergMarquardt[Unknowns], terms: Sequence[Term]) -> float:
    """One step; the terms learn of it if it was kept. The relative gain."""
    gain = descent.step()
    if gain > 0:
        for term in terms:
            term.accept(descent.at.state)
    return gain


def _found(problem: JointProblem, at: Unknowns, iterations: int, stop_reason: StopReason) -> Found:
    certain = max(term.posterior_spread for term in problem.terms) ** -2
    parts = [
        (certain * term.information_share * part.normal, certain * term.information_share * part.gradient)
        for term, part in zip(problem.terms, problem.contributions(at), strict=True)
    ]
    prior, n = certain * problem.prior, problem.n_state
    whole = sum((normal for normal, _ in parts), torch.diag(prior))
    return Found(
        state=at.state,
        nuisances=problem.split(at.nuisances),
        precision=marginal(whole, n),
        shares=tuple((_own_share(prior, normal, n), gradient[:n]) for normal, gradient in parts),
        prior_gradient=(prior * problem.offsets(at))[:n],
        iterations=iterations,
        stop_reason=stop_reason,
    )


def _own_share(prior: Tensor, normal: Tensor, n: int) -> Tensor:
    """What one term says of shape and pose, its nuisance parameters marginalised."""
    nuisances = prior.clone()
    nuisances[:n] = 0.0
    return marginal(normal + torch.diag(nuisances), n)


def marginal(normal: Tensor, n: int) -> Tensor:
    """(n, n) precision of the first n unknowns, whatever the others are: the Schur complement."""
    own, cross, others = normal[:n, :n], normal[:n, n:], normal[n:, n:]
    precision: Tensor = own - cross @ torch.linalg.solve(others, cross.T)
    return precision

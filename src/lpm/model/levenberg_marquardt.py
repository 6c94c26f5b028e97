"""Levenberg-Marquardt: the one search of the package, for fits of shape and pose and for registrations alike.

A damped Gauss-Newton step (N + d diag N) s = -g is kept if the energy falls; d then shrinks, else it grows (Marquardt
1963; Nocedal and Wright 2006, section 10.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from lpm.errors import InputError

P = TypeVar("P")


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """An energy about a point: E(s) = energy + 2 gradient's + s'normal s.

    Args:
        energy: Energy at the point itself.
        gradient: (p,) half the energy's.
        normal: (p, p) Gauss-Newton's approximation of half the Hessian.
    """

    energy: float
    gradient: Tensor
    normal: Tensor


class Problem(Protocol[P]):
    """Interface of a least-squares problem. Weights that depend on the point are those of the last `linearise`."""

    def linearise(self, at: P) -> NormalEquations:
        """The energy about a point, and the weights with which others are compared with it."""
        ...

    def energy(self, at: P) -> float:
        """Energy at another point, by the weights of the last `linearise`."""
        ...

    def moved(self, at: P, step: Tensor) -> P:
        """The point a step (p,) away."""
        ...


@dataclass(frozen=True)
class Damping:
    """Damping schedule: factors of d after a step that was kept, and after one that was not.

    Args:
        first: Initial damping.
        shrink: It is divided by this after a step that was kept.
        grow: It is multiplied by this after one that was not.
        least, most: Its limits.
        tries: Steps tried before the point counts as a minimum.
    """

    first: float = 1e-2
    shrink: float = 5.0
    grow: float = 8.0
    least: float = 1e-6
    most: float = 1e6
    tries: int = 5


class LevenbergMarquardt(Generic[P]):
    """A search, step by step.

    Args:
        problem: Energy to minimise.
        at: Initial state.
        damping: Damping schedule.

    Attributes:
        at: The best point so far.
        equations: Equations of the last linearisation.
    """

    def __init__(self, problem: Problem[P], at: P, damping: Damping | None = None) -> None:
        self.problem, self.at = problem, at
        self._rule = damping or Damping()
        self._damping = self._rule.first
        self.equations: NormalEquations | None = None

    def step(self) -> float:
        """Try one damped step.

        Returns:
            The energy's relative gain; 0 if no damping made it fall.

        Raises:
            InputError: The energy is not finite.
        """
        self.equations = here = self.problem.linearise(self.at)
        if not math.isfinite(here.energy):
            raise InputError("fit", "the energy is not finite", hint="check the points' frame and unit")
        rule = self._rule
        for _ in range(rule.tries):
            damped = here.normal + self._damping * torch.diag(here.normal.diagonal())
            candidate = self.problem.moved(self.at, torch.linalg.solve(damped, -here.gradient))
            energy = self.problem.energy(candidate)
            if math.isfinite(energy) and energy < here.energy:
                self.at, self._damping = candidate, max(self._damping / rule.shrink, rule.least)
                return (here.energy - energy) / here.energy
            self._damping = min(self._damping * rule.grow, rule.most)
        return 0.0

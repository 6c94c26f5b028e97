"""The one search: on functions whose minimum is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lpm.errors import InputError
from lpm.model.levenberg_marquardt import Damping, LevenbergMarquardt, NormalEquations


class Rosenbrock:
    """Errors (10 (y - x^2), 1 - x), zero at (1, 1)."""

    def _errors(self, at: Tensor) -> Tensor:
        return torch.stack([10.0 * (at[1] - at[0] ** 2), 1.0 - at[0]])

    def energy(self, at: Tensor) -> float:
        return float(self._errors(at).square().sum())

    def linearise(self, at: Tensor) -> NormalEquations:
        jacobian = torch.tensor([[-20.0 * float(at[0]), 10.0], [-1.0, 0.0]], dtype=torch.float64)
        return NormalEquations(self.energy(at), jacobian.T @ self._errors(at), jacobian.T @ jacobian)

    def moved(self, at: Tensor, step: Tensor) -> Tensor:
        return at + step


START = torch.tensor([-1.2, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("damping", [None, Damping(shrink=3.0, grow=10.0, least=1e-4)])
def test_the_valley_is_followed_to_its_end(damping: Damping | None) -> None:
    descent = LevenbergMarquardt(Rosenbrock(), START, damping)
    before = descent.problem.energy(descent.at)
    for _ in range(60):
        gain = descent.step()
        after = descent.problem.energy(descent.at)
        assert after <= before
        assert gain == pytest.approx((before - after) / before if before > 0 else 0.0, abs=1e-9)
        before = after
    torch.testing.assert_close(descent.at, torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_at_the_minimum_nothing_is_gained() -> None:
    descent = LevenbergMarquardt(Rosenbrock(), torch.ones(2, dtype=torch.float64))
    assert descent.step() == 0.0
    torch.testing.assert_close(descent.at, torch.ones(2, dtype=torch.float64))


def test_an_energy_that_is_no_number_is_refused() -> None:
    descent = LevenbergMarquardt(Rosenbrock(), torch.tensor([torch.nan, 1.0], dtype=torch.float64))
    with pytest.raises(InputError, match="the energy is not finite"):
        descent.step()

"""What a kind of evidence contributes to the energy of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lpm.fitting.state import State


@dataclass(frozen=True, eq=False)
class Linearised:
    """Whitened errors about a state: of unit variance and independent, if prior and noise are right.

    Args:
        errors: (n,) float64.
        by_state: (n, k + 9) derivatives by shape parameters, translation, log scales and rotation.
        by_nuisance: (n, m) derivatives by the term's own nuisance parameters.
    """

    errors: Tensor
    by_state: Tensor
    by_nuisance: Tensor


class Term(Protocol):
    """One kind of evidence of one patient.

    Nuisance parameters are unknowns of the evidence alone, such as the gain of a radiograph; they are fitted, with
    independent normal priors about zero, and marginalised in the posterior.
    """

    @property
    def nuisance_sd(self) -> Tensor:
        """(m,) standard deviations of the nuisance parameters' priors."""
        ...

    @property
    def information_share(self) -> float:
        """Share of the Gauss-Newton information that counts in the posterior: neither model nor noise is exact."""
        ...

    @property
    def posterior_spread(self) -> float:
        """Factor on the posterior's standard deviations of a fit in which it takes part, by measurement."""
        ...

    def begin(self, state: State) -> None:
        """A search begins at a state."""
        ...

    def accept(self, state: State) -> None:
        """A step was kept: correspondences and robust weights follow."""
        ...

    def linearise(self, state: State, nuisance: Tensor) -> Linearised:
        """Errors and derivatives at a state, with weights as they now are."""
        ...

    def errors(self, state: State, nuisance: Tensor) -> Tensor:
        """(n,) whitened errors at another state, by the weights of the last `linearise`."""
        ...

    def settle(self, state: State) -> bool:
        """The search has reached a plateau: estimate noise anew. Whether the search must go on."""
        ...

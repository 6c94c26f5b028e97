"""Which lungs the sliders ask for, and the lines of Python that make the same ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lpm.geometry.frames import Floats

N_SLIDERS = 10
REACH = 3.0


@dataclass(frozen=True)
class Shape:
    """Lungs by their shape parameters.

    Args:
        beta: (k,) N(0, I) over the training shapes.
    """

    beta: Floats

    @classmethod
    def mean(cls, n_modes: int) -> Shape:
        """Beta = 0."""
        return cls(np.zeros(n_modes))

    @classmethod
    def random(cls, n_modes: int, *, rng: np.random.Generator) -> Shape:
        """A draw of the first parameters, as likely as lungs are; the many small ones stay at their mean."""
        beta = np.zeros(n_modes)
        n = min(N_SLIDERS, n_modes)
        beta[:n] = np.clip(rng.standard_normal(n), -REACH, REACH).round(2)
        return cls(beta)

    def moved(self, mode: int, value: float) -> Shape:
        """With one parameter set."""
        beta = self.beta.copy()
        beta[mode] = value
        return replace(self, beta=beta)

    def code(self, source: str | None) -> str:
        """Python that makes these lungs.

        Args:
            source: Of the model, as `lpm.load` takes it; None for the bundled one.
        """
        loaded = "lpm.load()" if source is None else f"lpm.load({source!r})"
        set_values = [f"beta[{i}] = {value:.6g}" for i, value in enumerate(self.beta) if value != 0]
        lines = [
            "import torch",
            "import lpm",
            "from lpm.fitting.fit import shape_of",
            "",
            f"model = {loaded}",
            "beta = torch.zeros(model.bundle.latents.n_modes)",
            *set_values,
            "lungs = shape_of(model.bundle, beta, spacing_mm=2.0).meshes  # RAS mm",
        ]
        return "\n".join(lines) + "\n"

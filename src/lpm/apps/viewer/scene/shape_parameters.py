"""Which lungs the sliders ask for, and the lines of Python that make the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lpm.fitting.pose import Pose
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

N_SLIDERS = 10
REACH = 3.0


@read_only_arrays
@dataclass(frozen=True, eq=False)
class ShapeParameters:
    """Lungs by their shape parameters.

    Args:
        beta: (k,) N(0, I) over the training shapes.
        pose: Pose of the lungs.
        sized: Whether lengths are millimetres; those of a fit to radiographs without a pixel spacing are not.
    """

    beta: Floats
    pose: Pose = field(default_factory=Pose.nothing)
    sized: bool = True

    @classmethod
    def mean(cls, n_modes: int) -> ShapeParameters:
        """Beta = 0."""
        return cls(np.zeros(n_modes))

    @classmethod
    def random(cls, n_modes: int, *, rng: np.random.Generator) -> ShapeParameters:
        """A draw of the first parameters, as likely as lungs are; the many small ones stay at their mean."""
        beta = np.zeros(n_modes)
        n = min(N_SLIDERS, n_modes)
        beta[:n] = np.clip(rng.standard_normal(n), -REACH, REACH).round(2)
        return cls(beta)

    def placed_like(self, other: ShapeParameters) -> ShapeParameters:
        """The same, where another lies, but neither stretched nor turned as that one is."""
        return replace(self, pose=replace(Pose.nothing(), translation_mm=other.pose.translation_mm))

    def moved(self, mode: int, value: float) -> ShapeParameters:
        """With one parameter set."""
        beta = self.beta.copy()
        beta[mode] = value
        return replace(self, beta=beta)

    def code(self, source: str | None) -> str:
        """Python that makes these lungs.

        Args:
            source: Source of the model, as `lpm.load` takes it; None for the bundled one.
        """
        used = np.flatnonzero(self.beta)
        beta = _numbers(self.beta[: used[-1] + 1 if len(used) else 0])
        loaded = "lpm.load()" if source is None else f"lpm.load({source!r})"
        lines = ["import lpm", f"model = {loaded}"]
        given = beta
        if not self._is_centred:
            lines[1:1] = ["import numpy as np", "from lpm.fitting.pose import Pose"]
            pose = self.pose
            parts = (pose.translation_mm, pose.axis_scale, pose.rotation_rad)
            lines.append("pose = Pose(" + ", ".join(f"np.array({_numbers(part)})" for part in parts) + ")")
            given += ", pose=pose"
        lines += [f"lungs = model.shape({given})", "print({name: mesh.volume_ml for name, mesh in lungs.items()})"]
        return "\n".join(lines) + "\n"

    @property
    def _is_centred(self) -> bool:
        own, none = self.pose, Pose.nothing()
        pairs = (
            (own.translation_mm, none.translation_mm),
            (own.axis_scale, none.axis_scale),
            (own.rotation_rad, none.rotation_rad),
        )
        return all(np.array_equal(a, b) for a, b in pairs)


def _numbers(values: Floats | Sequence[float]) -> str:
    return "[" + ", ".join(f"{float(value):.5g}" for value in values) + "]"

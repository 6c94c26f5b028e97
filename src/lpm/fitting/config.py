"""What can be chosen in a fit."""

from __future__ import annotations

from pydantic import Field

from lpm.calibration import count, number
from lpm.errors import InputError
from lpm.fitting.discrepancy.residual import ResidualConfig
from lpm.records import StrictModel

OF_TRUNCATED_LUNGS = ResidualConfig(
    sd_mm=number("fitting.truncated_residual_sd_mm"), long_range_share=number("fitting.truncated_long_range_share")
)
"""The residual of lungs that are cut off: its long-range part says that what lies beyond is known less."""

_OF_SURFACES = {"residual", "noise_mm", "prior_noise_mm", "prior_points", "certain_points", "working_points"}


class FitConfig(StrictModel):
    """Settings of a fit to an observation."""

    max_iterations: int = Field(60, ge=1, description="steps of the search, at most")
    tolerance: float = Field(1e-3, gt=0, description="relative gain below which the fit has reached its plateau")
    residual: ResidualConfig = ResidualConfig()
    noise_mm: float | None = Field(
        None, gt=0, description="standard deviation of a point about the surface; None to estimate it"
    )
    prior_noise_mm: float = Field(
        number("fitting.prior_noise_mm"), gt=0, description="a point about the model's best surface, without a residual"
    )
    prior_points: float = Field(
        number("fitting.prior_points"),
        gt=0,
        description="without a residual, N points count as N / (1 + N / this): their errors go together",
    )
    certain_points: float = Field(
        number("fitting.certain_points"),
        gt=0,
        description="N points make shape and pose as certain as N / (1 + N / this): the model is not exact",
    )
    working_points: int = Field(
        count("fitting.working_points"),
        ge=10,
        description="clusters of neighbouring points that shape and pose follow; the residual sees more",
    )
    axis_scale_sd: float = Field(
        number("fitting.axis_scale_sd"), ge=0, description="prior on the log scale of each axis; 0 fixes the scales"
    )
    rotation_sd: float = Field(
        number("fitting.rotation_sd"), ge=0, description="prior on the rotation about each axis, rad; 0 fixes it"
    )

    def used(self, *kinds: str) -> set[str]:
        """Names of the settings that kinds of evidence use: `surface` for points, `rays` for radiographs."""
        return set(type(self).model_fields) - (set() if "surface" in kinds else _OF_SURFACES)

    def refuse_unused(self, *kinds: str) -> None:
        """Refuse a setting that was given and would change nothing.

        Raises:
            InputError: It was set to something else than its default.
        """
        default = type(self)()
        changed = {name for name in self.model_fields_set if getattr(self, name) != getattr(default, name)}
        if unused := sorted(changed - self.used(*kinds)):
            expected = f"of {', '.join(sorted(self.used(*kinds)))}"
            raise InputError("fit config", f"{', '.join(unused)}, which only surface points use", expected)

    @property
    def prior_only(self) -> bool:
        """Whether the residual is left out, so that only the model's shapes are fitted."""
        return self.residual.sd_mm == 0

"""The networks that benchmarks/paper.py trains, and how their test lungs are fitted."""

from __future__ import annotations

from dataclasses import dataclass

from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig
from lpm.model.config import ModelConfig, preset

PRIOR = ResidualConfig(sd_mm=0.0)
TESTS = {  # how the 5,000 points of a test lung are followed
    "latent": FitConfig(residual=PRIOR, axis_scale_sd=0.0, rotation_sd=0.0),
    "prior": FitConfig(residual=PRIOR),
    "residual": FitConfig(),
}
# steps of 1,024 and 2,048 points, which two cores take in a quarter and a third of a second
FEW_LUNGS = {"shapes_per_step": 4, "surface_points": 128, "off_surface_points": 128, "gradient_share": 0.25}
MANY_LUNGS = {  # more of them a step, with fewer points of each; all of 464 lungs' points would take ten gigabytes
    "shapes_per_step": 16,
    "surface_points": 64,
    "off_surface_points": 64,
    "gradient_share": 0.125,
    "points_kept": 20_000,
}


@dataclass(frozen=True)
class Run:
    """A network to train.

    Args:
        preset: The paper's first network or its last.
        structures: One output for both lungs, or one each.
        normal: Weight of the normal loss.
        epochs: Length of the schedule.
        tests: How its test lungs are fitted.
        copies: Deformed copies of each training lung that are learnt besides.
    """

    preset: str
    structures: str
    normal: float = 0.0
    epochs: int = 600
    tests: tuple[str, ...] = ("latent",)
    copies: int = 0


RUNS = {
    "initial-union": Run("paper-initial", "union", epochs=800),
    "initial-union-normal": Run("paper-initial", "union", normal=0.02, epochs=800),
    "paper-union": Run("paper", "union"),
    "paper-separate": Run("paper", "separate", tests=("prior", "latent")),
    "paper-separate-copies": Run("paper", "separate", epochs=300, tests=("prior",), copies=15),
    "initial-separate": Run("paper-initial", "separate", epochs=800, tests=("prior", "latent")),
    "paper-union-normal": Run("paper", "union", normal=0.02),
}


def config_of(run: Run, epochs: int | None) -> ModelConfig:
    """The preset, with steps that are small enough for two CPU cores, and a schedule of another length if given."""
    config = preset(run.preset)
    training = {"epochs": epochs or run.epochs, "precision": "bf16-mixed"}
    training |= MANY_LUNGS if run.copies else FEW_LUNGS
    return config.model_copy(
        update={
            "structures": run.structures,
            "loss": config.loss.model_copy(update={"normal": run.normal}),
            "training": config.training.model_copy(update=training),
            "augmentation": config.augmentation.model_copy(update={"copies": run.copies}),
        }
    )

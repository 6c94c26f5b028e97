"""What can be chosen in the model and its training, and the presets of the paper."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from lpm.errors import InputError
from lpm.model.warp import WarpScale
from lpm.preparation.augmentation import AugmentationConfig
from lpm.records import StrictModel


class DecoderConfig(StrictModel):
    """The network f(z, x) (paper III.A)."""

    latent_size: int = Field(256, ge=1, le=4096, description="numbers of a latent")
    width: int = Field(1024, ge=1, le=8192, description="units of each hidden layer")
    layers: int = Field(8, ge=1, le=64, description="hidden layers")
    skip_at: int = Field(4, ge=0, description="hidden layer that sees the input again; 0 for none")
    activation: Literal["relu", "softplus"] = "relu"
    output: Literal["tanh", "linear"] = "tanh"
    frequencies: int = Field(0, ge=0, le=8, description="octaves of sin and cos of the coordinates added to the input")


class LossConfig(StrictModel):
    """Weights of the loss's parts (paper III.B); lengths are in model units."""

    surface: float = Field(1.0, ge=0, description="weight of |f| on the surface")
    off_surface: float = Field(1.0, ge=0, description="weight of the distances' errors off the surface")
    eikonal: float = Field(0.01, ge=0, description="weight of gradients that are not of length 1")
    latent: float = Field(1e-4, ge=0, description="weight of the latents' squares")
    normal: float = Field(0.0, ge=0, description="weight of the normals; the paper tried it and dropped it")
    near_distance: float = Field(0.1, gt=0, description="an off-surface point this far away counts half as much")


class TrainingConfig(StrictModel):
    """How the network and the latents are trained."""

    epochs: int = Field(2000, ge=1, description="times that every shape is seen")
    shapes_per_step: int = Field(16, ge=1, description="shapes in a step of the optimiser")
    surface_points: int = Field(1024, ge=1, description="surface points of a shape in a step")
    off_surface_points: int = Field(1024, ge=1, description="off-surface points of a shape in a step")
    gradient_share: float = Field(1.0, gt=0, le=1, description="share of the points that eikonal and normal losses see")
    points_kept: int = Field(100_000, ge=100, description="points of each kind held in memory per shape")
    learning_rate: float = Field(5e-4, gt=0, description="of the weights, at first")
    latent_learning_rate: float = Field(5e-3, gt=0, description="ten times the weights', else the latents stay at zero")
    final_rate: float = Field(
        0.02, gt=0, le=1, description="learning rate at the end, as a share of the first (cosine)"
    )
    latent_spread: float = Field(0.01, ge=0, description="standard deviation of the first latents")
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    checkpoint_every: int = Field(50, ge=1, description="epochs between checkpoints")
    seed: int = Field(0, ge=0, description="of first weights, latents and the points of each step")


class ModelConfig(StrictModel):
    """Everything that `lpm train` can be told about content."""

    preset: str
    structures: Literal["separate", "union"] = Field(
        "separate", description="one output a structure, or the paper's single output for both lungs"
    )
    decoder: DecoderConfig = DecoderConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()


class RegistrationConfig(StrictModel):
    """Settings of the group-wise registration; see `lpm.model.registration`."""

    rounds: int = Field(2, ge=0, le=20, description="times that the average is made anew")
    spacing_mm: float = Field(14.0, gt=0, description="grid on which displacements are kept")
    scales: tuple[WarpScale, ...] = Field(
        (WarpScale(12.0, 60.0, 60), WarpScale(5.0, 28.0, 220)),
        description="smooth displacements: standard deviation and correlation length, mm, and number of functions",
    )


class AtlasConfig(StrictModel):
    """The atlas: an average lung, principal components of displacements, a smooth warp; see `lpm.model.atlas`."""

    preset: Literal["atlas"] = "atlas"
    structures: Literal["separate"] = "separate"
    spacing_mm: float = Field(4.0, gt=0, description="grid of the average's signed distances")
    margin_mm: float = Field(16.0, ge=0, description="room around the training shapes")
    components: int | None = Field(
        None,
        ge=1,
        le=500,
        description="principal components of the displacements; none given: the number under which held-out lungs are "
        "most probable",
    )
    most_components: int = Field(40, ge=1, le=500, description="the largest number that may be chosen")
    registration: RegistrationConfig = RegistrationConfig()
    warp_scales: tuple[WarpScale, ...] = Field(
        (WarpScale(10.0, 70.0, 50), WarpScale(4.0, 35.0, 50)),
        min_length=1,
        description="smooth displacements that no training lung need have taught, as in registration",
    )

    @field_validator("warp_scales")
    @classmethod
    def _as_many_functions(cls, scales: tuple[WarpScale, ...]) -> tuple[WarpScale, ...]:
        if len({scale.functions for scale in scales}) > 1:
            raise ValueError("all scales of the warp have the same number of functions")
        return scales


# the paper's two networks, and one for two CPU cores, found on training lungs (docs/train.md, "What was tried")
_PRESETS: dict[str, ModelConfig] = {
    "paper": ModelConfig(preset="paper", training=TrainingConfig(learning_rate=2e-4, latent_learning_rate=2e-3)),
    "paper-initial": ModelConfig(
        preset="paper-initial", decoder=DecoderConfig(latent_size=64, width=512, layers=4, skip_at=0)
    ),
    "lite": ModelConfig(
        preset="lite",
        decoder=DecoderConfig(latent_size=96, width=256, layers=6, skip_at=3, output="linear", frequencies=3),
        loss=LossConfig(surface=0.5, eikonal=0.02, near_distance=0.04),
        augmentation=AugmentationConfig(copies=15),
        training=TrainingConfig(
            epochs=600,
            shapes_per_step=32,
            surface_points=192,
            off_surface_points=320,
            gradient_share=0.1,
            points_kept=20_000,
            learning_rate=2e-3,
            latent_learning_rate=1e-2,
            precision="bf16-mixed",
        ),
    ),
}


def preset(name: str) -> ModelConfig:
    """Return a preset's configuration.

    Args:
        name: ``lite`` (2 CPU cores), ``paper`` (latent 256, 8 x 1024) or ``paper-initial`` (64, 4 x 512).

    Raises:
        InputError: There is no such preset.
    """
    if name not in _PRESETS:
        raise InputError("preset", repr(name), f"one of {', '.join(_PRESETS)}")
    return _PRESETS[name]

"""The loss and its parts (paper III.B): surface, off-surface, eikonal, latent, optional normal."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lpm.model.config import LossConfig
from lpm.model.network.decoder import AutoDecoder


@dataclass(frozen=True, eq=False)
class Batch:
    """Points of some training shapes, in the model frame.

    Args:
        shapes: (b,) index of each shape.
        surface: (b, p, 3) points on the surfaces.
        normals: (b, p, 3) outward unit normals there.
        structure: (b, p) index of the structure that each lies on.
        off_surface: (b, q, 3) points off the surfaces.
        distance: (b, q, s) their signed distances to every structure.
    """

    shapes: Tensor
    surface: Tensor
    normals: Tensor
    structure: Tensor
    off_surface: Tensor
    distance: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def nearness(self, config: LossConfig) -> Tensor:
        """(b, q, s) how much each off-surface distance counts: less the farther away."""
        return 1.0 / (1.0 + self.distance.abs() / config.near_distance)


@dataclass(frozen=True, eq=False)
class Step:
    """What the means of a step are taken over, when a batch holds only a process's own part of the step's shapes.

    Args:
        shapes: Number of shapes in the step.
        nearness: Sum of `Batch.nearness` over all of them.
    """

    shapes: int
    nearness: Tensor


@dataclass(frozen=True, eq=False)
class Losses:
    """The weighted total and the unweighted parts."""

    total: Tensor
    surface: Tensor
    off_surface: Tensor
    eikonal: Tensor
    latent: Tensor
    normal: Tensor

    def numbers(self) -> dict[str, float]:
        """Return plain numbers for a log."""
        return dict(zip(LOSSES, self.stacked().tolist(), strict=True))

    def stacked(self) -> Tensor:
        """(6,) all of them in the order of `LOSSES`, float64."""
        return torch.stack([getattr(self, name).detach().double() for name in LOSSES])


LOSSES = tuple(field.name for field in fields(Losses))


def compute_losses(
    model: AutoDecoder, batch: Batch, config: LossConfig, gradient_share: float, step: Step | None = None
) -> Losses:
    """Evaluate the loss on a batch.

    The off-surface part is a plain L1, weighted towards the surface: clamping prediction and target, as DeepSDF
    does, can kill every gradient, because most samples lie far outside.

    Args:
        model: Decoder and latents.
        batch: Points in the model frame.
        config: Weights of the parts.
        gradient_share: Share of the points at which the field's gradient is taken.
        step: The step that the batch is a part of; the losses of all its parts add up to the step's. Default: all.
    """
    needs_gradient = config.eikonal > 0 or config.normal > 0
    weight = batch.nearness(config)
    step = step or Step(len(batch.shapes), weight.sum())
    share = len(batch.shapes) / step.shapes
    n_surface = batch.surface.shape[1]
    points = torch.cat([batch.surface, batch.off_surface], dim=1)
    predicted = model(batch.shapes, points)
    on_surface = predicted[:, :n_surface].gather(2, batch.structure[..., None]).squeeze(2)
    error = (predicted[:, n_surface:] - batch.distance).abs()
    surface = share * on_surface.abs().mean()
    off_surface = (weight * error).sum() / step.nearness
    latent = share * model.codes[batch.shapes].square().sum(dim=-1).mean()
    eikonal, normal = surface.new_zeros(()), surface.new_zeros(())
    if needs_gradient:
        eikonal, normal = (share * part for part in _gradient_losses(model, batch, gradient_share))
    total = (
        config.surface * surface
        + config.off_surface * off_surface
        + config.eikonal * eikonal
        + config.latent * latent
        + config.normal * normal
    )
    return Losses(total, surface, off_surface, eikonal, latent, normal)


def _gradient_losses(model: AutoDecoder, batch: Batch, share: float) -> tuple[Tensor, Tensor]:
    """| ||grad f|| - 1 | everywhere, and 1 - cos(grad f, normal) on the surface."""
    n_surface = max(int(share * batch.surface.shape[1]), 1)
    n_off = max(int(share * batch.off_surface.shape[1]), 1)
    points = torch.cat([batch.surface[:, :n_surface], batch.off_surface[:, :n_off]], dim=1).requires_grad_()
    predicted = model(batch.shapes, points)
    gradients = torch.stack(
        [
            torch.autograd.grad(predicted[..., s].sum(), points, create_graph=True)[0]
            for s in range(predicted.shape[-1])
        ],
        dim=-2,
    )
    eikonal = (gradients.norm(dim=-1) - 1.0).abs().mean()
    index = batch.structure[:, :n_surface, None, None].expand(-1, -1, 1, 3)
    at_surface = gradients[:, :n_surface].gather(2, index).squeeze(2)
    cosine = torch.nn.functional.cosine_similarity(at_surface, batch.normals[:, :n_surface], dim=-1)
    return eikonal, (1.0 - cosine).mean()

"""From the raw latents of the training shapes to shape parameters beta: whitened, sorted by variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lpm.calibration import number
from lpm.errors import InputError

LEAST_SLOPE = number("model.least_slope")


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """z = mean + basis @ beta with beta ~ N(0, I) over the training shapes.

    Args:
        mean: (l,) mean latent.
        basis: (l, k) principal axes times their standard deviations, in falling order.
    """

    mean: Tensor
    basis: Tensor

    @property
    def n_modes(self) -> int:
        """Number of shape parameters."""
        return int(self.basis.shape[1])

    def to_latent(self, beta: Tensor) -> Tensor:
        """Take (..., k) shape parameters, or fewer (the rest is 0), to (..., l) latents.

        Raises:
            InputError: More parameters than modes.
        """
        if beta.shape[-1] > self.n_modes:
            raise InputError("beta", f"{beta.shape[-1]} shape parameters", f"at most {self.n_modes}")
        return self.mean + beta @ self.basis[:, : beta.shape[-1]].T

    def to_beta(self, latent: Tensor) -> Tensor:
        """Take (..., l) latents to the (..., k) shape parameters that come closest."""
        scale = self.basis.square().sum(dim=0).clamp_min(1e-30)
        return (latent - self.mean) @ self.basis / scale


def principal_latents(codes: Tensor) -> LatentSpace:
    """Principal components of the training shapes' latents.

    Directions that the training shapes never took are left out; the sign of each axis is fixed so that its largest
    entry is positive.

    Args:
        codes: (n, l) latents.
    """
    mean = codes.mean(dim=0)
    _, deviations, axes = torch.linalg.svd((codes - mean).double(), full_matrices=False)
    deviations = deviations / max(len(codes) - 1, 1) ** 0.5
    kept = deviations > 1e-4 * deviations[0].clamp_min(1e-12)
    axes = axes[kept]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    basis = (axes * torch.sign(largest) * deviations[kept, None]).T
    return LatentSpace(mean, basis.to(codes.dtype).contiguous())


def outward_motion(decoder: nn.Module, mean: Tensor, points: Tensor, structure: Tensor) -> Tensor:
    """(n, l) how far each latent moves the surface outwards at points on it, by one unit; model units, float64.

    Args:
        decoder: (latent (n, l), points (n, 3)) to (n, s) signed distances.
        mean: (l,) latent of the surface.
        points: (n, 3) in the model frame, near the surface.
        structure: (n,) index of the structure of each.
    """
    latent = mean.expand(len(points), -1).clone().requires_grad_()
    places = points.clone().requires_grad_()
    values = decoder(latent, places).gather(1, structure[:, None])
    by_latent, by_place = torch.autograd.grad(values.sum(), (latent, places))
    motion: Tensor = (-by_latent / by_place.norm(dim=1, keepdim=True).clamp_min(LEAST_SLOPE)).double()
    return motion


def by_reach(decoder: nn.Module, n_latents: int, points: Tensor, structure: Tensor) -> LatentSpace:
    """Rotate latents so that shape parameters are sorted by how far one standard deviation moves the training surfaces.

    The latents' prior must be the same in all directions, so that turning them changes no fit. A positive parameter
    makes the lungs larger. Arguments are those of `outward_motion`; the mean latent is zero.
    """
    mean = torch.zeros(n_latents)
    outwards = outward_motion(decoder, mean, points, structure)
    _, axes = torch.linalg.eigh(outwards.T @ outwards)
    axes = axes.flip(1)
    sign = torch.where((outwards @ axes).mean(dim=0) < 0, -1.0, 1.0)
    return LatentSpace(mean, (axes * sign).float().contiguous())

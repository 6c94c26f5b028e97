"""From the raw latents of the training shapes to shape parameters beta: whitened, sorted by variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpm.errors import InputError


@dataclass(frozen=True)
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

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lpm.model.config import LossConfig
from lpm.model.network.losses import Batch, compute_losses


class Sphere(nn.Module):
    """The exact field of two concentric spheres, radius 0.5 and 0.3, scaled by a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor, self.codes = factor, nn.Parameter(torch.full((2, 4), 0.5))

    def forward(self, shapes: Tensor, points: Tensor) -> Tensor:
        radius = points.norm(dim=-1, keepdim=True)
        return self.factor * torch.cat([radius - 0.5, radius - 0.3], dim=-1)


def sphere_batch(n: int = 64) -> Batch:
    normals = nn.functional.normalize(torch.randn(2, n, 3), dim=-1)
    structure = torch.randint(0, 2, (2, n))
    surface = normals * torch.where(structure == 0, 0.5, 0.3)[..., None]
    off = torch.randn(2, n, 3)
    radius = off.norm(dim=-1, keepdim=True)
    return Batch(torch.tensor([0, 1]), surface, normals, structure, off, torch.cat([radius - 0.5, radius - 0.3], -1))


def test_exact_field_has_no_loss_but_the_latents() -> None:
    losses = compute_losses(Sphere(), sphere_batch(), LossConfig(normal=1.0), 1.0).numbers()  # type: ignore[arg-type]
    for part in ("surface", "off_surface", "eikonal", "normal"):
        assert losses[part] == pytest.approx(0.0, abs=1e-5)
    assert losses["latent"] == pytest.approx(4 * 0.25)
    assert losses["total"] == pytest.approx(1e-4, abs=1e-5)


def test_a_field_twice_as_steep_has_eikonal_loss_one() -> None:
    losses = compute_losses(Sphere(2.0), sphere_batch(), LossConfig(), 1.0).numbers()  # type: ignore[arg-type]
    assert losses["eikonal"] == pytest.approx(1.0, abs=1e-4)
    assert losses["surface"] == pytest.approx(0.0, abs=1e-5)
    assert losses["off_surface"] > 0.05


def test_an_inside_out_field_has_normal_loss_two() -> None:
    losses = compute_losses(Sphere(-1.0), sphere_batch(), LossConfig(), 1.0).numbers()  # type: ignore[arg-type]
    assert losses["normal"] == pytest.approx(2.0, abs=1e-4)


def test_weights_make_the_total() -> None:
    config = LossConfig(surface=2.0, off_surface=3.0, eikonal=5.0, latent=7.0, normal=11.0)
    torch.manual_seed(0)
    parts = compute_losses(Sphere(1.5), sphere_batch(), config, 1.0).numbers()  # type: ignore[arg-type]
    expected = sum(
        getattr(config, name) * parts[name] for name in ("surface", "off_surface", "eikonal", "latent", "normal")
    )
    assert parts["total"] == pytest.approx(expected, rel=1e-5)
    assert parts["total"] != pytest.approx(expected + 0.01, rel=1e-5)


def test_near_points_weigh_more() -> None:
    batch = sphere_batch()
    near = Batch(batch.shapes, batch.surface, batch.normals, batch.structure, batch.surface * 1.02, batch.distance * 0)
    config = LossConfig(eikonal=0.0)
    assert compute_losses(Sphere(), near, config, 1.0).numbers()["off_surface"] > 0  # type: ignore[arg-type]
    assert compute_losses(Sphere(), near, config, 1.0).numbers()["eikonal"] == 0.0  # type: ignore[arg-type]

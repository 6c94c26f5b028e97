from __future__ import annotations

import pytest
import torch

from lpm.errors import InputError
from lpm.model.latents import principal_latents


def test_beta_is_white_sorted_and_goes_both_ways() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(200, 6, generator=generator) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2, 0.1]) + 4.0
    space = principal_latents(codes)
    beta = space.to_beta(codes)
    torch.testing.assert_close(beta.mean(dim=0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cov(beta.T), torch.eye(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(space.to_latent(beta), codes, atol=1e-4, rtol=0)
    lengths = space.basis.norm(dim=0)
    assert (lengths[:-1] >= lengths[1:]).all()


def test_signs_do_not_depend_on_the_order_of_subjects() -> None:
    codes = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        principal_latents(codes).basis, principal_latents(codes.flip(0)).basis, atol=1e-4, rtol=0
    )


def test_directions_never_taken_are_left_out() -> None:
    codes = torch.zeros(10, 4)
    codes[:, 0] = torch.arange(10.0)
    assert principal_latents(codes).n_modes == 1


def test_fewer_parameters_leave_the_rest_at_zero_and_more_are_refused() -> None:
    space = principal_latents(torch.randn(30, 5, generator=torch.Generator().manual_seed(1)))
    short, padded = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(space.to_latent(short), space.to_latent(padded))
    with pytest.raises(InputError, match="beta: 6 shape parameters; expected at most 5"):
        space.to_latent(torch.zeros(6))

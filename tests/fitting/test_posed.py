"""What a fit minimises: priors of the pose, and what noise does to the field's values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lpm
from lpm.fitting.extraction import mean_shape
from lpm.fitting.posed import PosedModel
from lpm.fitting.state import State
from lpm.geometry.meshes import sample_surface
from lpm.model.bundle import ModelBundle


@pytest.fixture(scope="module")
def lungs() -> ModelBundle:
    return lpm.load().bundle


def test_a_step_and_its_offset_are_in_the_same_coordinates(lungs: ModelBundle) -> None:
    k = lungs.latents.n_modes
    nowhere = State(torch.zeros(k), torch.zeros(3), torch.zeros(3), torch.zeros(3))
    step = torch.zeros(k + 9)
    step[k + 3 : k + 6] = torch.tensor([0.1, -0.2, 0.3])
    torch.testing.assert_close(nowhere.moved(step).offsets(), step)


def test_noise_raises_the_values_on_average(lungs: ModelBundle) -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate(
        [sample_surface(mesh, 100, rng=rng).points for mesh in mean_shape(lungs, 5.0).meshes.values()]
    )
    posed, seen, sides = PosedModel(lungs), torch.tensor(points).float(), torch.tensor([0, 1]).repeat_interleave(100)
    k = lungs.latents.n_modes
    state = State(torch.zeros(k), torch.zeros(3), torch.zeros(3), torch.zeros(3))
    bias = posed.noise_bias(state, seen, sides, 2.0)
    noise = torch.from_numpy(rng.normal(0.0, 2.0, (3000, 1, 3))).float()
    drawn = torch.stack([posed.own_values(state, seen + step, sides) for step in noise]).mean(dim=0)
    drawn = drawn - posed.own_values(state, seen, sides)
    assert float(bias.mean()) > 0.03  # lungs bulge: most of what is near their surface is outside
    assert float((bias - drawn).abs().mean()) < 0.12  # draws of 3,000 have a mean that is itself 0.04 mm off
    assert float(np.corrcoef(bias, drawn)[0, 1]) > 0.8
    assert float(bias.mean()) == pytest.approx(float(drawn.mean()), abs=0.05)
    assert float(posed.noise_bias(state, seen, sides, 1e-4).abs().max()) < 1e-3

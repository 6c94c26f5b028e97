"""A radiograph without a place in the patient: where it lies is found with the shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lpm
from lpm.fitting.pose import world_from_model
from lpm.fitting.state import State
from lpm.geometry.frames import ModelPoints
from lpm.geometry.projection import Beam, turned_view
from lpm.xray.placement import ViewPlacement
from lpm.xray.rays import RayTerm
from true_lungs import TrueLungs

CONE = Beam(1800.0, 200.0)
PARAMETERS = torch.tensor([12.0, -7.0, 0.04, -0.03, 0.05, 0.1], dtype=torch.float64)


@pytest.fixture(scope="module")
def lungs() -> TrueLungs:
    return TrueLungs(lpm.load().bundle)


@pytest.fixture(scope="module")
def state(lungs: TrueLungs) -> State:
    log_scale, rotation = torch.tensor([0.02, -0.01, 0.03]), torch.tensor([0.05, -0.1, 0.1])
    return State(0.5 * lungs.beta, torch.tensor([3.0, -5.0, 4.0]), log_scale, rotation)


def placement(*, with_scale: bool = True) -> ViewPlacement:
    view = turned_view((50, 40), (2.0, 2.0), 0.0, (5.0, 7.0, 9.0), CONE)
    rows, places = np.eye(3), np.array([30.0, 0.0, -20.0])
    return ViewPlacement.of(view, with_scale=with_scale).aligned(np.array([1.0, 2.0, 3.0]), rows, places)


def placed(lungs: TrueLungs, state: State, points: np.ndarray) -> np.ndarray:
    return np.asarray(world_from_model(lungs.model, state.pose())(ModelPoints(points)).xyz_mm)


def test_a_state_seen_from_the_picture_is_the_same_shape_moved(lungs: TrueLungs, state: State) -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    here = placed(lungs, state, points)
    there = placed(lungs, placement().seen_from(state, PARAMETERS), points)
    distances = [np.linalg.norm(each[1:] - each[:1], axis=1) for each in (here, there)]
    np.testing.assert_allclose(distances[1], np.exp(0.1) * distances[0], rtol=1e-4)
    np.testing.assert_allclose(
        np.linalg.det(np.linalg.lstsq(here - here[0], there - there[0], rcond=None)[0]), np.exp(0.3), rtol=1e-3
    )


def test_without_parameters_the_middle_lies_where_the_picture_shows_it(lungs: TrueLungs) -> None:
    at_middle = State.mean(lungs.model, torch.tensor([1.0, 2.0, 3.0]))
    there = placement(with_scale=False).seen_from(at_middle, torch.zeros(5, dtype=torch.float64))
    np.testing.assert_allclose(there.translation, [30.0, 0.0, -20.0], atol=1e-4)


def test_the_view_is_moved_back_into_the_world(lungs: TrueLungs, state: State) -> None:
    """A point of the patient falls on the same pixel, whichever of the two is moved."""
    where, view = placement(), turned_view((50, 40), (2.0, 2.0), 0.0, (5.0, 7.0, 9.0), CONE)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3))
    in_picture = view.to_pixels(placed(lungs, where.seen_from(state, PARAMETERS), points))
    in_world = where.in_world(view, PARAMETERS).to_pixels(placed(lungs, state, points))
    np.testing.assert_allclose(in_world, in_picture, atol=1e-2)


@pytest.mark.parametrize("column", range(6))
def test_derivatives_by_the_placement_agree_with_finite_differences(
    lungs: TrueLungs, state: State, column: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lpm.xray import rays

    monkeypatch.setattr(rays, "_STEP_MM", 1.25)
    monkeypatch.setattr(rays, "_NEAR_MM", 24.0)
    seen = lungs.seen("frontal", CONE)
    seen = replace(
        seen, pixels=seen.pixels[::12], paths_mm=seen.paths_mm[::12], sd_mm=np.full_like(seen.sd_mm[::12], 6.0)
    )
    where = ViewPlacement.of(seen.view, with_scale=True)
    term = RayTerm(lungs.model, seen, where)
    term.begin(state)
    at = torch.cat([torch.zeros(1, dtype=torch.float64), 0.3 * PARAMETERS])
    slope = term.linearise(state, at).by_nuisance[:, 1 + column]
    step = torch.zeros(7, dtype=torch.float64)
    step[1 + column] = 0.5 if column < 2 else 0.003
    change = (term.errors(state, at + step) - term.errors(state, at - step)) / (2.0 * step[1 + column])
    assert float((change - slope).norm() / change.norm()) < 0.08

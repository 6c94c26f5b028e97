"""Initialisation: the mean shape at several places, sizes and turns about the points, a short search from the best."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lpm.calibration import count, number, several
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.surface import SurfacePoints, SurfaceTerm
from lpm.fitting.pose import rotation_matrix
from lpm.fitting.posed import PosedModel
from lpm.fitting.search import JointProblem, Unknowns, advance
from lpm.fitting.state import State
from lpm.model.bundle import ModelBundle
from lpm.model.levenberg_marquardt import LevenbergMarquardt
from lpm.model.threads import shared_out

_POINTS = count("fitting.start_points")
_FOLLOWED = count("fitting.followed_starts")
_STEPS = 6  # of each short search
_UP_MM = several("fitting.starts_up_mm")
_SIZES = several("fitting.starts_sizes")
_TURNS_RAD = several("fitting.starts_turns_rad")
_NODES = 28  # along each axis of the grid on which the mean surface is looked for
_NEAR = 0.03  # of the model's scale: nodes nearer to the mean surface stand for it
_PRIOR_MM = number("fitting.starts_prior_mm")


def initial_state(model: ModelBundle, points: SurfacePoints, config: FitConfig) -> State:
    """Initial state of a search: a few steps from several initialisations, and on from the best.

    Args:
        model: Trained.
        points: Points on the surface.
        config: Prior widths.
    """
    return _short_search(model, points.some(_POINTS), config)[0]


def rough_cost(model: ModelBundle, points: SurfacePoints, config: FitConfig) -> float:
    """Robust cost of a fit to points after a few steps: mean error in mm plus the weighted prior of the shape.

    Args:
        model: Trained.
        points: Points on the surface.
        config: Prior widths.
    """
    return _short_search(model, points.some(_POINTS), config)[1]


def _short_search(model: ModelBundle, few: SurfacePoints, config: FitConfig) -> tuple[State, float]:
    posed, nearest = PosedModel(model), list[State]()

    def away(state: State) -> float:
        return float(posed.own_values(state, few.points, few.sides(posed, state)).abs().mean())

    for kind in starts(model, few, config):
        far = shared_out(away, kind)
        nearest += [kind[index] for index in np.argsort(far, kind="stable")[:_FOLLOWED]]
    found = shared_out(lambda state: _followed(model, few, config, state), nearest)
    return min(found, key=lambda each: each[1])


def _followed(model: ModelBundle, few: SurfacePoints, config: FitConfig, start: State) -> tuple[State, float]:
    """The state after a few steps, and its cost."""
    term = SurfaceTerm(model, few, config)
    problem = JointProblem(model, [term], config)
    term.begin(start)
    descent: LevenbergMarquardt[Unknowns] = LevenbergMarquardt(problem, problem.at(start))
    for _ in range(_STEPS):
        advance(descent, [term])
    state = descent.at.state
    prior = float((problem.prior * state.offsets().double().square()).sum())
    return state, float(term.values.abs().mean()) + _PRIOR_MM * prior


def starts(model: ModelBundle, points: SurfacePoints, config: FitConfig) -> tuple[list[State], list[State]]:
    """States from which a search may begin, of two kinds.

    The mean lungs, smaller and larger ones, with their centre (that of the structures seen, or of one structure if
    sides are unknown) at the points' own, and above and below for points that show only a part; and the mean lungs of
    the size that whole lungs with these points would have, turned about each axis.
    """
    return list(_at_the_points(model, points, config)), list(_as_the_points_lie(model, points.points, config))


def _at_the_points(model: ModelBundle, seen: SurfacePoints, config: FitConfig) -> Iterator[State]:
    centers = [model.centers.mean(axis=0), *model.centers]
    if bool((seen.structure >= 0).all()):
        centers = [model.centers[seen.structure.numpy()].mean(axis=0)]
    middle = 0.5 * (seen.points.mean(dim=0) + seen.points.median(dim=0).values)
    sizes = _SIZES if config.axis_scale_sd else (1.0,)
    for center, up_mm, size in itertools.product(centers, _UP_MM, sizes):
        offset = size * model.manifest.scale_mm * torch.tensor(center).float()
        yield State.mean(model, middle - offset + torch.tensor([0.0, 0.0, up_mm]), size)


def _as_the_points_lie(model: ModelBundle, points: Tensor, config: FitConfig) -> Iterator[State]:
    """The mean lungs with the points' middle and spread, turned about each axis."""
    if not (config.axis_scale_sd and config.rotation_sd):
        return
    middle, spread = _middle_and_spread(points)
    mean_middle, mean_spread = _middle_and_spread(_mean_surface(model))
    size = spread / mean_spread
    for angles in itertools.product(_TURNS_RAD, repeat=3):
        turn = torch.tensor(angles)
        at = State.mean(model, middle - size * rotation_matrix(turn) @ mean_middle, size)
        yield State(at.beta, at.translation, at.log_scale, turn)


def _middle_and_spread(points: Tensor) -> tuple[Tensor, float]:
    """Middle, and root mean square distance from it, of (n, 3) points."""
    middle = points.mean(dim=0)
    return middle, float((points - middle).square().sum(dim=1).mean().sqrt())


def _mean_surface(model: ModelBundle) -> Tensor:
    """(n, 3) places near the surface of the mean lungs, mm."""
    mm = model.manifest.scale_mm
    lower, upper = (torch.tensor(corner).float() for corner in model.box)
    axes = [torch.linspace(float(a), float(b), _NODES) for a, b in zip(lower, upper, strict=True)]
    nodes = mm * torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    near = PosedModel(model).values(State.mean(model, torch.zeros(3)), nodes).abs().amin(dim=1) < _NEAR * mm
    found: Tensor = nodes[near]
    return found

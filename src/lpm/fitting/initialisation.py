"""Where a search can begin: the mean lungs of several sizes at the points, and turned and sized as the points lie."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lpm.fitting.pose import rotation_matrix
from lpm.fitting.posed import Objective, State

_STARTS_MM = (0.0, -60.0, 60.0)
_SIZES = (1.0, 0.75, 1.2)
_NODES = 28
_NEAR = 0.03
_TURNS = (-0.25, 0.0, 0.25)


def starts(objective: Objective) -> tuple[list[State], list[State]]:
    """States from which a search may begin, of two kinds.

    The mean lungs, smaller and larger ones, with their centre (that of the structures seen, or of one structure if
    sides are unknown) at the points' own, and above and below for points that show only a part; and the mean lungs of
    the size that whole lungs with these points would have, turned about each axis.
    """
    return list(_at_the_points(objective)), list(_as_the_points_lie(objective))


def _at_the_points(objective: Objective) -> Iterator[State]:
    model, points = objective.model, objective.points
    centers = [model.centers.mean(axis=0), *model.centers]
    if bool((objective.structure >= 0).all()):
        centers = [model.centers[objective.structure.numpy()].mean(axis=0)]
    middle = 0.5 * (points.mean(dim=0) + points.median(dim=0).values)
    for center, up_mm, size in itertools.product(centers, _STARTS_MM, _SIZES):
        offset = size * model.manifest.scale_mm * torch.from_numpy(center).float()
        translation = middle - offset + torch.tensor([0.0, 0.0, up_mm])
        yield _state(objective, translation, size, torch.zeros(3))


def _state(objective: Objective, translation: Tensor, size: float, rotation: Tensor) -> State:
    log_scale = torch.full((3,), math.log(size)) if objective.config.axis_scale_sd else torch.zeros(3)
    return State(torch.zeros(objective.model.latents.n_modes), translation, log_scale, rotation)


def _as_the_points_lie(objective: Objective) -> Iterator[State]:
    """The mean lungs with the points' middle and spread, turned about each axis."""
    if not (objective.config.axis_scale_sd and objective.config.rotation_sd):
        return
    middle, spread = _spread(objective.points)
    mean_middle, mean_spread = _spread(_mean_surface(objective))
    size = spread / mean_spread
    for angles in itertools.product(_TURNS, repeat=3):
        turn = torch.tensor(angles)
        yield _state(objective, middle - size * rotation_matrix(turn) @ mean_middle, size, turn)


def _spread(points: Tensor) -> tuple[Tensor, float]:
    """Middle, and root mean square distance from it, of (n, 3) points."""
    middle = points.mean(dim=0)
    return middle, float((points - middle).square().sum(dim=1).mean().sqrt())


def _mean_surface(objective: Objective) -> Tensor:
    """(n, 3) places near the surface of the mean lungs, mm."""
    model, mm = objective.model, objective.model.manifest.scale_mm
    lower, upper = (torch.from_numpy(corner).float() for corner in model.box)
    axes = [torch.linspace(float(a), float(b), _NODES) for a, b in zip(lower, upper, strict=True)]
    nodes = mm * torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    mean = _state(objective, torch.zeros(3), 1.0, torch.zeros(3))
    near = objective.values(mean, nodes).abs().amin(dim=1) < _NEAR * mm
    found: Tensor = nodes[near]
    return found

"""The fit: the decoder is frozen, shape parameters and pose follow the observed points (paper III.D, IV.C).

Gauss-Newton with Levenberg-Marquardt damping on

    E(beta, t, s, w) = e' (K + D)^-1 e + |beta|^2 + |log s / axis_scale_sd|^2 + |w / rotation_sd|^2

with e the decoder's value in mm at the observed points, K the covariance of the smooth residual (`residual.py`) and D
the noise (`noise.py`). Neighbouring points share their residual, so that many of them count for little more than one:
the balance of prior and data needs no hand-set weight and no switch, from 50 to 50,000 points. One backward pass gives
every point's derivative by its own copy of the latent, so the whole Jacobian costs one pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.initialisation import starts
from lpm.fitting.noise import Noise, estimate_noise
from lpm.fitting.pose import Pose
from lpm.fitting.posed import Objective, State
from lpm.fitting.residual import Clusters, Observed, ResidualField, condition, spread_evenly
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle

StopReason = Literal["plateau", "iteration limit"]
_FOLLOWED_POINTS = 8000
_SETTLES = 2
_MOST_PROJECTIONS, _SETTLED_MM = 8, 0.1
_LEAST_TRUST = 20.0
_FOLLOWED_STARTS = 3
_START_STEPS = 6


@dataclass(frozen=True)
class FittedShape:
    """The end of a fit.

    Args:
        beta: (k,) shape parameters.
        pose: Translation, axis scales, rotation.
        residual: The smooth field that takes the decoder's surface to the points.
        residuals_mm: (n,) signed distance of the observed points from the fitted field.
        observed_box_mm: Lower and upper corner of the points that are no outliers.
        structure: (n,) the structure that each point was given to.
        unexplained_mm: Root mean square of the decoder's value at ordinary points: what the residual makes up for.
        noise_mm: Standard deviation of an ordinary point.
        n_outliers: Points that their neighbours contradict.
        precision: (k + 9, k + 9) of the posterior over beta, translation, log scales, rotation.
        iterations: Gauss-Newton steps tried.
        stop_reason: Why it stopped.
    """

    beta: Tensor
    pose: Pose
    residual: ResidualField
    residuals_mm: Floats
    observed_box_mm: tuple[Floats, Floats]
    structure: NDArray[np.int64]
    unexplained_mm: float
    noise_mm: float
    n_outliers: int
    precision: Tensor
    iterations: int
    stop_reason: StopReason


def fit_shape(model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64], config: FitConfig) -> FittedShape:
    """Fit shape parameters, pose and residual to surface points.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm, on the surface of the structures.
        structure: (n,) index of the structure of each point, -1 where it is unknown.
        config: Prior widths and stopping.

    Returns:
        The best shape found and why the search stopped.
    """
    everything = Objective(model, points_mm, structure, config)
    followed = everything.only(spread_evenly(points_mm, _FOLLOWED_POINTS))
    search = _Search(followed, _start(followed))
    while search.stop_reason is None:
        search.advance()
    return _finish(everything, search, search.stop_reason)


def _finish(everything: Objective, search: _Search, stop_reason: StopReason) -> FittedShape:
    """Give the residual all points."""
    state, config = search.state, everything.config
    sides = everything.sides(state)
    n_structures, n_points = len(everything.model.structures), len(everything.points)
    if config.prior_only:
        residual = ResidualField.nothing(config.residual, n_structures)
        noise = Noise(search.noise_mm, 0.0, torch.ones(n_points, dtype=torch.float64))
    else:
        residual, noise = _follow_points(everything, search, sides)
    points = everything.points.double()
    errors, has_say = everything.errors(state, sides), noise.trust >= 0.5
    ordinary = points[has_say].numpy()
    return FittedShape(
        beta=state.beta,
        pose=state.pose(),
        residual=residual,
        residuals_mm=(errors + residual.at(points, sides)).numpy(),
        observed_box_mm=(ordinary.min(axis=0), ordinary.max(axis=0)),
        structure=sides.numpy(),
        unexplained_mm=float(errors[has_say].square().mean().sqrt()),
        noise_mm=noise.sd_mm,
        n_outliers=int((noise.ordinary < 0.5).sum()),
        precision=search.precision(),
        iterations=search.iterations,
        stop_reason=stop_reason,
    )


def _follow_points(everything: Objective, search: _Search, sides: Tensor) -> tuple[ResidualField, Noise]:
    """The residual from all points, and what they say of noise and outliers."""
    state, config = search.state, everything.config
    errors, points = everything.errors(state, sides), everything.points.double()
    places = everything.projected(state, sides)
    noise = estimate_noise(places, sides, (errors, everything.slopes(state, sides)), config, search.noise)
    prior = config.residual.model_copy(update={"sd_mm": noise.residual_sd_mm})
    # of a point's distance to the decoder's surface this share is noise, as far as one can say before the fit
    share = noise.variance / (noise.variance + noise.residual_sd_mm**2)
    places = points + share[:, None] * (places - points)
    errors = errors - everything.noise_bias(state, sides, noise.sd_mm)
    n_structures = len(everything.model.structures)
    residual = condition(Observed(places, sides, errors, noise.variance), n_structures, prior)
    for _ in range(_MOST_PROJECTIONS):
        before, places = places, everything.projected(state, sides, residual)
        if float((places - before).norm(dim=1).mean()) < _SETTLED_MM:
            break
        residual = condition(Observed(places, sides, errors, noise.variance), n_structures, prior)
    return residual, noise


def rough_cost(model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64], config: FitConfig) -> float:
    """How badly the model explains points after a few steps: mean error in mm, and what the prior makes of the shape.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm.
        structure: (n,) index of the structure of each point, -1 where it is unknown.
        config: Prior widths.
    """
    objective = Objective(model, points_mm, structure, config)
    return _Search(objective, _start(objective)).cost()


def _start(objective: Objective) -> State:
    """Where the search begins: a few steps from several states, and on from the best.

    Of each kind of start, those that lie nearest to the points are followed for a few steps on some of the points.
    """
    few, nearest = objective.only(spread_evenly(objective.points.numpy().astype(np.float64), 300)), list[State]()
    for kind in starts(objective):
        kind.sort(key=lambda state: float(few.errors(state, few.sides(state)).abs().mean()))
        nearest += kind[:_FOLLOWED_STARTS]
    searches = [_Search(few, state) for state in nearest]
    for search in searches:
        for _ in range(_START_STEPS):
            search.advance()
    return min(searches, key=lambda search: search.cost()).state


class _Search:
    """Levenberg-Marquardt; noise and outliers are estimated once the shape has settled.

    From then on points share their residual. Before, each counts for itself: among points that share theirs, an
    outlier, which has no neighbours, would weigh as much as a dozen of them.
    """

    def __init__(self, objective: Objective, state: State) -> None:
        self.objective, self.state = objective, state
        config, n = objective.config, len(objective.points)
        self.residual = config.residual.model_copy(update={"sd_mm": 0.0})  # until outliers are known
        alone_mm = math.hypot(config.prior_noise_mm, config.residual.sd_mm)
        self.noise_mm = alone_mm * (1.0 + n / config.prior_points) ** 0.5
        self.sides = objective.sides(state)
        self.errors = objective.errors(state, self.sides)
        self.variance = self._robust()
        self.normal = torch.diag(objective.prior)
        self.damping, self.quiet, self.iterations, self.settled = 1e-2, 0, 0, 0
        self.noise: Noise | None = None
        self.stop_reason: StopReason | None = None

    def cost(self) -> float:
        """Robust cost by which starts are compared: mean error, and what the prior makes of the shape."""
        prior = float((self.objective.prior * self.state.offsets().double().square()).sum())
        return float(self.errors.abs().mean()) + 0.02 * prior

    def precision(self) -> Tensor:
        """Gauss-Newton normal matrix, in which many points count for less than the residual's covariance says.

        Lungs differ from the model over longer distances than the residual's: thousands of points of the upper lungs
        would make the lower ones certain.
        """
        if self.objective.config.prior_only:  # their noise does so already
            return self.normal
        prior = torch.diag(self.objective.prior)
        return prior + (self.normal - prior) / (1.0 + len(self.objective.points) / self.objective.config.certain_points)

    def _robust(self) -> Tensor:
        """Noise variances by which far points pull less and less; how far that is follows the errors down."""
        width = max(2.0, 3.0 * float(self.errors.abs().median()))
        doubt: Tensor = self.noise_mm**2 * (self.errors / width).square().clamp(max=_LEAST_TRUST).exp()
        return doubt

    def advance(self) -> None:
        """Try one step; keep it if the energy falls."""
        objective, config = self.objective, self.objective.config
        values, jacobian = objective.linearise(self.state, self.sides)
        clusters = objective.clusters(self.sides, self.variance)
        factor = objective.factor(self.sides, clusters, self.residual)
        error = clusters.average(values)
        before = objective.energy(error, factor, self.state)
        if not np.isfinite(before):
            raise InputError("fit", "the energy is not finite", hint="check the points' frame and unit")
        rows = torch.cat([error[:, None], clusters.average(jacobian)], dim=1)
        whitened = torch.linalg.solve_triangular(factor, rows, upper=False)
        slope: Tensor = whitened[:, 1:]
        self.normal = slope.T @ slope + torch.diag(objective.prior)
        gradient = slope.T @ whitened[:, 0] + objective.prior * self.state.offsets().double()
        gain = self._try(gradient, clusters, factor, before)
        self.iterations += 1
        self.quiet = self.quiet + 1 if gain < config.tolerance else 0
        if self.quiet >= 2:
            self._settle()
        elif self.iterations >= config.max_iterations:
            self.stop_reason = "iteration limit"

    def _try(self, gradient: Tensor, clusters: Clusters, factor: Tensor, before: float) -> float:
        """Damp until the energy falls; the relative gain, 0 if it never does."""
        for _ in range(4):
            damped = self.normal + self.damping * torch.diag(self.normal.diagonal())
            candidate = self.state.moved(torch.linalg.solve(damped, -gradient).float())
            errors = clusters.average(self.objective.errors(candidate, self.sides))
            after = self.objective.energy(errors, factor, candidate)
            if np.isfinite(after) and after < before:
                self.damping = max(self.damping / 5.0, 1e-6)
                self._take(candidate)
                return (before - after) / before
            self.damping = min(self.damping * 8.0, 1e6)
        return 0.0

    def _take(self, state: State) -> None:
        self.state = state
        self.sides = self.objective.sides(state)
        self.errors = self.objective.errors(state, self.sides)
        if self.settled == 0:
            self.variance = self._robust()

    def _settle(self) -> None:
        """On a plateau: estimate noise and outliers from the neighbours, go on, and stop on the next plateau."""
        if self.settled == _SETTLES or self.objective.config.prior_only:
            self.stop_reason = "plateau"
            return
        self.settled, self.quiet = self.settled + 1, 0
        places = self.objective.projected(self.state, self.sides)
        slopes = self.objective.slopes(self.state, self.sides)
        self.noise = estimate_noise(places, self.sides, (self.errors, slopes), self.objective.config, self.noise)
        self.variance, self.noise_mm = self.noise.variance, self.noise.sd_mm
        self.residual = self.objective.config.residual


def derivatives(model: ModelBundle, shape: FittedShape, points_mm: Tensor, structure: int) -> Tensor:
    """(n, k + 9) derivatives of a structure's field at (n, 3) world points by beta, translation, scales, rotation."""
    sides = np.full(len(points_mm), structure, dtype=np.int64)
    objective = Objective(model, points_mm.double().numpy(), sides, FitConfig())
    state, own = State.of(shape.beta, shape.pose), torch.from_numpy(sides)
    return objective.linearise(state, own)[1]

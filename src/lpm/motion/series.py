"""Lungs in several states of one breath, such as the phases of a 4D-CT: one shape, and a smooth path over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from lpm.calibration import count, number
from lpm.errors import InputError
from lpm.fitting.corresponding import corresponding
from lpm.fitting.fitted_field import FittedField
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.motion.breath import Breath, volume_of
from lpm.motion.carrying import Motion
from lpm.motion.smooth import SmoothDisplacement

_FACES = count("motion.breath_faces")
_LENGTH = number("motion.series_length")
_NOISE = number("motion.series_noise")
_LEAST = 3  # states: of two there is no path


@dataclass(frozen=True)
class Times:
    """When states were seen.

    Args:
        at: Increasing, in any unit.
        period: When the first state comes again; None for a path that does not close.
    """

    at: tuple[float, ...]
    period: float | None = None

    @classmethod
    def of(cls, n: int, at: Sequence[float] | None = None, *, periodic: bool = False) -> Times:
        """Check times, or spread n states evenly.

        Args:
            n: Number of states.
            at: Their times; None for even ones.
            periodic: Whether the first state comes again, one mean step after the last one.

        Raises:
            InputError: Fewer than three states, another number of times, or times that do not grow.
        """
        if n < _LEAST:
            raise InputError("series", f"{n} states", f"at least {_LEAST}", "two are a breath")
        times = np.arange(n, dtype=np.float64) if at is None else np.asarray(at, dtype=np.float64)
        if len(times) != n:
            raise InputError(
                "times", f"{len(times)} for {n} states", "one a state", "a number for each fit, in its order"
            )
        if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
            given, hint = ", ".join(f"{time:g}" for time in times), "name the fits in the order in which they were seen"
            raise InputError("times", given, "numbers that grow", hint)
        end = float(times[-1] + np.diff(times).mean())
        return cls(tuple(times.tolist()), end - float(times[0]) if periodic else None)

    def correlations(self) -> Floats:
        """(n, n) of displacements at these times."""
        times = np.array(self.at)
        apart = times[:, None] - times
        if self.period is None:
            return np.asarray(np.exp(-0.5 * (apart / (_LENGTH * np.ptp(times))) ** 2))
        angle = 2.0 * np.sin(np.pi * apart / self.period)  # a chord: as far apart as on a circle of radius one
        return np.asarray(np.exp(-0.5 * (angle / (2.0 * np.pi * _LENGTH)) ** 2))


@dataclass(frozen=True, eq=False)
class Series:
    """The motion of lungs through several states.

    Args:
        times: When they were seen.
        states: Meshes by structure, RAS mm, in each state; the same triangles in all.
        breath: From the smallest state to the largest one.
        notes: What a reader must know.
    """

    times: Times
    states: Sequence[dict[str, WorldMesh]]
    breath: Breath
    notes: tuple[str, ...]

    @cached_property
    def _paths(self) -> dict[str, PchipInterpolator]:
        """By structure, vertices over time, through all states and never beyond two neighbours."""
        at, stacked = np.array(self.times.at), {}
        for name in self.states[0]:
            stacked[name] = np.stack([lungs[name].vertices for lungs in self.states])
        if self.times.period is not None:  # slopes take two states on either side
            at = np.concatenate([at[-2:] - self.times.period, at, at[:2] + self.times.period])
            stacked = {name: np.concatenate([own[-2:], own, own[:2]]) for name, own in stacked.items()}
        return {name: PchipInterpolator(at, own) for name, own in stacked.items()}

    def at(self, time: float) -> dict[str, WorldMesh]:
        """Lungs at a time, by structure, RAS mm; in a closed path, of any cycle.

        Raises:
            InputError: Before the first state or after the last one of a path that does not close.
        """
        low, high = self.times.at[0], self.times.at[-1]
        if self.times.period is not None:
            time = low + (time - low) % self.times.period
        elif not low <= time <= high:
            raise InputError("series", f"time {time:g}", f"from {low:g} to {high:g}", "periodic times have no end")
        return {name: WorldMesh(path(time), self.states[0][name].faces) for name, path in self._paths.items()}

    def phases(self, n: int) -> list[dict[str, WorldMesh]]:
        """N lungs, evenly over time: both ends among them, or around a closed path once.

        Raises:
            InputError: Fewer than two.
        """
        if n < 2:
            raise InputError("phases", str(n), "at least 2", "both ends are among them")
        low, high = self.times.at[0], self.times.at[-1]
        ends = np.linspace(low, high, n) if self.times.period is None else low + self.times.period * np.arange(n) / n
        return [self.at(float(time)) for time in ends]


def breathe_series(fields: Sequence[FittedField], times: Times) -> Series:
    """Find the motion of lungs through several states of one patient.

    Every state is reached from the smallest one by a displacement of one basis. Their weights are smoothed over time,
    for sliding along the pleura is seen in no state by itself; near the surface the lungs follow each state's own.

    Args:
        fields: Fitted lungs in each state, in their order.
        times: When they were seen.

    Raises:
        InputError: Fits that do not belong together, or of other structures.
    """
    meshes = [corresponding(field, _FACES).meshes for field in fields]
    volumes = [volume_of(lungs) for lungs in meshes]
    smallest, largest = int(np.argmin(volumes)), int(np.argmax(volumes))
    found = [Motion.between(fields[smallest], field) for index, field in enumerate(fields) if index != smallest]
    names = list(found[0].smooth)
    rest = {name: SmoothDisplacement(own.basis, np.zeros_like(own.weights)) for name, own in found[0].smooth.items()}
    found.insert(smallest, Motion(fields[smallest], fields[smallest], rest))
    if any(list(motion.smooth) != names for motion in found):
        raise InputError("series", "states of different lungs", "the same lungs in all", "fit both lungs in each state")
    motions = _smoothed(found, times)
    start = {name: meshes[smallest][name] for name in names}
    states = [
        {name: WorldMesh(motion.carried(mesh.vertices, name), mesh.faces) for name, mesh in start.items()}
        for motion in motions
    ]
    breath = Breath(motions[largest], states[smallest], states[largest], fields[smallest])
    return Series(times, states, breath, _notes(volumes, smallest, largest))


def _smoothed(motions: Sequence[Motion], times: Times) -> list[Motion]:
    """The same, with weights smoothed over time: a Gaussian process about their mean."""
    correlations = times.correlations()
    gain = correlations @ np.linalg.inv(correlations + _NOISE * np.eye(len(correlations)))
    smooth: list[dict[str, SmoothDisplacement]] = [{} for _ in motions]
    for name, first in motions[0].smooth.items():
        weights = np.stack([motion.smooth[name].weights for motion in motions])
        mean = weights.mean(axis=0)
        for index, own in enumerate(mean + np.einsum("st,tbk->sbk", gain, weights - mean)):
            smooth[index][name] = SmoothDisplacement(first.basis, own)
    return [Motion(each.source, each.target, own) for each, own in zip(motions, smooth, strict=True)]


def _notes(volumes: Sequence[float], smallest: int, largest: int) -> tuple[str, ...]:
    said = [
        f"smallest in state {smallest} ({volumes[smallest]:.0f} ml), largest in state {largest} "
        f"({volumes[largest]:.0f} ml), counted from 0"
    ]
    if largest == 0:
        said.append("the first state is the largest: were states exchanged, or do they begin in inspiration?")
    return tuple(said)

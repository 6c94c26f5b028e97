"""What was seen of a patient's lungs: points, masks, slices, alone or together, are all points on the surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpm.errors import InputError
from lpm.fitting.checks import check_points, doubts, looks_mirrored
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.surface import SurfacePoints, SurfaceTerm
from lpm.fitting.fit import Fit, extract_fit
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.initialisation import initial_state
from lpm.fitting.search import search
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle

UNKNOWN = -1


@dataclass(frozen=True)
class Observation:
    """Points on the surface of a patient's lungs.

    Args:
        points_mm: (n, 3) RAS mm.
        structure: (n,) index of the model's structure that each lies on, `UNKNOWN` if it could be any.
        what: Where they are from, in words.
        only: Structures that were looked at, if others are not to be predicted.
        notes: What a reader must know.
    """

    points_mm: Floats
    structure: NDArray[np.int64]
    what: str
    only: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def together(observations: Sequence[Observation]) -> Observation:
    """All that was seen of one patient, in one frame.

    Raises:
        InputError: Nothing was given.
    """
    if not observations:
        raise InputError("fit", "no observation", "points, a mask or slices")
    limits = [observation.only for observation in observations]
    only = tuple(dict.fromkeys(name for limit in limits if limit for name in limit))
    return Observation(
        np.concatenate([observation.points_mm for observation in observations]),
        np.concatenate([observation.structure for observation in observations]),
        "; ".join(observation.what for observation in observations),
        None if None in limits else only,
        tuple(note for observation in observations for note in observation.notes),
    )


def fit_observations(
    model: ModelBundle,
    observations: Sequence[Observation],
    *,
    config: FitConfig | None = None,
    spacing_mm: float = 1.5,
) -> Fit:
    """Reconstruct lungs from all that was seen of them.

    Args:
        model: Trained.
        observations: Of one patient, in one frame; see `observe_points` and `observe_mask`.
        config: Prior widths and stopping; default `FitConfig()`.
        spacing_mm: Lattice of the extracted meshes.

    Raises:
        InputError: Fewer than 10 points, NaN, or points that cannot be lungs in mm.
    """
    config, seen = config or FitConfig(), together(observations)
    config.refuse_unused("surface")
    term, notes = surface_term(model, seen, config)
    found = search(model, [term], config, initial_state(model, term.seen, config))
    shape, names = FittedShape.of(found, model, term), wanted(model, seen)
    extraction = extract_fit(model, shape, names, spacing_mm)
    fit = Fit(model, config, shape, extraction, seen.what, (*notes, *_unseen(model, names, seen)))
    return fit.with_notes([*doubts(fit), *looks_mirrored(fit, term.every)])


def surface_term(model: ModelBundle, seen: Observation, config: FitConfig) -> tuple[SurfaceTerm, list[str]]:
    """Check what was seen and make a term of it.

    Args:
        model: Trained.
        seen: All surface points of a patient.
        config: Noise, residual, prior widths.

    Returns:
        The term, and notes for the reader.

    Raises:
        InputError: Fewer than 10 points, NaN, or points that cannot be lungs in mm.
    """
    checked = check_points(seen.points_mm, seen.structure, model.diagonal_mm)
    term = SurfaceTerm(model, SurfacePoints.of(checked.points_mm, checked.structure), config)
    return term, [*seen.notes, *checked.notes]


def wanted(model: ModelBundle, seen: Observation) -> list[str]:
    """Structures that a fit to surface points gives: all, or those that a mask holds."""
    return [name for name in model.structures if seen.only is None or name in seen.only]


def _unseen(model: ModelBundle, wanted: Sequence[str], seen: Observation) -> list[str]:
    """What was predicted, and what was left out."""
    indices = set(seen.structure.tolist())
    if UNKNOWN in indices:
        return []
    unseen = [name for index, name in enumerate(model.structures) if index not in indices]
    predicted, left_out = "no point was given, predicted from the other structures", "not seen, not asked for, left out"
    return [f"{name}: {predicted if name in wanted else left_out}" for name in unseen]

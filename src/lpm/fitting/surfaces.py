"""Fits to surface points: of points, masks and slices, alone or together."""

from __future__ import annotations

from collections.abc import Sequence

from lpm.fitting.checks import check_points, doubts, looks_turned
from lpm.fitting.config import OF_TRUNCATED_LUNGS, FitConfig
from lpm.fitting.consistency import contradictions
from lpm.fitting.evidence.observation import UNKNOWN, Observation, combined, without_repeats
from lpm.fitting.evidence.surface import SurfacePoints, SurfaceTerm
from lpm.fitting.extraction import extract_fit
from lpm.fitting.fit import Fit
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.initialisation import initial_state
from lpm.fitting.search import search
from lpm.model.bundle import ModelBundle
from lpm.model.threads import one_thread


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
        observations: Observations of one patient, in one frame; see `observe_points` and `observe_mask`.
        config: Prior widths and stopping; default `FitConfig()`.
        spacing_mm: Lattice of the extracted meshes.

    Raises:
        InputError: Fewer than 10 points, NaN, or points that cannot be lungs in mm.
    """
    parts, repeats = without_repeats(observations)
    seen = combined(parts)
    config = suited(config or FitConfig(), seen)
    config.refuse_unused("surface")
    term, notes = surface_term(model, seen, config)
    start = initial_state(model, term.seen, config)
    with one_thread():
        found = search(model, [term], config, start)
        shape = FittedShape.of(found, model, term)
    names = wanted(model, seen)
    extraction = extract_fit(model, shape, names, spacing_mm)
    fit = Fit(model, config, shape, extraction, seen.what, (*notes, *repeats, *_unseen(model, names, seen)))
    return fit.with_notes([*doubts(fit), *notes_on_points(fit, parts, term)])


def suited(config: FitConfig, seen: Observation) -> FitConfig:
    """Settings with the residual that truncated lungs need, if they are and no residual was asked for."""
    if not seen.truncated or "residual" in config.model_fields_set:
        return config
    return config.model_copy(update={"residual": OF_TRUNCATED_LUNGS})


def notes_on_points(fit: Fit, parts: Sequence[Observation], term: SurfaceTerm) -> list[str]:
    """Reasons to doubt the points of a fit: of two patients, or mirrored.

    Args:
        fit: Fit to the points, with or without radiographs.
        parts: Kinds of points.
        term: All of them.
    """
    surface = fit.shape.surface
    with one_thread():
        apart = [] if surface is None else contradictions(fit.model, parts, surface, fit.config)
    return [*apart, *looks_turned(fit, term.every)]


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

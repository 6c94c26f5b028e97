"""Lungs from all that is known of a patient: radiographs, alone or with points, masks and slices.

Read `fit_evidence` top to bottom: terms of each kind of evidence, one search, the meshes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lpm.calibration import number
from lpm.errors import InputError
from lpm.fitting.checks import doubts
from lpm.fitting.config import FitConfig
from lpm.fitting.consistency import JointSearch
from lpm.fitting.evidence.observation import Observation, combined, without_repeats
from lpm.fitting.evidence.term import Term
from lpm.fitting.extraction import extract_fit
from lpm.fitting.fit import Fit
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.initialisation import initial_state
from lpm.fitting.search import Found, JointProblem, search
from lpm.fitting.state import State
from lpm.fitting.surfaces import fit_observations, notes_on_points, suited, surface_term
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.projection import View
from lpm.model.bundle import ModelBundle
from lpm.model.threads import one_thread
from lpm.xray.evidence import XrayObservation, observe_xray
from lpm.xray.files.views import record_of
from lpm.xray.pair import doubts_about_pair, level
from lpm.xray.placement import ViewPlacement
from lpm.xray.radiograph import Radiograph
from lpm.xray.rays import FittedRays, RayTerm, SeenPaths, initial_states
from lpm.xray.reader import Reading, XrayReader, load_reader

Evidence = Observation | XrayObservation
_PLACE = {"origin_mm", "by_row_mm", "by_column_mm", "beam", "source_mm"}  # of a record of `views.json`
_BESIDE_POINTS = number("xray.beside_points")
_ONE_VIEW = FitConfig(rotation_sd=number("xray.one_view_rotation_sd"))


@read_only_arrays
@dataclass(frozen=True, eq=False, repr=False)
class XrayFit(Fit):
    """Lungs explained from radiographs, alone or with other evidence.

    Args:
        pictures: Readings of each radiograph.
        rays: Result of the rays of each radiograph, in the same order.
    """

    pictures: tuple[XrayObservation, ...] = ()
    rays: tuple[FittedRays, ...] = ()

    @property
    def radiographs(self) -> tuple[Radiograph, ...]:
        """The radiographs as given."""
        return tuple(each.radiograph for each in self.pictures)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The reading of each radiograph."""
        return tuple(each.reading for each in self.pictures)

    @property
    def views(self) -> tuple[View, ...]:
        """Geometry of each radiograph, in the world of the lungs."""
        return tuple(each.view for each in self.rays)

    @property
    def gains(self) -> tuple[float, ...]:
        """Share by which each radiograph shows all lengths too long, as far as the fit can tell."""
        return tuple(each.gain for each in self.rays)

    @property
    def misfits_mm(self) -> dict[str, Floats]:
        """By kind of evidence, in words: how far each observation is from what the fitted lungs would give."""
        rays = {f"error of the lengths of the {each.what}'s rays": errors for each, errors in self._with_errors()}
        return {**super().misfits_mm, **rays}

    def _with_errors(self) -> Iterator[tuple[XrayObservation, Floats]]:
        return zip(self.pictures, self.path_errors_mm, strict=True)

    @property
    def path_errors_mm(self) -> tuple[Floats, ...]:
        """Of each radiograph, (n,) lengths of the lungs along its rays, less those seen."""
        return tuple(each.path_errors_mm for each in self.rays)

    def summary(self) -> dict[str, Any]:
        """Return what `fit.json` holds: that of every fit, and ``radiographs``."""
        return {**super().summary(), "radiographs": [self._picture_summary(i) for i in range(len(self.rays))]}

    def _picture_summary(self, index: int) -> dict[str, Any]:
        radiograph, reading, view = self.radiographs[index], self.readings[index], self.views[index]
        errors = self.path_errors_mm[index]
        used = [float(np.linalg.norm(step)) for step in (view.by_row_mm, view.by_column_mm)]
        is_cone = view.source_mm is not None
        return {
            "side": radiograph.side,
            "picture": radiograph.name or None,
            "size_px": list(radiograph.pixels.shape),
            "mm_per_px": None if radiograph.spacing_mm is None else used,
            "mm_per_px_used": used,
            "projection": "cone" if is_cone else "parallel",
            "source_detector_mm": radiograph.source_detector_mm,
            "patient_detector_mm": radiograph.beam.patient_detector_mm if is_cone else None,
            "size_from_prior": radiograph.spacing_mm is None and radiograph.size_from_prior,
            "magnification": radiograph.magnification,
            "placed": radiograph.view is not None,
            "view": record_of(view, radiograph.name).model_dump(mode="json", include=_PLACE),
            "field": "given" if radiograph.field is not None else "read",
            "path_errors_mm": {
                "mean": float(errors.mean()),
                "mean_absolute": float(np.abs(errors).mean()),
                "rms": float(np.sqrt((errors**2).mean())),
                "p95_absolute": float(np.percentile(np.abs(errors), 95)),
                "n": len(errors),
            },
            "gain": self.gains[index],
            "gain_sd": reading.volume_sd,
            "chest_score": reading.answers.chest,
            "doubts": list(reading.doubts),
        }


def fit_xray(
    model: ModelBundle,
    radiographs: Sequence[Radiograph],
    *,
    reader: XrayReader | None = None,
    config: FitConfig | None = None,
    spacing_mm: float = 1.5,
) -> XrayFit:
    """Reconstruct both lungs from a frontal radiograph, a lateral one, or both.

    Args:
        model: Model of the left and the right lung.
        radiographs: Radiographs, at most one of each side, of one patient at one breath.
        reader: Networks that read radiographs; default the bundled ones.
        config: Prior widths and stopping; default `FitConfig`, of one radiograph with a rotation_sd of 0.05.
        spacing_mm: Lattice of the extracted meshes.

    Returns:
        The fit. Its world is that of the views where they are placed; else its origin is the middle of the first
        picture (of a lateral one: its middle column), and without a pixel spacing the lungs have a shape and no size
        (``sized`` is false), unless a radiograph's size may come from the prior.

    Raises:
        InputError: No radiograph, two of one side, no lungs in one, a spacing that cannot be, a setting that only
            points use, or a model without a left and a right lung.
    """
    sides = [each.side for each in radiographs]
    if not sides or len(set(sides)) < len(sides):
        given = f"{', '.join(sides) or 'no'} radiographs"
        raise InputError("fit xray", given, "a frontal one, a lateral one, or one of each")
    reader = reader or load_reader()
    pictures = [observe_xray(model, each, reader=reader) for each in radiographs]
    return _fit_with_pictures(model, [], pictures, config, spacing_mm)


def fit_evidence(
    model: ModelBundle, evidence: Sequence[Evidence], *, config: FitConfig | None = None, spacing_mm: float = 1.5
) -> Fit:
    """Reconstruct lungs from all that is known of a patient, in one fit.

    Args:
        model: Trained.
        evidence: Evidence of one patient at one breath: points, masks and slices in one world (`observe_points`,
            `observe_mask`), radiographs (`observe_xray`) that may be placed in it or not.
        config: Prior widths and stopping; default `FitConfig()`.
        spacing_mm: Lattice of the extracted meshes.

    Returns:
        The fit, in the world of the points; with radiographs an `XrayFit`.

    Raises:
        InputError: Nothing given, fewer than 10 points, points that cannot be lungs in mm, or a setting that nothing
            given uses.
    """
    surfaces = [each for each in evidence if isinstance(each, Observation)]
    pictures = [each for each in evidence if isinstance(each, XrayObservation)]
    if not pictures:
        return fit_observations(model, surfaces, config=config, spacing_mm=spacing_mm)
    return _fit_with_pictures(model, surfaces, pictures, config, spacing_mm)


def _fit_with_pictures(
    model: ModelBundle,
    surfaces: Sequence[Observation],
    pictures: Sequence[XrayObservation],
    config: FitConfig | None,
    spacing_mm: float,
) -> XrayFit:
    alone = not surfaces
    config = config or (_ONE_VIEW if alone and len(pictures) == 1 else FitConfig())
    config.refuse_unused("rays", *([] if alone else ["surface"]))
    parts, repeats = without_repeats(surfaces)
    pictures, more_repeats = without_repeats(pictures)
    seen = combined(parts) if parts else None
    config = suited(config, seen) if seen else config
    surface, notes = surface_term(model, seen, config) if seen else (None, [])
    rays, more = _ray_terms(model, pictures, alone=alone)
    terms: list[Term] = [*([surface] if surface else []), *rays]
    start = initial_state(model, surface.seen, config) if surface else _start(model, rays, config)
    with one_thread():
        found = search(model, terms, config, start)
        shape = FittedShape.of(found, model, surface)
    what = [*([seen.what] if seen else []), *(each.what for each in pictures)]
    fit = XrayFit(
        model=model,
        config=config,
        shape=shape,
        extraction=extract_fit(model, shape, list(model.structures), spacing_mm),
        observed="; ".join([*([seen.what] if seen else []), _radiographs(pictures)]),
        sized=not alone or all(each.radiograph.is_sized for each in pictures),
        pictures=tuple(pictures),
        rays=_finished(rays, found),
    )
    notes = [*notes, *more, *repeats, *more_repeats, *_notes_about_size(fit, alone=alone)]
    if surface:  # pictures alone are compared before the fit (`doubts_about_pair`)
        notes += notes_on_points(fit, parts, surface)
        notes += JointSearch(model, terms, what, config, found, fit.meshes).notes()
    return replace(fit, notes=(*notes, *doubts(fit)))


def _radiographs(pictures: Sequence[XrayObservation]) -> str:
    sides = " and ".join(each.radiograph.side for each in pictures)
    return f"{sides} radiograph" + "s" * (len(pictures) > 1)


def _finished(rays: Sequence[RayTerm], found: Found) -> tuple[FittedRays, ...]:
    own = found.nuisances[len(found.nuisances) - len(rays) :]
    return tuple(term.finished(found.state, each) for term, each in zip(rays, own, strict=True))


def _notes_about_size(fit: XrayFit, *, alone: bool) -> list[str]:
    unsized = [each for each in fit.pictures if each.radiograph.spacing_mm is None]
    if not unsized:
        return []
    if alone and not fit.sized:
        return ["without a pixel spacing the lungs have a shape and no size: lengths and volumes mean nothing"]
    if alone:
        low, high = fit.interval("total_volume_ml")
        found = f"the volume is known to {low:,.0f} to {high:,.0f} ml only"
        return [f"NO PIXEL SPACING: the size is that which the model's training lungs had, not this patient's; {found}"]
    return [f"{each.what}: without a pixel spacing its scale was fitted to the other evidence" for each in unsized]


def _ray_terms(
    model: ModelBundle, pictures: Sequence[XrayObservation], *, alone: bool
) -> tuple[list[RayTerm], list[str]]:
    """A term for each picture, and what speaks against it.

    Beside points, whose residual the fit knows, a picture's errors are taken to be larger: along rays it does not know
    how lungs differ from the model. A picture that nobody has placed is placed by the fit there. Of pictures alone the
    first one's place is the world's, and a second one of another side is shifted up or down to it.
    """
    notes = [note for each in pictures for note in each.notes]
    seen, placed = [each.seen for each in pictures], [each.radiograph.view is not None for each in pictures]
    if not alone:
        seen = [replace(each, sd_mm=_BESIDE_POINTS * each.sd_mm) for each in seen]
    if len(pictures) == 2 and pictures[0].radiograph.side != pictures[1].radiograph.side:
        levelled, apart = level(seen, placed)
        notes += doubts_about_pair(apart, pictures)
        if alone:
            seen, placed = levelled, [True, True]
    if alone and not any(placed):
        placed[0] = True
    return [
        RayTerm(model, each, _placement(each, picture, is_placed=is_placed, alone=alone))
        for each, picture, is_placed in zip(seen, pictures, placed, strict=True)
    ], notes


def _placement(seen: SeenPaths, picture: XrayObservation, *, is_placed: bool, alone: bool) -> ViewPlacement | None:
    unsized = picture.radiograph.spacing_mm is None
    if not is_placed:
        return ViewPlacement.of(seen.view, with_scale=not alone and unsized)
    return ViewPlacement.of_any_size(seen.view) if unsized and picture.radiograph.size_from_prior else None


def _start(model: ModelBundle, rays: Sequence[RayTerm], config: FitConfig) -> State:
    """Of the mean lungs at several sizes, those that the placed pictures show best."""
    placed = [term for term in rays if term.placement is None] or [RayTerm(model, term.seen) for term in rays]
    problem = JointProblem(model, placed, config)
    return min(
        initial_states(model, [term.seen for term in placed]), key=lambda state: problem.energy(problem.at(state))
    )

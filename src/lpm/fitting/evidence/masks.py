"""Lungs from a label map: full, cut off by the field of view, or drawn in a few slices only.

A full mask is meshed as in `prepare`, and points are drawn on its surface. Where a mask ends because the image does,
nothing was seen: points there are dropped, and the model says how the lung goes on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from lpm.calibration import number
from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.observation import Observation, digest_of
from lpm.fitting.evidence.slices import contours
from lpm.fitting.evidence.structure_names import structure_indices
from lpm.fitting.fit import Fit
from lpm.fitting.surfaces import fit_observations
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle
from lpm.preparation.cleaning import CleanLabels, cleaned
from lpm.preparation.config import MeshingConfig
from lpm.preparation.cuts import Cut
from lpm.preparation.label_maps.found import Structures, found_structures
from lpm.preparation.meshing import mesh_structure
from lpm.preparation.sampling import sample_surfaces
from lpm.records import StrictModel
from lpm.structures import DEFAULT_STRUCTURES, UNION

_CUT_VOXELS = number("fitting.cut_voxels")
_CUT_MM = number("fitting.cut_mm")


class MaskFitConfig(StrictModel):
    """How a mask is fitted."""

    structures: dict[str, tuple[int, ...]] | None = Field(
        None, description="label values of each structure; None for 1, 2, ... in the model's order"
    )
    n_points: int = Field(10_000, ge=10, description="points drawn on the mask's surface")
    complete: bool = Field(False, description="also return structures that the mask does not hold")
    meshing: MeshingConfig = MeshingConfig()
    fit: FitConfig = FitConfig()
    spacing_mm: float = Field(1.5, gt=0, description="lattice of the extracted meshes")


def observe_mask(
    model: ModelBundle, labels: Volume, *, rng: np.random.Generator, config: MaskFitConfig | None = None
) -> Observation:
    """Take a label map for what was seen of the lungs.

    Args:
        model: Model with the structures of the labels.
        labels: 1, 2, ... in the model's order unless the config says otherwise; whole, cut off, or a few drawn slices.
        rng: Draws the points on the mask's surface.
        config: Label values, points, completion.

    Raises:
        InputError: Empty, unknown label values, exchanged sides.
    """
    config = config or MaskFitConfig()
    seen = observe_structures(model, found_structures(labels, label_values(model, config), "mask"), rng, config)
    return replace(seen, source=digest_of(labels.voxels, labels.world_from_voxel))


def observe_structures(
    model: ModelBundle, found: Structures, rng: np.random.Generator, config: MaskFitConfig
) -> Observation:
    """Take the structures of a label map for what was seen; arguments are those of `observe_mask`.

    Raises:
        InputError: A lung is to be predicted beside one whose side is in doubt.
    """
    if config.complete and found.doubt:
        hint = "name it with --labels by the side that it lies on, or leave --complete out"
        raise InputError("mask", f"{found.doubt}, and the other is to be predicted", "a lung whose side is sure", hint)
    seen = _observed(model, found, config, rng)
    return replace(seen, notes=(*found.notes, *seen.notes))


def _observed(model: ModelBundle, found: Structures, config: MaskFitConfig, rng: np.random.Generator) -> Observation:
    if found.drawn is None:
        return _observe_surface(model, cleaned(found.labels, found.values, "mask"), config, rng)
    drawn = found.drawn
    points, names = contours(drawn, found.values)
    if len(points) > config.n_points:
        chosen = np.sort(rng.choice(len(points), config.n_points, replace=False))
        points, names = points[chosen], names[chosen]
    what = f"{len(drawn.planes)} drawn slice{'s'[: len(drawn.planes) != 1]} of {' and '.join(sorted(set(names)))}"
    return Observation(points, _indices(model, names.tolist()), what, _only(model, names.tolist(), config))


def label_values(model: ModelBundle, config: MaskFitConfig) -> dict[str, tuple[int, ...]]:
    """What the values of a label map mean."""
    if config.structures is not None:
        return config.structures
    if model.structures == UNION:
        return dict(DEFAULT_STRUCTURES)
    return {name: (value,) for value, name in enumerate(model.structures, start=1)}


def _observe_surface(
    model: ModelBundle, clean: CleanLabels, config: MaskFitConfig, rng: np.random.Generator
) -> Observation:
    meshes = {name: mesh_structure(mask, config.meshing)[0] for name, mask in clean.masks.items()}
    samples = sample_surfaces(meshes, config.n_points, rng=rng)
    present = list(meshes)
    names = np.array([present[index] for index in samples.structure])
    was_seen = np.ones(len(names), dtype=bool)
    for name in present:
        own = names == name
        was_seen[own] = _was_seen(samples.points_mm[own], clean.reports[name].cuts)
    if not was_seen.any():
        raise InputError("mask", "nothing but cut faces", "some of the structures' own surface")
    chosen = names[was_seen].tolist()
    what = f"mask of {' and '.join(present)}, {len(chosen)} points on its surface"
    points, notes = samples.points_mm[was_seen], tuple(_cut_notes(clean))
    only = _only(model, chosen, config)
    return Observation(points, _indices(model, chosen), what, only, notes, truncated=bool(notes))


def _was_seen(points_mm: Floats, cuts: tuple[Cut, ...]) -> np.ndarray:
    """Whether points lie on the lung's own surface, and not where the mask was cut."""
    seen = np.ones(len(points_mm), dtype=bool)
    for cut in cuts:
        seen &= cut.beyond_mm(points_mm) < -(_CUT_VOXELS * cut.voxel_mm + _CUT_MM)
    return seen


def _indices(model: ModelBundle, names: list[str]) -> np.ndarray:
    if model.structures == UNION:
        return np.zeros(len(names), dtype=np.int64)
    return structure_indices(names, model, "mask")


def _only(model: ModelBundle, names: list[str], config: MaskFitConfig) -> tuple[str, ...] | None:
    if config.complete or model.structures == UNION:
        return None
    return tuple(name for name in model.structures if name in set(names))


def _cut_notes(clean: CleanLabels) -> list[str]:
    return [
        f"{name}: cut by the image's {cut.face} border, predicted beyond it"
        if cut.at_border
        else f"{name}: ends in a flat {cut.face} face ({cut.area_cm2:.0f} cm2), taken for a cut, predicted beyond it"
        for name, report in clean.reports.items()
        for cut in report.cuts
    ]


def fit_mask(
    model: ModelBundle, labels: Volume, *, rng: np.random.Generator, config: MaskFitConfig | None = None
) -> Fit:
    """Reconstruct lungs from a label map.

    A structure that the mask does not hold is left out unless ``config.complete`` asks for it; it is then predicted
    from the others, and the notes say so. Arguments and errors are those of `observe_mask`.
    """
    config = config or MaskFitConfig()
    observation = observe_mask(model, labels, rng=rng, config=config)
    return fit_observations(model, [observation], config=config.fit, spacing_mm=config.spacing_mm)

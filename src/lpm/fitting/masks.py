"""Lungs from a full mask: its surface is meshed as in `prepare`, and points drawn on it are fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.fit import Fit
from lpm.fitting.points import fit_points
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle
from lpm.model.extraction import Extraction
from lpm.preparation.cleaning import CleanLabels, clean_labels
from lpm.preparation.config import DEFAULT_STRUCTURES, MeshingConfig, StrictModel
from lpm.preparation.meshing import mesh_structure
from lpm.preparation.sampling import sample_surfaces


class MaskFitConfig(StrictModel):
    """How a mask is fitted."""

    structures: dict[str, tuple[int, ...]] = Field(
        default_factory=lambda: dict(DEFAULT_STRUCTURES), description="label values of each structure"
    )
    n_points: int = Field(5000, ge=10, description="points drawn on the mask's surface")
    complete: bool = Field(False, description="also return structures that the mask does not hold")
    meshing: MeshingConfig = MeshingConfig()
    fit: FitConfig = FitConfig()
    spacing_mm: float = Field(1.5, gt=0, description="lattice of the extracted meshes")


def fit_mask(
    model: ModelBundle, labels: Volume, *, rng: np.random.Generator, config: MaskFitConfig | None = None
) -> Fit:
    """Reconstruct lungs from a label map.

    A structure that the mask does not hold is left out unless ``config.complete`` asks for it; it is then predicted
    from the others, and the notes say so.

    Args:
        model: Trained.
        labels: 1 = left, 2 = right unless the config says otherwise.
        rng: Draws the points on the mask's surface.
        config: Label values, points, completion.

    Raises:
        InputError: Empty, unknown label values, exchanged sides.
    """
    config = config or MaskFitConfig()
    clean = clean_labels(labels, config.structures, "mask", need_all=False)
    meshes = {name: mesh_structure(mask, config.meshing)[0] for name, mask in clean.masks.items()}
    samples = sample_surfaces(meshes, config.n_points, rng=rng)
    present = list(meshes)
    names = [present[index] for index in samples.structure]
    if model.structures == ("lungs",):
        names = ["lungs"] * len(names)
    fit = fit_points(model, samples.points_mm, names, config=config.fit, spacing_mm=config.spacing_mm)
    fit = replace(
        fit,
        observed=f"mask of {' and '.join(present)}, {config.n_points} points on its surface",
        notes=(*fit.notes, *_cut_notes(clean)),
    )
    return fit if config.complete else _only(fit, [name for name in model.structures if name in set(names)])


def _cut_notes(clean: CleanLabels) -> list[str]:
    return [f"{name}: cut by the image's {face} border" for name, r in clean.reports.items() for face in r.cut_cm2]


def _only(fit: Fit, present: list[str]) -> Fit:
    """Leave out what the mask does not hold, and say so."""
    missing = [name for name in fit.lungs if name not in present]
    if not missing:
        return fit
    if not present:
        raise InputError("mask", "none of the model's structures", f"some of {', '.join(fit.model.structures)}")
    kept = Extraction({name: fit.lungs[name] for name in present}, fit.extraction.n_evaluated, fit.extraction.n_nodes)
    note = f"{' and '.join(missing)}: not in the mask and not asked for (--complete), left out"
    return replace(fit, extraction=kept, notes=(note, *(n for n in fit.notes if "predicted from" not in n)))

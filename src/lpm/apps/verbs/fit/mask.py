"""`lpm fit mask`: from a label map to both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle, parse_labels, say
from lpm.apps.verbs.fit.options import (
    AlsoOption,
    FacesOption,
    FiguresOption,
    MeshOption,
    PartsOption,
    ReportOption,
    SeedOption,
    SpaceOption,
    SpacingOption,
    begin,
    finish,
    mesh_files,
    more_evidence,
)


def fit_mask(
    labels: Annotated[Path, typer.Argument(help="Label map: 1 = left, 2 = right, or --labels.")],
    out: OutOption,
    model: ModelOption = None,
    n: Annotated[int, typer.Option("--points", min=10, help="Points drawn on the mask's surface.")] = 10_000,
    also: AlsoOption = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Also predict a lung that the mask does not hold.")
    ] = False,
    values: Annotated[str | None, typer.Option("--labels", help="Label values: left_lung=1,right_lung=2.")] = None,
    mesh_format: MeshOption = "ply",
    mesh_space: SpaceOption = "ras",
    faces: FacesOption = None,
    spacing_mm: SpacingOption = 1.5,
    parts: PartsOption = False,
    prior_only: PriorOnlyOption = False,
    seed: SeedOption = 0,
    report: ReportOption = True,
    figures: FiguresOption = False,
) -> None:
    """Reconstruct lungs from a label map; the labels come back on its own grid.

    The mask may be whole, cut off by the field of view (beyond the cut the lungs are predicted), or drawn in a few
    slices only.

    Example: lpm fit mask labels.nii.gz --out lungs
    """
    from lpm.files.volumes import read_volume
    from lpm.fitting.masks import MaskFitConfig, observe_mask
    from lpm.fitting.observation import fit_observations, together
    from lpm.reports.fits import Seen
    from lpm.reports.provenance import provenance

    begin(out, figures=figures)
    bundle, volume = load_bundle(model), read_volume(labels)
    config = MaskFitConfig(structures=parse_labels(values) if values else None, n_points=n, complete=complete)
    first = observe_mask(bundle, volume, rng=np.random.default_rng(seed), config=config)
    seen = [first, *more_evidence(bundle, also, config, seed)]
    say(f"fitting {'; '.join(each.what for each in seen)}")
    fit = fit_observations(bundle, seen, config=fit_config(prior_only=prior_only), spacing_mm=spacing_mm)
    say("writing meshes and labels")
    fit.write(out, meshes=mesh_files(mesh_format, mesh_space, faces), grid=volume, parts=parts)
    known = provenance(bundle, [labels, *(also or [])], seed=seed)
    evidence = Seen(together(seen).points_mm, volume, provenance=known)
    finish(fit, out, evidence, report=report, figures=figures)

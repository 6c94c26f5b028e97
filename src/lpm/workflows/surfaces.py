"""Lungs from files of surfaces: points, and label maps that are whole, cut off or drawn in slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lpm.files.points import POINT_SUFFIXES, read_points
from lpm.files.volumes import read_volume
from lpm.fitting.evidence.masks import MaskFitConfig, observe_mask
from lpm.fitting.evidence.observation import Observation, together
from lpm.fitting.evidence.points import draw_points, observe_points
from lpm.fitting.surfaces import fit_observations
from lpm.reports.provenance import provenance
from lpm.workflows.outcome import FitRun, Outcome


def fit_points_file(run: FitRun, path: Path, *, n_points: int = 5000, grid: Path | None = None) -> Outcome:
    """Fit lungs to a file of surface points.

    Args:
        run: Fit settings, and further evidence.
        path: RAS mm, with or without a column that names the side.
        n_points: Draw at most so many.
        grid: A scan; labels are written on its grid.

    Raises:
        LpmError: A file is damaged or of another kind, or shows no lungs.
    """
    run.tell(f"reading {path.name}", 0.05)
    target = None if grid is None else read_volume(grid)
    observed = [read_observed_points(run, path, n_points)]
    observed += read_further(run, MaskFitConfig(n_points=n_points))
    inputs = [path, *run.also, *([] if grid is None else [grid])]
    return replace(fit_observed(run, observed, inputs), scan=target)


def fit_labels_file(run: FitRun, path: Path, config: MaskFitConfig | None = None) -> Outcome:
    """Fit lungs to a label map.

    Args:
        run: Fit settings, and further evidence.
        path: NIfTI, NRRD or MHA.
        config: Config: what the labels mean, how many points are drawn on them.

    Raises:
        LpmError: A file is damaged or of another kind, or shows no lungs.
    """
    run.tell(f"reading {path.name}", 0.05)
    labels, config = read_volume(path), config or MaskFitConfig()
    first = observe_mask(run.model, labels, rng=np.random.default_rng(run.seed), config=config)
    observed = [first, *read_further(run, config)]
    return replace(fit_observed(run, observed, [path, *run.also]), scan=labels)


def fit_observed(run: FitRun, observed: Sequence[Observation], inputs: Iterable[Path]) -> Outcome:
    """Fit lungs to surfaces of one patient, all of them together.

    Args:
        run: Fit settings.
        observed: Evidence, at least one.
        inputs: Files that were read.
    """
    run.tell(f"fitting {'; '.join(each.what for each in observed)}", 0.25)
    fit = fit_observations(run.model, observed, config=run.config, spacing_mm=run.spacing_mm)
    known = provenance(run.model, inputs, seed=run.seed)
    return Outcome(fit, together(observed).points_mm, provenance=known)


def read_observed_points(run: FitRun, path: Path, n_points: int) -> Observation:
    """At most `n_points` of a file, drawn, as evidence."""
    file = read_points(path)
    chosen = draw_points(file.points_mm, n_points, rng=np.random.default_rng(run.seed))
    sides = None if file.structure is None else file.structure[chosen].tolist()
    return observe_points(run.model, file.points_mm[chosen], sides)


def read_further(run: FitRun, config: MaskFitConfig) -> list[Observation]:
    """Further evidence, points or label maps by the file's name; label maps mean what the first one means."""
    rng = np.random.default_rng(run.seed)
    return [
        read_observed_points(run, path, config.n_points)
        if path.suffix.lower() in POINT_SUFFIXES
        else observe_mask(run.model, read_volume(path), rng=rng, config=config)
        for path in run.also
    ]

"""Lungs from files of every kind: points, label maps and radiographs of one patient, in one fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lpm.files.points import POINT_SUFFIXES
from lpm.files.volumes import read_volume
from lpm.fitting.evidence.masks import MaskFitConfig, observe_mask
from lpm.fitting.evidence.observation import Observation, together
from lpm.reports.provenance import provenance
from lpm.workflows.outcome import FitRun, Outcome
from lpm.workflows.radiographs import PictureOptions, read_radiograph
from lpm.workflows.surfaces import read_observed_points
from lpm.xray.beam_options import Side
from lpm.xray.evidence import observe_radiograph
from lpm.xray.fit import fit_evidence
from lpm.xray.radiograph import Radiograph


@dataclass(frozen=True)
class EvidenceFiles:
    """All that a person has of a patient.

    Args:
        points: Files of surface points, RAS mm.
        masks: Label maps in the points' frame: whole, cut off or a few drawn slices.
        pictures: Radiographs with their side.
        grid: A scan; labels are written on its grid. Default the first mask's.
        meaning: Meaning of the masks' values, and how many points are taken of each file.
        taken: Exposure: how the radiographs were taken, and where they lie in the patient.
    """

    points: tuple[Path, ...] = ()
    masks: tuple[Path, ...] = ()
    pictures: tuple[tuple[Side, Path], ...] = ()
    grid: Path | None = None
    meaning: MaskFitConfig = field(default_factory=MaskFitConfig)
    taken: PictureOptions = field(default_factory=PictureOptions)

    def with_further(self, files: tuple[Path, ...]) -> EvidenceFiles:
        """With more point files and label maps, told apart by their names."""
        points = tuple(path for path in files if path.suffix.lower() in POINT_SUFFIXES)
        masks = tuple(path for path in files if path not in points)
        return replace(self, points=(*self.points, *points), masks=(*self.masks, *masks))

    @property
    def all(self) -> list[Path]:
        """Every file that is read."""
        grid = [] if self.grid is None else [self.grid]
        return [*self.points, *self.masks, *(path for _, path in self.pictures), *grid]


def fit_evidence_files(run: FitRun, files: EvidenceFiles) -> Outcome:
    """Fit lungs to all evidence of a patient.

    Args:
        run: Fit settings, and further points and label maps.
        files: The evidence.

    Raises:
        LpmError: A file is damaged or of another kind, or shows no lungs.
    """
    files = files.with_further(run.also)
    run.tell(f"reading {', '.join(path.name for path in files.all)}", 0.05)
    surfaces = list(_surfaces(run, files))
    read = [read_radiograph(path, side, files.taken) for side, path in files.pictures]
    radiographs = [radiograph for radiograph, _ in read]
    pictures = [observe_radiograph(run.model, each) for each in radiographs]
    what = [*(each.what for each in surfaces), *(each.what for each in pictures)]
    run.tell(f"fitting {'; '.join(what)}", 0.25)
    fit = fit_evidence(run.model, [*surfaces, *pictures], config=run.config, spacing_mm=run.spacing_mm)
    target = files.grid or (files.masks[0] if files.masks else None)
    return Outcome(
        fit,
        points_mm=together(surfaces).points_mm if surfaces else None,
        scan=None if target is None else read_volume(target),
        radiographs=_by_name(radiographs),
        notes=tuple(f"{each.name}: {note}" for each, notes in read for note in notes),
        provenance=provenance(run.model, files.all, seed=run.seed),
    )


def _surfaces(run: FitRun, files: EvidenceFiles) -> Iterator[Observation]:
    rng = np.random.default_rng(run.seed)
    for path in files.points:
        yield read_observed_points(run, path, files.meaning.n_points)
    for path in files.masks:
        yield observe_mask(run.model, read_volume(path), rng=rng, config=files.meaning)


def _by_name(radiographs: list[Radiograph]) -> dict[str, Radiograph]:
    """By side; a second one of a side has a number."""
    found: dict[str, Radiograph] = {}
    for each in radiographs:
        n_known = sum(name.startswith(each.side) for name in found)
        found[each.side + f" {n_known + 1}" * (n_known > 0)] = each
    return found

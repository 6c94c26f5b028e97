"""Lungs from files of every kind: points, label maps and radiographs of one patient, in one fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lpm.errors import MisuseError
from lpm.files.points import POINT_SUFFIXES, read_points
from lpm.files.scans import read_labels, read_scan
from lpm.fitting.evidence.masks import MaskFitConfig, observe_mask
from lpm.fitting.evidence.observation import Observation, combined
from lpm.fitting.evidence.points import draw_points, observe_points
from lpm.geometry.volumes import Volume
from lpm.reports.provenance import provenance
from lpm.workflows.outcome import FitRun, Outcome
from lpm.workflows.radiographs import PictureOptions, told_radiograph
from lpm.xray.beam_options import Side
from lpm.xray.evidence import observe_xray
from lpm.xray.fit import fit_evidence
from lpm.xray.radiograph import Radiograph


@dataclass(frozen=True)
class EvidenceFiles:
    """Files of all evidence of a patient.

    Args:
        points: Files of surface points, RAS mm.
        masks: Label maps in the points' frame: whole, cut off or a few drawn slices.
        pictures: Radiographs with their side.
        grid: A scan; labels are written on its grid. Default the first mask's.
        meaning: Meaning of the masks' values, and how many points are taken of each file.
        taken: Exposure: how the radiographs were taken, and where they lie in the patient.
        views: File that `taken` was read from, if there is one.
    """

    points: tuple[Path, ...] = ()
    masks: tuple[Path, ...] = ()
    pictures: tuple[tuple[Side, Path], ...] = ()
    grid: Path | None = None
    meaning: MaskFitConfig = field(default_factory=MaskFitConfig)
    taken: PictureOptions = field(default_factory=PictureOptions)
    views: Path | None = None

    @property
    def evidence(self) -> list[Path]:
        """Files of points, masks and radiographs."""
        return [*self.points, *self.masks, *(path for _, path in self.pictures)]

    @property
    def all(self) -> list[Path]:
        """Every file that is read."""
        return [*self.evidence, *(path for path in (self.grid, self.views) if path is not None)]

    def refuse_shared_views(self) -> None:
        """Refuse two pictures of one side of which a single view is known: it is the view of one of them only.

        Raises:
            MisuseError: There are such pictures.
        """
        sides = [side for side, _ in self.pictures]
        if shared := sorted({side for side in sides if sides.count(side) > 1 and side in self.taken.views}):
            given = f"one view for {sides.count(shared[0])} {shared[0]} pictures"
            raise MisuseError("views", given, "one picture of each side that it names", "leave the other picture out")


def fit_evidence_files(run: FitRun, files: EvidenceFiles) -> Outcome:
    """Fit lungs to all evidence of a patient.

    Args:
        run: Fit settings, and further points and label maps.
        files: The evidence.

    Raises:
        LpmError: A file is damaged or of another kind, or shows no lungs.
    """
    files.refuse_shared_views()
    run.tell(f"reading {', '.join(path.name for path in files.evidence)}", 0.05)
    grid = None if files.grid is None else _told_scan(run, files.grid)
    masks = [told_labels(run, path, files.meaning) for path in files.masks]
    radiographs = [told_radiograph(run, path, side, files.taken) for side, path in files.pictures]
    if masks:
        run.tell(f"finding the surface of {' and '.join(path.name for path in files.masks)}", 0.15)
    rng = np.random.default_rng(run.seed)
    surfaces = [_drawn(run, path, files.meaning.n_points) for path in files.points]
    surfaces += [observe_mask(run.model, labels, rng=rng, config=meaning) for labels, meaning in masks]
    surfaces += observe_further(run, files.meaning)
    outcome = fit_observed(run, surfaces, [*files.all, *run.also], radiographs)
    return replace(outcome, scan=grid or next((labels for labels, _ in masks), None))


def fit_points_file(run: FitRun, path: Path, *, n_points: int = 5000, grid: Path | None = None) -> Outcome:
    """Fit lungs to a file of surface points, and to further files; see `fit_evidence_files`."""
    return fit_evidence_files(run, EvidenceFiles((path,), grid=grid, meaning=MaskFitConfig(n_points=n_points)))


def fit_labels_file(run: FitRun, path: Path, config: MaskFitConfig | None = None) -> Outcome:
    """Fit lungs to a label map, and to further files; see `fit_evidence_files`."""
    return fit_evidence_files(run, EvidenceFiles(masks=(path,), meaning=config or MaskFitConfig()))


def observe_further(run: FitRun, meaning: MaskFitConfig) -> list[Observation]:
    """Take the run's further files for evidence: points or label maps, told apart by their names.

    Args:
        run: Names the files.
        meaning: Meaning of the label maps' values, and how many points are taken of each file.
    """
    rng = np.random.default_rng(run.seed)
    further = []
    for path in run.also:
        if path.suffix.lower() in POINT_SUFFIXES:
            further.append(_drawn(run, path, meaning.n_points))
        else:
            labels, own = told_labels(run, path, meaning)
            further.append(observe_mask(run.model, labels, rng=rng, config=own))
    return further


def told_labels(run: FitRun, path: Path, meaning: MaskFitConfig) -> tuple[Volume, MaskFitConfig]:
    """Read a label map, and tell its notes.

    Args:
        run: Told of the notes.
        path: File to read.
        meaning: Meaning of its values, as far as a person says.

    Returns:
        It, and the meaning of its values: where nobody says, the file's own.
    """
    read = read_labels(path)
    for note in read.notes:
        run.tell(f"{path.name}: {note}", None)
    named = read.meaning(meaning.structures, path.name)
    return read.volume, meaning.model_copy(update={"structures": named})


def _told_scan(run: FitRun, path: Path) -> Volume:
    read = read_scan(path)
    for note in read.notes:
        run.tell(f"{path.name}: {note}", None)
    return read.volume


def _drawn(run: FitRun, path: Path, n_points: int) -> Observation:
    """At most `n_points` of a file."""
    file = read_points(path, run.points_space)
    chosen = draw_points(file.points_mm, n_points, rng=np.random.default_rng(run.seed))
    sides = None if file.structure is None else file.structure[chosen].tolist()
    seen = observe_points(run.model, file.points_mm[chosen], sides)
    return replace(seen, notes=(*(f"{path.name}: {note}" for note in file.notes), *seen.notes))


def fit_observed(
    run: FitRun, surfaces: Sequence[Observation], inputs: Iterable[Path], radiographs: Sequence[Radiograph] = ()
) -> Outcome:
    """Fit lungs to evidence that was read.

    Args:
        run: Fit settings.
        surfaces: Points and masks.
        inputs: Files that were read.
        radiographs: Radiographs of the same patient.
    """
    pictures = [observe_xray(run.model, each) for each in radiographs]
    what = [*(each.what for each in surfaces), *(each.what for each in pictures)]
    run.tell(f"fitting {'; '.join(what)}", 0.25)
    fit = fit_evidence(run.model, [*surfaces, *pictures], config=run.config, spacing_mm=run.spacing_mm)
    return Outcome(
        fit,
        points_mm=combined(surfaces).points_mm if surfaces else None,
        radiographs=dict(_numbered(radiographs)),
        provenance=provenance(run.model, inputs, seed=run.seed),
    )


def _numbered(radiographs: Sequence[Radiograph]) -> Iterator[tuple[str, Radiograph]]:
    """By side; a second one of a side has a number."""
    sides = [each.side for each in radiographs]
    for index, each in enumerate(radiographs):
        n_before = sides[:index].count(each.side)
        yield f"{each.side} {n_before + 1}" if n_before else each.side, each

"""A study of lung shape: what groups, covariates or pairs of a table say of measures, shape and places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lpm.batch.subjects import SubjectTable, read_subject_table
from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.lung_model import LungModel, load
from lpm.records import StrictModel
from lpm.studies.alignment import Aligned, Anchor, Size, align, heights_of, normals_of, tops_of
from lpm.studies.choice import chosen, named_fits
from lpm.studies.cohort import Cohort, read_cohort
from lpm.studies.design import Asked, Design, Question
from lpm.studies.direction import Direction, parting, predicting, separating
from lpm.studies.measures import Effects, Values, effects, measured, values_of
from lpm.studies.shape import Modes, modes_of
from lpm.studies.testing import Permutations, Tested, compared

_BASE_HEIGHT = number("studies.base_height")
_FACES_DOWN = number("studies.facing_down")
_POOLED = number("studies.pooled_freedom")
_REGIONS = ("base", "lower third", "middle third", "upper third", "top")


class StudyConfig(StrictModel):
    """How a study compares."""

    permutations: int = Field(2000, ge=100, le=100_000, description="permutations of each question")
    size: Size = Field("keep", description="whether sizes stay, or all lungs are scaled to the mean one")
    anchor: Anchor | None = Field(None, description="what is laid on each other: whole lungs, or their tops (pairs)")
    modes: int = Field(10, ge=1, le=50, description="shape parameters at most")
    explained: float = Field(0.95, gt=0, le=1, description="share of the variance that they explain")
    direction_permutations: int = Field(199, ge=0, le=10_000, description="for the accuracy; 0 finds no direction")
    keep_doubtful: bool = Field(False, description="whether fits that the quality gate doubts take part")
    seed: int = Field(0, ge=0, description="of permutations and folds")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Answer:
    """What a study says to one question.

    Args:
        question: What was asked.
        measures: Effects in measures.
        shape: Effects in shape parameters.
        place: Effect at each vertex of the mean lungs, mm along the normal.
        moved_mm: (v, 3) by how much each vertex is displaced, R, A, S; NaN of several contrasts.
        direction: The direction of shape that separates or predicts; None if it was not asked for.
    """

    question: Question
    measures: Effects
    shape: Effects
    place: Tested
    moved_mm: Floats
    direction: Direction | None


@dataclass(frozen=True, eq=False)
class Study:
    """A study.

    Args:
        config: How it compared.
        design: Subjects and questions.
        cohort: Lungs of `design.all_subjects`.
        aligned: The same laid onto each other.
        modes: Shape parameters.
        answers: One a question.
        left_out: Why subjects are not in it, by name.
        notes: What was assumed, and what is to be doubted.
    """

    config: StudyConfig
    design: Design
    cohort: Cohort
    aligned: Aligned
    modes: Modes
    answers: tuple[Answer, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]

    @cached_property
    def mean(self) -> dict[str, WorldMesh]:
        """The mean lungs by structure."""
        return self.cohort.meshes(self.aligned.mean)

    def lungs(self, answer: Answer, sd: float) -> dict[str, WorldMesh]:
        """Lungs along an answer's direction, by structure.

        Args:
            answer: Answer with a direction.
            sd: How many standard deviations from the mean.

        Raises:
            InputError: No direction was asked for.
        """
        if answer.direction is None:
            raise InputError("study", "no direction", "one that was asked for", "direction_permutations above 0")
        return self.cohort.meshes(self.aligned.mean + sd * answer.direction.per_sd)

    def regions(self) -> dict[tuple[str, str], NDArray[np.bool_]]:
        """(v,) whether a vertex is of a region, by structure and name: the base, thirds of the height, the top."""
        tops, found = self.cohort.split(tops_of(self.mean)), {}
        normals = self.cohort.split(normals_of(self.mean))
        for name, mesh in self.mean.items():
            height = heights_of(mesh)
            base = (normals[name][:, 2] < -_FACES_DOWN) & (height < _BASE_HEIGHT)
            thirds = [(height >= low) & (height < low + 1.0 / 3.0 + 1e-9) for low in (0.0, 1.0 / 3.0, 2.0 / 3.0)]
            for region, inside in zip(_REGIONS, (base, *thirds, tops[name]), strict=True):
                found[name, region] = self._placed(name, inside)
        return found

    def _placed(self, name: str, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        parts = [inside if other == name else np.zeros(len(mesh.vertices), bool) for other, mesh in self.mean.items()]
        return np.concatenate(parts)


class Columns(TypedDict, total=False):
    """Columns of a table that a study asks for; see `lpm.studies.design.Asked`."""

    group: str
    covariates: Sequence[str]
    pairs: str


def study(
    fits: str | Path | Sequence[str | Path],
    table: str | Path,
    *,
    config: StudyConfig | None = None,
    model: LungModel | None = None,
    jobs: int = 1,
    **columns: Unpack[Columns],
) -> Study:
    """Compare fitted lungs by what a table says of them: in measures, in shape, and place by place.

    Args:
        fits: Folder or folders of fits, such as `lpm fit ... --out` of a batch; or of meshes in correspondence.
        table: A .csv with a row a subject; its column `case` or `subject` has the names of the fits' folders.
        config: How they are compared; default `StudyConfig()`.
        model: The model of the fits; default the bundled one.
        jobs: Worker processes that read fits.
        **columns: ``group``: that of groups; the first in the table is what the others are compared with. With pairs,
            that of states. ``covariates``: those of numbers; with a group they are confounders, alone each is asked for
            beside the others. ``pairs``: that which names what two fits belong to.

    Raises:
        FileError: A fit or the table cannot be read.
        InputError: Table and fits do not go together, or the design cannot be tested.
        MisuseError: Nothing asked for, or what does not go together.
        MissingExtraError: scikit-learn is not installed (extra ``study``).
    """
    asked = Asked(columns.get("group"), tuple(columns.get("covariates", ())), columns.get("pairs"))
    rows = read_subject_table(Path(table))
    folders = [fits] if isinstance(fits, str | Path) else list(fits)
    named, unread = named_fits([Path(each) for each in folders], rows, asked)
    cohort = replace(read_cohort(named, (model or load()).bundle, jobs), unread=unread)
    return study_of(cohort, rows, asked, config)


def study_of(cohort: Cohort, table: SubjectTable, asked: Asked, config: StudyConfig | None = None) -> Study:
    """Study lungs in correspondence.

    Args:
        cohort: Lungs of all subjects.
        table: What is known of them.
        asked: Groups, covariates or pairs.
        config: How they are compared; default `StudyConfig()`.

    Raises:
        InputError: The table and the lungs do not go together, or the design cannot be tested (`design_of`).
        MisuseError: Nothing asked for.
        MissingExtraError: scikit-learn is not installed, and a direction is asked for.
    """
    config = config or StudyConfig()
    design, left_out, notes = chosen(cohort, table, asked, keep_doubtful=config.keep_doubtful)
    used = cohort.only(design.all_subjects)
    n, pairs = len(design.subjects), len(design.partners)
    members = np.tile(np.arange(n), 2) if pairs else np.arange(n)
    anchor = config.anchor or ("tops" if pairs else "whole")
    aligned = align(used.vertices, members, config.size, anchor, tops_of(used.subjects[0].meshes))
    modes = modes_of(aligned, config.modes, config.explained)
    own = used.sigma_mm
    measures, told = measured(used, design, aligned.sizes_mm, without_size=config.size == "remove")
    places = aligned.along(normals_of(used.meshes(aligned.mean)))
    shape = _mode_values(modes, places, own, design)
    parts = _Parts(design, aligned, measures, shape, values_of((), places, own, design))
    rngs = np.random.default_rng(config.seed).spawn(len(design.questions))
    answers = tuple(parts.answer(each, config, rng) for each, rng in zip(design.questions, rngs, strict=True))
    notes = [*notes, *told, _how_aligned(anchor, config), *_how_weighted(own)]
    return Study(config, design, used, aligned, modes, answers, left_out, tuple(notes))


def _how_aligned(anchor: Anchor, config: StudyConfig) -> str:
    laid = "the lungs' tops" if anchor == "tops" else "the lungs' centres"
    size = "all lungs were scaled to the mean size" if config.size == "remove" else "sizes were kept"
    return f"lungs were laid on each other by {laid}, without tilt between them; {size}"


def _how_weighted(own: Floats | None) -> list[str]:
    if own is None:
        return ["the fits do not say how sure they are of each place: in maps and shape parameters all count the same"]
    return []


def _mode_values(modes: Modes, places: Floats, own: Floats | None, design: Design) -> Values:
    """Scores of the modes; a fit's own share of their variance is that which it has of the places'."""
    own_sd = None
    if own is not None:
        share = np.sqrt((own**2).mean(axis=1) / places.var(axis=0, ddof=1).mean())
        own_sd = np.repeat(share[:, None], modes.scores.shape[1], axis=1)
    return values_of(modes.names, modes.scores, own_sd, design)


@dataclass(frozen=True, eq=False)
class _Parts:
    """What questions are put to."""

    design: Design
    aligned: Aligned
    measures: Values
    shape: Values
    places: Values

    def answer(self, question: Question, config: StudyConfig, rng: np.random.Generator) -> Answer:
        streams = rng.spawn(4)
        model, n = question.model, config.permutations
        place = compared(self.places.values, model, self.places.own_sd, Permutations(n, _POOLED), rng=streams[2])
        return Answer(
            question,
            effects(self.measures, question, n, rng=streams[0]),
            effects(self.shape, question, n, rng=streams[1]),
            place,
            self._moved(question),
            self._direction(question, config.direction_permutations, streams[3]),
        )

    def _shapes(self) -> Floats:
        """(n, v, 3) shapes of the rows of the models; of pairs their differences."""
        n = len(self.design.subjects)
        return self.aligned.shapes[n:] - self.aligned.shapes[:n] if self.design.partners else self.aligned.shapes

    def _moved(self, question: Question) -> Floats:
        shapes = self._shapes()
        if len(question.model.contrast) > 1:
            return np.full(shapes.shape[1:], np.nan)
        by_term = np.linalg.pinv(question.model.design) @ shapes.reshape(len(shapes), -1)
        return np.asarray((question.model.contrast @ by_term).reshape(shapes.shape[1:]))

    def _direction(self, question: Question, n: int, rng: np.random.Generator) -> Direction | None:
        if n == 0 or question.kind == "groups":
            return None
        if question.kind == "pairs":
            return parting(self._shapes(), n, rng=rng)
        if question.kind == "covariate":
            return predicting(self.aligned.shapes, (self.design.covariates or {})[question.name], n, rng=rng)
        first, second = question.levels
        labels = np.array([self.design.labels[name] for name in self.design.subjects])
        chosen = (labels == first) | (labels == second)
        return separating(self.aligned.shapes[chosen], labels[chosen] == second, n, rng=rng)

"""The report of a study: what it found, where, how sure, of whom, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lpm.files.outputs.temporary import temporary_folder
from lpm.measurement.names import heading, in_figures, in_words
from lpm.reports.document import Block, Cell, Figure, Notes, Section, Table, Text, write_report
from lpm.reports.studies.pictures import SIGNIFICANT, draw_direction, draw_forest, draw_map, view_of
from lpm.studies.measures import SCALED, Effects
from lpm.studies.study import Answer, Study

_FEWEST = 8  # subjects from which weights are worth a table of extremes
_SIZES = {
    "contrast": "Hedges' g",
    "pairs": "Hedges' g of the differences",
    "covariate": "standardised coefficient",
    "groups": "",
}


def write_study_report(path: Path, study: Study, provenance: Mapping[str, str]) -> None:
    """Write the report of a study.

    Args:
        path: A .html.
        study: The study.
        provenance: Rows of the last section.

    Raises:
        FileError: Not a .html, or the disk refuses.
    """
    with temporary_folder() as folder:
        sections = [Section("What to know first", [Notes([*study.notes, *_left_out_notes(study), *_RELIANCE])])]
        for number, answer in enumerate(study.answers):
            sections += _sections(study, answer, folder / str(number))
        sections += [Section("Subjects", _subjects(study)), Section("How it was done", [Text(_methods(study))])]
        write_report(path, "A study of lung shape", " ".join(findings(study)), sections, provenance)


def findings(study: Study) -> list[str]:
    """What a study found, in sentences: of each question measures, places, and the direction."""
    return [sentence for answer in study.answers for sentence in _findings(study, answer)]


def _findings(study: Study, answer: Answer) -> Iterator[str]:
    found = answer.measures.tested
    significant = int((found.p_corrected < SIGNIFICANT).sum())
    n = len(study.design.subjects)
    what = f"{answer.question.name} ({n} {'pairs' if study.design.partners else 'subjects'}):"
    most = int(np.lexsort((-np.abs(np.nan_to_num(answer.measures.size)), found.p_corrected))[0])
    if significant:
        follow = "go with it" if answer.question.kind == "covariate" else "differ"
        yield f"{what} {significant} of {len(found.p)} measures {follow} (corrected), first {_told(answer, most)}."
    else:
        follows = "goes with it" if answer.question.kind == "covariate" else "differs"
        yield f"{what} no measure {follows} when corrected for all; nearest is {_told(answer, most)}."
    share = float((answer.place.p_corrected < SIGNIFICANT).mean())
    found_share = float((answer.place.q < SIGNIFICANT).mean())
    if answer.question.kind == "groups":
        yield f"The surface differs in {100 * share:.0f} % of its places."
        return
    regions = {key: _region(answer, inside) for key, inside in study.regions().items()}
    far, near = (pick(regions, key=lambda key: abs(regions[key][0])) for pick in (max, min))
    per = f" per {answer.question.unit}" if answer.question.unit else ""
    differs = (
        f"The surface differs in {100 * share:.0f} % of its places" if share else "No place of the surface differs"
    )
    yield (
        f"{differs} (corrected for all; in {100 * found_share:.0f} % at 5 % false discoveries). The mean difference is "
        f"largest at the {_place(far)} ({_outwards(regions[far][0])}{per}), smallest at the {_place(near)} "
        f"({_outwards(regions[near][0])})."
    )
    if answer.direction:
        yield f"{_accuracy(answer)}."


def _outwards(mm: float) -> str:
    return f"{abs(mm):.1f} mm {'outwards' if mm >= 0 else 'inwards'}"


def _place(key: tuple[str, str]) -> str:
    return f"{key[0].replace('_', ' ')}'s {key[1]}"


def _region(answer: Answer, inside: np.ndarray) -> tuple[float, float, float]:
    place = answer.place
    return tuple(float(each[inside].mean()) for each in (place.estimate, place.low, place.high))  # type: ignore[return-value]


def _told(answer: Answer, index: int) -> str:
    effects, found = answer.measures, answer.measures.tested
    words, unit = in_words(effects.names[index])
    interval = (
        "" if np.isnan(found.low[index]) else f" [{in_figures(found.low[index])}, {in_figures(found.high[index])}]"
    )
    per = f" per {answer.question.unit}" if answer.question.unit else ""
    p = found.p_corrected[index]
    return f"{words} ({in_figures(found.estimate[index])}{interval} {unit}{per}, corrected p = {p:.2g})"


def _accuracy(answer: Answer) -> str:
    direction = answer.direction
    if direction is None:
        return "No direction was asked for"
    return (
        f"Shape alone tells it with a {direction.kind} of {direction.accuracy:.2f} for lungs that were left out "
        f"(guessing: {direction.chance:g}; p = {direction.p:.2g})"
    )


def _sections(study: Study, answer: Answer, folder: Path) -> Iterator[Section]:
    folder.mkdir()
    still, forest, lungs = (folder / f"{name}.png" for name in ("map", "forest", "direction"))
    name = answer.question.name
    draw_map(study, answer, still)
    caption = f"{name} on the mean lungs, from the front, from behind and from below."
    blocks: list[Block] = [view_of(study, answer, still), Figure(still, caption)]
    if answer.question.kind != "groups":
        blocks.append(_regions(study, answer))
    yield Section(f"{name}: where", blocks)
    blocks = []
    if answer.question.kind != "groups":
        draw_forest(answer.measures, forest, _SIZES[answer.question.kind])
        blocks.append(Figure(forest, f"{name}: effect sizes of measures."))
    names = answer.measures.names
    scaled = [index for index, each in enumerate(names) if each.startswith(SCALED)]
    plain = [index for index in range(len(names)) if index not in scaled]
    blocks.append(_effects(answer, answer.measures, "Measures", plain))
    if scaled:
        blocks.append(_effects(answer, answer.measures, "Measures of lungs scaled to the mean size", scaled))
    yield Section(f"{name}: measures", blocks)
    title = f"Shape parameters, {100.0 * study.modes.share.sum():.0f} % of the variance, in their SD"
    yield Section(f"{name}: shape parameters", [_effects(answer, answer.shape, title, range(len(answer.shape.names)))])
    if answer.direction:
        draw_direction(study, answer, lungs)
        caption = (
            f"{name}: lungs along the direction of shape that tells it, coloured by how far they lie from the mean."
        )
        yield Section(f"{name}: as lungs", [Text([f"{_accuracy(answer)}. {_DIRECTION}"]), Figure(lungs, caption)])


def _regions(study: Study, answer: Answer) -> Table:
    per = f" per {answer.question.unit}" if answer.question.unit else ""
    header = [
        "lung",
        "region",
        "along the normal, mm",
        "95 % from",
        "to",
        "displaced, mm",
        "to the head, mm",
        "significant, %",
    ]
    rows: list[list[Cell]] = [
        [
            structure.replace("_", " "),
            region,
            *_region(answer, inside),
            float(np.linalg.norm(answer.moved_mm[inside], axis=1).mean()),
            float(answer.moved_mm[inside, 2].mean()),
            100.0 * float((answer.place.p_corrected[inside] < SIGNIFICANT).mean()),
        ]
        for (structure, region), inside in study.regions().items()
    ]
    return Table(header, rows, f"Regions of the mean lungs: means over their places{per}")


def _effects(answer: Answer, effects: Effects, title: str, shown: Sequence[int]) -> Table:
    """A table of some of the effects, by their place among all, those of the smallest corrected p first."""
    found, several = effects.tested, answer.question.kind == "groups"
    levels = [level for level in effects.means if level != "all"]
    sized = (
        ["spread of means"]
        if several
        else [f"difference{_unit(answer)} [95 %]", f"{_SIZES[answer.question.kind]} [95 %]"]
    )
    header = ["", *levels, *sized, "p", "p corrected", "q"]
    rows: list[list[Cell]] = []
    for index in sorted(shown, key=lambda each: (found.p_corrected[each], each)):
        own = [in_figures(float(each[index])) for each in (found.estimate, found.low, found.high)]
        size = [f"{each[index]:.2f}" for each in (effects.size, effects.size_low, effects.size_high)]
        chances = [found.p[index], found.p_corrected[index], found.q[index]]
        row: list[Cell] = [heading(effects.names[index])]
        row += [in_figures(float(effects.means[level][index])) for level in levels]
        row += own[:1] if several else [_with_interval(own), _with_interval(size)]
        rows.append([*row, *(f"{value:.3g}" for value in chances)])
    return Table(header, rows, f"{title}: means, differences with 95 % intervals, effect sizes, chances by permutation")


def _with_interval(value: Sequence[str]) -> str:
    """A value with the ends of its interval, one cell of a table."""
    return f"{value[0]} [{value[1]}, {value[2]}]"


def _unit(answer: Answer) -> str:
    return f" per {answer.question.unit}" if answer.question.unit else ""


def _left_out_notes(study: Study) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, why in study.left_out.items():
        by_reason.setdefault(why, []).append(name)
    return [f"left out, {why}: {', '.join(names)}" for why, names in by_reason.items()]


def _subjects(study: Study) -> list[Block]:
    weight, sigma = study.answers[0].place.weight.mean(axis=1), study.cohort.sigma_mm
    order = np.argsort(weight, kind="stable").tolist()
    n = len(study.design.subjects)
    header = ["subject", "group or pair", "weight in the map", "unsure by, mm"]
    rows: list[list[Cell]] = [
        [
            study.design.subjects[index],
            study.design.labels[study.design.subjects[index]],
            float(weight[index]),
            None if sigma is None else float(sigma[index::n].mean()),
        ]
        for index in order
    ]
    caption = "Subjects that took part, those that count least first; the mean weight is 1"
    return [Table(header, rows, caption)]


def _methods(study: Study) -> Sequence[str]:
    place = study.answers[0].place
    unsure = study.cohort.sigma_mm is not None
    weights = (
        "Each subject counts by the inverse of the variance between subjects and its fit's own variance, summed."
        if unsure
        else "All subjects count the same in maps."
    )
    return (
        f"{study.aligned.mean.shape[0]:,} places of the lungs' surfaces in correspondence were laid on each other "
        f"(generalised Procrustes analysis of all structures jointly). Differences are along the normals of the mean "
        f"lungs; intervals are of a linear model at each place, and not corrected for their number. {weights}",
        f"Chances are by {place.n_permutations:,} permutations "
        f"({'flips of the signs of the differences' if study.design.partners else 'Freedman and Lane'}), corrected for "
        "all measures (those of scaled lungs among them), or all places, by the largest statistic of each permutation "
        "(family-wise); q is the share of "
        "false discoveries (Benjamini and Hochberg). Each question is corrected by itself.",
    )


_DIRECTION = "The lungs show what goes with the score (its covariance with shape), not the weights of the classifier."
_RELIANCE = (
    "Vertex i is the same place of the lung only as far as the model's average tells: differences along the normal can "
    "be relied on, where a place slides along the surface cannot.",
    "A difference says nothing of its cause. Not for clinical use.",
)

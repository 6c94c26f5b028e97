"""A study from written fits and a table, and its files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lpm.batch.subjects import read_subject_table
from lpm.extras import import_extra, import_renderer
from lpm.files.atomic import atomic_folder, check_gives_way
from lpm.files.meshes import write_mesh
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.reports.provenance import provenance
from lpm.reports.studies.page import findings, write_study_report
from lpm.studies.choice import named_fits
from lpm.studies.cohort import read_cohort
from lpm.studies.design import Asked
from lpm.studies.measures import Effects
from lpm.studies.study import Answer, Study, StudyConfig, study_of
from lpm.workflows.outcome import Tell, silent

_OWN = {"study.json", "report.html", "measures.csv", "shape.csv", "direction"}
_STEPS = (-2, -1, 0, 1, 2)  # standard deviations of the lungs that show a direction


@dataclass(frozen=True)
class StudyRun:
    """What a study is made of.

    Args:
        model: Of the fits.
        fits: Folders.
        table: A .csv of the subjects.
        asked: Groups, covariates or pairs.
        config: How they are compared.
        jobs: Worker processes that read fits.
    """

    model: ModelBundle
    fits: Sequence[Path]
    table: Path
    asked: Asked
    config: StudyConfig = field(default_factory=StudyConfig)
    jobs: int = 1


def run_study(run: StudyRun, out: Path, tell: Tell = silent) -> Study:
    """Study written fits, and write report, tables and maps.

    Args:
        run: What is compared.
        out: Folder: new, empty, or with an earlier study, which gives way.
        tell: Told what is being done.

    Raises:
        FileError: A fit or the table is damaged, or the folder holds something else.
        InputError: Table and fits do not go together, or the design cannot be tested.
        MissingExtraError: The extra ``study`` is not installed.
    """
    check_gives_way(out, _is_own(out), "holds an earlier study")
    import_extra("sklearn", "study", "lpm study")
    import_renderer("lpm study", "study")
    table = read_subject_table(run.table)
    named, unread = named_fits(run.fits, table, run.asked)
    tell(f"reading {len(named)} fits", 0.0)
    cohort = replace(read_cohort(named, run.model, run.jobs), unread=unread)
    tell("comparing", 0.6)
    study = study_of(cohort, table, run.asked, run.config)
    tell("writing the report", 0.9)
    write_study(study, out, provenance(run.model, [run.table], seed=run.config.seed))
    return study


def _is_own(out: Path) -> Any:
    has_study = (out / "study.json").is_file()
    return lambda name: has_study and (name in _OWN or (name.startswith("map") and name.endswith(".vtp")))


def write_study(study: Study, out: Path, rows: dict[str, str]) -> None:
    """Write the files of a study, whole or not at all.

    Args:
        study: The study.
        out: Folder; what is there is replaced.
        rows: Provenance.
    """
    with atomic_folder(out) as temporary:
        (temporary / "measures.csv").write_text(_effects_csv(study), encoding="utf-8")
        (temporary / "shape.csv").write_text(_shape_csv(study), encoding="utf-8")
        for number, answer in enumerate(study.answers, start=1):
            _write_map(temporary / ("map.vtp" if number == 1 else f"map_{number}.vtp"), study, answer)
            if answer.direction:
                _write_direction(temporary / "direction" / str(number), study, answer)
        write_study_report(temporary / "report.html", study, rows)
        text = json.dumps(summary(study), indent=1, allow_nan=False)
        (temporary / "study.json").write_text(text + "\n", encoding="utf-8")


def summary(study: Study) -> dict[str, Any]:
    """What `study.json` holds."""
    return {
        "findings": findings(study),
        "subjects": list(study.design.all_subjects),
        "left_out": dict(study.left_out),
        "notes": list(study.notes),
        "config": study.config.model_dump(),
        "questions": [_question(study, number, answer) for number, answer in enumerate(study.answers, start=1)],
    }


def _question(study: Study, number: int, answer: Answer) -> dict[str, Any]:
    place, direction = answer.place, answer.direction
    regions = {
        f"{structure} {name}": float(place.estimate[inside].mean())
        for (structure, name), inside in study.regions().items()
    }
    return {
        "name": answer.question.name,
        "kind": answer.question.kind,
        "unit": answer.question.unit,
        "map": "map.vtp" if number == 1 else f"map_{number}.vtp",
        "permutations": place.n_permutations,
        "significant_measures": int((answer.measures.tested.p_corrected < 0.05).sum()),
        "significant_share_of_surface": float((place.p_corrected < 0.05).mean()),
        "regions_mm": regions,
        "direction": None
        if direction is None
        else {"accuracy": direction.accuracy, "chance": direction.chance, "p": direction.p, "kind": direction.kind},
    }


def _effects_csv(study: Study) -> str:
    rows = [
        row
        for answer in study.answers
        for family, effects in (("measure", answer.measures), ("shape", answer.shape))
        for row in _rows(answer, family, effects)
    ]
    return _csv(rows)


def _rows(answer: Answer, family: str, effects: Effects) -> Iterator[dict[str, object]]:
    found = effects.tested
    for index, name in enumerate(effects.names):
        means = {f"mean_{level}": float(values[index]) for level, values in effects.means.items()}
        yield (
            {"question": answer.question.name, "family": family, "name": name, "per": answer.question.unit}
            | means
            | {
                "difference": found.estimate[index],
                "difference_95_low": found.low[index],
                "difference_95_high": found.high[index],
                "effect_size": effects.size[index],
                "effect_size_95_low": effects.size_low[index],
                "effect_size_95_high": effects.size_high[index],
                "p": found.p[index],
                "p_corrected": found.p_corrected[index],
                "q": found.q[index],
            }
        )


def _shape_csv(study: Study) -> str:
    """A row a subject: group or pair, size, shape parameters, weight in the first map, score of the directions."""
    design, n = study.design, len(study.design.subjects)
    weight = study.answers[0].place.weight.mean(axis=1)
    rows = []
    for index, name in enumerate(design.all_subjects):
        row: dict[str, object] = {
            "subject": name,
            "label": design.labels[name],
            "size_mm": study.aligned.sizes_mm[index],
        }
        row |= {column: values[index] for column, values in (design.covariates or {}).items()}
        row |= dict(zip(study.modes.names, study.modes.scores[index].tolist(), strict=True))
        rows.append(row | {"weight": weight[index % n]})
    return _csv(rows)


def _csv(rows: Sequence[dict[str, object]]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return value


def _write_map(path: Path, study: Study, answer: Answer) -> None:
    """The mean lungs with what was found at each vertex, RAS mm."""
    vertices = np.concatenate([mesh.vertices for mesh in study.mean.values()])
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in study.mean.values())])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(study.mean.values(), starts, strict=False)])
    data = WorldMesh(vertices, faces).to_pyvista()
    place = answer.place
    arrays = {"difference_mm": place.estimate, "low": place.low, "high": place.high, "p_corrected": place.p_corrected}
    for name, values in (arrays | {"p": place.p, "q": place.q}).items():
        data.point_data[name] = values.astype(np.float32)
    data.point_data["displacement_mm"] = answer.moved_mm.astype(np.float32)
    data.field_data["SPACE"] = ["RAS"]
    data.save(str(path))


def _write_direction(folder: Path, study: Study, answer: Answer) -> None:
    for sd in _STEPS:
        (folder / f"{sd:+d}_sd").mkdir(parents=True)
        for name, mesh in study.lungs(answer, sd).items():
            write_mesh(folder / f"{sd:+d}_sd" / f"{name}.ply", mesh)

"""`lpm population`: what lungs of a cohort measure, as a norm for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import parse_labels, plain, progress, screen
from lpm.errors import CasesFailedError


def population(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FITS...", help="Folders of fits; or label maps, meshes, folders of them, cohorts."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The norm to write, a .json.")],
    table: Annotated[
        Path | None,
        typer.Option("--table", help="A .csv with columns subject, and any of age (years), sex (F, M), height (cm)."),
    ] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="Of label maps, as in `lpm measure`.")] = None,
    keep_doubtful: Annotated[
        bool, typer.Option("--keep-doubtful", help="Take subjects that the quality gate doubts.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 1,
) -> None:
    """Learn a norm: measures and profiles of a cohort's lungs, by age, sex and body height where a table has them.

    Example: lpm population fits --table subjects.csv --out norm.json, then lpm measure fits/new --norm norm.json
    """
    from lpm.measurement.measure import Beside, measure_subjects
    from lpm.measurement.norms.cohort import norm_of
    from lpm.measurement.norms.norm import write_norm
    from lpm.measurement.norms.people import read_people
    from lpm.measurement.subjects import find_subjects

    structures = parse_labels(labels) if labels else None
    subjects = find_subjects(files)
    people = None if table is None else read_people(table, [one.name for one in subjects])
    results = []
    with progress() as bar:
        task = bar.add_task("measure", total=len(subjects))
        for one in measure_subjects(subjects, structures=structures, beside=Beside(along_height=True), jobs=jobs):
            bar.advance(task)
            results.append(one)
            for said in (*one.flags, *([one.error] if one.error else [])):
                bar.console.print(f"{plain(one.subject)}: {plain(said)}", soft_wrap=True)
    failed = [one.subject for one in results if one.error]
    norm = norm_of(subjects, results, people, keep_doubtful=keep_doubtful)
    write_norm(out, norm)
    depends = f", by {', '.join(norm.covariates)}" if norm.covariates else ""
    screen.print(f"{len(norm.measures)} measures of {norm.n_subjects} subjects{depends}: written to {out}")
    for note in norm.notes:
        screen.print(f"note: {plain(note)}", soft_wrap=True)
    if failed:
        given = f"{len(failed)} of {len(subjects)} subjects failed: {', '.join(failed[:5])}"
        hint = "the norm is of the others; mend these, whose errors are above, or leave them out"
        raise CasesFailedError("population", given, "none", hint)

"""`lpm measure`: size and shape of meshes, labels and fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from lpm.apps.terminal import load_bundle, parse_labels, plain, progress, screen
from lpm.errors import CasesFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpm.measurement.measure import Measured
    from lpm.measurement.table import AttributeTable

_FEW = 3
_COLUMNS = {
    "total_volume_ml": "total",
    "left_lung_volume_ml": "left",
    "right_lung_volume_ml": "right",
    "height_mm": "height",
    "width_mm": "width",
    "depth_mm": "depth",
    "dome_height_mm": "dome",
    "base_tilt_deg": "tilt",
}


def measure(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Label maps, meshes (.ply .stl .obj .glb .vtp .vtk; RAS mm), folders of them, of fits, of cohorts.",
        ),
    ],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all values here; - prints them.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a table here, a row a subject.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="Of label maps: left_lung=1,right_lung=2 (default); totalsegmentator, lungmask ..."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Whose population to compare with: a folder; none; default: bundled lungs-v1."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 1,
) -> None:
    """Measure lungs: volumes, extents, sections, base, apex, notches, asymmetry; where each stands in a population.

    Example: lpm measure scans/*/labels.nii.gz --jobs 2 --csv measures.csv
    """
    from lpm.files.atomic import write_text
    from lpm.measurement.measure import as_csv, as_json, measure_subjects
    from lpm.measurement.subjects import find_subjects

    structures = parse_labels(labels) if labels else None
    subjects, population = find_subjects(files), _population(model)
    results: list[Measured] = []
    with progress() as bar:
        task = bar.add_task("measure", total=len(subjects))
        for one in measure_subjects(subjects, population=population, structures=structures, jobs=jobs):
            results.append(one)
            bar.advance(task)
            for said in (*one.flags, *([one.error] if one.error else [])):
                bar.console.print(f"{plain(one.subject)}: {plain(said)}", soft_wrap=True)
    if csv_file is not None:
        write_text(csv_file, as_csv(results))
    if json_file is not None and str(json_file) != "-":
        write_text(json_file, as_json(results))
    elif json_file is not None:
        print(as_json(results), end="")
    for table in _tables([one for one in results if one.values]):
        screen.print(table)
    failed = [one.subject for one in results if one.error]
    if failed:
        raise CasesFailedError("measure", f"{len(failed)} of {len(results)} subjects failed: {', '.join(failed[:5])}")


def _population(model: str | None) -> AttributeTable | None:
    if model == "none":
        return None
    from lpm.population.attributes import attributes_of

    return attributes_of(load_bundle(model))


def _tables(results: Sequence[Measured]) -> list[Table]:
    """Everything of a few subjects; of many, a line each."""
    return [_whole(one) for one in results] if len(results) <= _FEW else [_lines(results)]


def _whole(one: Measured) -> Table:
    table = Table("measure", "value", "95 % interval", "percentile", title=plain(one.subject))
    for name, value in one.values.items():
        low, high = one.intervals.get(name, (None, None))
        interval = "" if low is None else f"{low:.4g} to {high:.4g}"
        percentile = f"{one.percentiles[name]:.0f}" if name in one.percentiles else ""
        table.add_row(name, f"{value:.4g}", interval, percentile)
    if one.mahalanobis == one.mahalanobis:
        table.add_row("outlier score (Mahalanobis)", f"{one.mahalanobis:.1f}", "", "")
    return table


def _lines(results: Sequence[Measured]) -> Table:
    columns = {name: label for name, label in _COLUMNS.items() if any(name in one.values for one in results)}
    caption = "volumes ml, lengths mm, tilt degrees; score: Mahalanobis; all values with --csv or --json"
    subject = Column("subject", no_wrap=True)
    table = Table(subject, *columns.values(), "score", "flags", caption=caption, padding=(0, 0, 0, 1))
    for one in results:
        values = [f"{one.values[name]:.0f}" if name in one.values else "" for name in columns]
        score = f"{one.mahalanobis:.1f}" if one.mahalanobis == one.mahalanobis else ""
        table.add_row(plain(one.subject), *values, score, str(len(one.flags) or ""))
    return table

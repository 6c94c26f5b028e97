"""`lpm measure`: size and shape of meshes, labels and fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from lpm.apps.terminal import load_bundle, parse_labels, plain, progress, screen
from lpm.errors import CasesFailedError, MisuseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lpm.measurement.measure import Measured
    from lpm.measurement.norms.people import Person
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
        typer.Option(
            "--model", help="Whose population to compare with: a folder, lungs-v1, or none; default: lungs-v2."
        ),
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option("--profiles", help="Write areas and volumes along the height here, a .csv.")
    ] = None,
    slice_mm: Annotated[float, typer.Option("--slice-mm", min=0.1, help="Thickness of the profiles' slices.")] = 5.0,
    norm: Annotated[
        Path | None, typer.Option("--norm", help="A norm of `lpm population`: adds z-scores and centiles.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="A .csv with columns subject and age, sex, height, for the norm.")
    ] = None,
    age: Annotated[str | None, typer.Option("--age", help="Of the one subject, in years, for the norm.")] = None,
    sex: Annotated[str | None, typer.Option("--sex", help="Of the one subject, F or M, for the norm.")] = None,
    height: Annotated[str | None, typer.Option("--height", help="Of the one subject's body, cm, for the norm.")] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the one subject's profile beside the norm here, a .png.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 1,
) -> None:
    """Measure lungs: volumes, extents, sections, base, apex, notches, asymmetry; where each stands in a population.

    Example: lpm measure scans/*/labels.nii.gz --jobs 2 --csv measures.csv
    """
    from lpm.files.atomic import write_text
    from lpm.measurement.measure import Beside, measure_subjects
    from lpm.measurement.norms.norm import read_norm
    from lpm.measurement.subjects import find_subjects
    from lpm.measurement.written import as_csv, as_json, as_profiles

    structures = parse_labels(labels) if labels else None
    subjects, population = find_subjects(files), _population(model)
    options = {"age": age, "sex": sex, "height": height}
    beside = Beside(
        norm=None if norm is None else read_norm(norm),
        people=_people([each.name for each in subjects], table, options, norm),
        slice_mm=None if profiles is None else slice_mm,
    )
    if picture is not None and (len(subjects) != 1 or norm is None):
        raise MisuseError("--picture", f"{len(subjects)} subjects and {norm or 'no norm'}", "one subject, and --norm")
    results: list[Measured] = []
    with progress() as bar:
        task = bar.add_task("measure", total=len(subjects))
        for one in measure_subjects(subjects, population=population, structures=structures, beside=beside, jobs=jobs):
            results.append(one)
            bar.advance(task)
            for said in (*one.flags, *([one.error] if one.error else [])):
                bar.console.print(f"{plain(one.subject)}: {plain(said)}", soft_wrap=True)
    if csv_file is not None:
        write_text(csv_file, as_csv(results))
    if profiles is not None:
        write_text(profiles, as_profiles(results))
    if picture is not None and beside.norm is not None and not results[0].error:
        from lpm.reports.norms.standing import draw_profiles

        draw_profiles(results[0].values, beside.norm.reference(beside.people.get(subjects[0].name, {})), picture)
    if json_file is not None and str(json_file) != "-":
        write_text(json_file, as_json(results))
    elif json_file is not None:
        print(as_json(results), end="")
    for shown in _tables([one for one in results if one.values]):
        screen.print(shown)
    failed = [one.subject for one in results if one.error]
    if failed:
        raise CasesFailedError("measure", f"{len(failed)} of {len(results)} subjects failed: {', '.join(failed[:5])}")


def _people(
    names: Sequence[str], table: Path | None, said: Mapping[str, str | None], norm: Path | None
) -> Mapping[str, Person]:
    """Age, sex and body height by subject, from a table or from options.

    Raises:
        MisuseError: Both, without a norm, or options for several subjects.
    """
    from lpm.measurement.norms.people import person_of, read_people

    given = [name for name, value in said.items() if value is not None]
    options = " ".join(f"--{name}" for name in [*given, *(["table"] if table else [])])
    if options and norm is None:
        raise MisuseError(options, "without a norm", "--norm NORM beside it", "lpm population makes norms")
    if given and (table is not None or len(names) != 1):
        other = "and --table" if table is not None else f"for {len(names)} subjects"
        raise MisuseError(options, other, "one subject's, or a --table")
    if table is not None:
        return read_people(table, names).rows
    return {names[0]: person_of(said, names[0])} if given else {}


def _population(model: str | None) -> AttributeTable | None:
    if model == "none":
        return None
    from lpm.population.attributes import attributes_of

    return attributes_of(load_bundle(model))


def _tables(results: Sequence[Measured]) -> list[Table]:
    """Everything of a few subjects; of many, a line each."""
    return [_whole(one) for one in results] if len(results) <= _FEW else [_lines(results)]


def _whole(one: Measured) -> Table:
    in_norm = ["z", "centile"] if one.standings else []
    table = Table("measure", "value", "95 % interval", "percentile", *in_norm, title=plain(one.subject))
    for name, value in one.values.items():
        standing = one.standings.get(name)
        where = [f"{standing.z:+.1f}", f"{standing.centile:.0f}"] if standing else []
        low, high = one.intervals.get(name, (None, None))
        interval = "" if low is None else f"{low:.4g} to {high:.4g}"
        percentile = f"{one.percentiles[name]:.0f}" if name in one.percentiles else ""
        table.add_row(name, f"{value:.4g}", interval, percentile, *where)
    if one.mahalanobis == one.mahalanobis:
        table.add_row("outlier score (Mahalanobis)", f"{one.mahalanobis:.1f}", "", "")
    return table


def _lines(results: Sequence[Measured]) -> Table:
    columns = {name: label for name, label in _COLUMNS.items() if any(name in one.values for one in results)}
    caption = (
        "volumes ml, lengths mm, tilt degrees; score: Mahalanobis distance from the population; notes: how many, above "
        "and in --csv (flags); all values with --csv or --json"
    )
    numbers = [Column(name, no_wrap=True, justify="right") for name in (*columns.values(), "score", "notes")]
    table = Table(Column("subject", overflow="fold"), *numbers, caption=caption, padding=0, box=SIMPLE_HEAD)
    for one in results:
        values = [f"{one.values[name]:.0f}" if name in one.values else "" for name in columns]
        score = f"{one.mahalanobis:.1f}" if one.mahalanobis == one.mahalanobis else ""
        table.add_row(plain(one.subject), *values, score, str(len(one.flags) or ""))
    return table

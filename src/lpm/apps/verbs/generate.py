"""`lpm generate`: new lungs, with attributes that one asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lpm.apps.many import DaskOption
from lpm.apps.terminal import ModelOption, OutOption, load_bundle, progress, screen
from lpm.errors import MisuseError

if TYPE_CHECKING:
    from lpm.population.population import Range

_EXPECTED = "a number, or two with a colon between, such as 3000:6000"


def generate(
    n: Annotated[int, typer.Option("--n", help="How many pairs of lungs.")],
    out: OutOption,
    model: ModelOption = None,
    volume_ml: Annotated[
        str | None, typer.Option("--volume-ml", help="Total volume: 4500, or a range such as 3000:6000.")
    ] = None,
    height_mm: Annotated[str | None, typer.Option("--height-mm", help="From base to apex, alike.")] = None,
    width_mm: Annotated[str | None, typer.Option("--width-mm", help="From right to left, alike.")] = None,
    depth_mm: Annotated[str | None, typer.Option("--depth-mm", help="From back to front, alike.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="Any attribute that lpm measure names: right_share_percent=50:54; repeatable."),
    ] = None,
    labels_mm: Annotated[float, typer.Option("--labels-mm", min=0.5, max=10, help="Voxels of the label maps.")] = 2.0,
    ct: Annotated[bool, typer.Option("--ct", help="A CT-like volume around each pair.")] = False,
    xray: Annotated[bool, typer.Option("--xray", help="That, and its radiographs, frontal and lateral.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same lungs.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 1,
    dask: DaskOption = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="OUT/report.html: lungs in 3D, attributes beside real ones.")
    ] = True,
) -> None:
    """Generate lungs: a folder each with meshes, labels and attributes; subjects.csv, which `lpm prepare` takes back.

    Run again with the same options, it goes on where it stopped.

    Example: lpm generate --n 100 --volume-ml 3000:6000 --out lungs --jobs 2
    """
    from lpm.batch.workers import workers_of
    from lpm.files.outputs.locks import locked
    from lpm.population.data_set import DataSet, Request
    from lpm.population.generation import Generator
    from lpm.reports.generated import write_generation_report
    from lpm.reports.provenance import provenance

    given = {"total_volume_ml": volume_ml, "height_mm": height_mm, "width_mm": width_mm, "depth_mm": depth_mm}
    options = {name: f"--{name.removeprefix('total_').replace('_', '-')}" for name in given}
    ranges = {name: _range(options[name], text) for name, text in given.items() if text is not None}
    ranges |= dict(_where(text) for text in where or [])
    scans: Literal["none", "ct", "ct and radiographs"] = "ct and radiographs" if xray else "ct" if ct else "none"
    request = Request(ranges=ranges, seed=seed, labels_mm=labels_mm, scans=scans)
    bundle = load_bundle(model)
    data_set, made = DataSet(Generator.of(bundle), request, out), []
    with locked(out):
        with progress() as bar, workers_of(jobs, dask) as workers:
            task = bar.add_task("generate", total=n)
            for lungs in data_set.write_all(n, workers):
                made.append(lungs)
                bar.advance(task)
        if report:
            origin = provenance(bundle, seed=seed, digest=data_set.digest)
            write_generation_report(out / "report.html", data_set, made, origin)
    drawn = sum(lungs.tries for lungs in made)
    files = "subjects.csv, manifest.json" + ", report.html" * report
    screen.print(f"{out}: {n} pairs of lungs ({drawn} drawn), {files}", soft_wrap=True)


def _where(text: str) -> tuple[str, Range]:
    name, _, values = text.partition("=")
    if not values:
        raise MisuseError("--where", repr(text), "name=value or name=low:high", "--where height_mm=240:260")
    return name.strip(), _range("--where", values)


def _range(name: str, text: str) -> Range:
    try:
        values = [float(part) for part in text.split(":")]
    except ValueError as error:
        raise MisuseError(name, repr(text), _EXPECTED) from error
    if len(values) not in (1, 2) or values[0] > values[-1]:
        raise MisuseError(name, repr(text), _EXPECTED)
    return values[0], values[-1]

"""`lpm breathe`: the motion of lungs through a breath, of one fit, two, or a series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lpm.apps.terminal import ModelOption, OutOption, load_bundle, plain, screen
from lpm.errors import MisuseError


def breathe(
    fits: Annotated[
        list[Path],
        typer.Argument(metavar="FIT...", help="Folders of fits in one frame: expiration, inspiration; a series; one."),
    ],
    out: OutOption,
    phases: Annotated[int, typer.Option("--phases", min=2, help="Lungs on the way.")] = 10,
    to_volume: Annotated[
        float | None, typer.Option("--to-volume", help="Of one fit: the other state's volume of both lungs, ml.")
    ] = None,
    breath: Annotated[
        Path | None, typer.Option("--breath", help="Of one fit: a model of `lpm train-breath`; default the bundled.")
    ] = None,
    times: Annotated[
        str | None, typer.Option("--times", help="Of a series: when its states were seen, as 0,0.4,0.8; default even.")
    ] = None,
    periodic: Annotated[
        bool, typer.Option("--periodic", help="Of a series: the first state comes again after the last.")
    ] = False,
    model: ModelOption = None,
) -> None:
    """Find how lungs move from expiration to inspiration: phases, displacement, growth, a report and a loop.

    Three fits and more, such as the phases of a 4D-CT, become a smooth path over time. Of one fit the other state is
    predicted, by what breathing did to the lungs of other patients.

    Example: lpm breathe fits/expiration fits/inspiration --phases 10 --out breath
    """
    from lpm.apps.verbs.fit.options import tell
    from lpm.workflows.breathing import BreathRun, breathe_fits

    run = BreathRun(load_bundle(model), tuple(fits), phases, to_volume, breath, _times(times), periodic)
    summary = breathe_fits(run, out, tell)
    table = Table("lung", "third or part", "moved (mm)", "beside the tops (mm)", "growth (%)")
    for region in [*summary["regions"], *summary["parts"]]:
        grown = 100.0 * (region["growth"] - 1.0)
        table.add_row(
            region["structure"],
            region["name"],
            f"{region['moved_mm']:.1f}",
            f"{region['beside_apices_mm']:.1f}",
            f"{grown:.0f}",
        )
    screen.print(table)
    for note in summary["notes"]:
        screen.print(f"note: {plain(note)}", soft_wrap=True)
    screen.print(f"written to {out}")


def _times(given: str | None) -> tuple[float, ...] | None:
    try:
        return None if given is None else tuple(float(each) for each in given.split(","))
    except ValueError:
        raise MisuseError("--times", repr(given), "numbers with commas between", "--times 0,0.4,0.8") from None

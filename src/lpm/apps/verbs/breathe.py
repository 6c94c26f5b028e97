"""`lpm breathe`: the motion of lungs through a breath, of two fits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lpm.apps.terminal import ModelOption, OutOption, load_bundle, plain, screen


def breathe(
    expiration: Annotated[Path, typer.Argument(help="Folder of the fit in expiration.")],
    inspiration: Annotated[Path, typer.Argument(help="Folder of the fit in inspiration, in the same frame.")],
    out: OutOption,
    phases: Annotated[int, typer.Option("--phases", min=2, help="Lungs on the way, both ends among them.")] = 10,
    model: ModelOption = None,
) -> None:
    """Find how lungs move from expiration to inspiration: phases, displacement, growth, a report and a loop.

    Example: lpm breathe fits/expiration fits/inspiration --phases 10 --out breath
    """
    from lpm.apps.verbs.fit.options import tell
    from lpm.workflows.breathing import breathe_fits
    from lpm.workflows.carrying import CarryRun

    summary = breathe_fits(CarryRun(load_bundle(model), expiration, inspiration), out, phases, tell)
    table = Table("lung", "third", "moved (mm)", "beside the tops (mm)", "growth (%)")
    for region in summary["regions"]:
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

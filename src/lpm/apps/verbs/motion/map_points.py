"""`lpm map-points`: points, meshes and label maps, from the lungs of one fit to those of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import ModelOption, load_bundle, plain, screen


def map_points(
    points: Annotated[Path, typer.Argument(help="Points (.csv, .ply, .npy, ...), a mesh or a label map, RAS mm.")],
    source: Annotated[Path, typer.Option("--from", help="Folder of the fit that they belong to.")],
    target: Annotated[Path, typer.Option("--to", help="Folder of the fit that they are carried to.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, of the same kind.")],
    model: ModelOption = None,
) -> None:
    """Carry points on or in the lungs from one fit to another, such as through a breath.

    A table keeps its rows and further columns; rows outside of both lungs are left empty and named.

    Example: lpm map-points landmarks.csv --from fits/expiration --to fits/inspiration --out carried.csv
    """
    from lpm.workflows.carrying import CarryRun, carry_file

    carried, notes = carry_file(CarryRun(load_bundle(model), source, target), points, out)
    for note in notes:
        screen.print(f"note: {plain(note)}", soft_wrap=True)
    screen.print(f"{carried:,} carried; written to {out}", soft_wrap=True)

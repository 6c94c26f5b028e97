"""`lpm export`: a model, or a fit, as one file with sliders for other programs, and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import load_bundle, plain, say, screen


def export(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder that `lpm train` wrote, hf:owner/repository, or lungs-v1; default: lungs-v2."),
    ] = None,
    glb: Annotated[
        Path | None, typer.Option("--glb", help="Write a .glb with morph targets: Blender, three.js, Unity.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write a .html with sliders that needs no server and no network.")
    ] = None,
    fit: Annotated[
        Path | None, typer.Option("--fit", help="Folder of a fit: its lungs, in place of the average ones.")
    ] = None,
    shapes: Annotated[int, typer.Option("--shapes", min=0, help="How many of the first shape parameters.")] = 10,
    knobs: Annotated[
        bool, typer.Option("--knobs/--no-knobs", help="Attributes with names, such as the height.")
    ] = True,
    breath: Annotated[
        Path | None, typer.Option("--breath", help="A model of `lpm train-breath`; default the bundled.")
    ] = None,
    faces: Annotated[int, typer.Option("--faces", min=200, help="Triangles of each lung, about.")] = 3000,
) -> None:
    """Write lungs with sliders: shape parameters, attributes and a breath, in one file.

    Each end of a slider is a morph target (shape key, blend shape); at weight 1 it is the model's own shape. Vertices
    are RAS mm; their node stands them up and scales them to metres, as glTF wants it.

    Example: lpm export --glb lungs.glb --page lungs.html
    """
    from lpm.motion.sliders import SliderOptions
    from lpm.workflows.exporting import ExportRun
    from lpm.workflows.exporting import export as write

    say("finding how lungs move with each slider")
    run = ExportRun(load_bundle(model), fit, breath, SliderOptions(faces, shapes, knobs))
    lungs = write(run, glb, page)
    for note in lungs.notes:
        screen.print(f"note: {plain(note)}", soft_wrap=True)
    written = " and ".join(str(path) for path in (glb, page) if path is not None)
    screen.print(f"{len(lungs.sliders)} sliders, {len(lungs.ends)} morph targets; written to {written}", soft_wrap=True)

"""Pictures of a population: generated lungs side by side, their attributes beside the real ones', shapes in motion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from lpm.errors import FileError, InputError
from lpm.files.atomic import atomic_file
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.table import AttributeTable
from lpm.reports.scenes import (
    FRONTAL,
    GREY,
    MARK_COLOR,
    Layer,
    View,
    bare,
    draw_grid,
    new_figure,
    render,
    save_png,
    solid,
    structure_color,
    window_of,
)

Meshes = Mapping[str, WorldMesh]
_COLUMNS = 6
_BINS = 12
_HEIGHT_PX = 360
_FRAME_MS = 90


def plot_many(shapes: Sequence[Meshes], path: Path, view: View = FRONTAL) -> None:
    """Draw lungs side by side, all at one scale.

    Args:
        shapes: Shapes to draw, as many as fill rows of six.
        path: A .png.
        view: Direction of view.

    Raises:
        InputError: They fill no rows of six.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if not shapes or len(shapes) % _COLUMNS:
        raise InputError("plot_many", f"{len(shapes)} pairs of lungs", f"a multiple of {_COLUMNS}")
    panels = [(_layers(meshes), view) for meshes in shapes]
    rows = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    save_png(draw_grid(rows, 1.6), path)


def plot_attributes(real: AttributeTable, generated: AttributeTable, names: Sequence[str], path: Path) -> None:
    """Draw histograms of attributes of real and generated lungs, each as a density.

    Args:
        real: The training subjects'.
        generated: Attributes of new lungs.
        names: Names of the attributes.
        path: A .png.

    Raises:
        InputError: No attribute, or one that a table does not have.
        FileError: Not a .png, or the disk refuses.
    """
    if not names:
        raise InputError("plot_attributes", "no attribute", "at least one")
    columns = min(len(names), 5)
    rows = -(-len(names) // columns)
    figure = new_figure(2.1 * columns, 1.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        values = [table.values[:, table.index(name)] for table in (real, generated)]
        edges = np.histogram_bin_edges(np.concatenate(values), _BINS)
        axes.hist(values[1], edges, density=True, color=structure_color(1), alpha=0.8, label="generated")
        axes.hist(values[0], edges, density=True, histtype="step", color=MARK_COLOR, lw=1.5, label="real")
        axes.set_title(name, fontsize=7)
        axes.set_yticks([])
        axes.tick_params(labelsize=6, colors=GREY)
        bare(axes)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    panels[0].legend(fontsize=6, frameon=False)
    save_png(figure, path)


def write_animation(frames: Iterable[Meshes], path: Path, view: View = FRONTAL) -> None:
    """Write a motion, there and back, as a GIF.

    Args:
        frames: Lungs, one after the other.
        path: A .gif.
        view: Direction of view.

    Raises:
        InputError: Fewer than two frames.
        FileError: Not a .gif, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if path.suffix.lower() != ".gif":
        raise FileError(str(path), f"unknown kind {path.suffix!r}", ".gif")
    scenes = [_layers(meshes) for meshes in frames]
    if len(scenes) < 2:
        raise InputError("write_animation", f"{len(scenes)} frames", "at least 2")
    window = window_of([layer for layers in scenes for layer in layers], view)
    pictures = [Pillow.fromarray(render(layers, view, window, _HEIGHT_PX)) for layers in scenes]
    first, *others = [picture.quantize(64) for picture in (*pictures, *pictures[-2:0:-1])]
    with atomic_file(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=others, duration=_FRAME_MS, loop=0)


def _layers(meshes: Meshes) -> list[Layer]:
    return [solid(mesh, structure_color(index)) for index, mesh in enumerate(meshes.values())]

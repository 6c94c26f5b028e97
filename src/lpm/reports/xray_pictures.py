"""Pictures of lungs fitted to radiographs: the outlines of the lungs over what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lpm.files.atomic import atomic_file
from lpm.geometry.volumes import Volume
from lpm.reports.scenes import SEEN_COLOR, structure_color
from lpm.xray.drr import MarchConfig, path_lengths_of_labels
from lpm.xray.fit import XrayFit

if TYPE_CHECKING:
    from lpm.geometry.projection import View
    from lpm.xray.reader import Reading

_OUTLINE_MM = 3.0
_DPI = 110
_MOST_PX, _MOST_RAYS = 1000, 400  # a side; what is drawn holds no more


def draw_views(fit: XrayFit, path: Path) -> None:
    """Draw each radiograph with the field that was read and the outlines of the fitted lungs; a PNG.

    Args:
        fit: Lungs and radiographs.
        path: Output path.
    """
    with atomic_file(path) as temporary:
        _drawn(fit, range(len(fit.views))).savefig(temporary, dpi=_DPI, format="png")


def pictures_of(fit: XrayFit) -> list[NDArray[np.uint8]]:
    """Draw the same as pictures (r, c, 3), one a radiograph."""
    pictures = []
    for index in range(len(fit.views)):
        figure = _drawn(fit, [index])
        figure.set_dpi(_DPI)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return pictures


def _drawn(fit: XrayFit, chosen: Sequence[int]) -> Figure:
    figure = Figure(figsize=(5.5 * len(chosen), 6.0), layout="constrained")
    labels = fit.labels(spacing_mm=2.0)
    colors = {name: structure_color(fit.model.structures.index(name)) for name in fit.lungs}
    for axes, index in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        picture, view = fit.radiographs[index], fit.views[index]
        oblong = float(np.linalg.norm(view.by_row_mm) / np.linalg.norm(view.by_column_mm))
        every = -(-max(view.shape) // _MOST_PX)
        shown = picture.pixels[::every, ::every]
        axes.imshow(shown, cmap="gray", aspect=oblong, extent=_extent(shown.shape, every))
        _draw_field(axes, fit.readings[index])
        _draw_lungs(axes, labels, view, colors)
        axes.set_title(picture.side, fontsize=10)
        axes.set_axis_off()
        axes.set(xlim=(-0.5, view.shape[1] - 0.5), ylim=(view.shape[0] - 0.5, -0.5))
    _name_colors(figure, colors)
    return figure


def _name_colors(figure: Figure, colors: Mapping[str, str]) -> None:
    """Below the radiographs: what each colour is."""
    shown = [
        Line2D([], [], color=color, lw=1.4, label=f"{name.replace('_', ' ')}, fitted") for name, color in colors.items()
    ]
    shown.append(Line2D([], [], color=SEEN_COLOR, lw=0.8, label="lung field, as read"))
    figure.legend(handles=shown, loc="outside lower center", ncols=3, fontsize=9, frameon=False)


def _draw_field(axes: Axes, reading: Reading) -> None:
    for field in reading.field:
        rows, columns = (
            (np.arange(n) + 0.5) * step - 0.5 for n, step in zip(field.shape, reading.step_px, strict=True)
        )
        if float(field.max()) > 0.5:
            axes.contour(columns, rows, field, [0.5], colors=SEEN_COLOR, linewidths=0.8)


def _draw_lungs(axes: Axes, labels: Volume, view: View, colors: Mapping[str, str]) -> None:
    structures = {name: (value,) for value, name in enumerate(colors, start=1)}
    every = -(-max(view.shape) // _MOST_RAYS)
    coarse = _coarser(view, every)
    paths = path_lengths_of_labels(labels, coarse, structures, MarchConfig(step_mm=2.0))
    rows, columns = (every * np.arange(n) for n in coarse.shape)
    for lengths, color in zip(paths, colors.values(), strict=True):
        if float(lengths.max()) > _OUTLINE_MM:
            axes.contour(columns, rows, lengths, [_OUTLINE_MM], colors=color, linewidths=1.4)


def _coarser(view: View, every: int) -> View:
    """The rays of every so many rows and columns."""
    rows, columns = (-(-n // every) for n in view.shape)
    return replace(
        view, shape=(rows, columns), by_row_mm=every * view.by_row_mm, by_column_mm=every * view.by_column_mm
    )


def _extent(shape: tuple[int, ...], every: int) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of every so many pixels, in pixels of the whole picture."""
    rows, columns = shape[:2]
    return -0.5 * every, (columns - 0.5) * every, (rows - 0.5) * every, -0.5 * every

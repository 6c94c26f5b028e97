"""Pictures of lungs fitted to radiographs: the outlines of the lungs over what was seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpm.files.atomic import atomic_file
from lpm.fitting.xray import XrayFit
from lpm.geometry.volumes import Volume
from lpm.model.radiographs import path_lengths_of_labels

if TYPE_CHECKING:
    from lpm.geometry.projection import View
    from lpm.model.lung_field import Reading

_COLORS = ("#d98a74", "#6f9bc6")
_OUTLINE_MM = 3.0
_SEEN_COLOR = "#e8d25c"


def draw_views(fit: XrayFit, path: Path) -> None:
    """Draw each radiograph with the field that was read and the outlines of the fitted lungs; a PNG.

    Args:
        fit: Lungs and radiographs.
        path: Where to.
    """
    figure = Figure(figsize=(5.5 * len(fit.views), 6.0), layout="constrained")
    labels = fit.labels(spacing_mm=2.0)
    panels = figure.subplots(1, len(fit.views), squeeze=False)[0]
    for axes, picture, reading, view in zip(panels, fit.radiographs, fit.readings, fit.views, strict=True):
        height = view.shape[0] * np.linalg.norm(view.by_row_mm) / np.linalg.norm(view.by_column_mm)
        axes.imshow(picture.pixels, cmap="gray", aspect=height / view.shape[0])
        _draw_field(axes, reading)
        _draw_lungs(axes, labels, view, list(fit.lungs))
        axes.set_title(f"{picture.side}: seen (yellow) and fitted", fontsize=10)
        axes.set_axis_off()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _draw_field(axes: Axes, reading: Reading) -> None:
    for field in reading.field:
        rows, columns = (
            (np.arange(n) + 0.5) * step - 0.5 for n, step in zip(field.shape, reading.step_px, strict=True)
        )
        if float(field.max()) > 0.5:
            axes.contour(columns, rows, field, [0.5], colors=_SEEN_COLOR, linewidths=0.8)


def _draw_lungs(axes: Axes, labels: Volume, view: View, names: list[str]) -> None:
    structures = {name: (value,) for value, name in enumerate(names, start=1)}
    paths = path_lengths_of_labels(labels, view, structures)
    for index, lengths in enumerate(paths):
        if float(lengths.max()) > _OUTLINE_MM:
            axes.contour(lengths, [_OUTLINE_MM], colors=_COLORS[index % 2], linewidths=1.4)

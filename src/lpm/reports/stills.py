"""Still 3D pictures without a graphics library: for pages in browsers that show no 3D."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from lpm.reports.scenes import (
    FRONTAL,
    OBLIQUE,
    Image,
    Layer,
    View,
    Window,
    letter_sides,
    new_figure,
    rgb,
    save_png,
    scale_bar,
    window_of,
)

_COLUMNS = 6
_FRAME_INCHES = 3.6
_LIGHT = np.array([0.35, 0.45, 0.82])


def draw_still(layers: Sequence[Layer], path: Path, views: Sequence[View] = (FRONTAL, OBLIQUE)) -> None:
    """Draw closed meshes, shaded face by face, far ones first; meshes of some thousand faces.

    Args:
        layers: Meshes; points are left out.
        path: A .png.
        views: Side by side, to one scale.

    Raises:
        FileError: Not a .png, or the disk refuses.
    """
    meshes = [layer for layer in layers if layer.faces is not None]
    windows = [window_of(meshes, view) for view in views]
    half_size = np.max([window.half_size for window in windows], axis=0)
    figure = new_figure(3.6 * len(views), 3.6 * half_size[1] / half_size[0])
    for axes, view, window in zip(figure.subplots(1, len(views), squeeze=False)[0], views, windows, strict=True):
        _draw(axes, meshes, view, Window(window.center, half_size))
    save_png(figure, path)


def draw_panels(panels: Sequence[tuple[Sequence[Layer], View]], width: float = 3.2, extra: float = 0.0) -> Figure:
    """Draw closed meshes side by side, all to one scale, shaded face by face; meshes of some thousand faces.

    Args:
        panels: Meshes and a view each.
        width: Inches of each.
        extra: Inches across for a bar.
    """
    windows = [window_of(layers, view) for layers, view in panels]
    half_size = np.max([window.half_size for window in windows], axis=0)
    figure = new_figure(width * len(panels) + extra, width * half_size[1] / half_size[0] + 0.2)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (layers, view), window in zip(grid, panels, windows, strict=True):
        _draw(axes, layers, view, Window(window.center, half_size), lettered=axes is grid[0])
    return figure


def draw_frame(layers: Sequence[Layer], view: View, window: Window) -> Image:
    """Pixels of closed meshes in a given window, so that pictures of a series fit onto each other.

    Args:
        layers: Meshes of some thousand faces.
        view: Direction of view.
        window: What is in the picture.
    """
    figure = new_figure(_FRAME_INCHES, _FRAME_INCHES * window.half_size[1] / window.half_size[0])
    _draw(figure.subplots(), layers, view, window)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def draw_many(shapes: Sequence[Sequence[Layer]], path: Path, view: View = FRONTAL) -> None:
    """Draw shapes side by side, six in a row, all to one scale; meshes of a few thousand faces.

    Args:
        shapes: Each of some closed meshes.
        path: A .png.
        view: Direction of view.

    Raises:
        FileError: Not a .png, or the disk refuses.
    """
    windows = [window_of(layers, view) for layers in shapes]
    half_size = np.max([window.half_size for window in windows], axis=0)
    columns = min(len(shapes), _COLUMNS)
    rows = -(-len(shapes) // columns)
    figure = new_figure(1.6 * columns, 1.6 * rows * half_size[1] / half_size[0])
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, layers, window in zip(panels, shapes, windows, strict=False):
        _draw(axes, layers, view, Window(window.center, half_size), lettered=layers is shapes[0])
    for axes in panels[len(shapes) :]:
        axes.set_axis_off()
    save_png(figure, path)


def _draw(axes: Axes, meshes: Sequence[Layer], view: View, window: Window, *, lettered: bool = True) -> None:
    polygons, depths, colors = zip(*(_seen(layer, view) for layer in meshes), strict=True)
    order = np.argsort(np.concatenate(depths))
    chosen = np.concatenate(colors)[order]
    triangles = list(np.concatenate(polygons)[order])
    axes.add_collection(PolyCollection(triangles, facecolors=chosen, edgecolors=chosen, linewidths=0.3))
    left, right, bottom, top = window.extent
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.set_axis_off()
    if lettered:
        letter_sides(axes, view)
        scale_bar(axes, window)


def _seen(layer: Layer, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(f, 3, 2) triangles that face the viewer, how near they are, and (f, 3) their colours."""
    corners = (layer.points @ view.axes.T)[layer.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normals[:, 2] > 0
    corners, normals = corners[facing], normals[facing]
    light = np.clip(normals @ _LIGHT / np.linalg.norm(normals, axis=1), 0.0, 1.0)
    if isinstance(layer.color, str):
        base = np.broadcast_to(np.array(rgb(layer.color)) / 255.0, (len(corners), 3))
    else:
        base = layer.color[np.asarray(layer.faces)[facing]].mean(axis=1) / 255.0
    return corners[..., :2], corners[..., 2].mean(axis=1), base * (0.38 + 0.62 * light[:, None])

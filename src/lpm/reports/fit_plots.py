"""Pictures of fits as PNG: from few points to many, how sure a fit is, what the shape parameters do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from lpm.errors import InputError
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.reports.plots import ERROR_MAP, ERROR_NORM, error_layer
from lpm.reports.scenes import (
    BELOW,
    FRONTAL,
    OBLIQUE,
    OBLIQUE_RIGHT,
    Layer,
    draw_grid,
    mapped,
    save_png,
    solid,
    structure_color,
)

Meshes = Mapping[str, WorldMesh]
_BONE = "#d9d4cb"
SIGMA_MAP = colormaps["viridis"]


def plot_parts(found: Meshes, true: Meshes, path: Path, title: str = "") -> None:
    """Draw parts of structures, such as lobes, beside the true ones, each in its own colour, from both sides.

    Args:
        found: Reconstructed meshes by part, RAS mm.
        true: Meshes of the same parts.
        path: A .png.
        title: Above the picture.

    Raises:
        InputError: The parts differ, or there are none.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if not true or set(found) != set(true):
        raise InputError("plot_parts", f"{', '.join(found) or 'no parts'}", f"{', '.join(true) or 'some'}")
    colors = {name: structure_color(index) for index, name in enumerate(true)}
    truth, guess = ([solid(parts[name], color) for name, color in colors.items()] for parts in (true, found))
    figure = draw_grid([[(truth, view), (guess, view)] for view in (OBLIQUE_RIGHT, OBLIQUE)], 3.5, (0.0, 0.6))
    figure.axes[0].set_title("truth")
    figure.axes[1].set_title("prediction")
    figure.suptitle(title)
    save_png(figure, path)


def plot_amounts(found: Mapping[str, Meshes], true: Meshes, path: Path) -> None:
    """Draw reconstructions from more and more points beside the truth, coloured by their distance from it.

    Args:
        found: Reconstructions by what was observed, in words, RAS mm.
        true: Closed meshes of the same structures.
        path: A .png.

    Raises:
        InputError: Nothing was found.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if not found:
        raise InputError("plot_amounts", "no reconstructions", "at least one")
    columns = [[solid(mesh, _BONE) for mesh in true.values()]]
    columns += [[error_layer(lungs[name], mesh) for name, mesh in true.items()] for lungs in found.values()]
    figure = draw_grid([[(layers, view) for layers in columns] for view in (FRONTAL, BELOW)], 2.6, (0.9, 0.5))
    for axes, title in zip(figure.axes, ("truth", *found), strict=False):
        axes.set_title(title)
    _bar(figure, ERROR_NORM, ERROR_MAP, "distance to the true surface, mm")
    save_png(figure, path)


def plot_cases(cases: Mapping[str, tuple[Meshes, Meshes]], path: Path) -> None:
    """Draw reconstructions of several patients, each below its truth, coloured by their distance from it.

    Args:
        cases: Reconstruction and closed true meshes of the same structures, RAS mm, by a title.
        path: A .png.

    Raises:
        InputError: No case.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if not cases:
        raise InputError("plot_cases", "no cases", "at least one")
    truths = [[solid(mesh, _BONE) for mesh in true.values()] for _, true in cases.values()]
    errors = [[error_layer(found[name], true[name]) for name in true] for found, true in cases.values()]
    rows = [(truths, FRONTAL), (errors, FRONTAL), (errors, BELOW)]
    figure = draw_grid([[(layers, view) for layers in columns] for columns, view in rows], 2.6, (0.9, 0.6))
    for axes, title in zip(figure.axes, cases, strict=False):
        axes.set_title(title, fontsize="medium")
    _bar(figure, ERROR_NORM, ERROR_MAP, "distance to the true surface, mm")
    save_png(figure, path)


def plot_certainty(found: Meshes, sigma_mm: Mapping[str, Floats], true: Meshes, path: Path) -> None:
    """Draw lungs coloured by how uncertain a fit says that they are, beside its true error; one scale for both.

    Args:
        found: Reconstructed meshes by structure, RAS mm.
        sigma_mm: (v,) standard deviation of each vertex, by structure.
        true: Closed meshes of the same structures.
        path: A .png.

    Raises:
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    errors = {name: closest_points(true[name], mesh.vertices).distance for name, mesh in found.items()}
    top = float(np.percentile(np.concatenate([*errors.values(), *sigma_mm.values()]), 98))
    norm = Normalize(0.0, top)
    columns = [[_colored(found[name], values[name], norm) for name in found] for values in (sigma_mm, errors)]
    figure = draw_grid([[(layers, view) for layers in columns] for view in (FRONTAL, BELOW)], 3.2, (0.9, 0.5))
    figure.axes[0].set_title("standard deviation")
    figure.axes[1].set_title("distance to the true surface")
    _bar(figure, norm, SIGMA_MAP, "mm")
    save_png(figure, path)


def plot_sigma(found: Meshes, sigma_mm: Mapping[str, Floats], path: Path) -> None:
    """Draw lungs coloured by how uncertain a fit says that they are.

    Args:
        found: Reconstructed meshes by structure, RAS mm.
        sigma_mm: (v,) standard deviation of each vertex, by structure.
        path: A .png.

    Raises:
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    norm = Normalize(0.0, float(np.percentile(np.concatenate(list(sigma_mm.values())), 98)))
    layers = [_colored(mesh, sigma_mm[name], norm) for name, mesh in found.items()]
    figure = draw_grid([[(layers, view) for view in (FRONTAL, BELOW)]], 3.5, (0.9, 0.3))
    for axes, view in zip(figure.axes, (FRONTAL, BELOW), strict=True):
        axes.set_title(view.name, fontsize=9, y=1.01)
    _bar(figure, norm, SIGMA_MAP, "standard deviation, mm")
    save_png(figure, path)


def plot_sweep(rows: Sequence[tuple[str, Sequence[Meshes]]], titles: Sequence[str], path: Path) -> None:
    """Draw what single shape parameters do.

    Args:
        rows: Name of each parameter, and the lungs for each of its values, about the origin.
        titles: The values.
        path: A .png.

    Raises:
        InputError: No parameter.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if not rows:
        raise InputError("plot_sweep", "no shape parameter", "at least one")
    views = (FRONTAL, OBLIQUE)
    panels = [[(_in_colors(lungs), view) for view in views for lungs in values] for _, values in rows]
    figure = draw_grid(panels, 1.6, (0.5, 0.4))
    for axes, title in zip(figure.axes, [*titles] * len(views), strict=False):
        axes.set_title(title, fontsize=8)
    for (name, _), axes in zip(rows, figure.axes[:: len(titles) * len(views)], strict=True):
        _name_row(axes, name)
    save_png(figure, path)


def _in_colors(lungs: Meshes) -> list[Layer]:
    return [solid(mesh, structure_color(index)) for index, mesh in enumerate(lungs.values())]


def _name_row(axes: Axes, name: str) -> None:
    axes.text(-0.04, 0.5, name, rotation=90, ha="right", va="center", fontsize=8, transform=axes.transAxes)


def _colored(mesh: WorldMesh, values: Floats, norm: Normalize) -> Layer:
    return Layer(mesh.vertices, mesh.faces, mapped(values, norm, SIGMA_MAP))


def _bar(figure: Figure, norm: Normalize, colors: Colormap, label: str) -> None:
    bar = figure.colorbar(ScalarMappable(norm, colors), ax=figure.axes, shrink=0.6, pad=0.02, extend="max")
    bar.set_label(label)

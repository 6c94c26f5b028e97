"""Pictures as PNG: losses, samples, smoothing, reconstructions, lungs, methods (paper Figs. 4, 5, 9-12).

Every picture of a patient is in world RAS mm and in radiological convention: seen from the front, the patient's right
is on the picture's left. 3D pictures are rendered off screen by pyvista, in parallel projection, so that they have a
scale; everything else, and all lettering, is matplotlib's object interface, which has no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from lpm.errors import InputError
from lpm.evaluation.metrics import check_comparable
from lpm.geometry.distances import closest_points
from lpm.geometry.meshes import WorldMesh
from lpm.preparation.sampling import SdfSamples, StructureSurfaces
from lpm.reports.scenes import (
    BELOW,
    CUTAWAY,
    FRONTAL,
    INK,
    OBLIQUE,
    Layer,
    Window,
    bare,
    draw_grid,
    mapped,
    mark,
    new_figure,
    rgb,
    save_png,
    show,
    solid,
    structure_color,
    window_of,
)

if TYPE_CHECKING:  # a picture of lungs needs no torch
    from lpm.model.network.training import EpochReport

MAX_ERROR_MM = 8.0
SLAB_HALF_WIDTH_MM = 6.0
_BONE = "#d9d4cb"
_CURVE_COLORS = ("#1f5a94", "#c8553d")
_DISTANCE_NORM = AsinhNorm(linear_width=2.0, vmin=-40.0, vmax=40.0)
_DISTANCE_MAP = colormaps["RdBu_r"]
ERROR_NORM = Normalize(0.0, MAX_ERROR_MM)
ERROR_MAP = LinearSegmentedColormap.from_list("error", [_BONE, "#f6c453", "#e8622c", "#a30f2d", "#4a0a33"])
_NEAR_MM = 12.0
_LOSS_PLOTS = {
    "loss_total.png": (("total", "overall loss"),),
    "loss_sdf.png": (("surface", "surface SDF loss"), ("off_surface", "off-surface SDF loss")),
    "loss_regularisers.png": (("eikonal", "eikonal loss"), ("latent", "latent loss")),
}


# --- Charts ----------------------------------------------------------------------------------------------------------


def plot_losses(log: Sequence[EpochReport], folder: Path) -> list[Path]:
    """Draw the training's curves (paper Figs. 9-12): overall; surface and off-surface; eikonal and latent.

    Args:
        log: One record an epoch.
        folder: Output folder of `loss_total.png`, `loss_sdf.png` and `loss_regularisers.png`.

    Returns:
        Their paths, in this order.

    Raises:
        InputError: The log is empty or lacks a loss.
        FileError: The disk refuses.
    """
    if not log:
        raise InputError("training log", "no epochs", "at least one", "train first")
    names = [name for curves in _LOSS_PLOTS.values() for name, _ in curves]
    if missing := [name for name in names if any(name not in report.losses for report in log)]:
        raise InputError("training log", f"no loss called {', '.join(missing)}", f"each epoch has {', '.join(names)}")
    for file, curves in _LOSS_PLOTS.items():
        save_png(_draw_losses(log, curves), folder / file)
    return [folder / file for file in _LOSS_PLOTS]


def _draw_losses(log: Sequence[EpochReport], curves: Sequence[tuple[str, str]]) -> Figure:
    figure = new_figure(7.2, 3.8)
    axes = figure.subplots()
    epochs = [report.epoch for report in log]
    for (name, label), color in zip(curves, _CURVE_COLORS, strict=False):
        values = np.array([report.losses[name] for report in log])
        positive = np.where(values > 0, values, np.nan)  # a logarithmic axis has no place for 0
        axes.plot(epochs, positive, color=color, label=label, lw=1.6, marker="o" if len(log) < 30 else "", ms=3)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="loss (log scale)", title=_capital(" and ".join(label for _, label in curves)))
    axes.grid(which="major", color="#d5d8dc", lw=0.7)
    axes.grid(which="minor", color="#eceef0", lw=0.5)
    axes.legend(frameon=False)
    bare(axes)
    return figure


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def plot_methods(summaries: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path) -> None:
    """Compare methods: mean average symmetric surface distance of each with its 95 % interval.

    Args:
        summaries: Method name to what `lpm.evaluation.metrics.summarise` gives; drawn from top to bottom.
        path: A .png.

    Raises:
        InputError: There are no methods, or one has no ``assd_mm``.
        FileError: Not a .png, or the disk refuses.
    """
    if not summaries:
        raise InputError("plot_methods", "no methods", "at least one summary")
    if missing := [method for method, summary in summaries.items() if "assd_mm" not in summary]:
        raise InputError(
            "plot_methods", f"no assd_mm for {', '.join(missing)}", "it in every summary", "summarise them"
        )
    figure = new_figure(7.2, 1.1 + 0.36 * len(summaries))
    axes = figure.subplots()
    for row, summary in enumerate(summaries.values()):
        _draw_interval(axes, row, summary["assd_mm"])
    axes.set_yticks(range(len(summaries)), list(summaries))
    axes.set_ylim(len(summaries) - 0.5, -0.5)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("average symmetric surface distance, mm (mean and 95 % interval; smaller is better)")
    axes.grid(axis="x", color="#e1e4e8", lw=0.7)
    axes.tick_params(axis="y", length=0)
    bare(axes)
    save_png(figure, path)


def _draw_interval(axes: Axes, row: int, number: Mapping[str, float]) -> None:
    low, mean, high = number["low"], number["mean"], number["high"]
    axes.plot([low, high], [row, row], color=_CURVE_COLORS[0], lw=2.2, alpha=0.55, solid_capstyle="round")
    axes.plot(mean, row, "o", color=_CURVE_COLORS[0], ms=7)
    text = f"{mean:.2f}  [{low:.2f}, {high:.2f}]"
    axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=INK)


# --- Samples ---------------------------------------------------------------------------------------------------------


def plot_samples(surface: StructureSurfaces, off: SdfSamples, path: Path) -> None:
    """Draw what the network is trained on (paper Fig. 5): surface points, and off-surface points by signed distance.

    Args:
        surface: RAS mm.
        off: RAS mm; of several structures the smallest distance counts (their union).
        path: A .png.

    Raises:
        InputError: There are no surface or no off-surface points.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if not len(surface.points_mm) or not len(off.points_mm):
        given = f"{len(surface.points_mm)} surface and {len(off.points_mm)} off-surface points"
        raise InputError("plot_samples", given, "at least one of each")
    middle_mm = float(surface.points_mm[:, 1].min() + surface.points_mm[:, 1].max()) / 2.0
    on_surface, cut = _surface_cloud(surface), _cut_cloud(off, middle_mm)
    figure = new_figure(9.6, 3.9)
    left, center, right = figure.subplots(1, 3)
    window = window_of([on_surface, cut], CUTAWAY)
    show([on_surface], FRONTAL, window_of([on_surface, cut], FRONTAL), left)
    show([cut], CUTAWAY, window, center)
    left.set_title("surface points\n")
    center.set_title(f"off-surface points, cut open\n(up to {_NEAR_MM:.0f} mm outside)")
    _draw_slab(right, surface, off, middle_mm)
    bar = figure.colorbar(ScalarMappable(_DISTANCE_NORM, _DISTANCE_MAP), ax=right, shrink=0.8, pad=0.02, format=_signed)
    bar.set_ticks([-40, -20, -10, -5, -2, 0, 2, 5, 10, 20, 40], minor=False)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label("signed distance, mm (negative inside)")
    save_png(figure, path)


def _signed(value: float, _position: int | None = None) -> str:
    return f"{value:+.0f}" if value else "0"


def _surface_cloud(surface: StructureSurfaces) -> Layer:
    """Points of the far side would shine through the gaps: only those that face the viewer are drawn."""
    is_seen = surface.normals @ np.array(FRONTAL.viewer) > 0
    points, structure = surface.points_mm[is_seen][:60_000], surface.structure[is_seen][:60_000]
    shade = 0.45 + 0.55 * (surface.normals[is_seen][:60_000] @ np.array(FRONTAL.viewer))
    colors = np.array([rgb(structure_color(int(index))) for index in structure])
    return Layer(points, None, np.asarray(colors * shade[:, None], dtype=np.uint8))


def _cut_cloud(off: SdfSamples, middle_mm: float) -> Layer:
    distance = off.signed_distance_mm.min(axis=1)
    kept = np.flatnonzero((off.points_mm[:, 1] < middle_mm) & (distance < _NEAR_MM))[:60_000]
    return Layer(off.points_mm[kept], None, mapped(distance[kept], _DISTANCE_NORM, _DISTANCE_MAP))


def _draw_slab(axes: Axes, surface: StructureSurfaces, off: SdfSamples, middle_mm: float) -> None:
    """A coronal slab as a radiologist sees it: R runs to the picture's left."""
    near = np.abs(off.points_mm[:, 1] - middle_mm) < SLAB_HALF_WIDTH_MM
    edge = np.abs(surface.points_mm[:, 1] - middle_mm) < SLAB_HALF_WIDTH_MM / 4.0
    points, distance = off.points_mm[near], off.signed_distance_mm[near].min(axis=1)
    axes.set_facecolor("#eeeeee")
    axes.scatter(points[:, 0], points[:, 2], c=distance, s=1.5, lw=0, cmap=_DISTANCE_MAP, norm=_DISTANCE_NORM)
    axes.scatter(surface.points_mm[edge, 0], surface.points_mm[edge, 2], c="black", s=0.6, lw=0)
    axes.set_aspect("equal")
    axes.invert_xaxis()
    axes.set(xlabel="R, mm", ylabel="S, mm")
    axes.set_title(f"coronal slab\n(A = {middle_mm:.0f} ± {SLAB_HALF_WIDTH_MM:.0f} mm)")
    axes.tick_params(labelsize=8)


# --- Meshes ----------------------------------------------------------------------------------------------------------


def plot_lungs(meshes: Mapping[str, WorldMesh], path: Path) -> None:
    """Draw structures in their colours, from the front and from the side.

    Args:
        meshes: Meshes by structure, in the model's order: the colour goes by place in it, RAS mm.
        path: A .png.

    Raises:
        InputError: There are no meshes.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if not meshes:
        raise InputError("plot_lungs", "no meshes", "at least one structure")
    layers = [solid(mesh, structure_color(index)) for index, mesh in enumerate(meshes.values())]
    figure = draw_grid([[(layers, view) for view in (FRONTAL, OBLIQUE)]], 4.0, (0.0, 0.3))
    for axes, view in zip(figure.axes, (FRONTAL, OBLIQUE), strict=True):
        axes.set_title(view.name, fontsize=9, y=1.01)
    save_png(figure, path)


def plot_smoothing(raw: WorldMesh, smooth: WorldMesh, path: Path) -> None:
    """Draw a surface before and after smoothing (paper Fig. 4): whole, and close up with its triangles.

    Args:
        raw: Marching cubes of the mask as it is, RAS mm.
        smooth: The same structure after filtering and smoothing.
        path: A .png.

    Raises:
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    spot = smooth.vertices[np.argmax(smooth.vertices @ OBLIQUE.axes[2])]
    close = Window(OBLIQUE.axes[:2] @ spot, np.full(2, 0.06 * np.ptp(smooth.vertices[:, 2])))
    figure = new_figure(6.4, 6.4)
    axes = figure.subplots(2, 2)
    for column, (name, mesh) in enumerate((("marching cubes", raw), ("smoothed", smooth))):
        whole = solid(mesh, _BONE, flat=True)
        show([whole], OBLIQUE, window_of([whole], OBLIQUE), axes[0, column])
        show([solid(mesh, _BONE, flat=True, edges=True)], OBLIQUE, close, axes[1, column])
        axes[0, column].set_title(f"{name}, {len(mesh.faces):,} triangles")
        mark(axes[0, column], close)
    save_png(figure, path)


def plot_reconstruction(
    predicted: Mapping[str, WorldMesh], true: Mapping[str, WorldMesh], path: Path, title: str = ""
) -> None:
    """Draw the truth beside the prediction, which is coloured by its distance to the truth.

    Args:
        predicted: Predicted meshes by structure, RAS mm.
        true: Closed meshes of the same structures.
        path: A .png.
        title: Above the picture: the case, the number of points.

    Raises:
        InputError: The structures differ, or a mesh cannot be compared.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    check_comparable(predicted, true)
    truth = [solid(mesh, _BONE) for mesh in true.values()]
    guess = [error_layer(predicted[name], mesh) for name, mesh in true.items()]
    figure = draw_grid([[(truth, view), (guess, view)] for view in (FRONTAL, BELOW)], 3.5, (0.9, 0.7))
    figure.axes[0].set_title("truth")
    figure.axes[1].set_title("prediction")
    bar = figure.colorbar(ScalarMappable(ERROR_NORM, ERROR_MAP), ax=figure.axes, shrink=0.6, pad=0.02, extend="max")
    bar.set_label("distance to the true surface, mm")
    figure.suptitle(title)
    save_png(figure, path)


def error_layer(predicted: WorldMesh, true: WorldMesh) -> Layer:
    """A mesh coloured by its distance to the truth."""
    distance = closest_points(true, predicted.vertices).distance
    return Layer(predicted.vertices, predicted.faces, mapped(distance, ERROR_NORM, ERROR_MAP))

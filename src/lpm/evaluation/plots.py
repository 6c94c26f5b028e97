"""Pictures as PNG: losses, samples, smoothing, reconstructions, lungs, methods (paper Figs. 4, 5, 9-12).

Every picture of a patient is in world RAS mm and in radiological convention: seen from the front, the patient's right
is on the picture's left. 3D pictures are rendered off screen by pyvista, in parallel projection, so that they have a
scale; everything else, and all lettering, is matplotlib's object interface, which has no global state.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray
from PIL import Image as Pillow  # matplotlib needs it too

from lpm.errors import FileError, InputError, MissingExtraError
from lpm.evaluation.metrics import check_comparable
from lpm.files.atomic import atomic_file
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Indices, WorldMesh
from lpm.preparation.sampling import SdfSamples, StructureSurfaces

if TYPE_CHECKING:  # a picture of lungs needs no torch
    from lpm.model.training import EpochReport

Image = NDArray[np.uint8]
MAX_ERROR_MM = 8.0
SLAB_HALF_WIDTH_MM = 6.0
_DPI, _RENDER_PX = 150, 900
_INK, _GREY = "#222222", "#8a8f98"
_BONE = "#d9d4cb"
_STRUCTURE_COLORS = ("#d98a74", "#6f9bc6", "#8fb573", "#d3b25c", "#a58bc0")
_CURVE_COLORS = ("#1f5a94", "#c8553d")
_DISTANCE_NORM = AsinhNorm(linear_width=2.0, vmin=-40.0, vmax=40.0)
_DISTANCE_MAP = colormaps["RdBu_r"]
_ERROR_NORM = Normalize(0.0, MAX_ERROR_MM)
_ERROR_MAP = LinearSegmentedColormap.from_list("error", [_BONE, "#f6c453", "#e8622c", "#a30f2d", "#4a0a33"])
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
        folder: Where `loss_total.png`, `loss_sdf.png` and `loss_regularisers.png` go.

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
        _save(_draw_losses(log, curves), folder / file)
    return [folder / file for file in _LOSS_PLOTS]


def _draw_losses(log: Sequence[EpochReport], curves: Sequence[tuple[str, str]]) -> Figure:
    figure = _figure(7.2, 3.8)
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
    _bare(axes)
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
    figure = _figure(7.2, 1.1 + 0.36 * len(summaries))
    axes = figure.subplots()
    for row, summary in enumerate(summaries.values()):
        _draw_interval(axes, row, summary["assd_mm"])
    axes.set_yticks(range(len(summaries)), list(summaries))
    axes.set_ylim(len(summaries) - 0.5, -0.5)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("average symmetric surface distance, mm (mean and 95 % interval; smaller is better)")
    axes.grid(axis="x", color="#e1e4e8", lw=0.7)
    axes.tick_params(axis="y", length=0)
    _bare(axes)
    _save(figure, path)


def _draw_interval(axes: Axes, row: int, number: Mapping[str, float]) -> None:
    low, mean, high = number["low"], number["mean"], number["high"]
    axes.plot([low, high], [row, row], color=_CURVE_COLORS[0], lw=2.2, alpha=0.55, solid_capstyle="round")
    axes.plot(mean, row, "o", color=_CURVE_COLORS[0], ms=7)
    text = f"{mean:.2f}  [{low:.2f}, {high:.2f}]"
    axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=_INK)


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
    figure = _figure(9.6, 3.9)
    left, center, right = figure.subplots(1, 3)
    window = _window_of([on_surface, cut], CUTAWAY)
    _show([on_surface], FRONTAL, _window_of([on_surface, cut], FRONTAL), left)
    _show([cut], CUTAWAY, window, center)
    left.set_title("surface points\n")
    center.set_title(f"off-surface points, cut open\n(up to {_NEAR_MM:.0f} mm outside)")
    _draw_slab(right, surface, off, middle_mm)
    bar = figure.colorbar(ScalarMappable(_DISTANCE_NORM, _DISTANCE_MAP), ax=right, shrink=0.8, pad=0.02, format=_signed)
    bar.set_ticks([-40, -20, -10, -5, -2, 0, 2, 5, 10, 20, 40], minor=False)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label("signed distance, mm (negative inside)")
    _save(figure, path)


def _signed(value: float, _position: int | None = None) -> str:
    return f"{value:+.0f}" if value else "0"


def _surface_cloud(surface: StructureSurfaces) -> _Layer:
    """Points of the far side would shine through the gaps: only those that face the viewer are drawn."""
    is_seen = surface.normals @ np.array(FRONTAL.viewer) > 0
    points, structure = surface.points_mm[is_seen][:60_000], surface.structure[is_seen][:60_000]
    shade = 0.45 + 0.55 * (surface.normals[is_seen][:60_000] @ np.array(FRONTAL.viewer))
    colors = np.array([_rgb(_color(int(index))) for index in structure])
    return _Layer(points, None, np.asarray(colors * shade[:, None], dtype=np.uint8))


def _cut_cloud(off: SdfSamples, middle_mm: float) -> _Layer:
    distance = off.signed_distance_mm.min(axis=1)
    kept = np.flatnonzero((off.points_mm[:, 1] < middle_mm) & (distance < _NEAR_MM))[:60_000]
    return _Layer(off.points_mm[kept], None, _mapped(distance[kept], _DISTANCE_NORM, _DISTANCE_MAP))


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
        meshes: By structure, in the model's order: the colour goes by place in it, RAS mm.
        path: A .png.

    Raises:
        InputError: There are no meshes.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    if not meshes:
        raise InputError("plot_lungs", "no meshes", "at least one structure")
    layers = [_solid(mesh, _color(index)) for index, mesh in enumerate(meshes.values())]
    _save(_draw_grid([[(layers, view) for view in (FRONTAL, OBLIQUE)]], 4.0), path)


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
    close = _Window(OBLIQUE.axes[:2] @ spot, np.full(2, 0.06 * np.ptp(smooth.vertices[:, 2])))
    figure = _figure(6.4, 6.4)
    axes = figure.subplots(2, 2)
    for column, (name, mesh) in enumerate((("marching cubes", raw), ("smoothed", smooth))):
        whole = _solid(mesh, _BONE, flat=True)
        _show([whole], OBLIQUE, _window_of([whole], OBLIQUE), axes[0, column])
        _show([_solid(mesh, _BONE, flat=True, edges=True)], OBLIQUE, close, axes[1, column])
        axes[0, column].set_title(f"{name}, {len(mesh.faces):,} triangles")
        _mark(axes[0, column], close)
    _save(figure, path)


def plot_reconstruction(
    predicted: Mapping[str, WorldMesh], true: Mapping[str, WorldMesh], path: Path, title: str = ""
) -> None:
    """Draw the truth beside the prediction, which is coloured by its distance to the truth.

    Args:
        predicted: By structure, RAS mm.
        true: Closed meshes of the same structures.
        path: A .png.
        title: Above the picture: the case, the number of points.

    Raises:
        InputError: The structures differ, or a mesh cannot be compared.
        FileError: Not a .png, or the disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    check_comparable(predicted, true)
    truth = [_solid(mesh, _BONE) for mesh in true.values()]
    guess = [_error_layer(predicted[name], mesh) for name, mesh in true.items()]
    figure = _draw_grid([[(truth, view), (guess, view)] for view in (FRONTAL, BELOW)], 3.5, (0.9, 0.7))
    figure.axes[0].set_title("truth")
    figure.axes[1].set_title("prediction")
    bar = figure.colorbar(ScalarMappable(_ERROR_NORM, _ERROR_MAP), ax=figure.axes, shrink=0.6, pad=0.02, extend="max")
    bar.set_label("distance to the true surface, mm")
    figure.suptitle(title)
    _save(figure, path)


def _error_layer(predicted: WorldMesh, true: WorldMesh) -> _Layer:
    distance = closest_points(true, predicted.vertices).distance
    return _Layer(predicted.vertices, predicted.faces, _mapped(distance, _ERROR_NORM, _ERROR_MAP))


# --- 3D --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """Where the patient is looked at from; the head is up.

    Args:
        name: What to call it.
        viewer: (3,) direction from the patient to the viewer, R A S.
    """

    name: str
    viewer: tuple[float, float, float]

    @property
    def axes(self) -> Floats:
        """(3, 3) rows: to the picture's right, up in the picture, to the viewer; unit, R A S."""
        to_viewer = np.array(self.viewer) / np.linalg.norm(self.viewer)
        right = np.cross((0.0, 0.0, 1.0), to_viewer)
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(to_viewer, right), to_viewer])


FRONTAL = View("from the front", (0.0, 1.0, 0.0))
OBLIQUE = View("from the front left", (-0.8, 0.6, 0.2))
CUTAWAY = View("from the front left, above", (-0.45, 1.0, 0.35))
BELOW = View("from behind left, below", (-0.7, -0.7, -0.35))


@dataclass(frozen=True)
class _Window:
    """What part of a view's plane is in the picture: centre and half size (right, up), mm."""

    center: Floats
    half_size: Floats

    @property
    def extent(self) -> tuple[float, float, float, float]:
        (x, y), (w, h) = self.center.tolist(), self.half_size.tolist()
        return x - w, x + w, y - h, y + h


@dataclass(frozen=True)
class _Layer:
    """A mesh, or points where faces are None; one colour, or (n, 3) a vertex."""

    points: Floats
    faces: Indices | None
    color: str | Image
    flat: bool = False
    edges: bool = False


def _solid(mesh: WorldMesh, color: str, *, flat: bool = False, edges: bool = False) -> _Layer:
    return _Layer(mesh.vertices, mesh.faces, color, flat, edges)


def _window_of(layers: Sequence[_Layer], view: View) -> _Window:
    flat = np.concatenate([layer.points for layer in layers]) @ view.axes[:2].T
    low, high = flat.min(axis=0), flat.max(axis=0)
    return _Window((low + high) / 2.0, (high - low) / 2.0 * 1.04 + 1e-3)


def _draw_grid(
    panels: Sequence[Sequence[tuple[Sequence[_Layer], View]]], panel_width: float, extra: tuple[float, float] = (0, 0)
) -> Figure:
    """Draw panels that all have one scale; a row shows one window, so that what it compares lies side by side.

    Args:
        panels: Rows of layers with a view.
        panel_width: Inches.
        extra: Inches (across, up) for titles and bars.
    """
    windows = [[_shared_window(row, view) for _, view in row] for row in panels]
    half_size = np.max([window.half_size for row in windows for window in row], axis=0)
    n_rows, n_columns = len(panels), len(panels[0])
    height = panel_width * half_size[1] / half_size[0]
    figure = _figure(n_columns * panel_width + extra[0], n_rows * height + extra[1])
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for row, row_windows, row_axes in zip(panels, windows, grid, strict=True):
        for (layers, view), window, axes in zip(row, row_windows, row_axes, strict=True):
            _show(layers, view, _Window(window.center, half_size), axes)
    return figure


def _shared_window(row: Sequence[tuple[Sequence[_Layer], View]], view: View) -> _Window:
    return _window_of([layer for layers, seen_from in row if seen_from == view for layer in layers], view)


def _show(layers: Sequence[_Layer], view: View, window: _Window, axes: Axes) -> None:
    axes.imshow(_render(layers, view, window, _RENDER_PX), extent=window.extent)
    axes.set_axis_off()
    _letter_sides(axes, view)
    _scale_bar(axes, window)


def _render(layers: Sequence[_Layer], view: View, window: _Window, height_px: int) -> Image:
    pyvista = _pyvista()
    size = (round(height_px * window.half_size[0] / window.half_size[1]), height_px)
    with pyvista.vtk_verbosity("off"):  # without a display VTK warns, and then renders all the same
        plotter = pyvista.Plotter(off_screen=True, window_size=size, lighting="light kit")
        try:
            for layer in layers:
                _add(pyvista, plotter, layer)
            _aim(plotter, view, window)
            return np.asarray(plotter.screenshot(None, return_img=True), dtype=np.uint8)[..., :3]
        finally:
            plotter.close()


def _add(pyvista: Any, plotter: Any, layer: _Layer) -> None:
    is_mesh = layer.faces is not None
    data = pyvista.make_tri_mesh(layer.points, layer.faces) if is_mesh else pyvista.PolyData(layer.points)
    look: dict[str, Any] = {"color": layer.color} if isinstance(layer.color, str) else {"scalars": "rgb", "rgb": True}
    if not isinstance(layer.color, str):
        data["rgb"] = layer.color
    if is_mesh:
        look |= {"smooth_shading": not layer.flat, "ambient": 0.12, "specular": 0.15, "specular_power": 15}
        look |= {"show_edges": layer.edges, "edge_color": "#55585e", "line_width": 1}
    else:
        look |= {"style": "points", "point_size": 5, "render_points_as_spheres": True, "lighting": False}
    plotter.add_mesh(data, **look)


def _aim(plotter: Any, view: View, window: _Window) -> None:
    """Parallel projection: mm in the picture are mm in the plane across the view."""
    center = window.center @ view.axes[:2]
    camera = plotter.camera
    camera.focal_point, camera.position, camera.up = center, center + 2000.0 * view.axes[2], view.axes[1]
    camera.parallel_projection, camera.parallel_scale = True, float(window.half_size[1])
    plotter.renderer.ResetCameraClippingRange()


def _pyvista() -> Any:
    try:
        return importlib.import_module("pyvista")
    except ImportError as error:
        hint = "pip install 'lungs-parametric-model[pictures]'"
        raise MissingExtraError("3D pictures", "pyvista is not installed", "the extra 'pictures'", hint) from error


# --- Lettering and files ---------------------------------------------------------------------------------------------


def _letter_sides(axes: Axes, view: View) -> None:
    """Letter the picture's edges with the patient's sides, where the view is straight enough to have them."""
    across = view.axes[0]
    axis = int(np.argmax(np.abs(across)))
    if abs(across[axis]) < 0.95:
        return
    ends = ("LPI"[axis], "RAS"[axis])
    left, right = ends if across[axis] > 0 else ends[::-1]
    axes.text(0.01, 0.5, left, transform=axes.transAxes, ha="left", color=_GREY, weight="bold")
    axes.text(0.99, 0.5, right, transform=axes.transAxes, ha="right", color=_GREY, weight="bold")


def _scale_bar(axes: Axes, window: _Window) -> None:
    length = 50.0 if window.half_size[0] > 60 else 5.0
    left, _, bottom, top = window.extent
    y = bottom + 0.02 * (top - bottom)
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.plot([left + 2, left + 2 + length], [y, y], color=_INK, lw=2, solid_capstyle="butt", path_effects=halo)
    text = f"{length:.0f} mm"
    axes.text(left + 2 + length / 2, y, text, ha="center", va="bottom", fontsize=8, color=_INK, path_effects=halo)


def _mark(axes: Axes, window: _Window) -> None:
    left, right, bottom, top = window.extent
    axes.plot([left, right, right, left, left], [bottom, bottom, top, top, bottom], color=_CURVE_COLORS[1], lw=1.2)


def _color(index: int) -> str:
    return _STRUCTURE_COLORS[index % len(_STRUCTURE_COLORS)]


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color.removeprefix("#")))


def _mapped(values: Floats, norm: Normalize, colors: Colormap) -> Image:
    return np.asarray(colors(norm(np.clip(values, norm.vmin, norm.vmax)), bytes=True)[:, :3])


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    """Write with 256 colours: half the size. Maximum coverage keeps rare ones, such as marks; dithering the shading."""
    if path.suffix.lower() != ".png":
        raise FileError(str(path), f"unknown kind {path.suffix!r}", ".png")
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = _without_margins(np.asarray(canvas.buffer_rgba())[..., :3])
    picture = Pillow.fromarray(pixels)
    with atomic_file(path) as temporary:
        picture.quantize(palette=_palette(picture), dither=Pillow.Dither.FLOYDSTEINBERG).save(temporary, format="PNG")


def _palette(picture: Pillow.Image) -> Pillow.Image:
    """Choose 256 colours; what a quantiser takes for white is only nearly so, which would show on a white page."""
    colors = np.array(picture.quantize(256, Pillow.Quantize.MAXCOVERAGE).getpalette()).reshape(-1, 3)
    colors[(colors >= 245).all(axis=1)] = 255
    palette = Pillow.new("P", (1, 1))
    palette.putpalette(colors.ravel().tolist())
    return palette


def _without_margins(pixels: Image, margin: int = 12) -> Image:
    """Crop white edges: the layout leaves more room than equal axes need."""
    rows, columns = (np.flatnonzero((pixels < 250).any(axis=(2, axis))) for axis in (1, 0))
    if not len(rows):
        return pixels
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    return np.ascontiguousarray(pixels[top : rows[-1] + margin, left : columns[-1] + margin])

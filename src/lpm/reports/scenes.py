"""3D pictures of meshes and clouds, their lettering, and PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image as Pillow

from lpm.errors import FileError, InputError
from lpm.extras import import_renderer
from lpm.files.atomic import atomic_file
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Indices, WorldMesh

Image = NDArray[np.uint8]
_DPI, _RENDER_PX = 150, 900
INK, GREY = "#222222", "#8a8f98"
MARK_COLOR = "#c8553d"
SEEN_COLOR = "#e8d25c"  # what was seen of a patient, beside what was fitted
_STRUCTURE_COLORS = ("#d98a74", "#6f9bc6", "#8fb573", "#d3b25c", "#a58bc0")


@dataclass(frozen=True)
class View:
    """Direction from which the patient is viewed; the head is up.

    Args:
        name: Name, for captions.
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
OBLIQUE_RIGHT = View("from the front right", (0.8, 0.6, 0.2))
CUTAWAY = View("from the front left, above", (-0.45, 1.0, 0.35))
BELOW = View("from behind left, below", (-0.7, -0.7, -0.35))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Window:
    """What part of a view's plane is in the picture: centre and half size (right, up), mm."""

    center: Floats
    half_size: Floats

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top, mm."""
        (x, y), (w, h) = self.center.tolist(), self.half_size.tolist()
        return x - w, x + w, y - h, y + h


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Layer:
    """A mesh, or points where faces are None; one colour, or (n, 3) a vertex."""

    points: Floats
    faces: Indices | None
    color: str | Image
    flat: bool = False
    edges: bool = False


def solid(mesh: WorldMesh, color: str, *, flat: bool = False, edges: bool = False) -> Layer:
    """Make a layer of a mesh in one colour."""
    return Layer(mesh.vertices, mesh.faces, color, flat, edges)


def mesh_of(layer: Layer) -> WorldMesh:
    """The mesh of a layer that is none of points.

    Raises:
        InputError: It is one of points.
    """
    if layer.faces is None:
        raise InputError("layer", "points", "a mesh")
    return WorldMesh(layer.points, layer.faces)


def window_of(layers: Sequence[Layer], view: View) -> Window:
    """Frame all layers, with a little room."""
    flat = np.concatenate([layer.points for layer in layers]) @ view.axes[:2].T
    low, high = flat.min(axis=0), flat.max(axis=0)
    return Window((low + high) / 2.0, (high - low) / 2.0 * 1.04 + 1e-3)


def draw_grid(
    panels: Sequence[Sequence[tuple[Sequence[Layer], View]]], panel_width: float, extra: tuple[float, float] = (0, 0)
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
    figure = new_figure(n_columns * panel_width + extra[0], n_rows * height + extra[1])
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for row, row_windows, row_axes in zip(panels, windows, grid, strict=True):
        for (layers, view), window, axes in zip(row, row_windows, row_axes, strict=True):
            show(layers, view, Window(window.center, half_size), axes)
    return figure


def _shared_window(row: Sequence[tuple[Sequence[Layer], View]], view: View) -> Window:
    return window_of([layer for layers, seen_from in row if seen_from == view for layer in layers], view)


def show(layers: Sequence[Layer], view: View, window: Window, axes: Axes) -> None:
    """Draw layers into axes, with the patient's sides and a scale."""
    axes.imshow(render(layers, view, window, _RENDER_PX), extent=window.extent)
    axes.set_axis_off()
    letter_sides(axes, view)
    scale_bar(axes, window)


def render(layers: Sequence[Layer], view: View, window: Window, height_px: int) -> Image:
    """Render layers off screen.

    Raises:
        MissingExtraError: pyvista is not installed, or cannot draw here.
    """
    pyvista = import_renderer("3D pictures")
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


def _add(pyvista: Any, plotter: Any, layer: Layer) -> None:
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


def _aim(plotter: Any, view: View, window: Window) -> None:
    """Parallel projection: mm in the picture are mm in the plane across the view."""
    center = window.center @ view.axes[:2]
    camera = plotter.camera
    camera.focal_point, camera.position, camera.up = center, center + 2000.0 * view.axes[2], view.axes[1]
    camera.parallel_projection, camera.parallel_scale = True, float(window.half_size[1])
    plotter.renderer.ResetCameraClippingRange()


# --- Lettering and files ---------------------------------------------------------------------------------------------


def letter_sides(axes: Axes, view: View) -> None:
    """Letter the picture's edges with the patient's sides, where the view is straight enough to have them."""
    across = view.axes[0]
    axis = int(np.argmax(np.abs(across)))
    if abs(across[axis]) < 0.95:
        return
    ends = ("LPI"[axis], "RAS"[axis])
    left, right = ends if across[axis] > 0 else ends[::-1]
    axes.text(0.01, 0.5, left, transform=axes.transAxes, ha="left", color=GREY, weight="bold")
    axes.text(0.99, 0.5, right, transform=axes.transAxes, ha="right", color=GREY, weight="bold")


def scale_bar(axes: Axes, window: Window) -> None:
    """Draw how long 50 mm are, or 5 close up, at the picture's lower left."""
    length = 50.0 if window.half_size[0] > 60 else 5.0
    left, _, bottom, top = window.extent
    y = bottom + 0.02 * (top - bottom)
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.plot([left + 2, left + 2 + length], [y, y], color=INK, lw=2, solid_capstyle="butt", path_effects=halo)
    text = f"{length:.0f} mm"
    middle = (left + 2 + length / 2, y)
    word = axes.annotate(text, middle, (0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=8)
    word.set(color=INK, path_effects=halo)


def mark(axes: Axes, window: Window) -> None:
    """Frame a part of a picture."""
    left, right, bottom, top = window.extent
    axes.plot([left, right, right, left, left], [bottom, bottom, top, top, bottom], color=MARK_COLOR, lw=1.2)


def structure_color(index: int) -> str:
    """Give each structure of a list its own colour, the same in every picture."""
    return _STRUCTURE_COLORS[index % len(_STRUCTURE_COLORS)]


def rgb(color: str) -> tuple[int, ...]:
    """Read #rrggbb."""
    return tuple(bytes.fromhex(color.removeprefix("#")))


def mapped(values: Floats, norm: Normalize, colors: Colormap) -> Image:
    """Take (n,) values to (n, 3) colours; values beyond the norm take its ends."""
    return np.asarray(colors(norm(np.clip(values, norm.vmin, norm.vmax)), bytes=True)[:, :3])


def bare(axes: Axes) -> None:
    """Take the frame's upper and right side away."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def new_figure(width: float, height: float) -> Figure:
    """Start a figure of so many inches."""
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def save_png(figure: Figure, path: Path) -> None:
    """Write with 256 colours: half the size. Maximum coverage keeps rare ones, such as marks; dithering the shading."""
    if path.suffix.lower() != ".png":
        raise FileError(str(path), f"unknown kind {path.suffix!r}", ".png")
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = without_margins(np.asarray(canvas.buffer_rgba())[..., :3])
    picture = Pillow.fromarray(pixels)
    with atomic_file(path) as temporary:
        picture.quantize(palette=palette_of(picture), dither=Pillow.Dither.FLOYDSTEINBERG).save(temporary, format="PNG")


def palette_of(picture: Pillow.Image) -> Pillow.Image:
    """Choose 256 colours; what a quantiser takes for white is only nearly so, which would show on a white page."""
    colors = np.array(picture.quantize(256, Pillow.Quantize.MAXCOVERAGE).getpalette()).reshape(-1, 3)
    colors[(colors >= 245).all(axis=1)] = 255
    palette = Pillow.new("P", (1, 1))
    palette.putpalette(colors.ravel().tolist())
    return palette


def without_margins(pixels: Image, margin: int = 12) -> Image:
    """Crop white edges: the layout leaves more room than equal axes need."""
    rows, columns = (np.flatnonzero((pixels < 250).any(axis=(2, axis))) for axis in (1, 0))
    if not len(rows):
        return pixels
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    return np.ascontiguousarray(pixels[top : rows[-1] + margin, left : columns[-1] + margin])

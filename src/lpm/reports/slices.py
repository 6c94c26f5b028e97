"""Orthogonal slices: where lungs run through what was seen of a patient, an image or points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.ndimage import map_coordinates
from trimesh.intersections import mesh_plane

from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh, joined
from lpm.geometry.volumes import Volume
from lpm.reports.scenes import INK, SEEN_COLOR, Layer, mesh_of, new_figure, save_png

_ACROSS = {0: (1, 2), 1: (0, 2), 2: (0, 1)}
_MARGIN_MM, _NEAR_MM, _PIXEL_MM = 12.0, 2.0, 1.0
_LUNG_WINDOW_HU = (-1350.0, 150.0)
_POINT_STYLE: dict[str, Any] = {"marker": "o", "ms": 3.4, "color": SEEN_COLOR, "mec": INK, "mew": 0.3, "ls": ""}
_MASK_COLOR = "#808080"  # the middle of the grey scale, in which a mask is drawn


def plot_slices(
    lungs: Mapping[str, Layer], path: Path, scan: Volume | None = None, points_mm: Floats | None = None
) -> None:
    """Draw a coronal and an axial slice through all lungs, and a sagittal one through each, with their outlines.

    A legend names the colours. Radiological convention: the patient's right is on the picture's left; of sagittal
    slices the front is.

    Args:
        lungs: Closed meshes by structure, RAS mm, in one colour each.
        path: A .png.
        scan: CT or labels under the outlines; any axes.
        points_mm: (n, 3) drawn where they lie within 2 mm of a slice.

    Raises:
        InputError: There are no lungs.
        FileError: Not a .png, or the disk refuses.
    """
    if not lungs:
        raise InputError("plot_slices", "no lungs", "at least one mesh")
    meshes = {name: mesh_of(layer) for name, layer in lungs.items()}
    whole = joined(meshes.values())
    middle = (whole.vertices.min(axis=0) + whole.vertices.max(axis=0)) / 2.0
    cuts = [(1, float(middle[1]), "coronal"), (2, float(middle[2]), "axial")]
    cuts += [(0, float(mesh.centroid[0]), f"sagittal, {name.replace('_', ' ')}") for name, mesh in meshes.items()]
    half_mm = float(np.ptp(whole.vertices, axis=0).max()) / 2.0 + _MARGIN_MM
    figure = new_figure(7.6, 3.9 * -(-len(cuts) // 2))
    panels = figure.subplots(-(-len(cuts) // 2), 2, squeeze=False).ravel()
    for axes in panels[len(cuts) :]:
        axes.set_axis_off()
    for axes, (axis, level, title) in zip(panels, cuts, strict=False):
        _frame(axes, middle, half_mm, axis)
        if scan is not None:
            _draw_image(axes, scan, axis, level)
        if points_mm is not None:
            _draw_points(axes, points_mm, axis, level)
        for name, mesh in meshes.items():
            _draw_outline(axes, mesh, axis, level, str(lungs[name].color))
        axes.set_title(f"{title}, {'RAS'[axis]} = {level:.0f} mm", fontsize=9)
    _name_colors(figure, lungs, scan, points_mm is not None)
    save_png(figure, path)


def _name_colors(figure: Figure, lungs: Mapping[str, Layer], scan: Volume | None, has_points: bool) -> None:
    """Below the slices: what each colour is."""
    shown: list[Line2D | Patch] = [
        Line2D([], [], color=str(layer.color), lw=1.6, label=f"{name.replace('_', ' ')}, fitted")
        for name, layer in lungs.items()
    ]
    if has_points:
        shown.append(Line2D([], [], label=f"points, within {_NEAR_MM:.0f} mm", **_POINT_STYLE))
    if scan is not None and _holds_labels(scan):
        shown.append(Patch(color=_MASK_COLOR, label="mask"))
    figure.legend(handles=shown, loc="outside lower center", ncols=4, fontsize=8, frameon=False)


def _holds_labels(scan: Volume) -> bool:
    return np.issubdtype(scan.voxels.dtype, np.unsignedinteger) or bool(scan.voxels.min() >= 0)


def _frame(axes: Axes, middle: Floats, half_mm: float, axis: int) -> None:
    """All slices have one scale."""
    across, up = _ACROSS[axis]
    x, y = middle[across], middle[up]
    axes.set(xlim=(x + half_mm, x - half_mm), ylim=(y - half_mm, y + half_mm), aspect="equal")
    axes.tick_params(labelsize=7, colors=INK)
    axes.set_xlabel(f"{'RAS'[across]}, mm", fontsize=8)
    axes.set_ylabel(f"{'RAS'[up]}, mm", fontsize=8)
    axes.set_facecolor("#f3f4f6")


def _draw_image(axes: Axes, scan: Volume, axis: int, level: float) -> None:
    across, up = _ACROSS[axis]
    (right, left), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    columns, rows = np.arange(left, right, _PIXEL_MM), np.arange(bottom, top, _PIXEL_MM)
    places = np.full((len(rows), len(columns), 3), level)
    places[..., across], places[..., up] = np.meshgrid(columns, rows)
    is_labels = _holds_labels(scan)
    voxels = scan.to_voxel(places.reshape(-1, 3)).T
    values = map_coordinates(
        (scan.voxels > 0).astype(np.float32) if is_labels else scan.voxels, voxels, order=1, cval=scan.voxels.min()
    )
    low, high = (0.0, 2.0) if is_labels else _LUNG_WINDOW_HU
    picture = values.reshape(len(rows), len(columns))
    axes.imshow(
        picture, cmap="gray", vmin=low, vmax=high, origin="lower", extent=(left, right, bottom, top), aspect="equal"
    )
    axes.set(xlim=(right, left), ylim=(bottom, top))


def _draw_points(axes: Axes, points_mm: Floats, axis: int, level: float) -> None:
    across, up = _ACROSS[axis]
    near = points_mm[np.abs(points_mm[:, axis] - level) < _NEAR_MM]
    axes.plot(near[:, across], near[:, up], **_POINT_STYLE)


def _draw_outline(axes: Axes, mesh: WorldMesh, axis: int, level: float, color: str) -> None:
    lines = list(outline_on(mesh, axis, level)[..., list(_ACROSS[axis])])
    axes.add_collection(LineCollection(lines, colors=color, linewidths=1.6))


def outline_on(mesh: WorldMesh, axis: int, level_mm: float) -> Floats:
    """Segments in which a plane cuts a mesh.

    Args:
        mesh: Any.
        axis: 0, 1, 2 for a plane of constant R, A, S.
        level_mm: Level of the plane.

    Returns:
        (n, 2, 3) RAS mm.
    """
    normal = np.eye(3)[axis]
    return np.asarray(mesh_plane(mesh.to_trimesh(), normal, level_mm * normal)).reshape(-1, 2, 3)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from lpm.errors import InputError
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.reports import xray_pictures
from lpm.reports.scenes import Layer, solid
from lpm.reports.slices import outline_on, plot_slices
from lpm.reports.stills import draw_still


def ball(center: tuple[float, float, float], radius: float) -> WorldMesh:
    shape = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return WorldMesh(np.asarray(shape.vertices) + center, np.asarray(shape.faces))


RIGHT, LEFT = ball((60.0, 0.0, 0.0), 40.0), ball((-60.0, 5.0, 10.0), 30.0)
LUNGS = {"left_lung": solid(LEFT, "#d98a74"), "right_lung": solid(RIGHT, "#6f9bc6")}


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def _has(pixels: np.ndarray, color: tuple[int, int, int], within: int = 20) -> np.ndarray:
    return (np.abs(pixels - color).max(axis=-1) < within).any(axis=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_plane_cuts_a_ball_in_a_circle(axis: int) -> None:
    mesh = ball((1.0, 2.0, 3.0), 40.0)
    lines = outline_on(mesh, axis, mesh.centroid[axis] + 20.0)
    assert lines[..., axis] == pytest.approx(mesh.centroid[axis] + 20.0)
    across = np.delete(lines - mesh.centroid, axis, axis=2)
    assert np.linalg.norm(across, axis=2) == pytest.approx(np.sqrt(40.0**2 - 20.0**2), abs=0.3)


def test_the_patient_s_right_is_on_the_picture_s_left(tmp_path: Path) -> None:
    plot_slices(LUNGS, tmp_path / "slices.png")
    half = _pixels(tmp_path / "slices.png")
    coronal = half[: half.shape[0] // 2, : half.shape[1] // 2]
    left, right = (np.flatnonzero(_has(coronal, color)) for color in ((0xD9, 0x8A, 0x74), (0x6F, 0x9B, 0xC6)))
    assert right.mean() < left.mean()


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_the_scan_lies_under_the_outlines_however_its_axes_run(tmp_path: Path, flip: float) -> None:
    voxels = np.full((100, 60, 60), -1000, dtype=np.int16)
    voxels[60:] = 100  # R above 20 mm is dense
    affine = np.diag([2.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-100.0, -120.0, -120.0)
    scan = Volume(voxels, affine)
    if flip < 0:
        affine = affine.copy()
        affine[0] = (-2.0, 0.0, 0.0, 98.0)
        scan = Volume(voxels[::-1].copy(), affine)
    plot_slices(LUNGS, tmp_path / "slices.png", scan)
    pixels = _pixels(tmp_path / "slices.png")
    row = pixels[pixels.shape[0] // 4, : pixels.shape[1] // 2].mean(axis=-1)
    middle = len(row) // 2
    assert np.median(row[middle - 150 : middle - 90]) > np.median(row[middle + 90 : middle + 150]) + 40


def test_slices_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no lungs"):
        plot_slices({}, tmp_path / "slices.png")


def test_points_are_no_mesh_to_cut(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="points"):
        plot_slices({"left_lung": Layer(LEFT.vertices, None, "#d98a74")}, tmp_path / "slices.png")


def test_a_still_shows_what_is_nearest(tmp_path: Path) -> None:
    front, back = solid(ball((0.0, 60.0, 0.0), 30.0), "#ff0000"), solid(ball((0.0, -60.0, 0.0), 40.0), "#0000ff")
    draw_still([front, back], tmp_path / "still.png")
    pixels = _pixels(tmp_path / "still.png")
    panel = pixels[:, : pixels.shape[1] // 2]
    rows, columns = np.nonzero((panel.max(axis=-1) - panel.min(axis=-1)) > 60)
    at = panel[int(rows.mean()), int(columns.mean())]
    assert at[0] > 100 > at[2]


def _legend(figure: Figure) -> dict[str, str]:
    """Names that a picture's legend has, and their colours."""
    (legend,) = figure.legends
    colors = [
        each.get_facecolor() if isinstance(each, Patch) else each.get_color() for each in legend.legend_handles if each
    ]
    return dict(zip([text.get_text() for text in legend.get_texts()], map(to_hex, colors), strict=True))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    monkeypatch.setattr("lpm.reports.slices.save_png", lambda figure, path: figures.append(figure))
    return figures


def test_a_legend_names_the_outline_of_each_lung(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_slices(LUNGS, tmp_path / "slices.png")
    assert _legend(drawn[0]) == {"left lung, fitted": "#d98a74", "right lung, fitted": "#6f9bc6"}


def test_a_legend_names_points_and_the_grey_of_a_mask(tmp_path: Path, drawn: list[Figure]) -> None:
    mask = Volume(np.ones((80, 60, 60), dtype=np.uint8), np.diag([4.0, 4.0, 4.0, 1.0]))
    plot_slices({"right_lung": LUNGS["right_lung"]}, tmp_path / "slices.png", mask, RIGHT.vertices)
    named = _legend(drawn[0])
    assert list(named) == ["right lung, fitted", "points, within 2 mm", "mask"]
    image = drawn[0].axes[0].images[0]
    assert to_hex(image.cmap(image.norm(1.0))) == named["mask"]
    assert drawn[0].axes[0].lines[0].get_color() == named["points, within 2 mm"]


def test_the_grey_of_a_ct_is_no_mask(tmp_path: Path, drawn: list[Figure]) -> None:
    ct = Volume(np.full((80, 60, 60), -800, dtype=np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    plot_slices(LUNGS, tmp_path / "slices.png", ct)
    assert "mask" not in _legend(drawn[0])


def test_a_legend_names_the_outlines_over_radiographs() -> None:
    figure = Figure()
    xray_pictures._name_colors(figure, {"left_lung": "#d98a74", "right_lung": "#6f9bc6"})
    assert _legend(figure) == {
        "left lung, fitted": "#d98a74",
        "right lung, fitted": "#6f9bc6",
        "lung field, as read": "#e8d25c",
    }

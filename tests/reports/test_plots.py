from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lpm.errors import FileError, InputError, MissingExtraError
from lpm.geometry.meshes import WorldMesh
from lpm.model.network.losses import LOSSES
from lpm.model.network.training import EpochReport
from lpm.preparation.config import SamplingConfig
from lpm.preparation.sampling import SdfSamples, StructureSurfaces, sample_sdf, sample_surfaces
from lpm.reports import plots, scenes
from lpm.reports.fit_plots import plot_amounts, plot_cases, plot_certainty, plot_parts, plot_sweep
from lpm.reports.plots import (
    FRONTAL,
    plot_losses,
    plot_lungs,
    plot_methods,
    plot_reconstruction,
    plot_samples,
    plot_smoothing,
)

Meshes = dict[str, WorldMesh]


@pytest.fixture(scope="module", autouse=True)
def _small_pictures() -> Iterator[None]:
    """Rendering in software takes time by the pixel."""
    patch = pytest.MonkeyPatch()
    patch.setattr(scenes, "_RENDER_PX", 200)
    patch.setattr(scenes, "_DPI", 60)
    yield
    patch.undo()


def _ball(center: tuple[float, float, float], radius_mm: float) -> WorldMesh:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=radius_mm)
    return WorldMesh(np.asarray(ball.vertices) * (1.0, 1.0, 1.6) + center, np.asarray(ball.faces))


@pytest.fixture(scope="module")
def lungs() -> Meshes:
    """Patient's left at smaller R, and smaller."""
    return {"left_lung": _ball((-60.0, 5.0, 10.0), 40.0), "right_lung": _ball((70.0, 5.0, 10.0), 55.0)}


@pytest.fixture(scope="module")
def needs_pyvista() -> None:
    pytest.importorskip("pyvista", reason="3D pictures need the extra 'pictures'")


def _samples(meshes: Meshes) -> tuple[StructureSurfaces, SdfSamples]:
    rng = np.random.default_rng(0)
    config = SamplingConfig(n_surface=1000, n_off_surface=2000)
    return sample_surfaces(meshes, 1000, rng=rng), sample_sdf(meshes, config, rng=rng)


def _log(epochs: int) -> list[EpochReport]:
    return [EpochReport(e, dict.fromkeys(LOSSES, 1.0 / e) | {"normal": 0.0}, 1e-3, 1.0) for e in range(1, epochs)]


def _pixels(path: Path) -> np.ndarray:
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(path) as image:
        image.verify()
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(float)
    assert pixels.std() > 5.0, "a blank picture"
    assert path.stat().st_size < 400_000
    return pixels


def _center_of(pixels: np.ndarray, color: tuple[float, float, float]) -> float:
    """Column, 0 to 1, of the pixels whose hue is nearest to a colour; shading keeps the hue."""
    saturated = np.ptp(pixels, axis=2) > 40
    hue = pixels / np.linalg.norm(pixels, axis=2, keepdims=True).clip(1.0)
    close = saturated & (hue @ (np.array(color) / np.linalg.norm(color)) > 0.98)
    assert close.any()
    return float(np.argwhere(close)[:, 1].mean() / pixels.shape[1])


# Charts


def test_losses_make_three_pictures(tmp_path: Path) -> None:
    paths = plot_losses(_log(40), tmp_path)
    assert [path.name for path in paths] == ["loss_total.png", "loss_sdf.png", "loss_regularisers.png"]
    for path in paths:
        _pixels(path)
    assert len(list(tmp_path.iterdir())) == 3, "nothing temporary is left"


def test_a_loss_of_zero_and_one_epoch_can_be_drawn(tmp_path: Path) -> None:
    log = [EpochReport(1, dict.fromkeys(LOSSES, 0.0), 1e-3, 1.0)]
    for path in plot_losses(log, tmp_path):
        _pixels(path)


def test_losses_of_no_epochs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training log: no epochs; expected at least one"):
        plot_losses([], tmp_path)


def test_a_log_without_a_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no loss called surface, off_surface, eikonal, latent"):
        plot_losses([EpochReport(1, {"total": 1.0}, 1e-3, 1.0)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_methods(tmp_path: Path) -> None:
    number = {"mean": 2.0, "low": 1.5, "high": 3.0}
    plot_methods({"LPM": {"assd_mm": number}, "mean shape": {"assd_mm": number}}, tmp_path / "methods.png")
    _pixels(tmp_path / "methods.png")


def test_methods_without_summaries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plot_methods: no methods"):
        plot_methods({}, tmp_path / "methods.png")
    with pytest.raises(InputError, match="no assd_mm for LPM"):
        plot_methods({"LPM": {"hd95_mm": {"mean": 1.0}}}, tmp_path / "methods.png")


def test_only_png(tmp_path: Path) -> None:
    number = {"mean": 2.0, "low": 1.5, "high": 3.0}
    with pytest.raises(FileError, match=r"unknown kind '\.jpg'; expected \.png"):
        plot_methods({"LPM": {"assd_mm": number}}, tmp_path / "methods.jpg")
    assert not list(tmp_path.iterdir())


# Orientation


def test_frontal_view_has_the_patients_right_on_the_pictures_left() -> None:
    to_right, up, to_viewer = FRONTAL.axes
    np.testing.assert_allclose(to_right, (-1.0, 0.0, 0.0), atol=1e-12)
    np.testing.assert_allclose(up, (0.0, 0.0, 1.0), atol=1e-12)
    np.testing.assert_allclose(to_viewer, (0.0, 1.0, 0.0), atol=1e-12)


@pytest.mark.parametrize("view", [scenes.FRONTAL, scenes.OBLIQUE, scenes.CUTAWAY, scenes.BELOW])
def test_no_view_is_mirrored(view: scenes.View) -> None:
    np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.axes) == pytest.approx(1.0)
    assert view.axes[1, 2] > 0, "the head is up"


@pytest.mark.usefixtures("needs_pyvista")
def test_left_lung_is_on_the_right_of_the_rendered_picture(lungs: Meshes) -> None:
    layers = [scenes.solid(lungs["left_lung"], "#d02020"), scenes.solid(lungs["right_lung"], "#2020d0")]
    pixels = scenes.render(layers, FRONTAL, scenes.window_of(layers, FRONTAL), 200).astype(float)
    assert _center_of(pixels, (208, 32, 32)) > 0.6
    assert _center_of(pixels, (32, 32, 208)) < 0.4


@pytest.mark.usefixtures("needs_pyvista")
def test_a_picture_is_to_scale(lungs: Meshes) -> None:
    layers = [scenes.solid(lungs["right_lung"], "#2020d0")]
    window = scenes.window_of(layers, FRONTAL)
    columns = np.flatnonzero((scenes.render(layers, FRONTAL, window, 400) < 250).any(axis=(0, 2)))
    mm_per_px = 2.0 * window.half_size[1] / 400
    assert np.ptp(columns) * mm_per_px == pytest.approx(110.0, abs=3.0)


@pytest.mark.usefixtures("needs_pyvista")
def test_left_lung_is_on_the_right_of_the_frontal_panel(lungs: Meshes, tmp_path: Path) -> None:
    plot_lungs(lungs, tmp_path / "lungs.png")
    pixels = _pixels(tmp_path / "lungs.png")
    frontal = pixels[:, : pixels.shape[1] // 2]
    left, right = (scenes.rgb(scenes.structure_color(index)) for index in (0, 1))
    assert _center_of(frontal, left) > 0.55
    assert _center_of(frontal, right) < 0.45


@pytest.mark.usefixtures("needs_pyvista")
def test_samples_are_drawn_on_the_same_sides(lungs: Meshes, tmp_path: Path) -> None:
    surface, off = _samples(lungs)
    plot_samples(surface, off, tmp_path / "samples.png")
    pixels = _pixels(tmp_path / "samples.png")
    third = pixels[:, : pixels.shape[1] // 4]
    assert _center_of(third, scenes.rgb(scenes.structure_color(0))) > _center_of(
        third, scenes.rgb(scenes.structure_color(1))
    )


# 3D


@pytest.mark.usefixtures("needs_pyvista")
def test_smoothing(tmp_path: Path) -> None:
    ball = _ball((0.0, 0.0, 0.0), 50.0)
    plot_smoothing(ball, ball, tmp_path / "deep" / "smoothing.png")
    _pixels(tmp_path / "deep" / "smoothing.png")


@pytest.mark.usefixtures("needs_pyvista")
def test_reconstruction_darkens_where_it_is_wrong(lungs: Meshes, tmp_path: Path) -> None:
    wrong = {name: WorldMesh(mesh.vertices * 1.1, mesh.faces) for name, mesh in lungs.items()}
    plot_reconstruction(lungs, lungs, tmp_path / "right.png", "case <1>")
    plot_reconstruction(wrong, lungs, tmp_path / "wrong.png")
    colored = [np.mean(np.ptp(_pixels(tmp_path / name), axis=2) > 60) for name in ("right.png", "wrong.png")]
    assert colored[1] > 2.0 * colored[0]


def test_reconstruction_refuses_other_structures(lungs: Meshes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prediction: no right_lung"):
        plot_reconstruction({"left_lung": lungs["left_lung"]}, lungs, tmp_path / "x.png")


def test_lungs_need_meshes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plot_lungs: no meshes"):
        plot_lungs({}, tmp_path / "x.png")


def test_samples_need_points(lungs: Meshes, tmp_path: Path) -> None:
    surface, _ = _samples(lungs)
    with pytest.raises(InputError, match="1000 surface and 0 off-surface points"):
        plot_samples(surface, SdfSamples(np.zeros((0, 3)), np.zeros((0, 2))), tmp_path / "x.png")


@pytest.mark.parametrize("draw", [plot_lungs, lambda lungs, path: plot_reconstruction(lungs, lungs, path)])
def test_without_pyvista_the_extra_is_named(
    draw: Callable[[Meshes, Path], None], lungs: Meshes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lungs-parametric-model\[pictures\]'"):
        draw(lungs, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileError, match="cannot be written"):
        plot_losses(_log(3), tmp_path / "file" / "folder")


def test_white_margins_are_cropped() -> None:
    pixels = np.full((100, 80, 3), 255, dtype=np.uint8)
    assert scenes.without_margins(pixels).shape == (100, 80, 3)
    pixels[40:50, 30:60] = 0
    assert scenes.without_margins(pixels, margin=5).shape[:2] == (10 + 9, 30 + 9)


def test_the_palette_keeps_white() -> None:
    almost = np.full((20, 20, 3), (251, 249, 249), dtype=np.uint8)
    almost[:5] = (200, 30, 30)
    picture = Image.fromarray(almost)
    quantised = np.asarray(
        picture.quantize(palette=scenes.palette_of(picture), dither=Image.Dither.NONE).convert("RGB")
    )
    assert (quantised[10] == 255).all()
    assert (quantised[0] == (200, 30, 30)).all()


def test_signed_distance_zero_is_white() -> None:
    colors = scenes.mapped(np.array([-1e9, 0.0, 1e9]), plots._DISTANCE_NORM, plots._DISTANCE_MAP)
    assert colors[1].min() > 240
    assert colors[0, 2] > colors[0, 0], "inside is blue"
    assert colors[2, 0] > colors[2, 2], "outside is red"


def test_pictures_of_fits(lungs: Meshes, tmp_path: Path, needs_pyvista: None) -> None:
    near = {name: WorldMesh(mesh.vertices * 1.02, mesh.faces) for name, mesh in lungs.items()}
    sigma = {name: np.linspace(0.0, 3.0, len(mesh.vertices)) for name, mesh in near.items()}
    plot_amounts({"50 points": near, "500 points": lungs}, lungs, tmp_path / "amounts.png")
    plot_certainty(near, sigma, lungs, tmp_path / "certainty.png")
    plot_sweep([("beta 1", [near, lungs]), ("beta 2", [lungs, near])], ("-2", "+2"), tmp_path / "sweep.png")
    plot_cases({"worst of masks": (near, lungs), "worst of points": (lungs, near)}, tmp_path / "cases.png")
    for name in ("amounts", "certainty", "sweep", "cases"):
        picture = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        assert picture.std() > 5


def test_parts_lie_beside_the_true_ones(lungs: Meshes, tmp_path: Path, needs_pyvista: None) -> None:
    plot_parts(lungs, lungs, tmp_path / "parts.png", "both lungs")
    pixels = np.asarray(Image.open(tmp_path / "parts.png").convert("RGB")).astype(int)
    warmer = pixels[..., 0] - pixels[..., 2]
    assert (warmer > 40).sum() > 100
    assert (warmer < -40).sum() > 100
    with pytest.raises(InputError, match="plot_parts: no parts; expected left_lung, right_lung"):
        plot_parts({}, lungs, tmp_path / "parts.png")


def test_pictures_of_no_fits_are_refused(lungs: Meshes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no reconstructions"):
        plot_amounts({}, lungs, tmp_path / "a.png")
    with pytest.raises(InputError, match="no cases"):
        plot_cases({}, tmp_path / "a.png")
    with pytest.raises(InputError, match="no shape parameter"):
        plot_sweep([], (), tmp_path / "a.png")

"""Rays against exact integrals: Siddon through voxels, chords of spheres and boxes through fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from siddon import siddon

from lpm.errors import InputError
from lpm.geometry.projection import PARALLEL, Beam, View, turned_view
from lpm.geometry.volumes import Volume, canonical
from lpm.xray.drr import (
    ExposureConfig,
    MarchConfig,
    attenuation,
    box_of,
    exposed,
    line_integrals,
    path_lengths,
    path_lengths_along,
    path_lengths_of_labels,
    radiograph,
    rays_of,
)

CENTER = np.array([12.0, -30.0, 40.0])
CONE = Beam(900.0, 150.0)
BEAMS = [PARALLEL, CONE, Beam(700.0, 120.0, back_to_front=False)]
DEGREES = [0.0, 90.0, 28.0]


def volume(voxels: np.ndarray, *, turned: bool = True) -> Volume:
    """Unequal spacing, a negative determinant, and axes that are not the world's; its middle at `CENTER`."""
    affine = np.eye(4)
    axes = Rotation.from_euler("xyz", [9.0, -7.0, 12.0], degrees=True).as_matrix() if turned else np.eye(3)
    affine[:3, :3] = axes @ np.diag([-2.0, 3.0, 4.0])
    affine[:3, 3] = CENTER - affine[:3, :3] @ (np.array(voxels.shape) - 1) / 2
    return Volume(voxels, affine)


@pytest.fixture(scope="module")
def rough() -> Volume:
    """Every voxel is another, and no two sides are alike."""
    rng = np.random.default_rng(3)
    return volume(rng.random((17, 13, 11)).astype(np.float32) * np.linspace(0.2, 1.0, 17)[:, None, None])


@pytest.fixture(scope="module")
def smooth() -> Volume:
    rng = np.random.default_rng(4)
    voxels = gaussian_filter(np.pad(rng.random((12, 9, 8)), 9), 2.5)
    return volume(voxels.astype(np.float32))


def look(degrees: float, beam: Beam, shape: tuple[int, int] = (16, 14)) -> View:
    return turned_view(shape, (4.1, 3.7), degrees, CENTER, beam)


def integrals(of: Volume, view: View, **config: object) -> np.ndarray:
    tensor = torch.tensor(np.ascontiguousarray(of.voxels))[None]
    return line_integrals(tensor, of.world_from_voxel, view, MarchConfig.model_validate(config))[0].numpy()


def relative_rms(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(((found - true) ** 2).mean() / (true**2).mean()))


# --- Against Siddon --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("interpolation", "step_mm"), [("nearest", 0.01), ("linear", 0.1)])
@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("degrees", DEGREES)
def test_the_march_is_siddons_integral(
    rough: Volume, degrees: float, beam: Beam, interpolation: str, step_mm: float
) -> None:
    view = look(degrees, beam)
    true = siddon(rough, view, interpolation)
    assert (true == 0).any()  # rays that miss
    assert relative_rms(integrals(rough, view, step_mm=step_mm, interpolation=interpolation), true) < 1e-3


@pytest.mark.parametrize("flip", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_flipped_volume_is_found(rough: Volume, flip: tuple[int, ...]) -> None:
    view = look(28.0, CONE)
    flipped = rough.with_voxels(np.flip(rough.voxels, flip).copy())
    found = integrals(flipped, view, step_mm=0.05, interpolation="nearest")
    assert relative_rms(found, siddon(rough, view, "nearest")) > 0.02


@pytest.mark.parametrize("beam", BEAMS)
def test_on_a_smooth_volume_the_two_conventions_agree(smooth: Volume, beam: Beam) -> None:
    view = look(28.0, beam)
    true = siddon(smooth, view, "nearest")
    assert relative_rms(integrals(smooth, view, step_mm=0.5), true) < 2e-2
    assert relative_rms(integrals(smooth, view, step_mm=0.5), siddon(smooth, view, "linear")) < 1e-3


def test_storage_order_changes_nothing(rough: Volume) -> None:
    view = look(28.0, CONE)
    np.testing.assert_allclose(integrals(canonical(rough), view), integrals(rough, view), rtol=1e-4, atol=1e-4)


def test_a_volume_of_one_slice_is_as_thick_as_its_voxels() -> None:
    slab = volume(np.ones((40, 1, 40), dtype=np.float32), turned=False)
    for interpolation in ("nearest", "linear"):
        found = integrals(slab, look(0.0, PARALLEL, (3, 3)), step_mm=0.01, interpolation=interpolation)
        np.testing.assert_allclose(found, 3.0, rtol=1e-3)


def test_parts_are_the_whole(rough: Volume) -> None:
    view = look(28.0, CONE)
    assert relative_rms(integrals(rough, view, step_mm=0.2, samples_at_once=500), integrals(rough, view)) < 1e-2


def test_the_march_is_differentiable(rough: Volume) -> None:
    values = torch.tensor(rough.voxels)[None].double().requires_grad_()
    view = look(28.0, CONE, (5, 4))
    weights = torch.linspace(-1.0, 2.0, 20, dtype=torch.float64).reshape(5, 4)

    def objective(values: torch.Tensor) -> torch.Tensor:
        config = MarchConfig(samples_at_once=300)
        return (weights * line_integrals(values, rough.world_from_voxel, view, config)[0]).sum()

    objective(values).backward()
    step = torch.randn(values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert values.grad is not None
    expected = float((values.grad * step).sum())
    with torch.no_grad():
        np.testing.assert_allclose(float(objective(values + step) - objective(values)), expected, rtol=1e-6)


def test_values_and_sources_that_cannot_be(rough: Volume) -> None:
    with pytest.raises(InputError, match=r"line integrals: values of shape \(17, 13, 11\).*values\[None\]"):
        line_integrals(torch.ones(17, 13, 11), rough.world_from_voxel, look(0.0, PARALLEL))
    with pytest.raises(InputError, match=r"the source at .* mm, inside the box.*expected a source outside"):
        integrals(rough, look(0.0, Beam(31.0, 30.0)))


# --- CT and labels ---------------------------------------------------------------------------------------------------


def test_hounsfield_units_become_attenuation() -> None:
    ct = volume(np.array([-3024.0, -2048.0, -1010.0, -1000.0, -500.0, 0.0, 1000.0]).reshape(7, 1, 1))
    np.testing.assert_allclose(
        attenuation(ct, MarchConfig(water_per_mm=0.02)).voxels.ravel()[:6], [0, 0, 0, 0, 0.01, 0.02]
    )
    assert attenuation(ct, MarchConfig(water_per_mm=0.02)).voxels.ravel()[6] == pytest.approx(0.04)
    assert attenuation(ct, MarchConfig(water_per_mm=0.02, bone_factor=2.0)).voxels.ravel()[6] == pytest.approx(0.06)


def test_a_radiograph_of_water_is_its_thickness() -> None:
    ct = volume(np.zeros((30, 20, 25), dtype=np.int16), turned=False)
    np.testing.assert_allclose(radiograph(ct, look(0.0, PARALLEL, (5, 5))), 0.0193 * 60.0, rtol=1e-3)
    np.testing.assert_allclose(radiograph(ct, look(90.0, PARALLEL, (5, 5))), 0.0193 * 60.0, rtol=1e-3)


def test_path_lengths_of_labels_tell_sides_apart() -> None:
    voxels = np.zeros((30, 20, 25), dtype=np.uint8)  # voxel axis i runs to the patient's left
    voxels[20:28, 5:15, 5:20], voxels[2:12, 3:17, 5:20] = 1, 2
    view = turned_view((25, 30), (4.0, 2.0), 0.0, CENTER)
    structures = {"left": (1,), "right": (2,), "none": (9,)}
    left, right, none = path_lengths_of_labels(volume(voxels, turned=False), view, structures)
    assert left.max() == pytest.approx(30.0, rel=1e-3)
    assert right.max() == pytest.approx(42.0, rel=1e-3)
    assert not none.any()
    assert left.argmax(axis=1).max() > 15 > right.argmax(axis=1).max()
    np.testing.assert_allclose(left.sum() * 8.0, (voxels == 1).sum() * 24.0, rtol=1e-2)  # mm3


def test_labels_that_are_not_there_are_refused() -> None:
    labels = volume(np.full((4, 4, 4), 3, dtype=np.uint8))
    with pytest.raises(InputError, match=r"path lengths: no voxel of \{'left_lung': \(1,\)\}.*labels among \[3\]"):
        path_lengths_of_labels(labels, look(0.0, PARALLEL), {"left_lung": (1,)})


# --- Fields ----------------------------------------------------------------------------------------------------------

BOUNDS = (CENTER - 70.0, CENTER + 70.0)


class Balls:
    """Two balls, the second aside and above: an exact field of signed distances."""

    def __init__(self, radii: tuple[float, float] = (40.0, 15.0)) -> None:
        self.radii = torch.tensor(radii, dtype=torch.float64, requires_grad=True)
        self.centers = torch.from_numpy(np.stack([CENTER, CENTER + np.array([30.0, 10.0, 45.0])]))

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return (points[:, None].double() - self.centers).norm(dim=-1) - self.radii

    def chords(self, view: View) -> np.ndarray:
        """(2, rows, columns) exact."""
        pixels = np.indices(view.shape).reshape(2, -1).T
        places, along = view.places_mm(pixels), view.directions(pixels)
        offsets = [np.cross(center - places, along) for center in self.centers.numpy()]
        squares = [r**2 - (o**2).sum(axis=1) for r, o in zip(self.radii.detach().numpy(), offsets, strict=True)]
        return np.stack([2.0 * np.sqrt(np.maximum(s, 0.0)).reshape(view.shape) for s in squares])


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("degrees", DEGREES)
def test_path_lengths_of_balls_are_their_chords(degrees: float, beam: Beam) -> None:
    balls, view = Balls(), look(degrees, beam, (40, 36))
    for step, error in ((0.5, 2e-3), (4.0, 2e-2)):
        found = path_lengths(balls, view, BOUNDS, MarchConfig(step_mm=step)).detach().numpy()
        assert found.shape == (2, 40, 36)
        assert relative_rms(found, balls.chords(view)) < error


def test_some_pixels_are_those_of_the_whole() -> None:
    balls, view = Balls(), look(28.0, CONE, (40, 36))
    whole = path_lengths(balls, view, BOUNDS, MarchConfig(step_mm=0.5)).detach().numpy()
    pixels = np.array([[0, 0], [17, 16], [13, 19], [3, 23]])
    some = path_lengths_along(balls, rays_of(view, BOUNDS, pixels), MarchConfig(step_mm=0.5)).detach().numpy()
    assert some[0].max() == 0 < some[1].max()
    np.testing.assert_allclose(some, whole[:, *pixels.T].T, atol=0.05)


def test_path_lengths_follow_the_shape() -> None:
    balls, view = Balls(), look(0.0, PARALLEL, (3, 3))
    lengths = path_lengths(balls, view, BOUNDS, MarchConfig(step_mm=1.0, samples_at_once=200))
    lengths[0].sum().backward()
    chords = balls.chords(view)[0]
    expected = (4.0 * 40.0 / chords).sum()  # d(2 sqrt(r2 - o2)) / dr
    assert balls.radii.grad is not None
    np.testing.assert_allclose(balls.radii.grad.numpy(), [expected, 0.0], rtol=2e-3)


def test_a_field_and_its_labels_have_the_same_shadows() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = CENTER - 69.0
    grid = Volume(np.zeros((70, 70, 70), dtype=np.uint8), affine)
    points = grid.to_world(np.indices((70, 70, 70)).reshape(3, -1).T)
    balls, view = Balls(), look(28.0, CONE)
    inside = (balls(torch.from_numpy(points)).detach().numpy() < 0).T.reshape(2, 70, 70, 70)
    labels = grid.with_voxels((inside[0] + 2 * inside[1]).astype(np.uint8))
    found = path_lengths_of_labels(labels, view, {"a": (1, 3), "b": (2, 3)})
    assert relative_rms(found, balls.chords(view)) < 0.03
    np.testing.assert_allclose(box_of(grid)[0], CENTER - 70.0)


def test_fields_boxes_and_rays_that_cannot_be() -> None:
    view = look(0.0, PARALLEL)
    with pytest.raises(InputError, match=r"path lengths: a field that gives \(\d+,\) values for \d+ points.*\(n, s\)"):
        path_lengths(lambda points: points[:, 0], view, BOUNDS)
    with pytest.raises(InputError, match=r"path lengths: none of 224 rays meets the box"):
        path_lengths(Balls(), view, (CENTER + 900.0, CENTER + 990.0))
    with pytest.raises(InputError, match=r"rays: a box from .* to .*; expected lower < upper"):
        path_lengths(Balls(), view, BOUNDS[::-1])
    with pytest.raises(InputError, match=r"the source at .* mm, inside the box"):
        path_lengths(Balls(), look(0.0, Beam(200.0, 150.0)), BOUNDS)


# --- Exposure --------------------------------------------------------------------------------------------------------

WEDGE = np.broadcast_to(np.linspace(0.0, 4.0, 60, dtype=np.float32), (50, 60))


def expose(**config: object) -> np.ndarray:
    return exposed(WEDGE, ExposureConfig.model_validate(config), rng=np.random.default_rng(5))


def test_dense_is_bright() -> None:
    for response in ("log", "linear"):
        picture = expose(response=response)
        assert (np.diff(picture, axis=1) > 0).all()
        assert (picture.min(), picture.max()) == (0.0, 1.0)
    np.testing.assert_allclose(expose(), WEDGE / 4.0, atol=1e-6)
    np.testing.assert_allclose(expose(response="linear"), (1 - np.exp(-WEDGE)) / (1 - np.exp(-4.0)), atol=1e-6)
    np.testing.assert_allclose(expose(gamma=2.0), (WEDGE / 4.0) ** 2, atol=1e-6)


def test_noise_is_that_of_counting() -> None:
    noisy = expose(photons=1e4, window=(0, 100))
    residual = -np.log(1e-12 + np.exp(-WEDGE)) - WEDGE
    assert abs(residual).max() < 1e-3
    low, high = np.percentile(noisy, [1, 99])
    assert high > low
    spread = noisy.std(axis=0)
    ratio = spread[-5:].mean() / spread[:5].mean()
    np.testing.assert_allclose(ratio, np.exp(0.5 * (WEDGE[0, -3] - WEDGE[0, 2])), rtol=0.2)
    assert np.array_equal(noisy, expose(photons=1e4, window=(0, 100)))


def test_a_starved_detector_stays_finite() -> None:
    assert np.isfinite(expose(photons=1.0)).all()


def test_grid_lines_have_their_period() -> None:
    flat = np.ones((4, 64), dtype=np.float32)
    picture = exposed(flat, ExposureConfig(grid_period_px=8.0), rng=np.random.default_rng(0))
    assert int(np.abs(np.fft.rfft(picture[0] - picture[0].mean())).argmax()) == 8


def test_a_window_cuts_both_ends() -> None:
    picture = expose(window=(10.0, 90.0))
    assert 0.05 < (picture == 0).mean() < 0.15
    assert 0.05 < (picture == 1).mean() < 0.15


def test_what_cannot_be_exposed_is_refused() -> None:
    with pytest.raises(InputError, match=r"exposure: integrals of shape \(4,\).*\(rows, columns\) of finite numbers"):
        exposed(np.ones(4, dtype=np.float32), ExposureConfig(), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"exposure: a window from 0 to 0.*two different values.*aim at the patient"):
        exposed(np.zeros((4, 4), dtype=np.float32), ExposureConfig(), rng=np.random.default_rng(0))

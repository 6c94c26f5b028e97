"""Which way up, which way round and how large: an asymmetric set of points in every kind of view."""

from __future__ import annotations

import numpy as np
import pytest

from lpm.errors import InputError
from lpm.geometry.projection import PARALLEL, AxisMap, Beam, axis_view, turned_view

HERE = np.array([10.0, -20.0, 30.0])
RIGHT, FRONT, HEAD = np.eye(3)
CONE = Beam(1800.0, 300.0)
MAP_X, MAP_Y, MAP_Z = AxisMap("x", -1, 231.1, 0.622), AxisMap("y", -1, 260.6, 0.622), AxisMap("z", -1, 159.2, 0.6)


def pixel(point: np.ndarray, degrees: float, beam: Beam = PARALLEL) -> np.ndarray:
    """Row and column of a world point, in a picture of 101 x 201 pixels whose middle is at `HERE`."""
    return turned_view((101, 201), (0.5, 2.0), degrees, HERE, beam).to_pixels(point[None])[0]


@pytest.mark.parametrize("degrees", [0.0, 37.0, 90.0, 180.0, -60.0])
@pytest.mark.parametrize("beam", [PARALLEL, CONE, Beam(1000.0, 150.0, back_to_front=False)])
def test_the_middle_of_the_picture_shows_the_middle_of_the_patient(degrees: float, beam: Beam) -> None:
    np.testing.assert_allclose(pixel(HERE, degrees, beam), [50.0, 100.0], atol=1e-9)


@pytest.mark.parametrize("beam", [PARALLEL, Beam(back_to_front=False)])
@pytest.mark.parametrize(
    ("degrees", "direction", "moved"),
    [
        (0.0, RIGHT, (0.0, -5.0)),
        (0.0, HEAD, (-20.0, 0.0)),
        (0.0, FRONT, (0.0, 0.0)),
        (90.0, FRONT, (0.0, -5.0)),
        (90.0, HEAD, (-20.0, 0.0)),
        (90.0, RIGHT, (0.0, 0.0)),
        (180.0, RIGHT, (0.0, 5.0)),
    ],
)
def test_a_step_in_the_patient_is_one_in_the_picture(
    beam: Beam, degrees: float, direction: np.ndarray, moved: tuple[float, float]
) -> None:
    step = pixel(HERE + 10.0 * direction, degrees, beam) - pixel(HERE, degrees, beam)
    np.testing.assert_allclose(step, moved, atol=1e-9)


def test_a_cone_magnifies_what_is_nearer_to_the_source() -> None:
    step = pixel(HERE + 10.0 * HEAD, 0.0, CONE) - pixel(HERE, 0.0, CONE)
    np.testing.assert_allclose(step, [-20.0 * 1800.0 / 1500.0, 0.0])
    behind, before = (HERE + 10.0 * HEAD + depth * FRONT for depth in (-100.0, 100.0))  # PA: the source is behind
    assert pixel(behind, 0.0, CONE)[0] < pixel(before, 0.0, CONE)[0]
    other_way = Beam(1800.0, 300.0, back_to_front=False)
    assert pixel(behind, 0.0, other_way)[0] > pixel(before, 0.0, other_way)[0]


@pytest.mark.parametrize("beam", [PARALLEL, CONE])
def test_a_point_on_a_ray_is_seen_at_its_pixel(beam: Beam, rng: np.random.Generator) -> None:
    view = turned_view((101, 201), (0.5, 2.0), 25.0, HERE, beam)
    pixels = rng.uniform(0.0, 100.0, (20, 2))
    on_rays = view.places_mm(pixels) - 200.0 * view.directions(pixels)
    np.testing.assert_allclose(view.to_pixels(on_rays), pixels, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(view.directions(pixels), axis=1), 1.0)


def test_axis_maps_say_where_a_pixel_lies(rng: np.random.Generator) -> None:
    points = rng.uniform(-150.0, 150.0, (20, 3))
    rows = 159.2 - points[:, 2] / 0.6
    frontal, lateral = axis_view((500, 400), MAP_X, MAP_Z), axis_view((500, 400), MAP_Y, MAP_Z)
    np.testing.assert_allclose(frontal.to_pixels(points), np.stack([rows, 231.1 - points[:, 0] / 0.622], axis=1))
    np.testing.assert_allclose(lateral.to_pixels(points), np.stack([rows, 260.6 - points[:, 1] / 0.622], axis=1))
    assert frontal.shape == (500, 400)


@pytest.mark.parametrize(("column", "degrees"), [(MAP_X, 0.0), (MAP_Y, 90.0)])
def test_axis_maps_and_angles_give_the_same_beam(column: AxisMap, degrees: float) -> None:
    turned = turned_view((500, 400), (0.6, 0.622), degrees, HERE)
    mapped = axis_view((500, 400), column, MAP_Z)
    for name in ("beam", "by_row_mm", "by_column_mm"):
        np.testing.assert_allclose(getattr(mapped, name), getattr(turned, name), atol=1e-12)


def test_impossible_views_are_refused() -> None:
    with pytest.raises(InputError, match=r"X-ray geometry: columns along x, rows along x.*two axes.*x and z"):
        axis_view((5, 5), MAP_X, MAP_X)
    with pytest.raises(InputError, match=r"shape \(0, 5\).*positive sizes"):
        axis_view((0, 5), MAP_X, MAP_Z)
    with pytest.raises(InputError, match=r"shape \(0, 5\), .* expected positive numbers"):
        turned_view((0, 5), (1.0, 1.0), 0.0, HERE)
    with pytest.raises(InputError, match=r"source 200.0 mm and patient 200.0 mm.*0 < patient < source.*1800 and 200"):
        Beam(200.0)

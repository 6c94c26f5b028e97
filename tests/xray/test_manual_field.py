"""Lung fields that a person draws: what they change in a reading, and what they say without a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lpm
from lpm.errors import InputError
from lpm.fitting.extraction import mean_shape
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.projection import PARALLEL, turned_view
from lpm.xray.manual_field import reading_of_field, sides_of, with_field
from lpm.xray.projected_field import overlap, visible_field
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import Answers, Reading

CALM = Answers(chest=0.9, mirrored=0.1, inverted=0.1, turned=(1.0, 0.0, 0.0, 0.0))


def drawn(shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """The patient's left lung on the picture's right, shorter than the right one."""
    field = np.zeros((2, *shape), dtype=bool)
    field[0, 10:30, 36:52] = True
    field[1, 6:34, 8:26] = True
    return field


def reading(field: np.ndarray, length: float = 100.0) -> Reading:
    paths = np.where(field, np.float32(length), np.float32(0.0))
    sd = np.full(field.shape, 8.0, np.float32)
    return Reading(field.astype(np.float32), paths, sd, 0.07, (1.0, 1.0), True, CALM, ())


# --- Sides -----------------------------------------------------------------------------------------------------------


def test_pieces_are_told_apart_by_where_they_lie() -> None:
    field = drawn()
    np.testing.assert_array_equal(sides_of(field.any(axis=0)), field)
    mirrored = sides_of(field.any(axis=0)[:, ::-1])
    np.testing.assert_array_equal(mirrored, field[::-1, :, ::-1])


def test_a_piece_over_both_sides_is_cut_at_the_middle() -> None:
    mask = drawn().any(axis=0)
    mask[18:20, 26:36] = True  # the lungs touch
    left, right = sides_of(mask)
    assert not (left & right).any()
    np.testing.assert_array_equal(left | right, mask)
    assert np.nonzero(left)[1].min() > 25
    assert np.nonzero(right)[1].max() < 36


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.zeros((9, 9), bool), "an empty mask"), (np.eye(30, 30, -29, dtype=bool), "lung on one side only")],
)
def test_what_is_no_field_of_both_lungs_is_refused(mask: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sides_of(mask)


# --- With a picture --------------------------------------------------------------------------------------------------


def test_where_both_agree_nothing_changes() -> None:
    read = reading(drawn())
    again = with_field(read, drawn())
    np.testing.assert_array_equal(again.path_length, read.path_length)
    np.testing.assert_array_equal(again.path_sd, read.path_sd)


def test_the_field_that_was_drawn_decides() -> None:
    field, read = drawn(), reading(drawn(), 80.0)
    covered = np.zeros(field.shape[1:], dtype=bool)
    covered[20:24, 26:30] = True  # behind the heart: lung that nobody calls visible
    paths = read.path_length.copy()
    paths[1][covered] = 50.0
    read = replace(read, path_length=paths)
    field[0, 10:16] = False  # the person says: stomach
    field[1, 34:37, 8:26] = True  # and: the lung goes on
    found = with_field(read, field)
    assert found.path_length[0, 12, 40] == 0.0
    assert found.path_length[1, 35, 15] == 80.0
    assert found.path_sd[0, 12, 40] == found.path_sd[1, 35, 15] == 40.0
    np.testing.assert_array_equal(found.path_length[1][covered], 50.0)
    np.testing.assert_array_equal(found.field > 0.5, field)
    assert found.path_length[1, 20, 15] == 80.0


def test_a_field_of_more_pixels_lies_where_it_was_drawn() -> None:
    fine = np.kron(drawn(), np.ones((1, 3, 3), dtype=bool))
    found = with_field(reading(drawn()), fine)
    np.testing.assert_array_equal(found.field > 0.5, drawn())


# --- Without a picture -----------------------------------------------------------------------------------------------


def test_a_field_alone_gives_the_lengths_of_mean_lungs_of_its_size() -> None:
    model = lpm.load().bundle
    factors, shift = np.array([1.1, 1.1, 1.1]), np.array([12.0, 0.0, -20.0])
    lungs = {n: WorldMesh(m.vertices * factors + shift, m.faces) for n, m in mean_shape(model, 5.0).meshes.items()}
    view = turned_view((110, 120), (4.0, 3.5), 0.0, np.zeros(3), PARALLEL)
    field = visible_field(lungs, view)
    found = reading_of_field(model, field, (4.0, 3.5))
    assert found.in_mm
    assert "depth is that of the mean lungs" in found.doubts[0]
    assert overlap(found.field > 0.5, field) > 0.999
    volume = sum(mesh.volume_ml for mesh in lungs.values())
    assert float(found.path_length.sum()) * 14.0 / 1000.0 == pytest.approx(volume, rel=0.05)
    columns = np.arange(120)
    left, right = (np.average(columns, weights=side.sum(axis=0)) for side in found.path_length)
    assert left > right + 20
    squares = visible_field(lungs, turned_view((110, 120), (4.0, 4.0), 0.0, np.zeros(3), PARALLEL))
    unsized = reading_of_field(model, squares, None)  # lengths in pixels
    assert not unsized.in_mm
    assert float(unsized.path_length.max()) == pytest.approx(float(found.path_length.max()) / 4.0, rel=0.1)


# --- Radiographs -----------------------------------------------------------------------------------------------------


def test_a_field_goes_with_a_frontal_picture_of_its_size() -> None:
    field = drawn()
    pixels = np.zeros(field.shape[1:], np.float32)
    assert Radiograph(pixels, field=field).is_picture
    alone = Radiograph.of_field(field, mm_per_px=(4.0, 4.0), name="mask.png")
    assert not alone.is_picture
    assert alone.name == "mask.png"
    np.testing.assert_array_equal(alone.pixels, field.any(axis=0))
    with pytest.raises(InputError, match="of a lateral picture; expected of a frontal one"):
        replace(alone, side="lateral")
    with pytest.raises(InputError, match=r"a mask of the same pixels"):
        Radiograph(pixels[1:], field=field)
    with pytest.raises(InputError, match=r"float32 of"):
        Radiograph(pixels, field=pixels)

"""Pictures that are no chest radiographs: every one of them earns a doubt about what it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from skimage import data

from lpm.xray.novelty import tilt_doubts, two_pictures
from lpm.xray.reader import load_reader

SIZE = 400
FINGERS = ((95, 60, 200, 26), (145, 125, 80, 24), (190, 190, 50, 26), (235, 258, 75, 24), (275, 320, 130, 20))


def hand() -> np.ndarray:
    """Soft tissue and bones of a hand on a dark ground, as radiographs show it."""
    soft, bones = Image.new("L", (SIZE, SIZE), 8), Image.new("L", (SIZE, SIZE), 0)
    tissue, bone = ImageDraw.Draw(soft), ImageDraw.Draw(bones)
    tissue.ellipse((120, 190, 290, 360), fill=95)
    tissue.rectangle((150, 320, 260, SIZE), fill=95)
    for base, tip, top, width in FINGERS:
        tissue.line([(base, 260), (tip, top)], fill=90, width=round(1.6 * width))
        for start, end in ((0.03, 0.22), (0.28, 0.47), (0.53, 0.72), (0.78, 0.97)):
            ends = [(base + (tip - base) * t, 300 + (top - 300) * t) for t in (start, end)]
            bone.line(ends, fill=120, width=round(0.75 * width))
    for row in (310, 332):
        for column in (150, 175, 200, 225):
            bone.ellipse((column - 11, row - 10, column + 11, row + 10), fill=110)
    bone.rectangle((160, 355, 195, SIZE), fill=130)
    bone.rectangle((215, 355, 240, SIZE), fill=130)
    both = [np.asarray(each.filter(ImageFilter.GaussianBlur(2)), dtype=float) for each in (soft, bones)]
    noise = np.random.default_rng(0).normal(0.0, 3.0, (SIZE, SIZE))
    return np.clip((both[0] + both[1] + noise) / 255.0, 0.0, 1.0).astype(np.float32)


def two_hands() -> np.ndarray:
    return np.concatenate([hand(), hand()[:, ::-1]], axis=1)


def landscape() -> np.ndarray:
    """Sky over rough ground."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    ground = 0.35 + 0.2 * np.random.default_rng(0).random((SIZE, SIZE))
    return np.where(y < 0.45 + 0.08 * np.sin(7 * x), 0.85 - 0.3 * y, ground).astype(np.float32)


def page() -> np.ndarray:
    image = Image.new("L", (SIZE, SIZE), 240)
    draw = ImageDraw.Draw(image)
    for row in range(20, SIZE, 18):
        draw.text((20, row), "the lungs of this patient are not in this picture", fill=20)
    return np.asarray(image, dtype=np.float32) / 255.0


def photograph() -> np.ndarray:
    return np.asarray(data.camera(), dtype=np.float32) / 255.0


def coins() -> np.ndarray:
    return np.asarray(data.coins(), dtype=np.float32) / 255.0


@pytest.mark.parametrize("draw", [hand, two_hands, landscape, page, photograph, coins])
@pytest.mark.parametrize("quarters", [0, 1])
def test_what_is_no_chest_earns_a_doubt(draw: Callable[[], np.ndarray], quarters: int) -> None:
    picture = np.ascontiguousarray(np.rot90(draw(), quarters))
    for lateral, read in ((False, load_reader().frontal), (True, load_reader().lateral)):
        view = "lateral" if lateral else "frontal"
        reading = read(picture)
        assert any(f"This may be no {view} chest radiograph" in doubt for doubt in reading.doubts)


@pytest.mark.parametrize(
    ("shape", "spacing", "said"),
    [
        ((200, 400), (1.0, 1.0), "2.0 times as wide as high: two pictures side by side"),
        ((200, 330), (1.0, 1.0), "1.6 times as wide as high"),
        ((400, 200), (1.0, 1.0), "2.0 times as high as wide: two pictures, one above the other"),
        ((300, 300), (0.4, 0.8), "2.0 times as wide as high"),
        ((200, 400), (0.8, 0.4), ""),
        ((300, 360), (1.0, 1.0), ""),
        ((400, 280), (1.0, 1.0), ""),
    ],
)
@pytest.mark.parametrize("border", [0, 150])
def test_two_pictures_in_one(shape: tuple[int, int], spacing: tuple[float, float], said: str, border: int) -> None:
    pixels = np.pad(np.random.default_rng(0).random(shape).astype(np.float32), ((border, border), (0, 0)))
    found = two_pictures(pixels, spacing)
    assert (said in found) if said else not found


def upright_fields(degrees: float, shape: tuple[int, int] = (300, 240)) -> np.ndarray:
    """Two oval lungs that lean towards each other as lungs do, turned counter-clockwise about the picture's middle."""
    rows, columns = (each - np.mean(each) for each in np.mgrid[: shape[0], : shape[1]].astype(float))
    turn = np.radians(degrees)
    up, right = -rows * np.cos(turn) - columns * np.sin(turn), columns * np.cos(turn) - rows * np.sin(turn)
    lungs = []
    for side, lower in ((1.0, 3.0), (-1.0, 0.0)):  # the left one lies on the picture's right
        along, across = up + lower, right - side * (55.0 - 0.35 * up)
        lungs.append((along / 95.0) ** 2 + (across / 32.0) ** 2 < 1.0)
    return np.stack(lungs).astype(np.float32)


@pytest.mark.parametrize("degrees", [-15.0, -10.0, 0.0, 10.0, 15.0])
def test_lungs_of_a_picture_that_was_taken_askew_are_told_of(degrees: float) -> None:
    fields = upright_fields(degrees)
    doubts = tilt_doubts(fields, (1.0, 0.8))
    if degrees == 0.0:
        assert not doubts
        return
    (doubt,) = doubts
    way = "counter-clockwise" if degrees > 0 else "clockwise"
    assert doubt.endswith(f" degrees {way}: was the picture taken or scanned askew?")
    assert float(doubt.split(" by ")[1].split()[0]) == pytest.approx(abs(degrees), abs=4.0)


def test_tilt_is_that_of_square_pixels_and_needs_two_lungs() -> None:
    squeezed = upright_fields(10.0)[:, ::2]
    assert tilt_doubts(squeezed, (1.0, 0.8)) == tilt_doubts(upright_fields(10.0), (1.0, 0.8))
    assert tilt_doubts(upright_fields(10.0) * np.float32([[[1.0]], [[0.0]]]), (1.0, 0.8)) == []

"""Reading a chest radiograph: where it shows lung, and how much lung each ray passes.

The visible field leaves out lung behind the heart and below the domes of the diaphragm; the path length does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lpm.calibration import count, number, span
from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.xray.bundle import XrayBundle, read_xray_bundle
from lpm.xray.crops import Squared, Window, grid_shape, onto_picture, squared
from lpm.xray.novelty import field_figures, strangeness, tilt_doubts, two_pictures, whole_pieces

BUNDLED = Path(__file__).parents[1] / "bundled" / "xray-v1"  # beside the rooms

_LEAST_PX = count("xray.least_side_px")
_LEAST_CONTRAST = 1e-3  # standard deviation of grey values: less is rounding of a blank picture
_CLOSER = number("xray.closer_look")
_USUAL_SIDE = number("xray.usual_side")
_MOST_EXTREME = number("xray.most_extreme")
_HALF_IS_CHEST = number("xray.half_is_chest")
_LESSER_LUNG = number("xray.half_lesser_lung")
_SURELY_ONE = number("xray.surely_one_picture")
_FRONTAL, _LATERAL = "frontal", "lateral"
_STRANGE = number("xray.strange_spreads")
_LUNG_HEIGHTS_MM = span("xray.field_heights_mm")


@dataclass(frozen=True)
class Answers:
    """Probabilities of what the picture is.

    Args:
        chest: A chest radiograph of the view asked for, upright and whole.
        mirrored: The heart is on the picture's left.
        inverted: Air is bright. The reading allows for it.
        turned: Probabilities of a rotation by 0, 90, 180, 270 degrees counter-clockwise.
    """

    chest: float
    mirrored: float
    inverted: float
    turned: tuple[float, float, float, float]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Reading:
    """Lung fields and path lengths of a radiograph, on a grid over the whole picture.

    Args:
        field: (2, r, c) probability of the visible field of the left and the right lung (the patient's right is on
            the picture's left); of a lateral view (1, r, c), of both together: more than about 30 mm of lung.
        path_length: (2, r, c) length of the ray through the left and the right lung; (1, r, c) through both, of a
            lateral view. In mm where `in_mm`, else in pixels of the picture given, taken as square.
        path_sd: Standard deviation of `path_length` at a pixel. Errors of neighbours go together.
        volume_sd: Relative standard deviation of the sum of `path_length` over the picture.
        step_px: Rows and columns of the picture given to one of the grid; 1, 1 up to 512 rows and columns.
        in_mm: Whether the picture's pixel spacing was known.
        answers: Answers of the network on what the picture is.
        doubts: Reasons to doubt the reading, in plain sentences.
    """

    field: NDArray[np.float32]
    path_length: NDArray[np.float32]
    path_sd: NDArray[np.float32]
    volume_sd: float
    step_px: tuple[float, float]
    in_mm: bool
    answers: Answers
    doubts: tuple[str, ...]


def load_reader(path: Path = BUNDLED) -> XrayReader:
    """Load a reader: the bundled one, or a folder that the training script wrote.

    Raises:
        FileError: Missing or damaged files.
        SchemaError: Files of another version, or not of a pair.
    """
    return _bundled() if path == BUNDLED else XrayReader(read_xray_bundle(path))


@cache
def _bundled() -> XrayReader:
    """The bundled reader, read once in each process."""
    return XrayReader(read_xray_bundle(BUNDLED))


@dataclass(frozen=True)
class XrayReader:
    """Reads frontal and lateral radiographs on the CPU."""

    bundle: XrayBundle

    def frontal(self, pixels: ArrayLike, mm_per_px: tuple[float, float] | None = None) -> Reading:
        """Read a frontal radiograph, PA or AP.

        Args:
            pixels: (r, c) 0 to 1, bright = dense, the patient's right on the left.
            mm_per_px: Pixel spacing of rows and of columns, in the plane of the patient; None if nobody knows.

        Raises:
            InputError: Pixels that are no picture, or a spacing that is no length.
        """
        return self._read(pixels, mm_per_px, lateral=False)

    def lateral(self, pixels: ArrayLike, mm_per_px: tuple[float, float] | None = None) -> Reading:
        """Read a lateral radiograph, the front on the picture's left; see `frontal`."""
        return self._read(pixels, mm_per_px, lateral=True)

    def looks_like_chest(self, pixels: ArrayLike, *, lateral: bool = False) -> float:
        """Probability that (r, c) pixels are a chest radiograph of this view, upright and whole."""
        picture = squared(_checked(pixels), (1.0, 1.0))
        return self._answers(picture, lateral).chest

    def _read(self, pixels: ArrayLike, mm_per_px: tuple[float, float] | None, *, lateral: bool) -> Reading:
        checked = _checked(pixels)
        spacing = _checked_spacing(mm_per_px)
        picture = squared(checked, spacing or (1.0, 1.0))
        answers = self._answers(picture, lateral)
        if answers.inverted > 0.5:
            picture = picture.inverted()
        fields, paths = self._maps(picture, grid_shape(checked.shape), lateral)
        errors = self.bundle.manifest.lateral_errors if lateral else self.bundle.manifest.frontal_errors
        sides = np.array(checked.shape) * np.array(spacing or (1.0, 1.0))
        unit = np.float32(sides.max())
        two = two_pictures(checked, spacing or (1.0, 1.0)) or self._two_chests(checked, spacing or (1.0, 1.0))
        doubts = [two] * bool(two) + _doubts(answers, lateral=lateral)
        doubts += _size_doubts(fields, sides if spacing else None)
        doubts += [] if lateral else tilt_doubts(fields, picture.extent)
        doubts += _grey_doubts(checked) + self._shape_doubts(field_figures(fields, picture.extent, lateral=lateral))
        return Reading(
            field=fields,
            path_length=paths * unit,
            path_sd=np.interp(paths, errors.lengths, errors.sds).astype(np.float32) * unit,
            volume_sd=errors.volume,
            step_px=(checked.shape[0] / fields.shape[1], checked.shape[1] / fields.shape[2]),
            in_mm=spacing is not None,
            answers=answers,
            doubts=tuple(doubts),
        )

    def _two_chests(self, pixels: NDArray[np.float32], spacing: tuple[float, float]) -> str:
        """Why a picture may be two: its left and its right half each look like a chest; upper halves of one do, too.

        Half a frontal looks much like a lateral: where neither half is a frontal, the whole has to look unlike one.
        """
        half = pixels.shape[1] // 2
        halves = [self._views_of(squared(part, spacing)) for part in (pixels[:, :half], pixels[:, -half:])]
        if not all(halves) or not (_FRONTAL in halves[0] | halves[1] or self._may_be_two(squared(pixels, spacing))):
            return ""
        return "Each half of the picture looks like a chest: two pictures side by side?"

    def _views_of(self, picture: Squared) -> set[str]:
        """What half a picture may be, whole as it is: a frontal, if it shows both lungs; a lateral; nothing."""
        frontal, lateral = (self._answers(picture, is_lateral) for is_lateral in (False, True))
        views = {_LATERAL} if lateral.chest > _HALF_IS_CHEST else set()
        return views | ({_FRONTAL} if frontal.chest > _HALF_IS_CHEST and self._shows_both(picture, frontal) else set())

    def _shows_both(self, picture: Squared, answers: Answers) -> bool:
        upright = picture.inverted() if answers.inverted > 0.5 else picture
        areas = (self._run(upright, picture.whole(), lateral=False)[0] > 0.5).float().mean(dim=(1, 2))
        return float(areas.min()) > _LESSER_LUNG * float(areas.max())

    def _may_be_two(self, picture: Squared) -> bool:
        return max(self._answers(picture, is_lateral).chest for is_lateral in (False, True)) < _SURELY_ONE

    def _shape_doubts(self, figures: dict[str, float]) -> list[str]:
        far = strangeness(figures, self.bundle.manifest.typical, self.bundle.manifest.spread)
        if not far or max(far.values()) <= _STRANGE:
            return []
        worst = max(far, key=lambda name: far[name])
        return [f"The lung field looks unusual: {worst} is {far[worst]:.0f} standard deviations off."]

    def _answers(self, picture: Squared, lateral: bool) -> Answers:
        logits = self._run(picture, picture.whole(), lateral)[2]
        if torch.sigmoid(logits[2]) > 0.5:
            inverted = torch.sigmoid(logits[2])
            logits = self._run(picture.inverted(), picture.whole(), lateral)[2]
            logits[2] = torch.logit(inverted)
        chest, mirrored, dark = torch.sigmoid(logits[:3]).tolist()
        turns = torch.softmax(logits[3:], dim=0).tolist()
        return Answers(chest, mirrored, dark, (turns[0], turns[1], turns[2], turns[3]))

    def _maps(
        self, picture: Squared, shape: tuple[int, int], lateral: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Fields and path lengths, these in shares of the picture's longer side.

        Fields are the mean of a look at the whole picture and a closer one. Path lengths are the first look's, which
        sees how thick the body is, unless the lungs are small in it.
        """
        whole = picture.whole()
        first = self._run(picture, whole, lateral)
        closer = _about(first[0], whole)
        second = self._run(picture, closer, lateral)
        chosen, window = (first, whole) if closer.side > _USUAL_SIDE else (second, closer)
        looks = ((first[0], whole), (second[0], closer))
        seen = torch.stack([onto_picture(fields, where, picture.extent, shape) for fields, where in looks])
        paths = onto_picture(chosen[1] * window.side, window, picture.extent, shape)
        return np.stack([whole_pieces(field) for field in seen.mean(dim=0).numpy()]), paths.numpy()

    def _run(self, picture: Squared, window: Window, lateral: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(c, s, s) fields, (c, s, s) path lengths in sides of the window, (7,) logits of the answers."""
        seen = picture.seen(window, self.bundle.manifest.network.size_px)
        with torch.inference_mode():
            fields, paths, answers = self.bundle.network(seen, torch.tensor([float(lateral)]))
        own = slice(2, 3) if lateral else slice(0, 2)
        return torch.sigmoid(fields[0, own]), paths[0, own], answers[0].clone()


def _about(fields: Tensor, window: Window) -> Window:
    """A window about the lungs that a look found; the same window where it found next to nothing."""
    shown = (fields > 0.5).any(dim=0)
    if float(shown.float().mean()) < 0.01:
        return window
    size = shown.shape[0]
    rows = shown.sum(dim=1) > 2
    columns = shown.sum(dim=0) > 2
    top, bottom = _reach(rows)
    left, right = _reach(columns)
    row = window.row + ((top + bottom) / 2.0 / size - 0.5) * window.side
    column = window.column + ((left + right) / 2.0 / size - 0.5) * window.side
    return Window(row, column, _CLOSER * max(bottom - top, right - left) / size * window.side)


def _reach(line: Tensor) -> tuple[int, int]:
    places = torch.nonzero(line)[:, 0]
    if len(places) == 0:
        return 0, len(line)
    return int(places[0]), int(places[-1]) + 1


def _checked(pixels: ArrayLike) -> NDArray[np.float32]:
    checked = np.asarray(pixels, dtype=np.float32)
    if checked.ndim != 2:
        raise InputError("radiograph", f"an array of shape {checked.shape}", "rows x columns of one grey channel")
    if min(checked.shape) < _LEAST_PX:
        raise InputError(
            "radiograph", f"{checked.shape[0]} x {checked.shape[1]} pixels", f"at least {_LEAST_PX} a side"
        )
    if not np.isfinite(checked).all():
        raise InputError("radiograph", "pixels that are not finite", "numbers from 0 to 1")
    if checked.min() < -1e-3 or checked.max() > 1.0 + 1e-3:
        given = f"pixels from {checked.min():g} to {checked.max():g}"
        raise InputError("radiograph", given, "0 to 1", "divide by the largest value of the file's type")
    if checked.std() < _LEAST_CONTRAST:
        raise InputError("radiograph", f"blank: every pixel is about {checked.mean():.3g}", "a picture of a chest")
    return checked


def _checked_spacing(mm_per_px: tuple[float, float] | None) -> tuple[float, float] | None:
    if mm_per_px is None:
        return None
    spacing = (float(mm_per_px[0]), float(mm_per_px[1]))
    if not (np.isfinite(spacing).all() and min(spacing) > 0):
        raise InputError("pixel spacing", f"{mm_per_px}", "two positive numbers of mm", "None if nobody knows")
    if max(spacing) > 4 * min(spacing):
        raise InputError("pixel spacing", f"{mm_per_px} mm", "rows and columns of about the same size")
    return spacing


def _doubts(answers: Answers, *, lateral: bool) -> list[str]:
    view = "lateral" if lateral else "frontal"
    doubts = []
    turn = int(np.argmax(answers.turned))
    if turn and answers.turned[turn] > 0.5:
        doubts.append(f"The picture seems turned by {90 * turn} degrees counter-clockwise.")
    if answers.chest < 0.5:  # and the other answers are about nothing
        doubts.append(f"This may be no {view} chest radiograph, upright and whole (score {answers.chest:.2f} of 1).")
        return doubts
    if answers.mirrored > 0.5 and not lateral:
        doubts.append("The heart seems to lie on the picture's left: the picture may be mirrored.")
    if answers.inverted > 0.5:
        doubts.append("Air seems bright: the picture was read with dark and bright exchanged.")
    return doubts


def _grey_doubts(pixels: NDArray[np.float32]) -> list[str]:
    extreme = max(float(np.mean(pixels <= pixels.min())), float(np.mean(pixels >= pixels.max())))
    if extreme <= _MOST_EXTREME:
        return []
    return [f"{extreme:.0%} of the picture are of its darkest or its brightest grey: it may be saturated."]


def _size_doubts(fields: NDArray[np.float32], sides_mm: NDArray[np.float64] | None) -> list[str]:
    shown: NDArray[np.bool_] = np.any(fields > 0.5, axis=0)
    if not shown.any():
        return ["No lung field was found."]
    doubts = []
    edges = [shown[0].mean(), shown[-1].mean(), shown[:, 0].mean(), shown[:, -1].mean()]
    if max(edges) > 0.03:
        doubts.append("The lung field reaches the picture's border: part of a lung may be cut off.")
    if sides_mm is not None:
        rows = np.nonzero(shown.any(axis=1))[0]
        height_mm = (rows[-1] - rows[0] + 1) / shown.shape[0] * sides_mm[0]
        low, high = _LUNG_HEIGHTS_MM
        if not low < height_mm < high:
            doubts.append(f"The lung field is {height_mm:.0f} mm high: is the pixel spacing right?")
    return doubts

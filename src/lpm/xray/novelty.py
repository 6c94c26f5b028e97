"""A lung field in whole pieces, and a few figures of it that tell one of a chest from one of something else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.calibration import number, span

_LEAST_PIECE = number("xray.least_piece")
_LEAST_SHOWN = 0.002  # of the picture: a side that shows less tells nothing
_MOST_TILT_DEG = number("xray.most_tilt_deg")
_USUAL_AXES_DEG, _USUAL_BETWEEN_DEG = span("xray.usual_tilt_deg")
_AXES_SAY = number("xray.tilt_of_axes")
_WIDE, _TALL = span("xray.two_pictures")


def whole_pieces(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Drop small pieces, such as gas in the stomach, and fill holes, such as dense spots, of one lung's field.

    Args:
        field: (r, c) probabilities.

    Returns:
        (r, c) probabilities; the edge of what is kept is as it was.
    """
    shown = field > 0.5
    pieces, count = ndimage.label(shown)
    if count == 0:
        return field
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = (sizes >= _LEAST_PIECE * sizes.max())[pieces]
    kept[pieces == 0] = False
    near = ndimage.binary_dilation(kept, iterations=max(2, max(field.shape) // 40))
    cleaned = np.where(near & (kept | ~shown), field, np.float32(0.0))
    holes = ndimage.binary_fill_holes(kept) & ~kept
    return np.where(holes, np.float32(1.0), cleaned)


def two_pictures(pixels: NDArray[np.float32], spacing: tuple[float, float]) -> str:
    """Why a picture may be two, side by side or one above the other; empty if it may be one.

    Args:
        pixels: (r, c) grey values; even borders do not count.
        spacing: Between rows and columns, in any unit.
    """
    shown = (pixels.max(axis=1) > pixels.min(axis=1), pixels.max(axis=0) > pixels.min(axis=0))
    height, width = (float(np.ptp(np.flatnonzero(line)) + 1) * step for line, step in zip(shown, spacing, strict=True))
    if width >= _WIDE * height:
        return f"The picture is {width / height:.1f} times as wide as high: two pictures side by side?"
    if height >= _TALL * width:
        return f"The picture is {height / width:.1f} times as high as wide: two pictures, one above the other?"
    return ""


def tilt_doubts(fields: NDArray[np.float32], extent: tuple[float, float]) -> list[str]:
    """A doubt if the lungs of a frontal picture are tilted, as in a photo that was taken askew.

    Args:
        fields: (2, r, c) probabilities, left and right.
        extent: Height and width of the picture in shares of its longer side.
    """
    shown = fields > 0.5
    if min(side.mean() for side in shown) < _LEAST_SHOWN:
        return []
    pixel = np.array(extent) / shown.shape[1:]
    places = [np.argwhere(side) * pixel for side in shown]
    across = places[0].mean(axis=0) - places[1].mean(axis=0)
    between = float(np.degrees(np.arctan2(-across[0], across[1])))
    along = float(np.mean([_axis_deg(each) for each in places]))
    tilt = _AXES_SAY * (along - _USUAL_AXES_DEG) + (1.0 - _AXES_SAY) * (between - _USUAL_BETWEEN_DEG)
    if abs(tilt) <= _MOST_TILT_DEG:
        return []
    way = "counter-clockwise" if tilt > 0 else "clockwise"
    return [f"The lungs seem tilted by {abs(tilt):.0f} degrees {way}: was the picture taken or scanned askew?"]


def _axis_deg(places: NDArray[np.float64]) -> float:
    """How far the main axis of (n, 2) rows and columns is turned counter-clockwise from upright, degrees."""
    _, vectors = np.linalg.eigh(np.cov(places.T))
    down, right = vectors[:, 1] * np.sign(vectors[0, 1] or 1.0)
    return float(np.degrees(np.arctan2(right, down)))


def field_figures(
    fields: NDArray[np.float32], extent: tuple[float, float], *, lateral: bool = False
) -> dict[str, float]:
    """Figures of a frontal field; none of a lateral one, and none where a side shows next to nothing.

    Args:
        fields: (2, r, c) probabilities, left and right.
        extent: Height and width of the picture in shares of its longer side.
        lateral: Seen from the side.
    """
    shown = fields > 0.5
    if lateral or min(side.mean() for side in shown) < _LEAST_SHOWN:
        return {}
    pixel = np.array(extent) / shown.shape[1:]
    boxes = [_box(side) * np.repeat(pixel, 2) for side in shown]
    areas = [side.sum() * pixel.prod() for side in shown]
    left, right = boxes
    heights = [box[1] - box[0] for box in boxes]
    width = max(left[3], right[3]) - min(left[2], right[2])
    height = max(left[1], right[1]) - min(left[0], right[0])
    doubtful = ((fields > 0.1) & (fields < 0.9)).sum() / shown.sum()
    return {
        "the ratio of the areas": float(np.log(areas[0] / areas[1])),
        "the ratio of the heights": float(np.log(heights[0] / heights[1])),
        "width over height": float(np.log(width / height)),
        "the filling of the box": float((areas[0] + areas[1]) / (width * height)),
        "the gap between the lungs": float((left[2] - right[3]) / width),
        "the difference of the tops": float((left[0] - right[0]) / height),
        "the doubtful share": float(np.log(doubtful + 1e-3)),
    }


def strangeness(figures: dict[str, float], typical: dict[str, float], spread: dict[str, float]) -> dict[str, float]:
    """Distance of each figure from its usual value, in standard deviations."""
    return {name: abs(value - typical[name]) / spread[name] for name, value in figures.items() if name in typical}


def _box(shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Top, bottom, left, right edge in pixels."""
    rows, columns = np.nonzero(shown.any(axis=1))[0], np.nonzero(shown.any(axis=0))[0]
    return np.array([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1], dtype=np.float64)

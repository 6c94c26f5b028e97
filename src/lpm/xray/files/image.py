"""What a radiograph is once it is read, whatever file it came from, and what no radiograph can be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import count, number, span
from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays

Grey = NDArray[np.float32]
ViewName = Literal["frontal", "lateral"]
SPACING_RANGE_MM = span("xray.spacing_mm")
MOST_MEGAPIXELS = 100  # 400 MB of float32: memory is not taken for more
_LEAST_PX = count("xray.least_side_px")
_MOST_AT_AN_END = number("xray.most_at_an_end")
_LEAST_LEVELS = count("xray.least_levels")
_SAMPLES = 1_000_000  # pixels, at least, whose grey values are counted


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Xray:
    """A radiograph as read.

    Args:
        pixels: (rows, columns) float32 from 0 (darkest) to 1 (brightest); bright = dense, as far as the file says.
        mm_per_px: Distance between rows and between columns on the detector; None if not known.
        view: None if not known.
        position: Position as DICOM has it, PA, AP, LL and so on; None if not known.
        source_detector_mm: Distance from the focal spot to the detector; None if not known.
        source_patient_mm: Distance from the focal spot to the patient; None if not known.
        notes: Notes on what was chosen, changed or doubted.
    """

    pixels: Grey
    mm_per_px: tuple[float, float] | None = None
    view: ViewName | None = None
    position: str | None = None
    source_detector_mm: float | None = None
    source_patient_mm: float | None = None
    notes: tuple[str, ...] = ()

    def inverted(self) -> Xray:
        """The negative, for a file that shows air bright."""
        return replace(self, pixels=1.0 - self.pixels, notes=(*self.notes, "inverted"))


def is_spacing(mm_per_px: float) -> bool:
    """Whether a distance between pixels can be that of a chest radiograph."""
    return bool(np.isfinite(mm_per_px)) and SPACING_RANGE_MM[0] <= mm_per_px <= SPACING_RANGE_MM[1]


def expected_spacing() -> str:
    """Range of spacings that are accepted, for the message of an error."""
    return "{:g} to {:g} mm".format(*SPACING_RANGE_MM)


def check_size(path: Path, rows: int, columns: int) -> None:
    """Refuse what is too small to show lungs, or too large to take into memory.

    Raises:
        InputError: Below 64 pixels a side, or above 100 megapixels.
    """
    given = f"{rows} x {columns} pixels"
    if min(rows, columns) < _LEAST_PX:
        raise InputError(str(path), given, f"at least {_LEAST_PX} a side", "give the picture in full size")
    if rows * columns > MOST_MEGAPIXELS * 1_000_000:
        raise InputError(str(path), given, f"at most {MOST_MEGAPIXELS} megapixels", "scale it down")


def scaled(values: NDArray[Any], path: Path) -> Grey:
    """Grey values from 0 to 1 over the range that is used.

    Raises:
        InputError: Blank, saturated, or with too few grey values to be a radiograph.
    """
    low, high = float(values.min()), float(values.max())
    if not high > low:
        raise InputError(str(path), f"blank: every pixel is {low:g}", "a radiograph", "export it again")
    for end, name in ((low, "darkest"), (high, "brightest")):
        share = float((values == end).mean())
        if share > _MOST_AT_AN_END:
            given = f"{share:.0%} of the pixels are the {name} value {end:g}: saturated, or a mask"
            raise InputError(str(path), given, f"at most {_MOST_AT_AN_END:.0%}", "crop its borders, widen its window")
    levels = _levels(values.ravel()[:: max(values.size // _SAMPLES, 1)])
    if levels < _LEAST_LEVELS:
        given = f"{levels} grey values: next to no contrast, or a mask"
        raise InputError(str(path), given, f"at least {_LEAST_LEVELS}", "give the radiograph itself, in full depth")
    return np.asarray((values.astype(np.float32) - low) / np.float32(high - low), dtype=np.float32)


def _levels(values: NDArray[Any]) -> int:
    """How many grey values there are, but for the darkest and the brightest hundredth."""
    low, high = np.percentile(values, (1, 99))
    return len(np.unique(values[(values >= low) & (values <= high)]))

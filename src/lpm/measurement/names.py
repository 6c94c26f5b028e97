"""Names of measurements in words, with their units."""

from __future__ import annotations

import re

_UNITS = {"ml": "ml", "mm": "mm", "cm2": "cm²", "percent": "%", "deg": "degrees"}
_SIZES = ("_ml", "_mm", "_cm2")


def in_words(name: str) -> tuple[str, str]:
    """A measurement's name without the unit that it ends in, and that unit; none of an age, for instance.

    ``dome_height_mm`` is "dome height" and "mm"; ``section_10_cm2`` is "section at 10 %" and "cm²".
    """
    words, _, unit = name.rpartition("_")
    words, unit = (words, _UNITS[unit]) if words and unit in _UNITS else (name, "")
    return re.sub(r"\bsection (\d+)$", r"section at \1 %", words.replace("_", " ")), unit


def is_size(name: str) -> bool:
    """Whether a measurement cannot be negative, as an angle can."""
    return name.endswith(_SIZES)


def in_figures(value: float) -> str:
    """Format a measurement for reading: 4,500 and 52.37."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def heading(name: str) -> str:
    """Name in words and unit together: "dome height, mm"."""
    words, unit = in_words(name)
    return f"{words}, {unit}" if unit else words

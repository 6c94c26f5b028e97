"""Modelling numbers: those that change a result. Value, unit and provenance of each stand in `calibration.toml`.

A module takes its numbers by name when it is imported, `_SPREAD = number("xray.interval_spread")`. Numbers that only
cost time or memory stay in their module, with the reason beside them; what a user may choose is a field of a config.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import Field, StrictFloat, StrictInt, ValidationError

from lpm.errors import InputError, SchemaError
from lpm.records import StrictModel


class Calibrated(StrictModel):
    """A modelling number and where it comes from."""

    value: StrictInt | StrictFloat | tuple[StrictFloat, ...] = Field(description="the number, or several in order")
    unit: str = Field(min_length=1, description="unit, and of what")
    chosen: str = Field(min_length=1, description="how it was chosen")
    on: str = Field("not recorded", min_length=1, description="lungs or sources it was chosen on")
    halved: str = Field("not measured", min_length=1, description="what changes with half of it")
    doubled: str = Field("not measured", min_length=1, description="what changes with twice of it")


def parsed(text: str) -> dict[str, Calibrated]:
    """Read calibrated numbers from TOML: a table for each, `[room.name]`.

    Returns:
        By `room.name`, in the file's order.

    Raises:
        SchemaError: Unknown or missing keys, or a table that is no number's.
    """
    rooms: Mapping[str, Any] = tomllib.loads(text)
    try:
        return {
            f"{room}.{name}": Calibrated.model_validate(found)
            for room, names in rooms.items()
            for name, found in names.items()
        }
    except (ValidationError, AttributeError) as error:
        raise SchemaError("calibration.toml", f"does not follow its schema ({error})") from error


@cache
def calibration() -> dict[str, Calibrated]:
    """All calibrated numbers by `room.name`. A study of sensitivity changes entries before it imports the rest."""
    return parsed(files("lpm").joinpath("calibration.toml").read_text(encoding="utf-8"))


def number(name: str) -> float:
    """Return a number that may have a fraction.

    Raises:
        InputError: There is none of this name, or it is of another kind.
    """
    value = _value(name)
    if not isinstance(value, float):
        raise InputError(name, repr(value), "a number with a decimal point")
    return value


def count(name: str) -> int:
    """Return a whole number.

    Raises:
        InputError: There is none of this name, or it is of another kind.
    """
    value = _value(name)
    if not isinstance(value, int):
        raise InputError(name, repr(value), "a whole number")
    return value


def several(name: str) -> tuple[float, ...]:
    """Return numbers in order.

    Raises:
        InputError: There are none of this name, or they are of another kind.
    """
    value = _value(name)
    if not isinstance(value, tuple):
        raise InputError(name, repr(value), "a list of numbers")
    return value


def span(name: str) -> tuple[float, float]:
    """Return a range: lower and upper end.

    Raises:
        InputError: There is none of this name, or it is of another kind.
    """
    values = several(name)
    if len(values) != 2 or values[0] >= values[1]:
        raise InputError(name, repr(values), "a lower and an upper end")
    return values[0], values[1]


def _value(name: str) -> int | float | tuple[float, ...]:
    if name not in calibration():
        raise InputError(name, "no such calibrated number", "one of calibration.toml")
    return calibration()[name].value

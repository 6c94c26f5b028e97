"""A label map of one lung: whether it lies on the side that it is named by."""

from __future__ import annotations

from lpm.errors import InputError
from lpm.geometry.volumes import Volume
from lpm.preparation.label_maps.meaning import LEFT_LUNG, RIGHT_LUNG, Meaning
from lpm.preparation.label_maps.sides import Side, side_by_place, side_by_shape
from lpm.preparation.label_maps.spread import Spread

_OTHER: dict[Side, Side] = {"left": "right", "right": "left"}


def doubt_about(lung: Volume, spread: Spread, meaning: Meaning, subject: str) -> str:
    """Why the side of a single lung is in doubt; empty if it is not.

    Args:
        lung: bool, upright.
        spread: Spread of all values.
        meaning: Values of the one lung.
        subject: Name for messages.

    Raises:
        InputError: It lies on the other side than its value stands for by default, or nobody named it.
    """
    (values, *more) = meaning.values.values()
    by_shape, by_place = side_by_shape(lung), side_by_place(spread, values)
    if more:
        _refuse_unnamed(values[0], by_shape or by_place, subject)
    named: Side = "left" if LEFT_LUNG in meaning.values else "right"
    reasons = [
        *([f"lies on the {by_place} of the middle"] if by_place == _OTHER[named] else []),
        *([f"has the shape of a {by_shape} lung"] if by_shape == _OTHER[named] else []),
    ]
    if not reasons and (by_shape or by_place or meaning.is_sure):
        return ""
    if not reasons:
        return f"neither place nor shape shows whether the lung called {named} is the {named} one"
    against = f"the lung called {named} {' and '.join(reasons)}"
    if meaning.is_sure or named in (by_shape, by_place):
        return against
    value, other = values[0], _OTHER[named]
    tool = f"value {value} is the {other} lung in lungmask: --labels lungmask, or " if value in (1, 2) else ""
    hint = f"{tool}--labels {other}_lung={value}; --labels {named}_lung={value} if it is the {named} one"
    raise InputError(subject, against, f"the {named} lung on the patient's {named}", hint)


def _refuse_unnamed(value: int, side: Side | None, subject: str) -> None:
    """Refuse one lung of a value that stands for none.

    Raises:
        InputError: Always.
    """
    seen = f"; it lies like the {side} one" if side else ""
    hint = f"name it: --labels {side or 'left'}_lung={value}"
    raise InputError(subject, f"one lung of value {value}{seen}", f"{LEFT_LUNG}=1, {RIGHT_LUNG}=2", hint)

"""Names of segments and organs: which of them are lungs, and of which side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

Lung = Literal["left_lung", "right_lung", "lungs"]
_LUNG = ("lung", "pulmo", "polmon", "poumon")
_LOBE = ("lobe", "lobus", "lobu", "lapp")
_LEFT = {"left", "l", "lt", "links", "linke", "linker", "gauche", "sinister", "sinistra", "izquierdo", "llung"}
_RIGHT = {"right", "r", "rt", "rechts", "rechte", "rechter", "droit", "dexter", "destra", "derecho", "rlung"}
_HEIGHT = {"upper", "lower", "middle", "superior", "inferior"}
_LOBES = {"lul": _LEFT, "lll": _LEFT, "lingula": _LEFT, "rul": _RIGHT, "rml": _RIGHT, "rll": _RIGHT}
_SHORT = {"lul": "upper", "lll": "lower", "rul": "upper", "rml": "middle", "rll": "lower"}
_HEIGHTS = {"upper": "upper", "superior": "upper", "middle": "middle", "lower": "lower", "inferior": "lower"}
_OTHERS = (  # what lies in a lung or beside it, and lobes of other organs
    *("vessel", "arter", "vein", "veno", "airway", "bronch", "trache", "fissur", "pleur", "effus", "vascul"),
    *("nodul", "lesion", "tumo", "cancer", "mass", "gtv", "ctv", "ptv", "itv", "cyst", "bulla", "opaci"),
    *("ggo", "infiltr", "consolid", "emphys", "covid", "fibros", "infect", "pneumo", "atelect"),
    *("liver", "hepat", "thyr", "brain", "tempor", "front", "occip", "pariet", "prostat", "heart"),
)
_AUTOMATIC = re.compile(r"(segment|label|class|region|structure)?[\s_-]*\d*", re.IGNORECASE)


def lung_of(name: str) -> Lung | None:
    """Which lung, or lungs, a name is that of, or of a lobe of; None for other organs and for parts of a lung.

    Case, order and marks between words do not count: ``Lung_L``, ``left lung``, ``lung_upper_lobe_left``, ``RUL``.
    """
    words = _words(name)
    sides = {side for side, known in (("left", _LEFT), ("right", _RIGHT)) if any(_is_of(word, known) for word in words)}
    is_lobe = any(word.startswith(_LOBE) for word in words) and bool(sides) and not _HEIGHT.isdisjoint(words)
    is_lung = is_lobe or any(word.startswith(_LUNG) or word[1:].startswith(_LUNG) or word in _LOBES for word in words)
    if not is_lung or len(sides) > 1 or any(word.startswith(_OTHERS) for word in words):
        return None
    return "left_lung" if "left" in sides else "right_lung" if sides else "lungs"


def lobe_of(name: str) -> str | None:
    """Which lobe a name is that of, such as ``left_upper_lobe``; None for whole lungs and for others."""
    lung, words = lung_of(name), _words(name)
    if lung not in ("left_lung", "right_lung"):
        return None
    short = next((word for word in words if word in _SHORT), None)
    height = _SHORT[short] if short else next((_HEIGHTS[word] for word in words if word in _HEIGHTS), None)
    is_lobe = short is not None or any(word.startswith(_LOBE) for word in words)
    return f"{lung.removesuffix('_lung')}_{height}_lobe" if is_lobe and height else None


def is_plain_lung(name: str) -> bool:
    """Whether a name is that of a lung or a lobe and nothing else, unlike ``patient_7_left_lung``."""
    known = {*_LEFT, *_RIGHT, *_HEIGHT, *_LOBES}
    is_plain = all(word in known or word.startswith((*_LUNG, *_LOBE)) for word in _words(name))
    return is_plain and lung_of(name) in ("left_lung", "right_lung") and not re.search(r"\d", name)


def whole_lung(name: str) -> Literal["left_lung", "right_lung"] | None:
    """Which lung a name is that of and says nothing else: ``LEFT LUNG``, ``lung_L``; None for lobes and all else."""
    lung = lung_of(name)
    is_lobe = any(word in _HEIGHT or word in _LOBES or word.startswith(_LOBE) for word in _words(name))
    return lung if lung != "lungs" and is_plain_lung(name) and not is_lobe else None


def named_twice(names: Iterable[str]) -> str | None:
    """Two names of one whole lung among several, in words; None if there are none."""
    first: dict[str, str] = {}
    for name in names:
        if lung := whole_lung(name):
            if lung in first:
                return f"{first[lung]} and {name} are both the {lung.replace('_', ' ')}"
            first[lung] = name
    return None


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", parted.lower())


def _is_of(word: str, side: set[str]) -> bool:
    return word in side or _LOBES.get(word) is side


def is_automatic(name: str) -> bool:
    """Whether a name says nothing, as ``Segment_1``."""
    return _AUTOMATIC.fullmatch(name.strip()) is not None


def lungs_among(names: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    """Label values of the lungs by the names of values; of one name for both lungs, the same values for each.

    Args:
        names: Names of the label values.
    """
    found = {value: lung for value, name in names.items() if (lung := lung_of(name)) is not None}
    by_side = {
        side: tuple(value for value, lung in found.items() if lung == side) for side in ("left_lung", "right_lung")
    }
    sided = {side: values for side, values in by_side.items() if values}
    both = tuple(value for value, lung in found.items() if lung == "lungs")
    return sided or ({"left_lung": both, "right_lung": both} if both else {})

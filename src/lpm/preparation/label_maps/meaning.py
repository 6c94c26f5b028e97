"""What the values of a label map mean: what a person or the file says, or what the values show without doubt."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lpm.calibration import number
from lpm.errors import InputError
from lpm.preparation.label_maps.others import refuse_grey
from lpm.preparation.label_maps.spread import Spread
from lpm.structures import DEFAULT_STRUCTURES, PRESETS

Values = Mapping[str, tuple[int, ...]]
LEFT_LUNG, RIGHT_LUNG = DEFAULT_STRUCTURES
_APART = number("preparation.lungs_apart")
_ASTRAY = number("preparation.lung_astray")
_UNEVEN = number("preparation.collapsed_share")  # a lung that has less is none, or collapsed
_LEAST_SHARE = 0.1  # of both lungs: a smaller one than any that is not collapsed
_LEAST_LOBE = 0.03  # of all lobes: the middle one has about 0.08
_LOBES = 4  # of five, at least, that a map of lobes has: the middle one may have been removed
_DETECTED = {
    "totalsegmentator": "lobes as TotalSegmentator numbers them",
    "totalsegmentator-v1": "lobes as version 1 of TotalSegmentator numbers them",
    "lungmask-lobes": "lobes from 1 to 5",
}


@dataclass(frozen=True)
class Meaning:
    """Label values by structure.

    Args:
        values: Of the structures that the map holds.
        is_sure: Whether a person, the file or the values themselves tell; else it is the default.
        notes: Notes on what was taken for what, and on values that are ignored.
    """

    values: dict[str, tuple[int, ...]]
    is_sure: bool
    notes: tuple[str, ...] = ()


def meaning_of(spread: Spread, said: Values | None, subject: str) -> Meaning:
    """Find out what the values of a label map mean.

    Values that no structure claims are other organs: they are ignored, and a note says so.

    Args:
        spread: Spread of the values.
        said: What a person or the file says of them; None if neither says anything.
        subject: Name for messages.

    Raises:
        InputError: Empty, none of the structures in it, or lungs that cannot be told from other organs.
    """
    present = spread.present
    if not present:
        raise InputError(subject, "an empty mask (all voxels are 0)", "labels of the structures")
    if said is not None:
        return _claimed(present, said, subject)
    if not set(present) - {value for values in DEFAULT_STRUCTURES.values() for value in values}:
        return Meaning(_among(DEFAULT_STRUCTURES, present), is_sure=False)
    if len(present) == 1:  # of a value that stands for nothing: both lungs, if it is
        return Meaning({LEFT_LUNG: (present[0],), RIGHT_LUNG: (present[0],)}, is_sure=False)
    for name, words in _DETECTED.items():
        if is_preset(spread, preset := PRESETS[name]):
            return Meaning(_among(preset, present), True, (_taken(words, name), *_ignored(present, preset)))
    if _default_stands_out(spread):
        return Meaning(_among(DEFAULT_STRUCTURES, present), False, _ignored(present, DEFAULT_STRUCTURES))
    refuse_grey([spread.box_mm([value]) for value in present], present, subject)
    raise InputError(subject, f"label values {_listed(present)}", "left_lung=1, right_lung=2", _advice(spread))


def _claimed(present: list[int], said: Values, subject: str) -> Meaning:
    values = _among(said, present)
    if not values:
        known = ", ".join(f"{name}={'+'.join(map(str, own))}" for name, own in said.items())
        hint = "name the values with --labels, as in --labels left_lung=1+2,right_lung=3+4+5"
        raise InputError(subject, f"label values {_listed(present)}", known, hint)
    return Meaning(values, True, _ignored(present, said))


def shared_values(meaning: Meaning, subject: str) -> list[int]:
    """Values that both lungs have beside others of their own, as of a lesion in either; none where all are the same.

    Raises:
        InputError: A lung has none of its own.
    """
    left, right = (set(meaning.values.get(name, ())) for name in DEFAULT_STRUCTURES)
    shared = sorted(left & right)
    if not shared or left == right:
        return []
    if left <= right or right <= left:
        name = LEFT_LUNG if left <= right else RIGHT_LUNG
        given = f"value {_listed(shared)} said to be of both lungs, and no other to be the {name}"
        raise InputError(subject, given, "a value of each lung's own", "name one, or the same values for both lungs")
    return shared


def _among(structures: Values, present: list[int]) -> dict[str, tuple[int, ...]]:
    """Values that are there, of the structures that have any."""
    kept = {name: tuple(value for value in values if value in present) for name, values in structures.items()}
    return {name: values for name, values in kept.items() if values}


def _ignored(present: list[int], structures: Values) -> tuple[str, ...]:
    extra = sorted(set(present) - {value for values in structures.values() for value in values})
    if not extra:
        return ()
    which = f"label value {extra[0]} is" if len(extra) == 1 else f"label values {_listed(extra)} are"
    return (f"{which} of no structure: ignored, as other organs",)


def _taken(words: str, name: str) -> str:
    values = ", ".join(f"{structure}={'+'.join(map(str, own))}" for structure, own in PRESETS[name].items())
    return f"read as {words}: {values} (--labels {name})"


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values)) if len(values) <= 8 else f"{', '.join(map(str, values[:8]))}, ..."


def is_preset(spread: Spread, preset: Values) -> bool:
    """Whether a map has nearly all lobes of a tool, the left ones on the left of the right ones.

    Where its numbers begin with 1, each has a lobe's size. Exchanged sides are the tool's still where nothing but its
    lobes is there, or each has a lobe's size; they are refused later.
    """
    lobes = {value for values in preset.values() for value in values}
    present = set(spread.present)
    if len(lobes & present) < _LOBES or (min(lobes) == 1 and present - lobes):
        return False
    left, right = preset[LEFT_LUNG], preset[RIGHT_LUNG]
    if min(spread.ml(left), spread.ml(right)) < _LEAST_SHARE * spread.ml(lobes):
        return False  # numbers of other organs
    are_large = all(spread.ml([value]) > _LEAST_LOBE * spread.ml(lobes) for value in lobes & present)
    if min(lobes) == 1 and not are_large:
        return False  # any organs are numbered from 1 on
    are_all = present <= lobes or are_large
    return spread.apart(left, right) >= _APART or (are_all and spread.apart(right, left) >= 1.0 - _ASTRAY)


def _default_stands_out(spread: Spread) -> bool:
    """Whether 1 and 2 are two lungs side by side, in either order, or one of them is most of what is there.

    Lungs are the largest organs: what is larger than both and does not lie around them is one of a map without lungs.
    What has less than a collapsed lung, while another value would be a whole one beside the other, is none.
    """
    left, right = (set(values) & set(spread.present) for values in DEFAULT_STRUCTURES.values())
    if left and right:
        both, others = left | right, set(spread.present) - left - right
        low, high = spread.box_mm(both)
        around = {value for value in others if (box := spread.box_mm([value]))[0] <= low and high <= box[1]}
        are_largest = all(spread.ml([value]) < spread.ml(both) for value in others - around)
        small, large = sorted((left, right), key=spread.ml)
        is_other = spread.ml(small) < _UNEVEN * spread.ml(both) and any(
            spread.ml([value]) >= _UNEVEN * spread.ml(both) and side_by_side(spread, [value], large)
            for value in others - around
        )
        return are_largest and not is_other and side_by_side(spread, left, right)
    return spread.ml(left | right) > 0.5 * spread.ml(spread.present)


def side_by_side(spread: Spread, one: Collection[int], other: Collection[int]) -> bool:
    """Whether a sagittal plane parts two sets of values, in whatever order."""
    return max(spread.apart(one, other), spread.apart(other, one)) >= _APART


def _advice(spread: Spread) -> str:
    """Lobes of one lung of a tool; else the largest values that lie side by side are likely of the lungs."""
    if preset := _lobes_of_one(spread):
        return f"--labels {preset}, if these are its lobes of one lung"
    first, *others = sorted(spread.present, key=lambda value: -spread.ml([value]))
    second = next((value for value in others if side_by_side(spread, [first], [value])), None)
    if second is None:
        return "name the values of the lungs, as in --labels left_lung=1+2,right_lung=3+4+5"
    left, right = sorted((first, second), key=lambda value: spread.center_mm([value]))
    told = f"--labels left_lung={left},right_lung={right}"
    if len(others) == 1:
        return f"name the values of the lungs; the two lie like {told}"
    return f"name all values of the lungs; if they are the two largest that lie side by side: {told}"


def _lobes_of_one(spread: Spread) -> str | None:
    """The tool whose lobes of one lung are the most of a map, while it has none of the other's."""
    present, found = set(spread.present), dict[float, str]()
    for name in (each for each in _DETECTED if min(min(own) for own in PRESETS[each].values()) > 1):
        for own, other in itertools.permutations(PRESETS[name].values(), 2):
            mine = set(own) & present
            largest_ml = max((spread.ml([value]) for value in present - mine), default=0.0)
            if len(mine) > 1 and not set(other) & present and spread.ml(mine) > largest_ml:
                found[spread.ml(mine)] = name
    return found[max(found)] if found else None

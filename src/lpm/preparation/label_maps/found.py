"""The one way from a label map to structures: measure, fit, prepare and the viewer all take it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from lpm.calibration import number
from lpm.errors import InputError
from lpm.files.points import check_extent
from lpm.geometry.arrays import handed_over
from lpm.geometry.seam import grown_within
from lpm.geometry.sides import looks_mirrored, turned_doubts
from lpm.geometry.volumes import Volume, canonical, cropped, on_grid
from lpm.preparation.label_maps.drawn import DrawnSlices, drawn_slices
from lpm.preparation.label_maps.meaning import (
    LEFT_LUNG,
    RIGHT_LUNG,
    Meaning,
    Values,
    meaning_of,
    shared_values,
    side_by_side,
)
from lpm.preparation.label_maps.one_lung import doubt_about
from lpm.preparation.label_maps.one_value import ToldApart, told_apart, told_apart_in_slices
from lpm.preparation.label_maps.others import notes_on_others, refuse_background
from lpm.preparation.label_maps.spread import Spread
from lpm.preparation.label_maps.values import whole_labels
from lpm.structures import DEFAULT_STRUCTURES

_MIRRORED = "possibly mirrored: the heart seems to lie on the right, beside the smaller lung; check the header"
_ASTRAY = number("preparation.lung_astray")
_UNEVEN = number("preparation.collapsed_share")  # a lung that has less is none, or collapsed
_PLACES = 40  # along each axis of an image where voxels are looked at for their extent


@dataclass(frozen=True)
class Structures:
    """Structures of a label map.

    Args:
        labels: 0 background, 1, 2, ... the structures; upright, on the whole of the map's grid.
        values: Value of each structure that the map holds.
        notes: Notes on what was taken for what, what was ignored, and what is odd.
        doubt: Why the side of a single lung is in doubt; empty if it is not.
        drawn: The slices that were drawn, if the map is of a few slices only.
    """

    labels: Volume
    values: dict[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()
    doubt: str = ""
    drawn: DrawnSlices | None = None


def found_structures(labels: Volume, said: Values | None, subject: str) -> Structures:
    """Find the structures of a label map.

    Values that no structure claims are ignored as other organs; values about whole are rounded; a mask of both lungs in
    one value is told apart, and cut where the lungs touch. Notes say so.

    Args:
        labels: Any axis order and flips, any values that mean labels.
        said: Label values by structure, as a person or the file says; None for left 1, right 2, or what the values
            show without doubt. The same values for both lungs: they are to be told apart.
        subject: Name for messages.

    Raises:
        InputError: No label map, empty, of another unit than the millimetre, none of the structures in it, lungs that
            touch and cannot be parted, or that lie on the other side than named.
    """
    said = None if said == DEFAULT_STRUCTURES else said
    whole, notes = whole_labels(labels, subject)
    upright = canonical(whole)
    spread = Spread.of(upright)
    meaning = meaning_of(spread, said, subject)
    claimed = meaning.values
    if shared := shared_values(meaning, subject):
        upright, meaning = _shared_out(upright, meaning, shared)
        spread = Spread.of(upright)
    found = numbered(upright, meaning.values, tuple(said or DEFAULT_STRUCTURES))
    if set(meaning.values) <= set(DEFAULT_STRUCTURES):
        _check_unit(found.labels, subject)
        refuse_background(found.labels, subject)
        others = sorted(set(spread.present).difference(*claimed.values()))
        notes = (*notes, *notes_on_others(upright, found.labels.voxels > 0, others, claimed, subject))
        found = _lungs(found, spread, meaning, said, subject)
    return Structures(found.labels, found.values, (*notes, *meaning.notes, *found.notes), found.doubt, found.drawn)


def numbered(upright: Volume, values: Values, names: Collection[str] = tuple(DEFAULT_STRUCTURES)) -> Structures:
    """Structures by what their values are known to be, as of labels that a segmenter wrote.

    Args:
        upright: Whole numbers from 0 on.
        values: Label values of the structures that are there.
        names: All structures, in the order of their numbers.
    """
    numbers = {name: number for number, name in enumerate(names, start=1)}
    most = max(int(upright.voxels.max()), *(value for own in values.values() for value in own))
    table = np.zeros(most + 1, dtype=np.uint8)
    for name, own in values.items():
        table[list(own)] = numbers[name]
    labels = upright.with_voxels(handed_over(table[upright.voxels]))
    return Structures(labels, {name: (numbers[name],) for name in values}, drawn=drawn_slices(labels))


def _shared_out(upright: Volume, meaning: Meaning, shared: Collection[int]) -> tuple[Volume, Meaning]:
    """A map and its meaning in which the voxels of values that both lungs have are those of the lung they touch."""
    own = {name: tuple(value for value in values if value not in shared) for name, values in meaning.values.items()}
    sides = numbered(upright, own).labels
    box = cropped(sides, np.isin(upright.voxels, [value for values in meaning.values.values() for value in values]), 1)
    is_lung = (box.voxels > 0) | on_grid(upright.with_voxels(np.isin(upright.voxels, list(shared))), box).voxels
    grown = on_grid(box.with_voxels(grown_within(box.voxels.astype(np.int32), is_lung, box)), upright).voxels
    table = np.array([0, *(own[name][0] for name in DEFAULT_STRUCTURES)], dtype=upright.voxels.dtype)
    voxels = np.where(np.isin(upright.voxels, list(shared)), table[grown], upright.voxels)
    note = f"label value {', '.join(map(str, shared))} is of both lungs: each part of it of the one that it touches"
    return upright.with_voxels(voxels), Meaning(own, meaning.is_sure, (*meaning.notes, note))


def _check_unit(labels: Volume, subject: str) -> None:
    """Refuse another unit than the millimetre by the extent of some voxels.

    Raises:
        InputError: Their extent is not that of lungs.
    """
    steps = np.maximum(np.array(labels.voxels.shape) // _PLACES, 1)
    some = np.argwhere(labels.voxels[:: steps[0], :: steps[1], :: steps[2]])
    if len(some) > 1:
        check_extent(labels.to_world(some * steps), subject)


def _lungs(found: Structures, spread: Spread, meaning: Meaning, said: Values | None, subject: str) -> Structures:
    """The same with lungs told apart and their sides checked."""
    left, right = (meaning.values.get(name, ()) for name in (LEFT_LUNG, RIGHT_LUNG))
    is_pair = bool(left and right) and left != right
    if not is_pair:
        mask = found.labels.with_voxels(found.labels.voxels > 0)
        told = told_apart(mask) if found.drawn is None else told_apart_in_slices(mask)
        if told.how != "one lung":
            return _both(found, told, meaning, said, subject)
    if is_pair and not meaning.is_sure and found.drawn is None:
        is_even = min(spread.ml(left), spread.ml(right)) > _UNEVEN * spread.ml((*left, *right))
        are_beside = side_by_side(spread, left, right)
        if not (is_even and are_beside) and (both := _both_in_larger(found, spread, meaning, subject)):
            return both
        _refuse_mixed(subject, are_beside=are_beside)
    if is_pair:
        _refuse_exchanged(found, spread, meaning, subject, is_told=said is not None)
        odd = (*_odd(found.labels, found.values, found.drawn), *_astray(spread, left, right))
        return Structures(found.labels, found.values, odd, drawn=found.drawn)
    doubt = doubt_about(found.labels.with_voxels(found.labels.voxels > 0), spread, meaning, subject)
    return Structures(found.labels, found.values, (doubt,) if doubt else (), doubt, found.drawn)


def _astray(spread: Spread, left: tuple[int, ...], right: tuple[int, ...]) -> list[str]:
    """A note if more of a lung lies on the other side than any lung's reaches across."""
    share = 1.0 - spread.apart(left, right)
    what = "interpolated labels, or a lung that reaches across the middle?"
    return [f"{share:.0%} of a lung lies on the side of the other one: {what}"] if share > _ASTRAY else []


def _refuse_mixed(subject: str, *, are_beside: bool) -> None:
    """Refuse two values that do not lie side by side, of which the larger does not hold both lungs.

    Raises:
        InputError: They are such.
    """
    if not are_beside:
        hint = "name the values of the lungs, as in --labels left_lung=1+2,right_lung=3"
        raise InputError(subject, "values 1 and 2 do not lie side by side, as lungs do", "left and right apart", hint)


def _both_in_larger(found: Structures, spread: Spread, meaning: Meaning, subject: str) -> Structures | None:
    """Both lungs of a map in which the larger of 1 and 2 holds them, and the other is an airway, a nodule or the like.

    Returns:
        None if it does not hold both.
    """
    name, other = sorted(meaning.values, key=lambda each: -spread.ml(meaning.values[each]))
    told = told_apart(found.labels.with_voxels(np.isin(found.labels.voxels, found.values[name])))
    if told.how not in ("apart", "cut"):
        return None
    both = _both(found, told, Meaning({name: meaning.values[name]}, is_sure=False), None, subject)
    ignored = f"label value {meaning.values[other][0]} lies between or in both lungs: ignored, as another organ"
    return replace(both, notes=(*both.notes, ignored))


def _both(found: Structures, told: ToldApart, meaning: Meaning, said: Values | None, subject: str) -> Structures:
    """Both lungs of a mask that holds them in one value.

    Raises:
        InputError: They cannot be parted, or the mask is said to be of one lung.
    """
    values = "+".join(map(str, sorted({value for own in meaning.values.values() for value in own})))
    if told.how == "joined":
        given = f"one piece of value {values}, wide as two lungs: the lungs touch, and no seam parts them"
        raise InputError(subject, given, "left and right apart", "give the left lung the value 1 and the right one 2")
    if said is not None and len(said) == 1:
        (name,) = said
        hint = f"--labels left_lung={values},right_lung={values}, and they are told apart"
        raise InputError(subject, f"value {values}, said to be {name}, holds both lungs", "one lung", hint)
    labels = found.labels.with_voxels(told.sides)
    ml = [float(np.count_nonzero(told.sides == side)) * labels.voxel_ml for side in (1, 2)]
    how = "told apart by their side" if told.how == "apart" else f"they touch, cut apart over {told.cut_cm2:.0f} cm2"
    note = f"value {values} holds both lungs: {how} (left {ml[0]:,.0f} ml, right {ml[1]:,.0f} ml)"
    odd = _odd(labels, DEFAULT_STRUCTURES, found.drawn)
    return Structures(labels, dict(DEFAULT_STRUCTURES), (note, *odd), drawn=drawn_slices(labels))


def _odd(labels: Volume, values: Values, drawn: DrawnSlices | None) -> list[str]:
    """Doubts whether two lungs lie as the header says; a few slices do not tell."""
    if drawn is not None:
        return []
    return [*([_MIRRORED] if looks_mirrored(labels, values) else []), *turned_doubts(labels, values)]


def _refuse_exchanged(found: Structures, spread: Spread, meaning: Meaning, subject: str, *, is_told: bool) -> None:
    """Refuse a left lung that lies on the patient's right.

    Raises:
        InputError: It does.
    """
    left, right = meaning.values[LEFT_LUNG], meaning.values[RIGHT_LUNG]
    if spread.center_mm(left) <= spread.center_mm(right):
        return
    exchanged = f"--labels left_lung={'+'.join(map(str, right))},right_lung={'+'.join(map(str, left))}"
    tool = ", as lungmask numbers them" if (left, right) == ((1,), (2,)) else ""
    hint = f"exchange the values ({exchanged}{tool}) or mend the affine"
    if meaning.is_sure and not is_told and min(*left, *right) > 1:
        hint = "mend the affine or the header: the numbers of its lobes say which lung is which"
    by_place = {LEFT_LUNG: found.values[RIGHT_LUNG], RIGHT_LUNG: found.values[LEFT_LUNG]}
    if found.drawn is None and looks_mirrored(found.labels, by_place):
        hint = "mend the affine or the header: the heart seems to lie on the right as well, as in a mirror"
    elif found.drawn is None and turned_doubts(found.labels, by_place):
        hint = "mend the affine or the header: front and back seem to be exchanged as well (LPS taken for RAS?)"
    raise InputError(subject, "the left lung lies on the patient's right", "left at smaller R than right", hint)

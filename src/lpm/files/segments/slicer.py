"""Segments of 3D Slicer (.seg.nrrd): layers of label maps, with names in the header."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lpm.errors import FileError
from lpm.files.segments.names import is_automatic, lung_of, lungs_among
from lpm.geometry.arrays import read_only_arrays

_MOST_DIGITS = 5  # of a layer or a label: more than any file has
_KEY = re.compile(r"Segment(\d+)_(Name|ID|LabelValue|Layer)")


@dataclass(frozen=True)
class Segment:
    """A segment as the header describes it.

    Args:
        name: Its name.
        layer: The layer that holds it.
        value: Its value there.
    """

    name: str
    layer: int
    value: int


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments of a file as one label map.

    Args:
        voxels: (i, j, k) numbers of the segments; where they overlap, lungs lie above other organs.
        names: Name of each number; empty if all names were made by the program.
        structures: Numbers of the lungs, by structure.
        notes: Notes on overlaps and numbering.
    """

    voxels: NDArray[np.uint16]
    names: dict[int, str] = field(default_factory=dict)
    structures: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _entries(header: sitk.ImageFileReader | sitk.Image) -> dict[str, str]:
    keys = [key for key in header.GetMetaDataKeys() if key.isascii()]  # type: ignore[no-untyped-call]
    return {key: header.GetMetaData(key).strip() for key in keys}  # type: ignore[no-untyped-call]


def has_segments(header: sitk.ImageFileReader | sitk.Image) -> bool:
    """Whether a header describes segments."""
    return any(_KEY.fullmatch(key) for key in _entries(header))


def described(header: sitk.ImageFileReader | sitk.Image, n_layers: int) -> list[Segment]:
    """Segments of a header; files of older versions have a layer for each and say nothing of layers and values."""
    found: dict[int, dict[str, str]] = {}
    for key, value in _entries(header).items():
        if match := _KEY.fullmatch(key):
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [
        Segment(
            one.get("Name") or one.get("ID") or f"Segment_{n}",
            _number(one.get("Layer"), n if n_layers > 1 else 0),
            _number(one.get("LabelValue"), 1 if n_layers > 1 else n + 1),
        )
        for n, one in sorted(found.items())
    ]


def _number(text: str | None, otherwise: int) -> int:
    """A whole number of a header, or another where it says nothing.

    Raises:
        FileError: It says something else.
    """
    if text is None:
        return otherwise
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        given, expected = f"a segment of layer or value {text[:40]!r}", "whole numbers"
        raise FileError(".seg.nrrd", given, expected, "save it again from 3D Slicer")
    return int(text)


def collapsed(image: sitk.Image) -> Segmentation:
    """One label map of all segments of an image.

    Args:
        image: Of one component a layer, with the header's entries.
    """
    layers = np.atleast_3d(sitk.GetArrayViewFromImage(image))
    layers = layers[..., None] if layers.ndim == 3 else layers
    segments = [each for each in described(image, layers.shape[-1]) if each.layer < layers.shape[-1]]
    values = [each.value for each in segments]
    is_unique = len(set(values)) == len(values) and 0 not in values
    numbers = values if is_unique else list(range(1, len(segments) + 1))
    names = dict(zip(numbers, (each.name for each in segments), strict=True))
    voxels = np.zeros(layers.shape[:3], dtype=np.uint16)
    overlap = 0
    for number, each in sorted(zip(numbers, segments, strict=True), key=lambda pair: lung_of(pair[1].name) is not None):
        mask = layers[..., each.layer] == each.value
        if lung_of(each.name) is not None:
            overlap += int(np.count_nonzero(mask & np.isin(voxels, _other_side(names, each.name))))
        voxels[mask] = number
    notes = [] if is_unique else [f"segments numbered {', '.join(f'{n} {name}' for n, name in names.items())}"]
    others = [name for name in names.values() if lung_of(name) is None and not is_automatic(name)]
    notes += [f"no lungs, ignored: {', '.join(others)}"] if others else []
    notes += [f"left and right lung overlap in {overlap} voxels"] if overlap else []
    told = {} if all(is_automatic(name) for name in names.values()) else names
    return Segmentation(voxels.transpose(2, 1, 0), told, lungs_among(told), tuple(notes))


def _other_side(names: dict[int, str], name: str) -> list[int]:
    lung = lung_of(name)
    return [number for number, other in names.items() if lung_of(other) not in (lung, "lungs", None)]

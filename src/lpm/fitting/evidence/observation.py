"""What was seen of a patient's lungs: points, masks, slices, alone or together, are all points on the surface."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

UNKNOWN = -1  # in place of a structure's index, where a point's side is not known


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Observation:
    """Points on the surface of a patient's lungs.

    Args:
        points_mm: (n, 3) RAS mm.
        structure: (n,) index of the model's structure that each lies on, `UNKNOWN` if it could be any.
        what: Source of the points, in words.
        only: Structures that were looked at, if others are not to be predicted.
        notes: Notes for the reader.
        source: Digest of what it was made of, by which the same file is found out if it is given twice.
        truncated: Whether a part of what was looked at lies beyond the image, or beyond a cut.
    """

    points_mm: Floats
    structure: NDArray[np.int64]
    what: str
    only: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    source: str = ""
    truncated: bool = False


def combined(observations: Sequence[Observation]) -> Observation:
    """All that was seen of one patient, in one frame.

    Raises:
        InputError: Nothing was given.
    """
    if not observations:
        raise InputError("fit", "no observation", "points, a mask or slices")
    limits = [observation.only for observation in observations]
    only = tuple(dict.fromkeys(name for limit in limits if limit for name in limit))
    return Observation(
        np.concatenate([observation.points_mm for observation in observations]),
        np.concatenate([observation.structure for observation in observations]),
        "; ".join(observation.what for observation in observations),
        None if None in limits else only,
        tuple(note for observation in observations for note in observation.notes),
        truncated=any(observation.truncated for observation in observations),
    )


def digest_of(*arrays: NDArray[np.generic]) -> str:
    """SHA-256 of arrays: the same for the same content."""
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()


class Sourced(Protocol):
    """Evidence that knows what it was made of."""

    @property
    def what(self) -> str:
        """In words."""
        ...

    @property
    def source(self) -> str:
        """A digest, or nothing."""
        ...


S = TypeVar("S", bound=Sourced)


def without_repeats(evidence: Sequence[S]) -> tuple[list[S], list[str]]:
    """Each piece of evidence once, and notes on what was given again: twice the same would count for twice as much."""
    kept, notes, known = list[S](), list[str](), set[str]()
    for each in evidence:
        if each.source and each.source in known:
            notes.append(f"{each.what}: given twice, counted once")
            continue
        known.add(each.source)
        kept.append(each)
    return kept, notes

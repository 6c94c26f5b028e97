"""DICOM series: images that make one volume, and the choice among several series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from lpm.errors import InputError
from lpm.files.dicom.distances import SAME_PLACE_MM, Distances, distances
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

LEAST_SLICES = 20  # of a chest CT: fewer is a localizer or a part
_LEAST_EXTENT_MM = 100.0  # of a chest CT along the body: less shows no lung
_LEAST_UID = 6  # characters of a UID's end that name a series: fewer would be a number
PHASES = ("phase", "heart phase", "breathing phase", "time")  # other states of the lungs, not other pictures of one
_LISTED = 20  # series that a message lists


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series.

    Args:
        path: Its file.
        position_mm: (3,) centre of the first voxel, LPS.
        acquisition: Its acquisition number, 0 if there is none.
        frame: Index of the frame in a multi-frame file; None in a file of one image.
        number: Instance number, 0 if there is none.
        told: Values of the attributes that may tell volumes of one series apart, by DICOM's names.
    """

    path: Path
    position_mm: Floats
    acquisition: int
    frame: int | None = None
    number: int = 0
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What tells one volume of a series from the others at the same places.

    Args:
        what: acquisition, phase, kernel, ...
        value: Its value.
    """

    what: str
    value: str

    def __str__(self) -> str:
        """Such as kernel B30f."""
        return f"{self.what} {self.value}"


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Series:
    """Images that make one volume.

    Args:
        uid: Series instance UID.
        patient: Patient ID, else name, else study UID: named only where a folder of several is refused.
        number: Series number, 0 if there is none.
        description: Scanner's description.
        modality: CT, MR, ...
        kind: ``ImageType``, such as ORIGINAL PRIMARY AXIAL.
        orientation: (2, 3) directions of rows and columns, LPS.
        pixel_mm: (2,) distance between rows, and between columns.
        shape: Rows and columns.
        thickness_mm: Nominal slice thickness.
        slices: Sorted along the normal.
        place: Study instance UID and frame of reference UID.
        parts: Parts of a series that has several volumes at the same places; none if it has not.
        n_uids: Series UIDs that its slices have: more than one where an anonymiser gave each slice its own.
    """

    uid: str
    patient: str
    number: int
    description: str
    modality: str
    kind: tuple[str, ...]
    orientation: Floats
    pixel_mm: Floats
    shape: tuple[int, int]
    thickness_mm: float
    slices: tuple[Slice, ...]
    place: tuple[str, str] = ("", "")
    parts: tuple[Part, ...] = ()
    n_uids: int = 1

    @property
    def normal(self) -> Floats:
        """(3,) direction in which slices follow each other, LPS."""
        normal: Floats = np.cross(self.orientation[0], self.orientation[1])
        return np.divide(normal, np.linalg.norm(normal))

    @property
    def heights_mm(self) -> Floats:
        """(n,) place of each slice along the normal."""
        return np.array([each.position_mm @ self.normal for each in self.slices])

    @cached_property
    def distances(self) -> Distances:
        """How its slices follow each other."""
        numbers = np.array([each.number for each in self.slices], dtype=np.int64)
        return distances(self.heights_mm, numbers, self.thickness_mm)

    @property
    def step_mm(self) -> float:
        """Usual distance between slices."""
        return self.distances.step_mm

    @property
    def most_at_a_place(self) -> int:
        """Number of images at the place that has most of them."""
        places = np.concatenate([[0], np.cumsum(np.diff(self.heights_mm) >= SAME_PLACE_MM)])
        return int(np.bincount(places).max())

    @property
    def repeats_places(self) -> bool:
        """Whether several images lie at one place: such a series is no single volume."""
        return self.most_at_a_place > 1

    @property
    def is_axial(self) -> bool:
        """Whether the slices lie across the body, tilted or not."""
        return bool(abs(self.normal[2]) > 0.8)

    @property
    def is_chest_ct(self) -> bool:
        """Whether it could be a chest CT: axial, with enough slices over enough of the body, no localizer."""
        extent = float(np.ptp(self.heights_mm)) + self.step_mm
        is_picture = {"LOCALIZER", "MIP", "MPR"} & set(self.kind)
        return (
            self.modality == "CT"
            and self.is_axial
            and len(self.slices) >= LEAST_SLICES
            and extent >= _LEAST_EXTENT_MM
            and not is_picture
        )

    @property
    def label(self) -> str:
        """Label for ``--series``: its number, and what tells it from other volumes of the series."""
        return ":".join([str(self.number), *(part.value for part in self.parts)])

    def __str__(self) -> str:
        """One line for a list."""
        plane = "axial" if self.is_axial else "not axial"
        told = "".join(f", {part.what} {part.value}" for part in self.parts)
        what = f"{len(self.slices)} slices, {self.step_mm:.2f} mm apart, {plane}"
        return (
            f"series {self.label} ({self.modality}, {self.description or 'no description'}{told}): {what}, {self.uid}"
        )


def choose_series(found: Sequence[Series], wanted: str | None, subject: str) -> Series:
    """Choose a series: the one that is named, or the thin-slice axial chest CT.

    Args:
        found: All of a folder.
        wanted: Series number, or (at least 6 characters of the end of) its UID; either with ``:`` and the acquisition,
            phase or kernel behind it, where a series has several; None to choose.
        subject: Name for messages.

    Raises:
        InputError: No series, or several, answer to it; or, where none was asked for, they are of several patients or
            none is an axial CT of a chest's length.
    """
    if wanted is not None:
        return _named(found, wanted, subject)
    patients = sorted({series.patient for series in found})
    if len(patients) > 1:
        given = f"series of {len(patients)} patients ({', '.join(patients)})"
        hint = f"give the folder of one patient, or name a series with --series:\n  {_listed(found)}"
        raise InputError(subject, given, "one patient a folder", hint)
    chests = [series for series in found if series.is_chest_ct]
    if not chests:
        what = f"no axial CT series of {LEAST_SLICES} slices and {_LEAST_EXTENT_MM:.0f} mm"
        raise InputError(subject, what, "one", f"name one with --series:\n  {_listed(found)}")
    chosen = min(chests, key=lambda series: (round(series.step_mm, 2), -len(series.slices), series.number))
    return _only_phase(chosen, chests, subject)


def _only_phase(chosen: Series, chests: Sequence[Series], subject: str) -> Series:
    """Lungs of another phase are other lungs: only a person knows which are meant."""
    phases = [each for each in chests if each.uid == chosen.uid and {part.what for part in each.parts} & set(PHASES)]
    if chosen in phases and len(phases) > 1:
        given = f"{len(phases)} phases in one series"
        raise InputError(subject, given, "one of them", f"name one with --series:\n  {_listed(phases)}")
    return chosen


def _named(found: Sequence[Series], wanted: str, subject: str) -> Series:
    """The one that answers; of several stacks with one UID, such as a CT with its localizer, the only chest CT."""
    which, colon, part = wanted.partition(":")
    named = [series for series in found if which == str(series.number)]
    if not named and len(which) >= _LEAST_UID:
        named = [series for series in found if series.uid.endswith(which)]
    if colon:
        named = [series for series in named if part in _names(series)]
    chests = [series for series in named if series.is_chest_ct]
    if len({series.uid for series in named}) == 1 and len(chests) == 1:
        return chests[0]
    if len(named) != 1:
        given = f"--series {wanted}: {len(named)} of these"
        raise InputError(subject, given, "one of them", f"choose:\n  {_listed(found)}")
    return named[0]


def _names(series: Series) -> set[str]:
    """What may stand behind the colon: all parts, one of them, or the only acquisition."""
    values = [part.value for part in series.parts]
    acquisitions = {str(each.acquisition) for each in series.slices}
    return {":".join(values), *values, *(acquisitions if len(acquisitions) == 1 else ())} - {""}


def _listed(found: Sequence[Series]) -> str:
    """A line each, with the patient where there are several."""
    several = len({series.patient for series in found}) > 1
    lines = [f"patient {series.patient}, {series}" if several else str(series) for series in found[:_LISTED]]
    more = [f"and {len(found) - _LISTED} more"] if len(found) > _LISTED else []
    return "\n  ".join([*lines, *more])

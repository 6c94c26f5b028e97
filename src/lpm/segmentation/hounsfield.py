"""Scans in Hounsfield units: padding told from air, and what is no CT refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.arrays import handed_over, read_only_arrays
from lpm.geometry.masks import Mask, averaged, nearest_on
from lpm.geometry.volumes import Volume, canonical
from lpm.segmentation.body import adult_share, chest_slices, find_body, lateral_border
from lpm.segmentation.spine import Spine, find_spine

AIR_HU = -1000.0  # by definition
BODY_GRID_MM = number("segmentation.body_grid_mm")
BONE_GRID_MM = number("segmentation.wall_spacing_mm")
_CUT_SLICES = number("segmentation.cut_slices")
_PADDING_HU = number("segmentation.padding_hu")
_LOWEST_HU = -1024.0  # the least that 12 bits hold
_HIGHEST_HU = 3071.0  # the most that 12 bits hold
_SAMPLES = 2_000_000  # voxels, at least, that tell what a scan's values are
_LEAST_AIR = number("segmentation.least_air")
_LEAST_TISSUE = number("segmentation.least_tissue")
_WRAPPED = 60000.0  # -1024 read as an unsigned number of 16 bits is 64512
_SHIFTS = {
    -1024.0: "like stored values without their intercept",
    -2048.0: "like an intercept that was added with the wrong sign",
    1024.0: "like an intercept that was subtracted twice",
}  # by 1024, the usual intercept


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Scan:
    """A CT whose values are Hounsfield units; what several steps need of it is made once, when first asked for.

    Args:
        volume: float32 HU between -1024 and 3071; padding set to air.
        padding_share: Share of the voxels that were padding: outside the scanner's circle, or filled in.
        padding: Which voxels were; None if none.
        is_adult_sized: Whether lengths are those of an adult: measured if not said.
    """

    volume: Volume
    padding_share: float
    padding: Mask | None = None
    is_adult_sized: bool = False
    _coarse: dict[float, Volume] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def upright(self) -> Volume:
        """The CT with its axes along R, A, S (`canonical`)."""
        return canonical(self.volume)

    def averaged(self, spacing_mm: float) -> Volume:
        """The upright CT as block means of about a spacing."""
        if spacing_mm not in self._coarse:
            self._coarse[spacing_mm] = averaged(self.upright, spacing_mm)
        return self._coarse[spacing_mm]

    def padding_on(self, spacing_mm: float) -> Mask | None:
        """Which voxels of `averaged` are mostly padding; None if the scan has none."""
        if self.padding is None:
            return None
        share = averaged(canonical(self.volume.with_voxels(self.padding)), spacing_mm).voxels
        return np.asarray(share > 0.5)

    @cached_property
    def body(self) -> Volume:
        """Whether a voxel of ``averaged(BODY_GRID_MM)`` lies in the patient."""
        coarse = self.averaged(BODY_GRID_MM)
        return coarse.with_voxels(find_body(coarse, self.padding_on(BODY_GRID_MM)))

    @cached_property
    def adult_share(self) -> float:
        """Size of the patient in a slim adult's; 1 for all who are as large or larger."""
        if self.is_adult_sized:
            return 1.0
        coarse = self.averaged(BONE_GRID_MM)
        return adult_share(coarse, find_body(coarse, self.padding_on(BONE_GRID_MM)))

    @cached_property
    def adult_sized(self) -> Scan:
        """The scan with a smaller patient enlarged to an adult's size, about the world's origin; a larger one as is."""
        if self.adult_share == 1.0:
            return self
        affine = self.volume.world_from_voxel.copy()
        affine[:3] /= self.adult_share
        return Scan(Volume(self.volume.voxels, affine), self.padding_share, self.padding, is_adult_sized=True)

    @cached_property
    def cut_sides(self) -> tuple[str, ...]:
        """Sides of the patient on which the body leaves the view in more than half of the chest's slices."""
        coarse, body = self.averaged(BODY_GRID_MM), self.body.voxels
        chest = chest_slices(coarse, body)
        met = (body & lateral_border(body.shape, self.padding_on(BODY_GRID_MM)))[:, :, chest]
        across, along, _ = np.nonzero(met)
        offsets = np.stack([across, along], axis=1) / np.array(body.shape[:2]) - 0.5
        axis = np.abs(offsets).argmax(axis=1)
        is_low = np.take_along_axis(offsets, axis[:, None], axis=1)[:, 0] < 0
        of_side = {"left": (axis == 0) & is_low, "right": (axis == 0) & ~is_low}
        of_side |= {"back": (axis == 1) & is_low, "front": (axis == 1) & ~is_low}
        least, slices = _CUT_SLICES * met.shape[2], np.nonzero(met)[2]
        return tuple(name for name, its in of_side.items() if its.any() and len(np.unique(slices[its])) > least)

    @cached_property
    def spine(self) -> Spine:
        """The spine, as ``averaged(BONE_GRID_MM)`` shows it."""
        coarse = self.averaged(BONE_GRID_MM)
        return find_spine(coarse, nearest_on(self.body, coarse))


def hounsfield(volume: Volume, subject: str) -> Scan:
    """Check that a volume holds Hounsfield units, and set what lies outside the scanner's view to air.

    Values below -1200 HU are padding (-2048, -3024 and the like): nothing is less dense than a vacuum, -1024 HU at
    the least. Values are then cut to -1024 ... 3071, what 12 bits hold.

    Args:
        volume: Volume as read, with slope and intercept applied.
        subject: Case name for messages.

    Raises:
        InputError: A label map, stored values without their intercept, values scaled to 0..1 or 0..255, or no chest.
    """
    voxels = volume.voxels
    sample = voxels.ravel()[:: max(voxels.size // _SAMPLES, 1)].astype(np.float32)
    known = sample[sample > _PADDING_HU]
    if not len(known):
        raise InputError(subject, f"all values are below {_PADDING_HU:.0f}", "Hounsfield units", "look at the scan")
    _check(known, sample, subject)
    found = voxels.astype(np.float32)
    is_padding = found <= _PADDING_HU
    found[is_padding] = AIR_HU
    np.clip(found, _LOWEST_HU, _HIGHEST_HU, out=found)
    share = float(is_padding.mean())
    return Scan(volume.with_voxels(handed_over(found)), share, is_padding if share else None)


def _check(values: NDArray[np.float32], padded: NDArray[np.float32], subject: str) -> None:
    low, high = float(values.min()), float(values.max())
    given = f"values from {low:g} to {high:g}"
    expected = "Hounsfield units: air near -1000, soft tissue near 40"
    if high - low <= 260.0:
        what = "a label map" if np.array_equal(values, np.round(values)) and high <= 64 else "a scaled picture"
        raise InputError(subject, f"{given}, like {what}", expected, "give the CT itself, in Hounsfield units")
    has_air = float((values < -700.0).mean()) > _LEAST_AIR
    has_tissue = float(((values > -150.0) & (values < 250.0)).mean()) > _LEAST_TISSUE
    if has_air and has_tissue:
        return
    if low >= 0 and high > _WRAPPED:
        given, hint = f"{given}, like int16 read as uint16", "subtract 65536 from values above 32767"
        raise InputError(subject, given, expected, hint)
    shift = max(_SHIFTS, key=lambda each: _likeness(padded, each))
    if _likeness(padded, shift) > max(_likeness(padded, 0.0), _LEAST_AIR):
        raise InputError(subject, f"{given}, {_SHIFTS[shift]}", expected, f"{_sign(shift)} {abs(shift):.0f}")
    missing = "no air" if not has_air else "no soft tissue"
    raise InputError(subject, f"{given}, with {missing}", expected, "is it a chest CT?")


def _likeness(values: NDArray[np.float32], shift: float) -> float:
    """How much like a chest's values would be with a shift: the smaller share of lung and of soft tissue."""
    shifted = values + shift
    return min(float(((shifted > low) & (shifted < high)).mean()) for low, high in ((-950.0, -650.0), (-100.0, 120.0)))


def _sign(shift: float) -> str:
    return "add" if shift > 0 else "subtract"


def normalised(scan: Scan) -> NDArray[np.float32]:
    """Scale HU to -1 (air, -1000 HU and below) ... 1 (1000 HU and above): the paper's normalisation of its scans.

    The model learns from shapes, so no figure of ours depends on it; it is here for those who train on intensities.
    """
    return np.asarray(np.clip(scan.volume.voxels / 1000.0, -1.0, 1.0), dtype=np.float32)

"""From a CT to labels of both lungs: the one way there, for every command, the viewer and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lpm.calibration import number, span
from lpm.errors import InputError
from lpm.geometry.sides import have_waist
from lpm.geometry.volumes import Volume, as_stored
from lpm.segmentation.axes import axes_doubts
from lpm.segmentation.chest_wall import LungBeforeRibs, lungs_before_ribs
from lpm.segmentation.field_of_view import field_of_view
from lpm.segmentation.gas import find_pockets, with_gas
from lpm.segmentation.hounsfield import Scan
from lpm.segmentation.orientation import orientation_doubts
from lpm.segmentation.segmenters import segmenter
from lpm.structures import DEFAULT_STRUCTURES, GasPolicy, SegmenterName

_SMALL_SHARE = number("segmentation.small_share")
_UNEVEN_SHARE = number("segmentation.uneven_share")
TOTAL_ML = span("segmentation.total_ml")
"""What both lungs hold."""


class Filler(Protocol):
    """Adds lung that dense disease hides. It needs a fitted model of lungs, which this room knows nothing of."""

    def __call__(self, scan: Scan, labels: Volume, hidden: Mapping[str, LungBeforeRibs]) -> Volume:
        """Return the labels with more of the lungs that are hidden.

        Args:
            scan: Scan in HU.
            labels: Labels on the grid of its upright volume: 1 left, 2 right.
            hidden: The lungs that dense tissue parts from their ribs, by structure.
        """
        ...


@dataclass(frozen=True)
class LungPolicy:
    """How lungs are found in a CT.

    Args:
        segmenter: Finds them.
        filler: Adds what dense disease hides; None to leave it out.
        gas: Whether gas of a pneumothorax counts as lung; that of bullae does.
    """

    segmenter: SegmenterName = "thresholds"
    filler: Filler | None = None
    gas: GasPolicy = "leave-out"


@dataclass(frozen=True, eq=False)
class FoundLungs:
    """The lungs of a CT.

    Args:
        labels: 1 left, 2 right, on the CT's own grid.
        upright: The same on the grid of `Scan.upright`.
        segmenter: Segmenter that found them, with its version.
        ribs: Tissue between each lung and its ribs, by structure.
        added_ml: Filled volume by structure; None if the policy fills nothing.
        remarks: What is unusual about the scan and the lungs, and what was assumed: a line each.
    """

    labels: Volume
    upright: Volume
    segmenter: str
    ribs: dict[str, LungBeforeRibs]
    added_ml: dict[str, float] | None
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """All lines to be told: the remarks, then those on hidden lung."""
        return (*self.remarks, *self.notes_on_hidden)

    @property
    def notes_on_hidden(self) -> tuple[str, ...]:
        """A line for each lung that is hidden in part: how much of it, and what was added."""
        return tuple(
            f"{name}: dense tissue before {lung.hidden_share:.0%} of the ribs at its back; {self._added(name)}"
            for name, lung in self.ribs.items()
            if lung.is_hidden
        )

    def _added(self, name: str) -> str:
        return "none of it was added" if self.added_ml is None else f"added {self.added_ml[name]:,.0f} ml of it"


def find_lungs(scan: Scan, policy: LungPolicy, subject: str = "ct") -> FoundLungs:
    """Find the lungs in a CT, and with a filler what dense disease hides of them.

    Args:
        scan: Scan in HU.
        policy: Policy: the segmenter, and whether and by what hidden lung is filled.
        subject: Case name for messages.

    Raises:
        InputError: No lung was found, or more than any body holds, or the header's axes are exchanged.
        MissingExtraError: The segmenter is an extra that is not installed.
        FileError: The segmenter lacks its weights.
    """
    chosen, sized, share = segmenter(policy.segmenter), scan.adult_sized, scan.adult_share
    turned = axes_doubts(sized, subject)
    labels = chosen.segment(scan, subject)
    labels = sized.upright.with_voxels(labels.voxels)
    _check_most(scan.upright.with_voxels(labels.voxels), subject)
    pockets = find_pockets(sized, labels)
    labels = with_gas(sized, labels, pockets, policy.gas)
    view = field_of_view(sized, labels)
    ribs = lungs_before_ribs(sized, labels)
    hidden = {name: lung for name, lung in ribs.items() if lung.is_hidden and not view.cuts_lungs}
    filled = policy.filler(sized, labels, hidden) if policy.filler and hidden else labels
    added = {name: (_ml(filled, name) - _ml(labels, name)) * share**3 for name in hidden} if policy.filler else None
    upright = scan.upright.with_voxels(filled.voxels)
    uneven = _uneven(scan.upright.with_voxels(labels.voxels))
    is_usual = not (uneven or view.cuts_lungs or any(pocket.is_pneumothorax for pocket in pockets))
    doubts = orientation_doubts(sized, labels, is_usual=is_usual)
    gas = [pocket.note(policy.gas, share) for pocket in pockets]
    remarks = (*turned, *([] if view.sides else _size(share)), *view.notes, *gas, *uneven, *doubts)
    ribs = {name: lung.scaled(share) for name, lung in ribs.items()}
    return FoundLungs(as_stored(upright, scan.volume), upright, chosen.name, ribs, added, remarks)


def _check_most(labels: Volume, subject: str) -> None:
    """Refuse more lung than there is in any body.

    Raises:
        InputError: That was found, of air around a body or of values that are no HU.
    """
    ml = sum(_ml(labels, name) for name in DEFAULT_STRUCTURES)
    if ml > TOTAL_ML[1]:
        hint = "is it a chest CT in Hounsfield units that were not clipped, with spacing in mm?"
        raise InputError(subject, f"{ml:,.0f} ml look like lung", f"at most {TOTAL_ML[1]:,.0f} ml", hint)


def _size(adult_share: float) -> list[str]:
    """A line if the body is so small that lengths were made to follow it."""
    if adult_share > _SMALL_SHARE:
        return []
    return [f"a body of {adult_share:.2f} of a slim adult's size: a child, or wrong voxel sizes; lengths follow it"]


def _uneven(labels: Volume) -> list[str]:
    """A line if a lung is missing or has a quarter of both or less, and if what was found may be both."""
    volumes = {name: _ml(labels, name) for name in DEFAULT_STRUCTURES}
    (small, small_ml), (large, large_ml) = sorted(volumes.items(), key=lambda item: item[1])
    if small_ml == 0.0:
        missing = f"no {small.replace('_', ' ')} found: removed, dense throughout, or out of view"
        turned = "two lungs seem to lie in front of each other: the header's R and A may be exchanged"
        return [missing, *([turned] if have_waist(labels.voxels > 0, 1) else [])]
    if small_ml > _UNEVEN_SHARE * (small_ml + large_ml):
        return []
    return [f"{small} has {small_ml:,.0f} ml of air and tissue, 1 to {large_ml / small_ml:.1f} of {large}: look at it"]


def _ml(labels: Volume, name: str) -> float:
    return float((labels.voxels == DEFAULT_STRUCTURES[name][0]).sum()) * labels.voxel_ml

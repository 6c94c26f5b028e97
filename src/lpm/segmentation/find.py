"""From a CT to labels of both lungs: the one way there, for every command, the viewer and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lpm.geometry.volumes import Volume, as_stored
from lpm.segmentation.chest_wall import LungBeforeRibs, lungs_before_ribs
from lpm.segmentation.hounsfield import Scan
from lpm.segmentation.segmenters import segmenter
from lpm.structures import DEFAULT_STRUCTURES, SegmenterName


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
    """

    segmenter: SegmenterName = "thresholds"
    filler: Filler | None = None


@dataclass(frozen=True, eq=False)
class FoundLungs:
    """The lungs of a CT.

    Args:
        labels: 1 left, 2 right, on the CT's own grid.
        upright: The same on the grid of `Scan.upright`.
        segmenter: Segmenter that found them, with its version.
        ribs: Tissue between each lung and its ribs, by structure.
        added_ml: Filled volume by structure; None if the policy fills nothing.
    """

    labels: Volume
    upright: Volume
    segmenter: str
    ribs: dict[str, LungBeforeRibs]
    added_ml: dict[str, float] | None

    @property
    def notes(self) -> tuple[str, ...]:
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
        InputError: No lung was found.
        MissingExtraError: The segmenter is an extra that is not installed.
        FileError: The segmenter lacks its weights.
    """
    chosen = segmenter(policy.segmenter)
    labels = chosen.segment(scan, subject)
    ribs = lungs_before_ribs(scan, labels)
    hidden = {name: lung for name, lung in ribs.items() if lung.is_hidden}
    filled = policy.filler(scan, labels, hidden) if policy.filler and hidden else labels
    added = {name: _ml(filled, name) - _ml(labels, name) for name in hidden} if policy.filler else None
    return FoundLungs(as_stored(filled, scan.volume), filled, chosen.name, ribs, added)


def _ml(labels: Volume, name: str) -> float:
    return float((labels.voxels == DEFAULT_STRUCTURES[name][0]).sum()) * labels.voxel_ml

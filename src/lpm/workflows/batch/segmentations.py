"""Lungs of many CTs: a folder with a label map and a picture of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lpm.batch.cases import Case
from lpm.files.atomic import check_gives_way
from lpm.files.scans import read_scan
from lpm.files.volumes import write_volume
from lpm.lung_model import fill_hidden
from lpm.preparation.preview import draw_preview, write_png
from lpm.segmentation.find import LungPolicy, find_lungs
from lpm.segmentation.hounsfield import hounsfield
from lpm.structures import GasPolicy, SegmenterName
from lpm.workflows.batch.record import RECORD
from lpm.workflows.batch.run import Done

_LABELS, _PREVIEW = "labels.nii.gz", "preview.png"


@dataclass(frozen=True)
class SegmentCases:
    """Segmentations of many CTs, as `lpm segment` makes one: a `Work`.

    Args:
        segmenter: Finds the lungs.
        fill: Whether lung that dense disease hides is added.
        gas: Whether gas of a pneumothorax is left out or kept as lung.
        series: DICOM series; None for the thin axial chest CT of each.
    """

    segmenter: SegmenterName = "thresholds"
    fill: bool = True
    gas: GasPolicy = "leave-out"
    series: str | None = None

    def describe(self) -> str:
        """Options; the model that fills is the package's own."""
        return repr(self)

    def check_folder(self, folder: Path) -> None:
        """Refuse a folder that holds something else than such labels."""
        names = {_LABELS, _PREVIEW, RECORD}
        has_record = (folder / RECORD).is_file()
        check_gives_way(folder, lambda name: has_record and name in names, "holds earlier labels of a case")

    def do(self, case: Case, folder: Path) -> Done:
        """Find the lungs of a CT, and write their labels on its own grid."""
        read = read_scan(case.path, self.series)
        scan = hounsfield(read.volume, case.path.name)
        policy = LungPolicy(self.segmenter, fill_hidden if self.fill else None, self.gas)
        found = find_lungs(scan, policy, case.path.name)
        write_volume(folder / _LABELS, found.labels)
        write_png(draw_preview(found.upright, scan.upright), folder / _PREVIEW)
        return Done((*read.notes, *found.notes))

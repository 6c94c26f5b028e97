"""`lpm segment`: from a chest CT to labels of both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import plain, progress, screen
from lpm.preparation.segmenters import SegmenterName

SegmenterOption = Annotated[
    SegmenterName,
    typer.Option("--segmenter", help="thresholds is built in; lungmask and totalsegmentator are extras with networks."),
]
SeriesOption = Annotated[
    str | None,
    typer.Option("--series", help="DICOM series: its number or the end of its UID; default the thin axial chest CT."),
]


def segment(
    scan: Annotated[
        Path, typer.Argument(metavar="CT", help="A CT: .nii.gz .nii .nrrd .mha, a DICOM folder, or a zip of one.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Label map to write, such as labels.nii.gz.")],
    segmenter: SegmenterOption = "thresholds",
    series: SeriesOption = None,
) -> None:
    """Find the lungs in a chest CT: labels 1 left, 2 right, on the CT's own grid.

    The built-in segmenter works by thresholds and shape: aerated lung with its vessels and nodules, without trachea,
    main bronchi and the gas of stomach and bowel. Dense disease that touches the chest wall is left out.

    Example: lpm segment ct.nii.gz --out labels.nii.gz
    """
    from lpm.errors import FileError
    from lpm.files.scans import read_scan
    from lpm.files.volumes import VOLUME_SUFFIXES, is_volume_name, write_volume
    from lpm.preparation.hounsfield import hounsfield
    from lpm.preparation.segmenters import segmenter as find_segmenter

    if not is_volume_name(out):
        raise FileError(str(out), f"unknown kind {out.suffix!r}", f"one of {', '.join(VOLUME_SUFFIXES)}")
    with progress() as bar:
        task = bar.add_task(f"read {scan.name}", total=3)
        read = read_scan(scan, series)
        for note in read.notes:
            bar.console.print(plain(f"{scan.name}: {note}"), soft_wrap=True)
        bar.update(task, advance=1, description="find the lungs")
        labels = find_segmenter(segmenter).segment(hounsfield(read.volume, scan.name), scan.name)
        bar.update(task, advance=1, description=f"write {out.name}")
        write_volume(out, labels)
        bar.advance(task)
    volumes = ", ".join(
        f"{name} {float((labels.voxels == value).sum()) * labels.voxel_ml:,.0f} ml"
        for value, name in ((1, "left lung"), (2, "right lung"))
    )
    screen.print(f"{out}: {volumes}", soft_wrap=True)

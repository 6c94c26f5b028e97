"""`lpm segment`: from a chest CT to labels of both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpm.apps.terminal import plain, progress, screen
from lpm.errors import FileError
from lpm.structures import DEFAULT_STRUCTURES, SegmenterName

if TYPE_CHECKING:
    from rich.progress import Progress

    from lpm.geometry.volumes import Volume
    from lpm.segmentation.hounsfield import Scan

SegmenterOption = Annotated[
    SegmenterName,
    typer.Option("--segmenter", help="thresholds is built in; lungmask and totalsegmentator are extras with networks."),
]
SeriesOption = Annotated[
    str | None,
    typer.Option(
        "--series", help="DICOM series: number or end of UID (2:1: acquisition 1); default thin axial chest CT."
    ),
]


def segment(
    scan: Annotated[
        Path, typer.Argument(metavar="CT", help="A CT: .nii.gz .nii .nrrd .mha, a DICOM folder, or a zip of one.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Label map to write, such as labels.nii.gz.")],
    segmenter: SegmenterOption = "thresholds",
    series: SeriesOption = None,
    fill: Annotated[
        bool,
        typer.Option(
            "--fill/--no-fill",
            help="Where dense tissue parts a lung from its ribs, add what the bundled model expects there.",
        ),
    ] = True,
    preview: Annotated[
        Path | None, typer.Option(help="A .png: three slices with the contours of the lungs over the CT.")
    ] = None,
) -> None:
    """Find the lungs in a chest CT: labels 1 left, 2 right, on the CT's own grid.

    The built-in segmenter works by thresholds and shape: aerated lung with its vessels and nodules, without trachea,
    main bronchi and the gas of stomach and bowel. Where dense disease (consolidation, effusion) hides a tenth or more
    of the ribs at a lung's back, the bundled model says how far the lung goes; healthy lungs are left alone.

    Example: lpm segment ct.nii.gz --out labels.nii.gz --preview labels.png
    """
    from lpm.files.volumes import write_volume
    from lpm.geometry.volumes import canonical
    from lpm.preparation.preview import draw_preview, write_png
    from lpm.segmentation.segmenters import segmenter as find_segmenter

    _check_label_name(out)
    if preview and preview.suffix.lower() != ".png":
        raise FileError(str(preview), f"unknown kind {preview.suffix!r}", ".png")
    with progress() as bar:
        task = bar.add_task(f"read {scan.name}", total=3)
        checked = _read(scan, series, bar)
        bar.update(task, advance=1, description="find the lungs")
        labels = find_segmenter(segmenter).segment(checked, scan.name)
        if fill:
            labels = _filled(checked, labels, bar)
        bar.update(task, advance=1, description=f"write {out.name}")
        write_volume(out, labels)
        if preview:
            write_png(draw_preview(canonical(labels), canonical(checked.volume)), preview)
        bar.advance(task)
    _print_volumes(out, labels)


def _check_label_name(out: Path) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        FileError: No volume is written under such a name.
    """
    from lpm.files.volumes import VOLUME_SUFFIXES, is_volume_name

    if not is_volume_name(out):
        raise FileError(str(out), f"unknown kind {out.suffix!r}", f"one of {', '.join(VOLUME_SUFFIXES)}")


def _read(scan: Path, series: str | None, bar: Progress) -> Scan:
    """A CT in Hounsfield units, and lines that say what had to be chosen or mended."""
    from lpm.files.scans import read_scan
    from lpm.segmentation.hounsfield import hounsfield

    read = read_scan(scan, series)
    for note in read.notes:
        bar.console.print(plain(f"{scan.name}: {note}"), soft_wrap=True)
    return hounsfield(read.volume, scan.name)


def _print_volumes(out: Path, labels: Volume) -> None:
    volumes = ", ".join(
        f"{name} {float((labels.voxels == value).sum()) * labels.voxel_ml:,.0f} ml"
        for value, name in ((1, "left lung"), (2, "right lung"))
    )
    screen.print(f"{out}: {volumes}", soft_wrap=True)


def _filled(scan: Scan, labels: Volume, bar: Progress) -> Volume:
    """Labels with what disease hid, and a line that says of each such lung how much."""
    import numpy as np

    from lpm.segmentation.chest_wall import lungs_before_ribs

    hidden = lungs_before_ribs(scan, labels)
    if not any(lung.is_hidden for lung in hidden.values()):
        return labels  # healthy lungs need no model, and no torch
    from lpm.fitting.disease import fill_disease
    from lpm.lung_model import load

    found = fill_disease(load().bundle, scan, labels, hidden, rng=np.random.default_rng(0))
    for name, added_ml in found.added_ml.items():
        share = hidden[DEFAULT_STRUCTURES[name][0]].hidden_share
        line = f"{name}: dense tissue before {share:.0%} of the ribs at its back"
        bar.console.print(f"{line}; added {added_ml:,.0f} ml of it (--no-fill leaves it out)", soft_wrap=True)
    return found.labels

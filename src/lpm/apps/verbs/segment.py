"""`lpm segment`: from a chest CT to labels of both lungs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpm.apps.dicom_options import (
    DicomSegOption,
    DicomStlOption,
    RtstructOption,
    dicom_options,
    dicom_results,
    lungs_of_labels,
)
from lpm.apps.many import DaskOption, JobsOption, Many, ResumeOption, refuse_with_many, work_on_many
from lpm.apps.terminal import plain, progress, screen
from lpm.errors import FileError, MisuseError
from lpm.structures import GasPolicy, SegmenterName

if TYPE_CHECKING:
    from lpm.geometry.volumes import Volume
    from lpm.segmentation.chest_wall import LungBeforeRibs
    from lpm.segmentation.hounsfield import Scan

CtsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="CT...",
        help="A CT: .nii.gz .nii .nrrd .mha, a DICOM folder, or a zip of one. Or many: files, folders, a .csv.",
    ),
]
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
FillOption = Annotated[
    bool,
    typer.Option(
        "--fill/--no-fill",
        help="Where dense tissue parts a lung from its ribs, add what the bundled model expects there.",
    ),
]
GasOption = Annotated[
    GasPolicy,
    typer.Option("--gas", help="Gas of a pneumothorax: leave it out of the lung, or keep it; bullae are kept."),
]


def segment(
    inputs: CtsArgument,
    out: Annotated[
        Path, typer.Option("--out", help="Label map to write, such as labels.nii.gz; of many CTs, their folder.")
    ],
    segmenter: SegmenterOption = "thresholds",
    series: SeriesOption = None,
    fill: FillOption = True,
    gas: GasOption = "leave-out",
    preview: Annotated[
        Path | None, typer.Option(help="A .png: three slices with the contours of the lungs over the CT.")
    ] = None,
    dicom_seg: DicomSegOption = None,
    rtstruct: RtstructOption = None,
    dicom_stl: DicomStlOption = None,
    jobs: JobsOption = None,
    dask: DaskOption = None,
    resume: ResumeOption = False,
) -> None:
    """Find the lungs in a chest CT: labels 1 left, 2 right, on the CT's own grid.

    The built-in segmenter works by thresholds and shape: aerated lung with its vessels and nodules, without trachea,
    main bronchi and the gas of stomach and bowel. Where dense disease (consolidation, effusion) hides a tenth or more
    of the ribs at a lung's back, the bundled model says how far the lung goes; healthy lungs are left alone.

    Of many CTs (files, patterns, folders, a .csv with columns case and path) each gets a folder in --out, with labels
    and a preview, and cases.csv tells of all.

    Example: lpm segment ct.nii.gz --out labels.nii.gz --preview labels.png
    """
    from lpm.batch.kinds import CTS
    from lpm.files.dicom.writing.algorithm import segmenting
    from lpm.files.volumes import is_volume_name, write_volume
    from lpm.preparation.preview import draw_preview, write_png
    from lpm.segmentation.find import LungPolicy, find_lungs

    if (many := Many(jobs, dask, resume)).takes(inputs, CTS):
        from lpm.workflows.batch.segmentations import SegmentCases

        if is_volume_name(out):
            raise MisuseError("--out", f"{out.name}, and there may be many cases", "a folder for them", "--out labels")
        refuse_with_many({"--preview": preview}, "leave it out: each case's folder gets a preview.png")
        refuse_with_many(dicom_options(dicom_seg, rtstruct, dicom_stl), "segment its patient by itself")
        work_on_many("segment", inputs, CTS, SegmentCases(segmenter, fill, gas, series), out, many)
        return
    (scan,) = inputs
    _check_label_name(out)
    if preview and preview.suffix.lower() != ".png":
        raise FileError(str(preview), f"unknown kind {preview.suffix!r}", ".png")
    dicom = dicom_results(scan, series, dicom_seg, rtstruct, dicom_stl)
    with progress() as bar:
        task = bar.add_task(f"read {scan.name}", total=3)
        read = _read(scan, series, lambda line: bar.console.print(plain(line), soft_wrap=True))
        bar.update(task, advance=1, description="find the lungs")
        found = find_lungs(read, LungPolicy(segmenter, _fill if fill else None, gas), scan.name)
        for note in found.remarks:
            bar.console.print(plain(note), soft_wrap=True)
        for note in found.notes_on_hidden:
            bar.console.print(f"{note}{' (--no-fill leaves it out)' if fill else ''}", soft_wrap=True)
        bar.update(task, advance=1, description=f"write {out.name}")
        write_volume(out, found.labels)
        if preview:
            write_png(draw_preview(found.upright, read.upright), preview)
        dicom.write(lambda: lungs_of_labels(found.labels), segmenting(segmenter))
        bar.advance(task)
    _print_volumes(out, found.upright)


def _check_label_name(out: Path) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        FileError: No volume is written under such a name.
    """
    from lpm.files.volumes import check_volume_out

    check_volume_out(out)


def _read(path: Path, series: str | None, say: Callable[[str], None]) -> Scan:
    """A CT in Hounsfield units, with a line for what had to be chosen or mended."""
    from lpm.files.scans import read_scan
    from lpm.segmentation.hounsfield import hounsfield

    read = read_scan(path, series)
    for note in read.notes:
        say(f"{path.name}: {note}")
    return hounsfield(read.volume, path.name)


def _print_volumes(out: Path, labels: Volume) -> None:
    volumes = ", ".join(
        f"{name} {float((labels.voxels == value).sum()) * labels.voxel_ml:,.0f} ml"
        for value, name in ((1, "left lung"), (2, "right lung"))
    )
    screen.print(f"{out}: {volumes}", soft_wrap=True)


def _fill(scan: Scan, labels: Volume, hidden: Mapping[str, LungBeforeRibs]) -> Volume:
    """The filler, imported where a lung is hidden only: healthy lungs need no model, and no torch."""
    from lpm.lung_model import fill_hidden

    return fill_hidden(scan, labels, hidden)

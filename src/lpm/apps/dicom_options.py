"""DICOM results: the options of every verb that finds lungs in a DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lpm.files.dicom.writing.algorithm import Algorithm
    from lpm.files.dicom.writing.results import DicomFiles, FoundLungs
    from lpm.files.dicom.writing.source import DicomSource
    from lpm.geometry.volumes import Volume
    from lpm.workflows.outcome import Outcome

DicomSegOption = Annotated[
    Path | None,
    typer.Option("--dicom-seg", help="Also write a DICOM SEG, on the series that was read (extra dicom)."),
]
RtstructOption = Annotated[
    Path | None, typer.Option("--rtstruct", help="Also write a DICOM structure set, on the series that was read.")
]
DicomStlOption = Annotated[
    Path | None,
    typer.Option("--dicom-stl", help="Folder: also write each structure's mesh as DICOM Encapsulated STL."),
]


@dataclass(frozen=True)
class DicomResults:
    """DICOM files that the command line asks for, and the series that they refer to.

    Args:
        files: The files.
        source: The series; None if no file is asked for.
    """

    files: DicomFiles
    source: DicomSource | None

    def write(self, lungs: Callable[[], FoundLungs], algorithm: Algorithm) -> None:
        """Write what is asked for.

        Args:
            lungs: Makes what is written; not called where nothing is asked for.
            algorithm: What found the lungs.
        """
        if self.source is not None:
            self.files.write(lungs(), self.source, algorithm)


def dicom_options(seg: Path | None, rtstruct: Path | None, stl: Path | None) -> dict[str, Path | None]:
    """Paths by option: they belong to one patient."""
    return {"--dicom-seg": seg, "--rtstruct": rtstruct, "--dicom-stl": stl}


def dicom_results(
    path: Path, series: str | None, seg: Path | None, rtstruct: Path | None, stl: Path | None, *, is_mask: bool = False
) -> DicomResults:
    """Find the series that DICOM results will refer to, before the work begins.

    Args:
        path: What lungs are found in.
        series: Which series of it.
        seg: ``--dicom-seg``.
        rtstruct: ``--rtstruct``.
        stl: ``--dicom-stl``.
        is_mask: Whether of a folder the DICOM mask in it is meant, and not the scan.

    Raises:
        InputError: It is no DICOM, or the series of a mask is not beside it.
        MissingExtraError: A SEG is asked for, and highdicom is not installed.
    """
    from lpm.files.dicom.masks import mask_in
    from lpm.files.dicom.writing.results import DicomFiles

    files = DicomFiles(seg, rtstruct, stl)
    path = mask_in(path) if files and is_mask and path.is_dir() else path
    return DicomResults(files, files.source(path, series))


def lungs_of_fit(outcome: Outcome) -> FoundLungs:
    """Fitted lungs, with their labels on the grid of the scan."""
    from lpm.files.dicom.writing.results import FoundLungs

    lungs = outcome.fit.lungs
    return FoundLungs(outcome.fit.labels(outcome.scan), dict(enumerate(lungs, start=1)), lungs)


def lungs_of_labels(labels: Volume) -> FoundLungs:
    """Segmented lungs, with surfaces that enclose what their voxels do."""
    from lpm.files.dicom.writing.results import FoundLungs
    from lpm.measurement.labels import surfaces_of_labels
    from lpm.structures import DEFAULT_STRUCTURES

    meshes = surfaces_of_labels(labels, DEFAULT_STRUCTURES, "labels").meshes
    return FoundLungs(labels, {values[0]: name for name, values in DEFAULT_STRUCTURES.items()}, meshes)

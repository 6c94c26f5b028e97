"""Lungs as DICOM: which files are asked for, the series that they refer to, and writing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom

from lpm.errors import InputError
from lpm.extras import import_extra
from lpm.files.dicom.headers import is_dicom
from lpm.files.dicom.reference import find_reference, referenced_uids
from lpm.files.dicom.writing.algorithm import Algorithm
from lpm.files.dicom.writing.mesh import write_encapsulated_stl
from lpm.files.dicom.writing.segmentation import write_segmentation
from lpm.files.dicom.writing.source import DicomSource, labels_on, source_of
from lpm.files.dicom.writing.structure_set import write_structure_set
from lpm.files.scans import found_series, is_mask_file
from lpm.files.volumes import is_volume_name
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume


@dataclass(frozen=True, eq=False)
class FoundLungs:
    """Lungs to write.

    Args:
        labels: Label map on any grid.
        names: Structures by its values.
        meshes: Surfaces by structure, RAS mm.
    """

    labels: Volume
    names: Mapping[int, str]
    meshes: Mapping[str, WorldMesh]


@dataclass(frozen=True)
class DicomFiles:
    """DICOM files that are asked for.

    Args:
        seg: Segmentation object to write.
        rtstruct: Structure set to write.
        stl: Folder that gets an encapsulated mesh for each structure.
    """

    seg: Path | None = None
    rtstruct: Path | None = None
    stl: Path | None = None

    def __bool__(self) -> bool:
        """Whether any is asked for."""
        return any(path is not None for path in (self.seg, self.rtstruct, self.stl))

    def source(self, path: Path, series: str | None = None) -> DicomSource | None:
        """Find the series that the files will refer to, before any work is done; None if no file is asked for.

        Args:
            path: What lungs are found in: a DICOM series, or a DICOM mask with its series beside it.
            series: The series, as for `read_scan`.

        Raises:
            MissingExtraError: A SEG is asked for, and highdicom is not installed.
            InputError: It is no DICOM, or the series of a mask is not beside it.
        """
        if not self:
            return None
        if self.seg is not None:
            import_extra("highdicom", "dicom", "--dicom-seg")
        return dicom_source(path, series)

    def write(self, lungs: FoundLungs, source: DicomSource, algorithm: Algorithm) -> None:
        """Write the files that are asked for.

        Args:
            lungs: What was found.
            source: What `source` gave.
            algorithm: What found them.

        Raises:
            FileError: The disk refuses.
        """
        if self.seg is not None or self.rtstruct is not None:
            on_slices = labels_on(source.series, lungs.labels)
            if self.seg is not None:
                write_segmentation(self.seg, on_slices, lungs.names, source, algorithm)
            if self.rtstruct is not None:
                write_structure_set(self.rtstruct, on_slices, lungs.names, source, algorithm)
        if self.stl is not None:
            for name, mesh in lungs.meshes.items():
                write_encapsulated_stl(self.stl / f"{name}.dcm", mesh, name, source, algorithm)


def dicom_source(path: Path, series: str | None = None) -> DicomSource:
    """The series that results refer to; arguments and errors are those of `DicomFiles.source`."""
    if is_mask_file(path):
        uids = referenced_uids(pydicom.dcmread(path, force=True))
        found = next((own for uid in uids if (own := find_reference(path, uid)) is not None), None)
        if found is None:
            hint = "put the file beside the slices of its series"
            raise InputError(str(path), "a DICOM mask whose series is not beside it", "its CT series", hint)
        return source_of(found, path.name)
    if path.is_file() and (is_volume_name(path) or not (is_dicom(path) or path.suffix.lower() == ".zip")):
        given = "no DICOM series, so that DICOM results have nothing to refer to"
        raise InputError(str(path), given, "the DICOM folder of the scan", "leave the DICOM options out")
    with found_series(path, series) as (chosen, _):
        return source_of(chosen, path.name)

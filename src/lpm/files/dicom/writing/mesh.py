"""A mesh as a DICOM Encapsulated STL object, one a structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.uid import EncapsulatedSTLStorage

from lpm.files.atomic import atomic_file
from lpm.files.dicom.codes import code_item
from lpm.files.dicom.writing.algorithm import Algorithm
from lpm.files.dicom.writing.source import DicomSource, new_object, reference_to, referenced_series
from lpm.files.mesh_space import in_space, marked
from lpm.files.segments.writing import spoken
from lpm.geometry.meshes import WorldMesh

_SERIES_NUMBER = 1003  # of the series that it becomes: scanners count from 1
_MILLIMETRE = ("mm", "mm")
_PLANNING = ("129013", "Planning intent")  # of DICOM's context group 7064
_MODEL_OF_CT = ("85040-4", "CT 3D CAM model")  # of DICOM's context group 7061


def write_encapsulated_stl(path: Path, mesh: WorldMesh, name: str, source: DicomSource, algorithm: Algorithm) -> None:
    """Write a mesh as DICOM; its vertices are in the source's frame of reference, LPS mm.

    Args:
        path: File to write.
        mesh: Closed surface, RAS mm.
        name: Its structure.
        source: The series that it was found in.
        algorithm: What found it.

    Raises:
        FileError: The disk refuses.
    """
    found = new_object(source, EncapsulatedSTLStorage, "M3D", _SERIES_NUMBER)
    found.SeriesDescription = f"Lungs: {algorithm.name}"[:64]
    found.ContentDate, found.ContentTime = found.InstanceCreationDate, found.InstanceCreationTime
    found.AcquisitionDateTime, found.BurnedInAnnotation, found.RecognizableVisualFeatures = "", "NO", "NO"
    found.DocumentTitle, found.ContentDescription = spoken(name), f"{spoken(name)}, {algorithm.name}"[:64]
    found.ConceptNameCodeSequence = [code_item(_MODEL_OF_CT, "LN")]
    found.MIMETypeOfEncapsulatedDocument = "model/stl"
    found.MeasurementUnitsCodeSequence = [code_item(_MILLIMETRE, "UCUM")]
    found.ModelModification, found.ModelMirroring = "NO", "NO"
    found.ModelUsageCodeSequence = [code_item(_PLANNING, "DCM")]
    found.SourceInstanceSequence = [reference_to(image) for image in source.images]
    found.ReferencedSeriesSequence = referenced_series(source)
    content = _stl(mesh)
    found.EncapsulatedDocument, found.EncapsulatedDocumentLength = content + b"\0" * (len(content) % 2), len(content)
    with atomic_file(path) as temporary:
        found.save_as(temporary, enforce_file_format=True)


def _stl(mesh: WorldMesh) -> bytes:
    placed = WorldMesh(in_space(mesh.vertices, "LPS"), mesh.faces)
    content: Any = placed.to_trimesh().export(file_type="stl")
    return marked(content, ".stl", "LPS")

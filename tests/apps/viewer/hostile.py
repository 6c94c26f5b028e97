"""Uploads of a client who means harm, each of another kind; made by code, all below a MiB."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np

N_VOXELS = 700  # along each axis: nearly the most that is read, and next to nothing when compressed


@dataclass(frozen=True)
class Hostile:
    """A file and where it is sent.

    Args:
        button: Label of the button.
        name: Name of the file.
        content: Its bytes.
    """

    button: str
    name: str
    content: bytes


def hostile_uploads() -> Mapping[str, Hostile]:
    """One of each kind, by what it tries."""
    metaimage = (
        b"ObjectType = Image\nNDims = 65535\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    nrrd = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: %b 4 4\nencoding: raw\n\n" % (b"9" * 5000)
    other = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: /etc/passwd\n\n"
    vtp = b'<VTKFile type="PolyData"><PolyData><Piece NumberOfPoints="1"><Points><DataArray NumberOfComponents="-1"/>'
    return {
        "more axes than a process survives": Hostile("Label map", "a.mha", metaimage + bytes(64)),
        "a size of 5,000 digits": Hostile("Label map", "a.nrrd", nrrd + bytes(64)),
        "another file of the server": Hostile("Label map", "b.nrrd", other),
        "components below zero": Hostile("Truth", "a.vtp", vtp),
        "343 million voxels in 400 kB": Hostile("Label map", "large.nii.gz", _many_voxels(b"")),
        "a gigabyte behind the voxels": Hostile("Label map", "behind.nii.gz", _many_voxels(bytes(1024**3))),
        "a zip of zeros": Hostile("Chest CT", "zeros.zip", _zip_of_zeros()),
        "an array that claims 200 GB": Hostile("Surface points", "a.npy", _huge_array()),
        "brackets without end": Hostile("Surface points", "a.json", b"[" * 500_000),
        "a table of many points": Hostile("Surface points", "a.csv", b"1,2,3\n" * 160_000),
    }


def _many_voxels(behind: bytes) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape((N_VOXELS,) * 3)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.diag([0.5, 0.5, 0.5, 1.0]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    packed = io.BytesIO()
    with gzip.open(packed, "wb", compresslevel=9) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(N_VOXELS):
            file.write(bytes(N_VOXELS**2))
        file.write(behind)
    return packed.getvalue()


def _zip_of_zeros() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a.dcm", bytes(128) + b"DICM" + bytes(500 * 1024**2))
    return packed.getvalue()


def _huge_array() -> bytes:
    packed = io.BytesIO()
    np.lib.format.write_array_header_1_0(packed, {"descr": "<f8", "fortran_order": False, "shape": (2**33, 3)})
    return packed.getvalue() + bytes(240)

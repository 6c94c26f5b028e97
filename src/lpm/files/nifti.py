"""NIfTI files, version 1 and 2: headers are parsed by nibabel, and mean what they mean to it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from lpm.errors import FileError, InputError
from lpm.files.affines import check_affine
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

NIFTI_SUFFIXES = (".nii.gz", ".nii")
_CHUNK = 1 << 22  # bytes read at once
_MOST_BEHIND = 1 << 26  # bytes behind the voxels: what a program may append; a compressed trap has more
_MOST_INFLATED = 1032  # times that gzip makes data smaller, at most
_UNITS_MM = {"meter": 1e3, "micron": 1e-3}
_SAME_SIZE = 0.01  # of a voxel: what headers round off
_GEOMETRY = 1e-3  # of a unit: what a header's float32 rounds off


@read_only_arrays
@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What a NIfTI header says.

    Args:
        shape: Voxels along each axis, without trailing axes of one.
        affine: (4, 4) voxel indices to RAS mm.
        dtype: Type of the values as stored.
        offset: Byte at which they begin.
        slope: Factor of the stored values; 1 if they are not scaled.
        intercept: Added to them.
        notes: Notes on what the header leaves open.
    """

    shape: tuple[int, ...]
    affine: Floats
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    notes: tuple[str, ...]


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read a header; whether the file is compressed is seen from its bytes, not from its name.

    Raises:
        FileError: Damaged, no NIfTI, or the header of a pair.
        InputError: Several values a voxel, or an affine that cannot be used.
    """
    with _opened(path) as file:
        header = _parsed(path, file.read(540))
        shape, dtype = tuple(header.get_data_shape()), header.get_data_dtype()
        if dtype.kind not in "iuf":
            n = len(dtype.names or "xx")
            raise InputError(str(path), f"{n} values a voxel", "one (not a colour or complex image)")
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        affine, notes = _geometry(path, header, shape)
        slope, intercept = header.get_slope_inter()
        scaling = (1.0, 0.0) if slope is None else (float(slope), float(intercept))
        return NiftiHeader(shape, affine, dtype, int(header.get_data_offset()), *scaling, tuple(notes))


def read_nifti_voxels(path: Path, header: NiftiHeader) -> NDArray[Any]:
    """Read the values of a 3-D image, slope and intercept applied.

    Args:
        path: File of the header.
        header: Its header.

    Returns:
        (i, j, k) values as stored; scaled ones are float32, or float64 where they were stored in more than 16 bits.

    Raises:
        FileError: Damaged, or fewer values than the header claims.
    """
    n_bytes = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    if n_bytes > (most := path.stat().st_size * (_MOST_INFLATED if _is_zipped(path) else 1)):
        raise FileError(
            str(path), f"holds at most {most} of {n_bytes} bytes of voxels", hint="copy or download it again"
        )
    stored = np.empty(n_bytes, dtype=np.uint8)
    with _opened(path) as file:
        file.seek(header.offset)
        if (found := _fill(stored, file)) < n_bytes:
            raise FileError(str(path), f"holds {found} of {n_bytes} bytes of voxels", hint="copy or download it again")
        behind = 0
        while more := file.read(_CHUNK):  # the checksum is at the end of a compressed file
            if (behind := behind + len(more)) > _MOST_BEHIND:
                given = f"more than {_MOST_BEHIND >> 20} MiB behind its voxels"
                raise FileError(str(path), given, "nothing there", "save it again")
    voxels = stored.view(header.dtype).reshape(header.shape, order="F")
    if (header.slope, header.intercept) == (1.0, 0.0):
        return voxels.astype(header.dtype.newbyteorder("="), copy=False)
    scaled = voxels.astype(np.result_type(header.dtype.newbyteorder("="), np.float32))
    scaled *= header.slope
    scaled += header.intercept
    return scaled


def _fill(buffer: NDArray[np.uint8], file: BinaryIO) -> int:
    """Read until a buffer is full or the file ends; the number of bytes that were read."""
    found, view = 0, buffer.data
    while found < len(buffer) and (chunk := file.read(min(_CHUNK, len(buffer) - found))):
        view[found : found + len(chunk)] = chunk
        found += len(chunk)
    return found


def _is_zipped(path: Path) -> bool:
    with path.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with gzip.open(path) if _is_zipped(path) else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(str(path), f"damaged ({error})", hint="copy or download it again") from error


def _parsed(path: Path, block: bytes) -> Any:
    """The header in a file's first bytes; what is merely untidy in it is mended, without a word on stderr."""
    kind: Any = nib.Nifti2Header if nib.Nifti2Header.may_contain_header(block) else nib.Nifti1Header
    n_bytes = kind.template_dtype.itemsize
    if not kind.may_contain_header(block) or len(block) < n_bytes:
        raise FileError(str(path), "header cannot be read (it is no NIfTI)", "an intact volume")
    if bytes(kind(block[:n_bytes], check=False)["magic"])[:2] != b"n+":
        given = "a header without its voxels (Analyze, or a NIfTI pair .hdr and .img)"
        raise FileError(str(path), given, "one file that holds both", "convert the pair to .nii.gz")
    try:
        with LoggingOutputSuppressor():
            return kind(block[:n_bytes])
    except (HeaderDataError, ValueError) as error:
        raise FileError(str(path), f"header cannot be read ({error})", "an intact volume") from error


# --- Where the voxels are --------------------------------------------------------------------------------------------


def _geometry(path: Path, header: Any, shape: tuple[int, ...]) -> tuple[Floats, list[str]]:
    """The affine as nibabel has it, in millimetres: of the sform, else the qform, else of the voxels' size alone."""
    try:
        sform, _ = header.get_sform(coded=True)
        qform, _ = header.get_qform(coded=True)
    except (HeaderDataError, ValueError) as error:
        raise FileError(str(path), f"header cannot be read ({error})", "an intact volume") from error
    notes = []
    if sform is not None and qform is not None and not sform[:3, :3].any():
        sform, notes = None, ["the sform is all zeros: the qform is used"]
    if sform is not None and qform is not None and not np.isfinite(qform).all():
        qform, notes = None, ["the qform is no place in space: the sform is used"]
    if sform is not None:
        check_affine(sform, f"{path}, sform")
        affine, sized = _sized(sform, np.array(header.get_zooms()[:3], dtype=np.float64))
        notes += [*sized, *([] if qform is None else _differing(affine, qform, shape))]
    elif qform is not None:
        affine = qform
    else:
        affine = header.get_base_affine()
        notes = ["neither sform nor qform: axes are taken to run LAS around the middle, sides may be exchanged"]
    affine = np.array(affine, dtype=np.float64)
    affine[:3] *= _UNITS_MM.get(_unit(header), 1.0)
    check_affine(affine, str(path))
    return affine, notes


def _unit(header: Any) -> str:
    """Unit of lengths; of a number that the standard does not know, none."""
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        return "unknown"


def _sized(sform: Floats, sizes: Floats) -> tuple[Floats, list[str]]:
    """An sform of unit vectors says how axes run but not how long voxels are, which ``pixdim`` then does."""
    own = np.linalg.norm(sform[:3, :3], axis=0)
    if len(sizes) < 3 or np.allclose(own, sizes, rtol=_SAME_SIZE):
        return sform, []
    named = " x ".join(f"{size:.4g}" for size in sizes)
    if not np.allclose(own, 1.0, atol=_GEOMETRY) or not (sizes > 0).all():
        used = " x ".join(f"{size:.4g}" for size in own)
        return sform, [f"voxels of {used} by the sform and of {named} by pixdim: the sform is used, as nibabel does"]
    sform = sform.copy()
    sform[:3, :3] *= sizes
    return sform, [f"the sform has no voxel size, pixdim's is used ({named})"]


def _differing(sform: Floats, qform: Floats, shape: tuple[int, ...]) -> list[str]:
    """A note where the two forms take a corner of the image more than a voxel apart."""
    corners = np.array(list(product(*((0.0, n - 1.0) for n in shape[:3]), (1.0,))))
    columns = [*range(min(len(shape), 3)), 3]
    apart = float(np.linalg.norm(corners @ (sform - qform)[:3, columns].T, axis=1).max())
    if apart <= np.linalg.norm(sform[:3, :3], axis=0).max():
        return []
    return [f"sform and qform differ by up to {apart:.0f} mm: the sform is used, as nibabel does"]

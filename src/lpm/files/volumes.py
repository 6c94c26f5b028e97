"""Volumes on disk: NIfTI, NRRD, MHA through SimpleITK. LPS is known here and nowhere further in."""

from __future__ import annotations

import gzip
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lpm.errors import FileError, InputError
from lpm.files.atomic import atomic_file
from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # left and back are right and front, negative
_MAX_VOXELS = 2048**3  # 32 GiB of float32: memory is not taken for more


@dataclass(frozen=True)
class VolumeFile:
    """A scan or a label map as read, before its values are checked.

    Args:
        volume: Values with slope and intercept applied.
        notes: Notes on what was assumed or repaired, and on what was taken of several.
        segments: Names of the label values, as the file gives them; empty if it says nothing of its values.
        structures: Label values by structure, as far as the names of segments are those of lungs.
    """

    volume: Volume
    notes: tuple[str, ...] = ()
    segments: Mapping[int, str] = field(default_factory=dict)
    structures: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def meaning(self, said: Mapping[str, tuple[int, ...]] | None, subject: str) -> Mapping[str, tuple[int, ...]] | None:
        """Label values by structure: what a person said, else what the file says; None if neither says anything.

        Args:
            said: Label values by structure, as in ``--labels``.
            subject: Name for messages.

        Raises:
            InputError: The file names its segments, none of them is a lung, and nobody said what they are.
        """
        if said is not None or not self.segments:
            return said
        if not self.structures:
            named = ", ".join(f"{value} {name}" for value, name in self.segments.items())
            hint = "name the values of the lungs: --labels left_lung=1,right_lung=2"
            raise InputError(subject, f"segments {named}", "one that is named as a lung", hint)
        return self.structures


def is_volume_name(path: Path) -> bool:
    """Whether the file name ends like a volume that `read_volume` reads."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: Path) -> Volume:
    """Read a 3-D image with its affine to RAS mm.

    What had to be assumed of it is warned of (`UserWarning`). Arguments, errors: those of `read_volume_file`.
    """
    read = read_volume_file(path)
    for note in read.notes:
        warnings.warn(f"{path.name}: {note}", stacklevel=2)
    return read.volume


def read_volume_file(path: Path) -> VolumeFile:
    """Read a 3-D image with its affine to RAS mm, and what had to be assumed of it.

    Args:
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd. Axes may run any way and be oblique.

    Returns:
        Voxels indexed (i, j, k) as stored, finite.

    Raises:
        FileError: Missing, of another kind, damaged, too large, or its header cannot be used.
        InputError: Not 3-D, or it holds NaN or infinite values.
    """
    if not path.is_file():
        raise FileError(str(path), "no such file", f"a volume ({', '.join(VOLUME_SUFFIXES)})")
    if not is_volume_name(path):
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(VOLUME_SUFFIXES)}")
    affine, n_voxels = _read_header(path)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _check_nifti(path, n_voxels)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise FileError(str(path), f"damaged ({_reason(error)})", hint="copy or download it again") from error
    voxels = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    if np.issubdtype(voxels.dtype, np.floating) and not np.isfinite(voxels).all():
        _refuse_not_finite(path, int(np.count_nonzero(~np.isfinite(voxels))))
    return VolumeFile(Volume(handed_over(voxels), affine))


def count_voxels(path: Path) -> int:
    """Number of voxels that a volume's header claims, without reading them.

    Raises:
        FileError: The header cannot be read, or claims more than can be.
        InputError: Not 3-D, or several values a voxel.
    """
    return _read_header(path)[1]


def _refuse_not_finite(path: Path, count: int) -> None:
    if count:
        raise InputError(str(path), f"{count} voxels are NaN or infinite", "finite values", "replace them")


def _check_nifti(path: Path, n_voxels: int) -> None:
    """ITK reads a truncated NIfTI, and NaN in it, as zeros without a word: look at the bytes first."""
    try:
        with path.open("rb") as raw:
            is_zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_zipped else path.open("rb") as file:
            _check_nifti_voxels(path, cast(BinaryIO, file), n_voxels)
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise FileError(str(path), f"damaged ({error})", hint="copy or download it again") from error


def _check_nifti_voxels(path: Path, file: BinaryIO, n_voxels: int) -> None:
    header = file.read(348)
    order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
    datatype, bits = struct.unpack_from(f"{order}2h", header, 70)
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    expected, found, not_finite = n_voxels * bits // 8, 0, 0
    file.seek(int(offset))
    while chunk := file.read(1 << 22):
        if datatype in (16, 64):
            values = np.frombuffer(chunk[: len(chunk) // 8 * 8], dtype=f"{order}f{bits // 8}")
            not_finite += int(np.count_nonzero(~np.isfinite(values)))
        found += len(chunk)
    if found < expected:
        raise FileError(str(path), f"holds {found} of {expected} bytes of voxels", hint="copy or download it again")
    _refuse_not_finite(path, not_finite)


def _reason(error: Exception) -> str:
    """ITK's exceptions are long; their last line says what went wrong."""
    return str(error).strip().splitlines()[-1].strip()[:200]


def _read_header(path: Path) -> tuple[Floats, int]:
    """Check size and geometry before any memory is taken for voxels."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FileError(str(path), f"header cannot be read ({_reason(error)})", "an intact volume") from error
    size = reader.GetSize()
    if reader.GetNumberOfComponents() != 1:
        raise InputError(
            str(path), f"{reader.GetNumberOfComponents()} values a voxel", "one (not a colour or vector image)"
        )
    if len(size) != 3:
        raise InputError(str(path), f"{len(size)}-D image of size {tuple(size)}", "3-D", "save one 3-D volume of it")
    n_voxels = int(np.prod(size, dtype=object))
    if n_voxels > _MAX_VOXELS:
        raise FileError(str(path), f"header claims {tuple(size)} voxels", f"at most {_MAX_VOXELS}", "crop it")
    affine = np.eye(4)
    affine[:3, :3] = np.array(reader.GetDirection()).reshape(3, 3) * np.array(reader.GetSpacing())
    affine[:3, 3] = reader.GetOrigin()
    return np.asarray(_RAS_FROM_LPS @ affine), n_voxels


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume whole or not at all, in the format that the name ends in.

    Args:
        path: Ends in .nii.gz, .nii, .nrrd or .mha.
        volume: Voxels and affine to RAS mm.

    Raises:
        FileError: Unknown ending, or the disk refuses.
        InputError: The affine is sheared; the formats hold orthogonal axes only.
    """
    if not is_volume_name(path):
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(VOLUME_SUFFIXES)}")
    image = to_itk(volume, str(path))
    with atomic_file(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise FileError(str(path), f"cannot be written ({_reason(error)})", hint="check free space") from error


def to_itk(volume: Volume, subject: str = "volume") -> sitk.Image:
    """The same as an image of ITK's, in LPS.

    Raises:
        InputError: The affine is sheared; ITK's images have orthogonal axes only.
    """
    lps_from_voxel = _RAS_FROM_LPS @ volume.world_from_voxel
    direction = lps_from_voxel[:3, :3] / volume.spacing_mm
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise InputError(subject, "axes are not at right angles", "an orthogonal affine", "resample it first")
    image = sitk.GetImageFromArray(np.ascontiguousarray(_storable(volume.voxels).transpose(2, 1, 0)))
    image.SetSpacing(volume.spacing_mm.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(lps_from_voxel[:3, 3].tolist())
    return image


def _storable(voxels: NDArray[Any]) -> NDArray[Any]:
    return voxels.astype(np.uint8) if voxels.dtype == bool else voxels

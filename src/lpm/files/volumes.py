"""Volumes on disk: NIfTI through nibabel, NRRD and MHA through SimpleITK."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lpm.apart.reading import read_apart
from lpm.errors import FileError, InputError
from lpm.files.affines import check_affine, geometry_notes, refuse_shear
from lpm.files.atomic import atomic_file
from lpm.files.itk_headers import check_itk_header
from lpm.files.nifti import NIFTI_SUFFIXES, read_nifti_header, read_nifti_voxels
from lpm.files.segments.slicer import collapsed, has_segments
from lpm.files.segments.writing import SEGMENTS_SUFFIX, default_names, slicer_entries
from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

OUT_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # left and back are right and front, negative
_PADDING_HU = -2048.0  # as scanners write what lies outside their circle
_AIR_IN_CT_HU = -500.0  # below: values of a CT, and no label map, probability or picture
_MAX_VOXELS = 2048**3  # 32 GiB of float32: memory is not taken for more
_CHUNK = 1 << 20  # bytes that are read at a time
_NIFTI_HEADER = 352  # bytes before the voxels
_PAIRS = (".hdr", ".img")
_Read = tuple[NDArray[Any], Floats, tuple[str, ...]]  # voxels, affine to RAS mm, notes
sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what ITK writes to stderr of a header, messages here say better


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

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Refusals of what is in the file say what was assumed of it, too: it may be why."""
        try:
            yield
        except InputError as error:
            given = "; ".join([error.given, *self.notes])
            raise InputError(error.subject, given, error.expected, error.hint) from error


def is_volume_name(path: Path) -> bool:
    """Whether the file name ends like a volume that `read_volume` reads."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def volume_stem(path: Path) -> str:
    """The name of a volume's file without its ending."""
    ending = next((suffix for suffix in VOLUME_SUFFIXES if path.name.lower().endswith(suffix)), path.suffix)
    return path.name[: -len(ending)] if ending else path.name


def read_volume(path: str | Path) -> Volume:
    """Read a 3-D image with its affine to RAS mm.

    What had to be assumed of it is warned of (`UserWarning`). Arguments, errors: those of `read_volume_file`.
    """
    path = Path(path)
    read = read_volume_file(path)
    for note in read.notes:
        warnings.warn(f"{path.name}: {note}", stacklevel=2)
    return read.volume


@read_apart
def read_volume_file(path: Path) -> VolumeFile:
    """Read a 3-D image with its affine to RAS mm, and what had to be assumed of it.

    Args:
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd. Axes may run any way and be oblique, at right angles.

    Returns:
        Voxels indexed (i, j, k) as stored, finite.

    Raises:
        FileError: Missing, of another kind, damaged, too large, or its header cannot be used.
        InputError: Not 3-D, sheared, or it holds NaN or infinite values.
    """
    _check_name(path)
    if not _is_nifti(path) and has_segments(_itk_header(path)):
        return _read_segments(path)
    read = _read_nifti if _is_nifti(path) else _read_by_itk
    voxels, affine, notes = read(path)
    if np.issubdtype(voxels.dtype, np.floating) and (n := int(np.count_nonzero(~np.isfinite(voxels)))):
        if not _is_around(np.isnan(voxels), n, voxels):
            raise InputError(str(path), f"{n} voxels are NaN or infinite", "finite values", "replace them")
        voxels = np.where(np.isnan(voxels), voxels.dtype.type(_PADDING_HU), voxels)
        notes = (*notes, f"{n} voxels around the patient are NaN: padding")
    return VolumeFile(Volume(handed_over(voxels), affine), (*notes, *geometry_notes(affine)))


def _is_around(absent: NDArray[np.bool_], n: int, voxels: NDArray[Any]) -> bool:
    """Whether all that is not finite is NaN around what a CT shows: in pieces that meet the image's edges."""
    if np.count_nonzero(absent) != n or n == absent.size or np.nanmin(voxels) > _AIR_IN_CT_HU:
        return False
    found, _ = ndimage.label(absent)
    rims = [np.unique(found.take(end, axis=axis)) for axis in range(3) for end in (0, -1)]
    return bool(np.isin(np.unique(found[absent]), np.concatenate(rims)).all())


@read_apart
def count_voxels(path: Path) -> int:
    """Number of voxels that a volume's header claims, without reading them.

    Raises:
        FileError: The header cannot be read, or claims more than can be.
        InputError: Not 3-D, or several values a voxel.
    """
    if _is_nifti(path) and path.is_file():
        return _check_size(path, read_nifti_header(path).shape)
    return _check_size(path, _itk_header(path).GetSize())


def _check_name(path: Path) -> None:
    if not path.is_file():
        raise FileError(str(path), "no such file", f"a volume ({', '.join(VOLUME_SUFFIXES)})")
    if path.suffix.lower() in _PAIRS:
        given = "half of a pair .hdr and .img (Analyze or NIfTI), whose axes are not known for sure"
        raise FileError(str(path), given, "one file that holds both", "convert the pair to .nii.gz")
    if not is_volume_name(path):
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(VOLUME_SUFFIXES)}")


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _check_size(path: Path, shape: Sequence[int]) -> int:
    """The number of voxels; asked before any memory is taken for them."""
    if len(shape) != 3:
        raise InputError(str(path), f"{len(shape)}-D image of size {tuple(shape)}", "3-D", "save one 3-D volume of it")
    if min(shape) < 1:
        raise FileError(str(path), f"header claims {tuple(shape)} voxels", "some along each axis", "copy it again")
    n_voxels = int(np.prod(shape, dtype=object))
    if n_voxels > _MAX_VOXELS:
        raise FileError(str(path), f"header claims {tuple(shape)} voxels", f"at most {_MAX_VOXELS}", "crop it")
    return n_voxels


def _read_nifti(path: Path) -> _Read:
    header = read_nifti_header(path)
    _check_size(path, header.shape)
    return read_nifti_voxels(path, header), header.affine, header.notes


def _read_segments(path: Path) -> VolumeFile:
    image, affine = _itk_image(path)
    found = collapsed(image)
    volume = Volume(handed_over(found.voxels), affine)
    return VolumeFile(volume, (*found.notes, *geometry_notes(affine)), found.names, found.structures)


def _read_by_itk(path: Path) -> _Read:
    image, affine = _itk_image(path)
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine, ()


def _itk_image(path: Path) -> tuple[sitk.Image, Floats]:
    """An image, and its affine to RAS mm."""
    reader = _itk_header(path)
    _check_size(path, reader.GetSize())
    affine = np.eye(4)
    affine[:3, :3] = np.array(reader.GetDirection()).reshape(3, 3) * np.array(reader.GetSpacing())
    affine[:3, 3] = reader.GetOrigin()
    check_affine(affine, str(path))
    try:
        return sitk.ReadImage(str(path)), np.asarray(_RAS_FROM_LPS @ affine)
    except RuntimeError as error:
        raise FileError(str(path), f"damaged ({_reason(error)})", hint="copy or download it again") from error


def _itk_header(path: Path) -> sitk.ImageFileReader:
    check_itk_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FileError(str(path), f"header cannot be read ({_reason(error)})", "an intact volume") from error
    if (n := reader.GetNumberOfComponents()) != 1 and not has_segments(reader):
        raise InputError(str(path), f"{n} values a voxel", "one (not a colour or vector image)")
    return reader


def _reason(error: Exception) -> str:
    """ITK's exceptions are long; their last line says what went wrong."""
    return str(error).strip().splitlines()[-1].strip()[:200]


def write_volume(path: str | Path, volume: Volume, names: Mapping[int, str] | None = None) -> None:
    """Write a volume whole or not at all, in the format that the name ends in.

    Args:
        path: Ends in .nii.gz, .nii, .nrrd or .mha. As .seg.nrrd a label map opens as segments in 3D Slicer.
        volume: Voxels and affine to RAS mm.
        names: Structures by label value, for the segments; default 1 = left lung, 2 = right lung.

    Raises:
        FileError: Unknown ending, or the disk refuses.
        InputError: The affine is sheared; the formats hold orthogonal axes only.
    """
    path = Path(path)
    check_volume_out(path)
    image = to_itk(volume, str(path))
    if path.name.lower().endswith(SEGMENTS_SUFFIX):
        entries = slicer_entries(volume.voxels, default_names(volume.voxels) if names is None else names)
        for key, text in entries.items():
            image.SetMetaData(key, text)
    with atomic_file(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
            written = sitk.ReadImage(str(temporary))
        except RuntimeError as error:
            raise FileError(str(path), f"cannot be written ({_reason(error)})", hint="check free space") from error
        if not (_same_voxels(written, image) and _ends_whole(temporary, image)):  # ITK says nothing of a full disk
            raise FileError(str(path), "was not written whole", "a disk with room for it", "check free space")


def _same_voxels(first: sitk.Image, second: sitk.Image) -> bool:
    """Whether an image was read as it was written; of what is not finite, ITK's readers make zero."""
    found, wanted = sitk.GetArrayViewFromImage(first), sitk.GetArrayViewFromImage(second)
    return found.shape == wanted.shape and bool(np.all((found == wanted) | ~np.isfinite(wanted)))


def _ends_whole(path: Path, image: sitk.Image) -> bool:
    """Whether a file has its end; of one that lacks it ITK reads zeros, which labels often end in."""
    if path.suffix == ".nii":
        n_bytes = int(image.GetNumberOfPixels()) * int(image.GetSizeOfPixelComponent())
        return path.stat().st_size >= _NIFTI_HEADER + n_bytes
    if path.suffix not in (".gz", ".nrrd"):
        return True
    with path.open("rb") as file:
        while path.suffix == ".nrrd" and file.readline().strip():
            continue  # the header, which an empty line ends
        try:
            with gzip.open(file) as unpacked:
                while unpacked.read(_CHUNK):
                    continue
        except EOFError:
            return False
    return True


def check_volume_out(path: Path) -> None:
    """Refuse a name that no volume can be written to.

    Raises:
        FileError: Unknown ending, or one of a header that lies apart from its voxels.
    """
    if not path.name.lower().endswith(OUT_SUFFIXES):
        raise FileError(str(path), f"no volume is written as {path.suffix!r}", f"one of {', '.join(OUT_SUFFIXES)}")


def to_itk(volume: Volume, subject: str = "volume") -> sitk.Image:
    """The same as an image of ITK's, in LPS.

    Raises:
        InputError: The affine is sheared; ITK's images have orthogonal axes only.
    """
    lps_from_voxel = _RAS_FROM_LPS @ volume.world_from_voxel
    refuse_shear(lps_from_voxel, subject)
    direction = lps_from_voxel[:3, :3] / volume.spacing_mm
    image = sitk.GetImageFromArray(np.ascontiguousarray(_storable(volume.voxels).transpose(2, 1, 0)))
    image.SetSpacing(volume.spacing_mm.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(lps_from_voxel[:3, 3].tolist())
    return image


def _storable(voxels: NDArray[Any]) -> NDArray[Any]:
    return voxels.astype(np.uint8) if voxels.dtype == bool else voxels

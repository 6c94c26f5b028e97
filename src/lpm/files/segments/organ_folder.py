"""A folder with one mask an organ, as TotalSegmentator writes it: its lungs and lobes as one label map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lpm.errors import InputError
from lpm.files.segments.names import is_plain_lung, lungs_among, named_twice
from lpm.files.volumes import VolumeFile, is_volume_name, read_volume_file, volume_stem
from lpm.geometry.volumes import Volume


def is_organ_folder(folder: Path) -> bool:
    """Whether a folder holds masks of lungs or lobes, each in a file of its name."""
    return folder.is_dir() and len(_lungs_in(folder)) > 1


def organs_beside(folder: Path) -> Path | None:
    """The folder of organs that a subject's folder is or, in `segmentations`, holds; None without one."""
    return next((each for each in (folder, folder / "segmentations") if is_organ_folder(each)), None)


def organ_subject(folder: Path) -> str:
    """The name of the subject of a folder of organs."""
    whole = folder.resolve()
    return whole.parent.name if whole.name == "segmentations" else whole.name


def _volumes_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_volume_name(path) and not path.name.startswith("."))


def _lungs_in(folder: Path) -> dict[str, Path]:
    return {volume_stem(path): path for path in _volumes_in(folder) if is_plain_lung(volume_stem(path))}


def read_organ_folder(folder: Path) -> VolumeFile:
    """The lungs and lobes of a folder of organs as one label map.

    Args:
        folder: One that `is_organ_folder`.

    Raises:
        FileError: A file is damaged.
        InputError: A file is no mask, two are of one lung, or the files are of different grids.
    """
    files = _lungs_in(folder)
    if twice := named_twice(files):
        raise InputError(str(folder), twice, "one file for each", "give one of them by itself, or move it away")
    names = dict(enumerate(files, start=1))
    found: Volume | None = None
    notes: list[str] = []
    for number, path in enumerate(files.values(), start=1):
        read = read_volume_file(path)
        if found is None:
            found, notes = read.volume.with_voxels(np.zeros(read.volume.voxels.shape, np.uint16)), [*read.notes]
        found = found.with_voxels(np.where(_mask(read.volume, found, path), number, found.voxels))
    if found is None:
        raise InputError(str(folder), "no masks of lungs", "files such as lung_upper_lobe_left.nii.gz")
    others = len(_volumes_in(folder)) - len(files)
    notes.append(f"read as one label map: {', '.join(files)}" + (f"; {others} other organs left out" if others else ""))
    return VolumeFile(found, tuple(notes), names, lungs_among(names))


def _mask(volume: Volume, first: Volume, path: Path) -> np.ndarray:
    """Where a mask is set, on the grid of the first."""
    near = np.allclose(volume.world_from_voxel, first.world_from_voxel, atol=1e-3)
    if volume.voxels.shape != first.voxels.shape or not near:
        raise InputError(str(path), "another grid than that of the organs before it", "masks of one scan")
    high = float(volume.voxels.max())
    is_mask = bool(((volume.voxels == 0) | (volume.voxels == high)).all()) and high >= 0
    if not is_mask:
        raise InputError(str(path), "more than two values", "a mask of one organ", "give a label map by itself")
    return np.asarray(volume.voxels > 0)

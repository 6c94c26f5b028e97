"""Fits to uploaded files: limits of size, and the choice of the fit by kind of file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lpm.apart.reading import read_apart
from lpm.apps.viewer.scene.shown_lungs import Meshes
from lpm.errors import FileError, InputError
from lpm.files.meshes import READ_SUFFIXES, read_mesh
from lpm.files.scans import read_labels
from lpm.files.volumes import count_voxels, is_volume_name
from lpm.files.zips import DAMAGE, check_unpacked
from lpm.fitting.search import counted_steps
from lpm.geometry.sides import split_mesh
from lpm.model.bundle import ModelBundle
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.workflows.ct import fit_ct_file
from lpm.workflows.evidence import fit_labels_file, fit_points_file
from lpm.workflows.outcome import FitRun, Outcome, Tell
from lpm.workflows.radiographs import PictureOptions, fit_radiographs, told_radiograph
from lpm.xray.beam_options import BeamOptions, Projection
from lpm.xray.radiograph import Radiograph

Kind = Literal["labels", "ct", "points", "frontal", "lateral", "truth"]
READING = 0.05  # share of the work behind when a file is read: what is told with more of it fits, or prepares that
_STEP = 0.96  # of what is left of a fit after a step: most have 20 to 60, in one search or several
_MOST_VOXELS = 400_000_000
_MOST_UNZIPPED = 4 * 1024**3


@dataclass(frozen=True)
class Options:
    """Options that a file does not state: pixel spacing, projection, seed.

    Args:
        mm_per_px: Pixel spacing of pictures; None to take the file's.
        projection: Projection of pictures.
        seed: Seed of drawn points.
        spacing_mm: Lattice of the extracted meshes.
    """

    mm_per_px: float | None = None
    projection: Projection = "cone"
    seed: int = 0
    spacing_mm: float = 2.0


def fit_upload(
    model: ModelBundle, kind: Kind, path: Path, options: Options, known: Mapping[str, Radiograph], tell: Tell
) -> Outcome:
    """Fit lungs to an uploaded file.

    Args:
        model: Trained.
        kind: Kind of the file, as stated.
        path: The file, under its own name.
        options: Options that the file does not state.
        known: Radiographs of the same patient that were read before, by side.
        tell: Told what is being done.

    Raises:
        LpmError: The file is damaged, of another kind, too large, or shows no lungs.
    """
    run = FitRun(model, None, options.spacing_mm, options.seed, (), tell)
    check_size(path)
    with counted_steps(lambda done: tell(f"fitting: step {done}", 0.65 - 0.4 * _STEP**done)):
        return _fitted(run, kind, path, options, known)


def _fitted(run: FitRun, kind: Kind, path: Path, options: Options, known: Mapping[str, Radiograph]) -> Outcome:
    if kind == "points":
        return fit_points_file(run, path)
    if kind == "labels":
        return fit_labels_file(run, path)
    if kind == "ct":
        return fit_ct_file(run, path)
    if kind in ("frontal", "lateral"):
        mm = options.mm_per_px
        taken = PictureOptions(None if mm is None else (mm, mm), BeamOptions(options.projection))
        run.tell(f"reading {path.name}", READING)
        radiograph = told_radiograph(run, path, kind, taken)
        return fit_radiographs(run, {**known, kind: radiograph}, [path])
    raise InputError(path.name, f"to be fitted as {kind}", "labels, ct, points, frontal or lateral")


@read_apart
def read_truth(path: Path) -> Meshes:
    """Lungs to compare with: a label map, or a mesh of both lungs.

    Raises:
        LpmError: Damaged, of another kind, or too large.
    """
    if is_volume_name(path):
        check_size(path)
        read = read_labels(path)
        clean = clean_labels(read.volume, read.meaning(None, path.name), path.name, need_all=False)
        return {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in clean.masks.items()}
    if path.suffix.lower() not in READ_SUFFIXES:
        raise FileError(path.name, f"unknown kind {path.suffix!r}", f"a label map, or {', '.join(READ_SUFFIXES)}")
    mesh = read_mesh(path).outward()
    return split_mesh(mesh) or {"lungs": mesh.largest_piece()}


def check_size(path: Path) -> None:
    """Refuse what would fill the memory that all clients share, before any is taken."""
    if is_volume_name(path):
        n = count_voxels(path)
        if n > _MOST_VOXELS:
            given = f"{n / 1e6:,.0f} million voxels"
            raise FileError(path.name, given, f"at most {_MOST_VOXELS / 1e6:,.0f} million", "crop or resample it")
    elif path.suffix.lower() == ".zip":
        _check_unzipped(path)


def _check_unzipped(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacked(path, archive.infolist(), _MOST_UNZIPPED)
    except FileError:
        raise
    except DAMAGE as error:
        raise FileError(path.name, f"cannot be unpacked ({error})", "an intact zip") from error

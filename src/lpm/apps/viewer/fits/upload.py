"""Fits to uploaded files: limits of size, and the choice of the fit by kind of file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from lpm.apart.reading import read_apart
from lpm.apps.viewer.scene.shown_lungs import Meshes
from lpm.apps.viewer.uploads import named
from lpm.errors import FileError, InputError, LpmError
from lpm.files.dicom.masks import mask_in
from lpm.files.dicom.writing.results import dicom_source
from lpm.files.meshes import READ_SUFFIXES, read_mesh
from lpm.files.scans import read_labels
from lpm.files.volumes import count_voxels, is_volume_name
from lpm.files.zips import DAMAGE, check_unpacked
from lpm.fitting.evidence.masks import MaskFitConfig
from lpm.fitting.search import counted_steps
from lpm.geometry.sides import split_mesh
from lpm.model.bundle import ModelBundle
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.workflows.ct import fit_ct_file
from lpm.workflows.evidence import EvidenceFiles, fit_evidence_files, fit_labels_file, fit_points_file
from lpm.workflows.outcome import FitRun, Outcome, Tell
from lpm.workflows.radiographs import PictureOptions, fit_radiographs, told_radiograph, views_for
from lpm.xray.beam_options import BeamOptions, Projection, Side
from lpm.xray.radiograph import Radiograph

Kind = Literal["labels", "ct", "points", "frontal", "lateral", "views", "truth"]
Files = Sequence[tuple[Kind, Path]]
READING = 0.05  # share of the work behind when a file is read: what is told with more of it fits, or prepares that
_JOINT_POINTS = 5000  # of each file, as `lpm fit joint` takes
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
    model: ModelBundle, files: Files, options: Options, known: Mapping[str, Radiograph], tell: Tell
) -> Outcome:
    """Fit lungs to uploaded files of one patient, all in one fit.

    Args:
        model: Trained.
        files: Kind of each, as stated, and where it lies, under its own name.
        options: Options that the files do not state.
        known: Radiographs of the same patient that were read before, by side; a single picture is fitted with them.
        tell: Told what is being done.

    Raises:
        LpmError: A file is damaged, of another kind, too large, or shows no lungs; or the kinds do not go together.
    """
    run = FitRun(model, None, options.spacing_mm, options.seed, (), tell)
    for _, path in files:
        check_size(path)
    with counted_steps(lambda done: tell(f"fitting: step {done}", 0.65 - 0.4 * _STEP**done)):
        return _with_series(run, files, _fitted(run, files, options, known))


def _with_series(run: FitRun, files: Files, outcome: Outcome) -> Outcome:
    """With the DICOM series that a SEG refers to, if the scan came as one: its files go when it was read."""
    for kind, path in files:
        if kind in ("ct", "labels") and (path.is_dir() or path.suffix.lower() == ".zip"):
            try:
                is_beside = kind == "labels" and path.is_dir()
                return replace(outcome, dicom=dicom_source(mask_in(path) if is_beside else path))
            except LpmError as error:  # of what was fitted already
                run.tell(f"no DICOM SEG can be saved: {error}", None)
    return outcome


def _fitted(run: FitRun, files: Files, options: Options, known: Mapping[str, Radiograph]) -> Outcome:
    """Fit as `lpm fit points`, `mask`, `ct`, `xray` or `joint`, whichever takes the files."""
    of = {kind: tuple(path for each, path in files if each == kind) for kind in get_args(Kind)}
    if of["ct"]:
        _check_beside_ct(of["ct"], of["frontal"] + of["lateral"] + of["views"])
        return fit_ct_file(replace(run, also=of["points"] + of["labels"]), of["ct"][0])
    if len(files) > 1:
        return _joint(run, of, options)
    (kind, path) = files[0]
    if kind == "points":
        return fit_points_file(run, path)
    if kind == "labels":
        return fit_labels_file(run, path)
    if kind in ("frontal", "lateral"):
        run.tell(f"reading {path.name}", READING)
        read = told_radiograph(run, path, kind, _taken(options))
        return fit_radiographs(run, {**known, kind: read}, [path])
    raise InputError(path.name, f"to be fitted as {kind}", "labels, ct, points, frontal or lateral")


def _joint(run: FitRun, of: Mapping[Kind, tuple[Path, ...]], options: Options) -> Outcome:
    if len(of["views"]) > 1:
        raise InputError(_names(of["views"]), f"{len(of['views'])} files of views", "one", "remove the others")
    sides: tuple[Side, ...] = ("frontal", "lateral")
    pictures = tuple((side, path) for side in sides for path in of[side])
    views = of["views"][0] if of["views"] else None
    taken = replace(_taken(options), views=views_for(views, {side for side, _ in pictures}))
    meaning = MaskFitConfig(n_points=_JOINT_POINTS)
    evidence = EvidenceFiles(of["points"], of["labels"], pictures, meaning=meaning, taken=taken, views=views)
    return fit_evidence_files(run, evidence)


def _taken(options: Options) -> PictureOptions:
    mm = options.mm_per_px
    return PictureOptions(None if mm is None else (mm, mm), BeamOptions(options.projection))


def _check_beside_ct(cts: Sequence[Path], pictures: Sequence[Path]) -> None:
    """Refuse what a CT is not fitted with.

    Raises:
        InputError: Several CTs, or radiographs beside one.
    """
    if len(cts) > 1:
        raise InputError(_names(cts), f"{len(cts)} CTs", "one", "fit each by itself")
    if pictures:
        hint = "leave them out: the CT shows more of the lungs, and in mm"
        raise InputError(_names(pictures), "radiographs beside a CT", "points or label maps beside it", hint)


def _names(paths: Sequence[Path]) -> str:
    return named([path.name for path in paths])


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

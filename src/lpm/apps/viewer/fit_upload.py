"""From an uploaded file to lungs: read, check, fit, step by step."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lpm.apps.verbs.fit.xray import BeamOptions
from lpm.apps.viewer.scene.shown_lungs import Meshes
from lpm.errors import FileError, InputError
from lpm.files.meshes import MESH_SUFFIXES, read_mesh
from lpm.files.points import read_points
from lpm.files.scans import read_scan
from lpm.files.volumes import count_voxels, is_volume_name, read_volume
from lpm.fitting.fit import Fit
from lpm.fitting.masks import MaskFitConfig, fit_mask
from lpm.fitting.points import draw_points, fit_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.reports.provenance import provenance
from lpm.segmentation.hounsfield import hounsfield
from lpm.segmentation.segmenters import segmenter
from lpm.structures import DEFAULT_STRUCTURES
from lpm.xray.files.reading import read_xray
from lpm.xray.fit import Radiograph, fit_xray

Kind = Literal["labels", "ct", "points", "frontal", "lateral", "truth"]
_MOST_POINTS = 5000
_MOST_VOXELS = 400_000_000
_MOST_UNZIPPED = 4 * 1024**3


@dataclass(frozen=True)
class Options:
    """What a file does not say of itself.

    Args:
        mm_per_px: Of pictures; None to take the file's.
        projection: Of pictures.
        seed: Of drawn points.
        spacing_mm: Lattice of the extracted meshes.
    """

    mm_per_px: float | None = None
    projection: Literal["cone", "parallel"] = "cone"
    seed: int = 0
    spacing_mm: float = 2.0


@dataclass(frozen=True)
class Seen:
    """What lungs are shown beside.

    Args:
        volume: A CT in HU, or labels.
        is_ct: Which of them.
        points_mm: (n, 3) RAS mm.
        radiographs: By side.
    """

    volume: Volume | None = None
    is_ct: bool = False
    points_mm: Floats | None = None
    radiographs: Mapping[str, Radiograph] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What is being done now.

    Args:
        text: For the reader.
        share: Of the work that lies behind, 0 to 1.
    """

    text: str
    share: float


@dataclass(frozen=True)
class Explained:
    """The end of the work.

    Args:
        fit: Lungs.
        seen: What they explain.
        notes: What had to be chosen or mended on the way.
        provenance: Where they come from: versions, digests, seed.
    """

    fit: Fit
    seen: Seen
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


def explain(
    model: ModelBundle, kind: Kind, path: Path, options: Options, known: Mapping[str, Radiograph]
) -> Iterator[Step | Explained]:
    """Read a file and fit lungs to it.

    Args:
        model: Trained.
        kind: What the file is said to be.
        path: The file, under its own name.
        options: What it does not say of itself.
        known: Radiographs of the same patient that were read before, by side.

    Yields:
        Steps, and at last an `Explained`.

    Raises:
        LpmError: The file is damaged, of another kind, too large, or shows no lungs.
    """
    yield Step(f"reading {path.name}", 0.05)
    for found in _explained(model, kind, path, options, known):
        if isinstance(found, Step):
            yield found
        else:
            yield replace(found, provenance=provenance(model, [path], seed=options.seed))


def _explained(
    model: ModelBundle, kind: Kind, path: Path, options: Options, known: Mapping[str, Radiograph]
) -> Iterator[Step | Explained]:
    if kind == "points":
        return _explain_points(model, path, options)
    if kind == "labels":
        return _explain_labels(model, path, options)
    if kind == "ct":
        return _explain_ct(model, path, options)
    if kind in ("frontal", "lateral"):
        return _explain_pictures(model, kind, path, options, known)
    raise InputError(path.name, f"to be fitted as {kind}", "labels, ct, points, frontal or lateral")


def read_truth(path: Path) -> Meshes:
    """Lungs to compare with: a label map, or a mesh of both lungs.

    Raises:
        LpmError: Damaged, of another kind, or too large.
    """
    if is_volume_name(path):
        _check_voxels(path)
        clean = clean_labels(read_volume(path), DEFAULT_STRUCTURES, path.name, need_all=False)
        return {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in clean.masks.items()}
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise FileError(path.name, f"unknown kind {path.suffix!r}", f"a label map, or {', '.join(MESH_SUFFIXES)}")
    return _sides(read_mesh(path))


def _sides(mesh: WorldMesh) -> Meshes:
    """The two largest pieces, told apart by where they lie; the patient's right is where x is larger."""
    pieces = _two_pieces(mesh.outward())
    if len(pieces) == 1:
        return {"lungs": pieces[0]}
    left, right = sorted(pieces, key=lambda piece: float(piece.centroid[0]))
    return {"left_lung": left, "right_lung": right}


def _two_pieces(mesh: WorldMesh) -> list[WorldMesh]:
    both = mesh.largest_pieces(2)
    if both.n_pieces == 1:
        return [both]
    first = both.largest_piece()
    own = {tuple(vertex) for vertex in first.vertices.tolist()}
    is_first = np.array([tuple(vertex) in own for vertex in both.vertices.tolist()])
    return [first, both.with_faces(both.faces[~is_first[both.faces[:, 0]]])]


def _explain_points(model: ModelBundle, path: Path, options: Options) -> Iterator[Step | Explained]:
    file = read_points(path)
    chosen = draw_points(file.points_mm, _MOST_POINTS, rng=np.random.default_rng(options.seed))
    points = file.points_mm[chosen]
    yield Step(f"fitting {len(points)} points", 0.2)
    sides = None if file.structure is None else file.structure[chosen].tolist()
    fit = fit_points(model, points, sides, spacing_mm=options.spacing_mm)
    yield Explained(fit, Seen(points_mm=points))


def _explain_labels(model: ModelBundle, path: Path, options: Options) -> Iterator[Step | Explained]:
    _check_voxels(path)
    labels = read_volume(path)
    yield Step("fitting the mask", 0.25)
    yield Explained(_fit_labels(model, labels, options), Seen(labels))


def _explain_ct(model: ModelBundle, path: Path, options: Options) -> Iterator[Step | Explained]:
    _check_voxels(path)
    read = read_scan(path)
    scan = hounsfield(read.volume, path.name)
    yield Step("finding the lungs in the CT", 0.25)
    labels = segmenter("thresholds").segment(scan, path.name)
    yield Step("fitting the lungs that were found", 0.55)
    fit = _fit_labels(model, labels, options)
    yield Explained(fit, Seen(scan.volume, is_ct=True), read.notes)


def _fit_labels(model: ModelBundle, labels: Volume, options: Options) -> Fit:
    config = MaskFitConfig(spacing_mm=options.spacing_mm)
    return fit_mask(model, labels, rng=np.random.default_rng(options.seed), config=config)


def _explain_pictures(
    model: ModelBundle,
    side: Literal["frontal", "lateral"],
    path: Path,
    options: Options,
    known: Mapping[str, Radiograph],
) -> Iterator[Step | Explained]:
    found = read_xray(path, mm_per_px=options.mm_per_px)
    if found.view is not None and found.view != side:
        raise InputError(path.name, f"a {found.view} picture", f"a {side} one", f"upload it as {found.view}")
    beam = BeamOptions(options.projection, None, None).beam(found)
    radiographs = {**known, side: Radiograph(found.pixels, side, found.mm_per_px, beam, None, path.name)}
    yield Step("reading the lungs in the picture" + "s" * (len(radiographs) > 1), 0.2)
    fit = fit_xray(model, list(radiographs.values()), spacing_mm=options.spacing_mm)
    yield Explained(fit, Seen(radiographs=radiographs), found.notes)


def _check_voxels(path: Path) -> None:
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
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise FileError(path.name, f"cannot be unpacked ({error})", "an intact zip") from error
    if size > _MOST_UNZIPPED:
        raise FileError(path.name, f"{size / 1024**3:.1f} GiB unpacked", "at most 4 GiB", "zip one series only")

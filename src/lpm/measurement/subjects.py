"""From what a person names on the command line to subjects: label maps, meshes, folders of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lpm.calibration import number
from lpm.errors import FileError, InputError
from lpm.files.meshes import READ_SUFFIXES, read_mesh
from lpm.files.points import check_extent
from lpm.files.scans import is_mask_file, read_labels
from lpm.files.segments.names import whole_lung
from lpm.files.segments.organ_folder import organ_subject, organs_beside
from lpm.files.volumes import VOLUME_SUFFIXES, is_volume_name, volume_stem
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.grids import labels_of
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.sides import (
    is_exchanged,
    large_bodies,
    looks_like_two,
    looks_mirrored,
    split_mesh,
    turned_doubts,
)
from lpm.measurement.labels import surfaces_of_labels
from lpm.measurement.lobes import lobe_volumes_ml
from lpm.measurement.structure import Box, box_of
from lpm.preparation.gate import implausible_total
from lpm.preparation.label_maps.sides import side_by_shape
from lpm.records import parse_json
from lpm.structures import DEFAULT_STRUCTURES

_SIDES = ("left_", "right_")
_SHAPE = "shape"
_SCRAPS_ML = number("measurement.scraps_ml")
_AGREE_MM = number("measurement.ends_agree_mm")
_MOST_PIECES = 10_000  # of a mesh that is looked into
_MIRRORED = "possibly mirrored: the heart seems to lie on the right, beside the smaller lung"
_COARSE_MM = 4.0  # how lungs lie shows on a coarse grid
_POINTS = 2000  # vertices, at least, that tell a mesh's extent


@dataclass(frozen=True)
class Subject:
    """A subject to measure, with its files.

    Args:
        name: Name of the subject.
        files: One label map, or the meshes of its structures.
    """

    name: str
    files: tuple[Path, ...]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Shapes:
    """Meshes read from a subject's files.

    Args:
        meshes: Meshes by structure; closed, outward, one piece each, RAS mm.
        flags: Warnings about them.
        boxes_mm: Lowest and highest corner of structures, where a label map tells.
        lobes_ml: Volumes of lobes by measure, where a label map tells them apart.
    """

    meshes: dict[str, WorldMesh]
    flags: tuple[str, ...]
    boxes_mm: dict[str, Box] = field(default_factory=dict)
    lobes_ml: dict[str, float] = field(default_factory=dict)


def find_subjects(inputs: Sequence[Path]) -> list[Subject]:
    """Turn files and folders into subjects.

    A label map is a subject; so is a mesh, but for the lungs (``LEFT LUNG``, ``lung_L``) and ``left_*`` and ``right_*``
    of one folder, which belong together.
    A folder is a subject if it holds such meshes (as fits, cohorts and generated lungs do), a ``labels.*``, or a mask
    for each lobe or lung; else it holds subjects.

    Raises:
        FileError: An input does not exist, or holds neither meshes nor label maps.
    """
    files = []
    for given in inputs:
        found = list(_files_of(given)) if given.is_dir() else [given]
        if not found or not given.exists():
            expected = f"label maps ({', '.join(VOLUME_SUFFIXES)}) or meshes ({', '.join(READ_SUFFIXES)})"
            said = "holds nothing to measure" if given.is_dir() else "no such file"
            raise FileError(str(given), said, expected, "name a folder that lpm fit wrote, or a label map")
        files += found
    return _grouped(dict.fromkeys(files))


def _files_of(folder: Path) -> Iterator[Path]:
    """Files of one subject, or of the subjects in subfolders."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    sided = [path for path in inside if _is_sided(path)]
    labels = [path for path in inside if is_volume_name(path) and volume_stem(path) == "labels"]
    if sided or labels:
        yield from sided or labels[:1]
        return
    if organs := organs_beside(folder):
        yield organs
        return
    for path in inside:
        if path.is_dir():
            yield from _files_of(path)
        elif _is_mesh(path) or is_volume_name(path) or is_mask_file(path):
            yield path


def _is_mesh(path: Path) -> bool:
    return path.suffix.lower() in READ_SUFFIXES


def _is_sided(path: Path) -> bool:
    return _is_mesh(path) and _structure_of(path) != _SHAPE


def _structure_of(mesh: Path) -> str:
    """The structure that a mesh file is named after: a lung however it is spelt, another one as it stands."""
    return whole_lung(mesh.stem) or (mesh.stem if mesh.stem.startswith(_SIDES) else _SHAPE)


def _grouped(files: Iterable[Path]) -> list[Subject]:
    """Sided meshes of a folder are one subject, named by the folder, as a ``labels.*`` is."""
    subjects: dict[Path, Subject] = {}
    for path in files:
        by_folder = _is_sided(path) or volume_stem(path) == "labels"
        name = path.resolve().parent.name if by_folder else organ_subject(path) if path.is_dir() else volume_stem(path)
        key = path.parent if _is_sided(path) else path
        earlier = subjects[key].files if key in subjects else ()
        subjects[key] = Subject(name, (*earlier, path))
    return list(subjects.values())


def read_shapes(subject: Subject, structures: Mapping[str, tuple[int, ...]] | None = None) -> Shapes:
    """Read what there is to measure of a subject.

    Args:
        subject: Subject to read.
        structures: Label values by structure; None for what the file says, or 1 = left lung, 2 = right lung.

    Raises:
        FileError: A file cannot be read.
        InputError: Nothing in it, two files of one structure, open meshes, or another unit than the millimetre.
    """
    if _is_mesh(subject.files[0]):
        _check_once(subject)
        parts = parts_of_fit(subject.files[0].parent)
        files = [path for path in subject.files if path.stem not in parts]
        meshes = {_structure_of(path): read_mesh(path) for path in files}
        lobes = {f"{name}_volume_ml": ml for name, ml in parts.items()}
        shapes = checked_shapes(meshes, subject.name)
        return replace(shapes, flags=(*shapes.flags, *_turned(shapes.meshes)), lobes_ml=lobes)
    read = read_labels(subject.files[0])
    with read.explaining():
        found = surfaces_of_labels(read.volume, read.meaning(structures, subject.name), subject.name)
    shapes = checked_shapes(found.meshes, subject.name, (*read.notes, *found.flags))
    shapes = replace(shapes, lobes_ml=lobe_volumes_ml(read, structures, subject.name))
    if shapes.meshes.keys() != found.meshes.keys():
        return shapes
    return replace(shapes, boxes_mm={name: _agreed(box, shapes.meshes[name]) for name, box in found.boxes_mm.items()})


def _check_once(subject: Subject) -> None:
    """Refuse two files of one structure, which may be two versions of it, or two patients'."""
    files: dict[str, Path] = {}
    for path in subject.files:
        structure = _structure_of(path)
        if other := files.get(structure):
            given = f"{other.name} and {path.name} are both the {structure.replace('_', ' ')}"
            raise InputError(subject.name, given, "one file for each", "give one of them by itself, or move it away")
        files[structure] = path


def parts_of_fit(folder: Path) -> dict[str, float]:
    """Volumes of the parts, ml, whose meshes a fit's folder holds beside those of its structures; none elsewhere.

    Raises:
        FileError: The folder's `fit.json` is damaged.
    """
    path = folder / "fit.json"
    if not path.is_file():
        return {}
    try:
        found = parse_json(path)
        parts = found.get("part_volume_ml", {}).items()
        return {name: float(ml) for name, ml in parts if name not in found["structures"]}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "what lpm fit wrote", "fit again") from error


def _agreed(box_mm: Box, mesh: WorldMesh) -> Box:
    """A label map's box where a mesh ends there too; its own where the map's end is that of an island."""
    lower, upper = (
        np.where(np.abs(of - own) < _AGREE_MM, of, own) for of, own in zip(box_mm, box_of(mesh), strict=True)
    )
    return lower, upper


def checked_shapes(meshes: Mapping[str, WorldMesh], subject: str, flags: Iterable[str] = ()) -> Shapes:
    """Refuse meshes that enclose nothing measurable, mend what can be mended, and say what was odd.

    Args:
        meshes: Meshes by structure, RAS mm.
        subject: Name for messages.
        flags: Earlier warnings.

    Raises:
        InputError: Open, or of another unit than the millimetre.
    """
    found, (apart, scraps) = {}, _told_apart(meshes, subject)
    odd = [*flags, *scraps]
    for name, mesh in apart.items():
        _check_closed(mesh, f"{subject}, {name}")
        if mesh.enclosed_volume < 0:
            odd.append(f"{name} was inside out")
        pieces = mesh.outward()
        if pieces.n_pieces > 1:
            largest = pieces.largest_piece().outward()
            odd += _scraps(name, pieces.n_pieces - 1, largest.volume_ml - pieces.volume_ml)
            pieces = largest
        found[name] = pieces
    implausible = implausible_total({name: mesh.volume_ml for name, mesh in found.items()})
    odd += [f"{implausible}: is the unit mm?"] if implausible else []
    return Shapes(found, (*odd, *_exchanged(found)))


def _scraps(name: str, n: int, less_ml: float) -> list[str]:
    """Small pieces and cavities, which are left out without a warning."""
    large = abs(less_ml) > _SCRAPS_ML
    return [f"{name} has {n} more pieces ({abs(less_ml):.0f} ml), which were left out"] if large else []


def _told_apart(meshes: Mapping[str, WorldMesh], subject: str) -> tuple[dict[str, WorldMesh], list[str]]:
    """Both lungs of a mesh without a side that holds two bodies, and what else it holds; other meshes as they are.

    Raises:
        InputError: More bodies than lungs, lungs that touch, or both lungs under the name of one.
    """
    for name, mesh in meshes.items():
        _check_unit(mesh, f"{subject}, {name}")
        if name not in (_SHAPE, *DEFAULT_STRUCTURES) or mesh.n_pieces > _MOST_PIECES:
            continue  # of other structures, or triangles that do not meet
        bodies = large_bodies(mesh)
        are_both = len(bodies) == 2 and (name == _SHAPE or _are_side_by_side(*bodies))
        if len(meshes) == 1 and are_both and (lungs := split_mesh(mesh)):
            scraps_ml = sum(abs(part.volume_ml) for part in mesh.pieces()) - sum(abs(body.volume_ml) for body in bodies)
            told = [] if name == _SHAPE else [f"{name} held both lungs, which were told apart"]
            return lungs, [*told, *_scraps("the mesh", mesh.n_pieces - 2, scraps_ml)]
        _check_bodies(bodies, name, subject, is_alone=len(meshes) == 1)
    return dict(meshes), []


def _check_bodies(bodies: Sequence[WorldMesh], name: str, subject: str, *, is_alone: bool) -> None:
    """Refuse what is neither one lung nor, without a side, two; a lung beside another may have a waist of its own."""
    volumes = ", ".join(f"{abs(body.volume_ml):.0f}" for body in bodies)
    what = f"{subject}, {name}"
    if name == _SHAPE and len(bodies) > 2:
        given = f"{len(bodies)} bodies of {volumes} ml"
        raise InputError(what, given, "one lung or two", "keep the lungs only, or a file for each structure")
    if len(bodies) > 1 and _are_side_by_side(bodies[0], bodies[1]):
        given = f"bodies of {volumes} ml side by side: both lungs?"
        raise InputError(what, given, "one lung", f"keep the one that is the {name.replace('_', ' ')}")
    if len(bodies) == 1 and is_alone and bodies[0].is_closed and looks_like_two(bodies[0]):
        given = f"one piece of {volumes} ml with a waist between left and right: lungs that touch?"
        raise InputError(what, given, "a body for each lung", "cut them apart, or give 1 and 2 in a label map")


def _are_side_by_side(one: WorldMesh, other: WorldMesh) -> bool:
    """Whether the centre of each lies beyond the other's end, left or right."""
    left, right = sorted((one, other), key=lambda body: float(body.centroid[0]))
    return bool(left.vertices[:, 0].max() < right.centroid[0] and right.vertices[:, 0].min() > left.centroid[0])


def _check_unit(mesh: WorldMesh, subject: str) -> None:
    check_extent(mesh.vertices[:: max(len(mesh.vertices) // _POINTS, 1)], subject)


def _check_closed(mesh: WorldMesh, subject: str) -> None:
    if mesh.is_closed:
        return
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    if not (n_open := int((counts % 2).sum())):
        given = f"triangles that bound no body ({int((counts > 2).sum())} edges of more than two triangles)"
        raise InputError(subject, given, "a closed surface", "give a label map, or mend it where parts meet")
    given = f"an open mesh, which has no volume ({n_open} edges of one triangle only)"
    raise InputError(subject, given, "a closed one", "close its holes; a label map gives closed meshes")


def _exchanged(meshes: Mapping[str, WorldMesh]) -> list[str]:
    is_odd = is_exchanged({name: float(mesh.centroid[0]) for name, mesh in meshes.items()})
    return ["the left lung lies on the patient's right"] if is_odd else []


def _turned(meshes: Mapping[str, WorldMesh]) -> list[str]:
    """Doubts whether lungs of meshes lie as their coordinates and names say, as of label maps."""
    lungs = {name: mesh for name in DEFAULT_STRUCTURES if (mesh := meshes.get(name)) is not None}
    if not lungs or _exchanged(lungs):
        return []
    labels = labels_of(lungs, spacing_mm=_COARSE_MM)
    if len(lungs) == 1:
        (name,) = lungs
        side = side_by_shape(labels.with_voxels(labels.voxels > 0))
        is_other = side is not None and not name.startswith(side)
        return [f"the {name.replace('_', ' ')} has the shape of a {side} lung"] if is_other else []
    mirrored = looks_mirrored(labels, DEFAULT_STRUCTURES)
    return [*([_MIRRORED] if mirrored else []), *turned_doubts(labels, DEFAULT_STRUCTURES)]

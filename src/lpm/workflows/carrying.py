"""Files of points, meshes and label maps, carried from one fit to another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lpm.errors import FileError, InputError
from lpm.files.meshes import MESH_SUFFIXES, read_mesh, write_mesh
from lpm.files.point_rows import read_point_rows
from lpm.files.points import POINT_SUFFIXES, read_points, write_points
from lpm.files.scans import read_labels
from lpm.files.volumes import write_volume
from lpm.fitting.written import read_fit
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle
from lpm.motion.carrying import Motion, named, outside_rows, refuse_outside
from lpm.motion.labels import carried_labels

_TABLES = (".csv", ".txt", ".xyz")
_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha")


@dataclass(frozen=True)
class CarryRun:
    """Two written fits of one model.

    Args:
        model: The model that was fitted.
        source: Folder of the fit that points belong to.
        target: Folder of the fit that they are carried to.
    """

    model: ModelBundle
    source: Path
    target: Path

    def motion(self, *, back: bool = False) -> Motion:
        """From the one to the other, or back.

        Raises:
            FileError: A folder holds no fit, or a damaged one.
            InputError: A fit of another model, of unknown size, or without a lung in common.
        """
        source, target = (read_fit(folder, self.model) for folder in (self.source, self.target))
        return Motion.between(target, source) if back else Motion.between(source, target)


def carry_file(run: CarryRun, path: Path, out: Path) -> tuple[int, list[str]]:
    """Carry a file of points, a mesh or a label map from one fit to another.

    Args:
        run: The fits.
        path: A table of points, whose further columns are kept; other points; a mesh (.ply with triangles, .stl, .obj,
            .glb, .vtp); or a label map.
        out: File to write, of the same kind.

    Returns:
        How many points (or voxels) were carried, and notes: rows of points outside of the lungs, which stay empty.

    Raises:
        FileError: Missing, damaged or of an unknown kind, or the output is of another kind.
        InputError: No point lies in the lungs, or fits that do not belong together.
    """
    if path.name.lower().endswith(_VOLUMES):
        return _carry_labels(run, path, out)
    if path.suffix.lower() in _TABLES:
        return _carry_table(run, path, out)
    if path.suffix.lower() in MESH_SUFFIXES and _is_mesh(path):
        mesh = run.motion().mesh(read_mesh(path))
        write_mesh(out, mesh)
        return len(mesh.vertices), []
    if path.suffix.lower() not in POINT_SUFFIXES:
        known = ", ".join(dict.fromkeys((*POINT_SUFFIXES, *MESH_SUFFIXES, *_VOLUMES)))
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {known}", "save the points as .csv")
    file = read_points(path)
    carried = refuse_outside(run.motion().points(file.points_mm), str(path))
    write_points(out, carried)
    return len(carried), list(file.notes)


def _carry_table(run: CarryRun, path: Path, out: Path) -> tuple[int, list[str]]:
    if out.suffix.lower() not in _TABLES:
        expected = f"one of {', '.join(_TABLES)}, as the points"
        raise FileError(str(out), f"unknown kind {out.suffix!r}", expected, f"--out {out.with_suffix(path.suffix)}")
    table = read_point_rows(path)
    carried = run.motion().points(table.points_mm)
    rows = outside_rows(carried)
    if len(rows) == len(carried):
        hint = "check that --from names the fit of these points, and that they are RAS mm"
        raise InputError(str(path), "all points outside of the lungs", "points on or in the lungs", hint)
    table.moved(carried).write(out)
    return len(carried) - len(rows), _notes(carried)


def _notes(carried: Floats) -> list[str]:
    rows = outside_rows(carried)
    said = f"{len(rows)} outside of the lungs, left empty: {named(rows)}, counted from 0 without the header"
    return [said] if len(rows) else []


def _carry_labels(run: CarryRun, path: Path, out: Path) -> tuple[int, list[str]]:
    if not out.name.lower().endswith(_VOLUMES):
        expected = f"one of {', '.join(_VOLUMES)}, as the labels"
        raise FileError(str(out), f"unknown kind {out.suffix!r}", expected, f"--out {out.with_suffix('.nii.gz')}")
    read = read_labels(path)
    carried = carried_labels(read.volume, run.motion(back=True))
    write_volume(out, carried)
    return int(np.count_nonzero(carried.voxels)), list(read.notes)


def _is_mesh(path: Path) -> bool:
    """Whether a file has triangles: a .ply may hold points alone."""
    if path.suffix.lower() != ".ply":
        return True
    try:
        read_mesh(path)
    except FileError:
        return False
    return True

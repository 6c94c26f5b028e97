"""A breath from two written fits, and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lpm.files.arrays import write_arrays
from lpm.files.atomic import atomic_folder, check_gives_way
from lpm.files.meshes import write_mesh
from lpm.fitting.written import read_fit
from lpm.geometry.meshes import WorldMesh
from lpm.motion.breath import Breath, DisplacementField, breathe
from lpm.reports.breaths import draw_loop, notes_of, write_breath_report
from lpm.reports.provenance import provenance
from lpm.workflows.carrying import CarryRun
from lpm.workflows.outcome import Tell, silent

_OWN = {"breath.json", "breath.gif", "report.html", "displacement.npz", "displacement.nii.gz", "volume_change.nii.gz"}
_VECTOR = 1007  # NIfTI's intent code of a vector a voxel


def breathe_fits(run: CarryRun, out: Path, n_phases: int, tell: Tell = silent) -> dict[str, Any]:
    """Find the motion between two written fits of a patient, and write it.

    Args:
        run: Fits in expiration (source) and inspiration (target).
        out: Folder: new, empty, or with an earlier breath, which gives way.
        n_phases: Lungs on the way, both ends among them.
        tell: Told what is being done.

    Returns:
        What `breath.json` holds.

    Raises:
        FileError: A fit is damaged, or the folder holds something else.
        InputError: Fits that do not belong together, exchanged states, or fewer than two phases.
    """
    check_gives_way(out, _is_own(out), "holds an earlier breath")
    source, target = (read_fit(folder, run.model) for folder in (run.source, run.target))
    tell("finding the motion", 0.2)
    breath = breathe(source, target)
    phases = breath.phases(n_phases)
    summary = _summary(breath, phases)
    inputs = [run.source / "fit.json", run.target / "fit.json"]
    with atomic_folder(out) as temporary:
        tell("writing phases and the displacement field", 0.5)
        for number, lungs in enumerate(phases):
            (temporary / f"phase_{number:02d}").mkdir()
            for name, mesh in lungs.items():
                write_mesh(temporary / f"phase_{number:02d}" / f"{name}.ply", mesh)
        _write_field(temporary, breath.field)
        _write_vertices(temporary / "displacement.npz", breath)
        tell("drawing the loop and the report", 0.7)
        draw_loop(phases, temporary / "breath.gif")
        write_breath_report(temporary / "report.html", breath, phases, provenance(run.model, inputs))
        (temporary / "breath.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def _is_own(out: Path) -> Any:
    has_breath = (out / "breath.json").is_file()
    return lambda name: has_breath and (name in _OWN or name.startswith("phase_"))


def _summary(breath: Breath, phases: Sequence[Mapping[str, WorldMesh]]) -> dict[str, Any]:
    regions = breath.regions()
    return {
        "volume_ml": [{name: mesh.volume_ml for name, mesh in lungs.items()} for lungs in phases],
        "regions": [asdict(region) for region in regions],
        "notes": notes_of(phases, regions),
    }


def _write_field(folder: Path, field: DisplacementField) -> None:
    """Displacements as a NIfTI vector image (RAS mm), and the Jacobian, on the same grid."""
    affine = np.diag([field.grid.spacing_mm] * 3 + [1.0])
    affine[:3, 3] = field.grid.origin_mm
    vectors: Any = nib.Nifti1Image(field.displacement_mm[:, :, :, None].astype(np.float32), affine)
    vectors.header.set_intent(_VECTOR, name="RAS mm")
    scalars: Any = nib.Nifti1Image(field.volume_change.astype(np.float32), affine)
    for image, name in ((vectors, "displacement"), (scalars, "volume_change")):
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"{name}.nii.gz")


def _write_vertices(path: Path, breath: Breath) -> None:
    """Displacement and Jacobian of every vertex, and of the grid's nodes."""
    field = breath.field
    arrays: dict[str, Any] = {}
    for name, mesh in breath.expiration.items():
        arrays[f"{name}.vertices_mm"] = mesh.vertices
        arrays[f"{name}.faces"] = mesh.faces
        arrays[f"{name}.displacement_mm"] = breath.displacement_mm[name]
        arrays[f"{name}.volume_change"] = breath.volume_change[name]
    arrays |= {"grid.origin_mm": field.grid.origin_mm, "grid.spacing_mm": np.array(field.grid.spacing_mm)}
    arrays |= {"grid.displacement_mm": field.displacement_mm, "grid.volume_change": field.volume_change}
    write_arrays(path, arrays)

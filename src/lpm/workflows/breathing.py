"""A breath from written fits, and its files: of two states, of one, or of a series."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lpm.errors import InputError, about
from lpm.files.arrays import write_arrays
from lpm.files.atomic import atomic_folder, check_gives_way
from lpm.files.meshes import write_mesh
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.written import read_fit
from lpm.model.bundle import ModelBundle
from lpm.motion.breath import Breath, DisplacementField, breathe
from lpm.motion.prediction import BreathModel, predict_breath, read_breath_model
from lpm.motion.series import Times, breathe_series
from lpm.reports.breaths import Told, draw_loop, notes_of, write_breath_report
from lpm.reports.provenance import provenance
from lpm.workflows.outcome import Tell, silent

_BUNDLED = Path(__file__).parents[1] / "bundled"
BUNDLED_BREATHS = tuple(_BUNDLED / name / "breath.npz" for name in ("breath-v2", "breath-v1"))  # of lungs-v2, lungs-v1
_OWN = {"breath.json", "breath.gif", "report.html", "displacement.npz", "displacement.nii.gz", "volume_change.nii.gz"}
_VECTOR = 1007  # NIfTI's intent code of a vector a voxel


def breath_model_for(model: ModelBundle, path: Path | None = None) -> BreathModel:
    """The breath model at a path; without one, the bundled one learned with the model, or the newest if none was.

    Args:
        model: The model that was fitted.
        path: Written by `lpm train-breath`.

    Raises:
        FileError: Missing or damaged.
    """
    if path is not None:
        return read_breath_model(path)
    bundled = [read_breath_model(each) for each in BUNDLED_BREATHS]
    return next((each for each in bundled if each.model == model.digest), bundled[0])


@dataclass(frozen=True)
class BreathRun:
    """What a breath is made from.

    Args:
        model: The model that was fitted.
        fits: Folders of fits: one, two (expiration, inspiration), or more in their order.
        n_phases: Lungs on the way.
        to_volume_ml: Of one fit: the volume of the other state; None for the usual growth.
        breath: Of one fit: a breath model; None for the one that is bundled with the model.
        times: Of a series: when its states were seen; None for even times.
        periodic: Of a series: whether the first state comes again after the last one.
    """

    model: ModelBundle
    fits: tuple[Path, ...]
    n_phases: int = 10
    to_volume_ml: float | None = None
    breath: Path | None = None
    times: tuple[float, ...] | None = None
    periodic: bool = False

    def check(self) -> None:
        """Refuse options that do not go with the number of fits.

        Raises:
            InputError: They do not.
        """
        of_one, of_many = self.to_volume_ml is not None or self.breath is not None, self.times or self.periodic
        if len(self.fits) != 1 and of_one:
            given, expected = f"{len(self.fits)} fits", "one fit, whose other state is predicted"
            raise InputError("--to-volume, --breath", given, expected, "leave them out, or name one fit only")
        if len(self.fits) < 3 and of_many:
            given, hint = f"{len(self.fits)} fits", "leave them out, or name the series' other fits"
            raise InputError("--times, --periodic", given, "at least 3, in their order", hint)


def breathe_fits(run: BreathRun, out: Path, tell: Tell = silent) -> dict[str, Any]:
    """Find how the lungs of written fits of a patient move, and write it.

    Args:
        run: Fits and options.
        out: Folder: new, empty, or with an earlier breath, which gives way.
        tell: Told what is being done.

    Returns:
        What `breath.json` holds.

    Raises:
        FileError: A fit is damaged, or the folder holds something else.
        InputError: Fits that do not belong together, exchanged states, or options that do not go with the fits.
    """
    run.check()
    check_gives_way(out, _is_own(out), "holds an earlier breath")
    fields = [read_fit(folder, run.model) for folder in run.fits]
    tell("finding the motion", 0.2)
    with about(" and ".join(map(str, run.fits))):
        found = _found(run, fields)
    breath, told = found.told.breath, found.told
    inputs = [folder / "fit.json" for folder in run.fits]
    summary = _summary(told) | found.more
    with atomic_folder(out) as temporary:
        tell("writing phases and the displacement field", 0.5)
        for number, lungs in enumerate(told.phases):
            (temporary / f"phase_{number:02d}").mkdir()
            for name, mesh in lungs.items():
                write_mesh(temporary / f"phase_{number:02d}" / f"{name}.ply", mesh)
        _write_field(temporary, breath.field)
        _write_vertices(temporary / "displacement.npz", told)
        tell("drawing the loop and the report", 0.7)
        draw_loop(told.phases, temporary / "breath.gif", swings=told.swings)
        write_breath_report(temporary / "report.html", told, provenance(run.model, inputs))
        (temporary / "breath.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


@dataclass(frozen=True, eq=False)
class _Found:
    """What is told of a breath, and what `breath.json` holds beside."""

    told: Told
    more: dict[str, Any] = field(default_factory=dict)


def _found(run: BreathRun, fields: Sequence[FittedField]) -> _Found:
    if len(fields) == 1:
        return _predicted(run, fields[0])
    if len(fields) > 2:
        return _series(run, fields)
    breath = breathe(*fields)
    phases = breath.phases(run.n_phases)
    return _Found(Told(breath, phases, notes_of(phases, breath.regions())))


def _predicted(run: BreathRun, seen: FittedField) -> _Found:
    found = predict_breath(seen, breath_model_for(run.model, run.breath), run.to_volume_ml)
    told = Told(found.breath, found.breath.phases(run.n_phases), found.notes, sd_mm=found.sd_mm)
    return _Found(told, {"volume_95_ml": {name: list(ends) for name, ends in found.volume_95_ml.items()}})


def _series(run: BreathRun, fields: Sequence[FittedField]) -> _Found:
    times = Times.of(len(fields), run.times, periodic=run.periodic)
    found = breathe_series(fields, times)
    told = Told(found.breath, found.phases(run.n_phases), found.notes, swings=not run.periodic)
    states = [{name: mesh.volume_ml for name, mesh in lungs.items()} for lungs in found.states]
    return _Found(told, {"times": list(times.at), "period": times.period, "state_volume_ml": states})


def _is_own(out: Path) -> Any:
    has_breath = (out / "breath.json").is_file()
    return lambda name: has_breath and (name in _OWN or name.startswith("phase_"))


def _summary(told: Told) -> dict[str, Any]:
    return {
        "volume_ml": [{name: mesh.volume_ml for name, mesh in lungs.items()} for lungs in told.phases],
        "regions": [asdict(region) for region in told.breath.regions()],
        "parts": [asdict(region) for region in told.breath.parts()],
        "notes": list(told.notes),
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


def _write_vertices(path: Path, told: Told) -> None:
    """Displacement and Jacobian of every vertex, and of the grid's nodes."""
    breath: Breath = told.breath
    field, arrays = breath.field, dict[str, Any]()
    for name, mesh in breath.expiration.items():
        arrays[f"{name}.vertices_mm"] = mesh.vertices
        arrays[f"{name}.faces"] = mesh.faces
        arrays[f"{name}.displacement_mm"] = breath.displacement_mm[name]
        arrays[f"{name}.volume_change"] = breath.volume_change[name]
        if told.sd_mm:
            arrays[f"{name}.sd_mm"] = told.sd_mm[name]
    arrays |= {"grid.origin_mm": field.grid.origin_mm, "grid.spacing_mm": np.array(field.grid.spacing_mm)}
    arrays |= {"grid.displacement_mm": field.displacement_mm, "grid.volume_change": field.volume_change}
    write_arrays(path, arrays)

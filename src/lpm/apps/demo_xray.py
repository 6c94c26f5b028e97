"""The demo's radiograph: a generated patient, one picture of the chest, both lungs by the bundled model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lpm.evaluation.xrays import compare, onto
from lpm.files.volumes import write_volume
from lpm.fitting.fit import Fit
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.geometry.projection import turned_view
from lpm.lung_model import load
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.reports.document import Block, Figure, Table, Text
from lpm.reports.plots import plot_reconstruction
from lpm.structures import DEFAULT_STRUCTURES
from lpm.workflows.outcome import FitRun, OutcomeFiles, write_outcome
from lpm.workflows.radiographs import fit_radiographs
from lpm.xray.drr import ExposureConfig, box_of, exposed, radiograph
from lpm.xray.files.reading import write_picture
from lpm.xray.radiograph import Radiograph

_SPACING_MM, _PIXEL_MM = 3.0, 1.2
_PHOTONS = 2e4


def xray_blocks(out: Path, *, rng: np.random.Generator) -> list[Block]:
    """Simulate a radiograph of a generated patient, reconstruct both lungs from it, and tell what came out.

    Args:
        out: Folder of the picture, of the fit as `lpm fit xray` writes it, and of the drawings.
        rng: Source of the patient and of the picture's noise.
    """
    true, given = _patient(out, rng=rng)
    outcome = fit_radiographs(FitRun(load().bundle), {"frontal": given}, [out / "frontal.png"])
    write_outcome(out / "fit", outcome, OutcomeFiles(report=False))
    fit = outcome.fit
    plot_reconstruction(onto(fit.lungs, true), true, out / "reconstruction.png", "from one radiograph")
    return [
        Text((_LEAD,)),
        Figure(
            out / "fit" / "views.png",
            "The radiograph with the field that was read, and the outlines of the fitted lungs.",
        ),
        Figure(out / "reconstruction.png", "Truth, and the lungs from the one picture, coloured by their error in mm."),
        _table(fit, true),
    ]


_LEAD = (
    "The model that comes with the package, learned from real lungs, and its reader of radiographs see one picture of "
    "a generated patient, who is stranger to both than a person would be."
)


def _patient(out: Path, *, rng: np.random.Generator) -> tuple[dict[str, WorldMesh], Radiograph]:
    """True lungs, and a frontal radiograph of them as a detector would give it."""
    scan = PhantomScan(random_lungs(rng=rng), spacing_mm=(_SPACING_MM,) * 3, with_table=False)
    ct, labels = render_scan(scan, rng=rng)
    low, high = box_of(ct)
    rows, columns = (int(np.ceil(side / _PIXEL_MM)) for side in (high[2] - low[2], high[0] - low[0]))
    view = turned_view((rows, columns), (_PIXEL_MM, _PIXEL_MM), 0.0, 0.5 * (low + high))
    pixels = exposed(radiograph(ct, view), ExposureConfig(photons=_PHOTONS), rng=rng).astype(np.float32)
    write_volume(out / "ct.nii.gz", ct)
    write_picture(out / "frontal.png", np.round(65535 * pixels).astype(np.uint16))
    masks = clean_labels(labels, dict(DEFAULT_STRUCTURES), "generated patient", need_all=True).masks
    meshes = {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in masks.items()}
    return meshes, Radiograph(pixels, view=view, name="frontal.png")


def _table(fit: Fit, true: dict[str, WorldMesh]) -> Table:
    scores, (low, high) = compare(fit.lungs, true), fit.interval("total_volume_ml")
    volumes = [sum(mesh.volume_ml for mesh in meshes.values()) for meshes in (true, fit.lungs)]
    row = [f"{scores.dice:.3f}", f"{scores.assd_mm:.1f}", f"{volumes[0]:.0f}", f"{volumes[1]:.0f}"]
    header = ["Dice", "ASSD mm", "true ml", "found ml", "95 % interval ml"]
    caption = (
        "After a translation. Generated lungs are unlike people's: how good it is on those, docs/benchmarks.md says"
    )
    return Table(header, [[*row, f"{low:.0f} to {high:.0f}"]], caption)

"""Files that a client can download, as bytes: meshes, labels, report, DICOM SEG, picture."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from lpm.apps.dicom_options import lungs_of_fit
from lpm.apps.viewer.scene.shown_lungs import Meshes, ShownLungs
from lpm.errors import InputError
from lpm.files.dicom.writing.algorithm import fitting
from lpm.files.dicom.writing.results import DicomFiles
from lpm.files.meshes import write_mesh
from lpm.files.outputs.temporary import temporary_folder
from lpm.files.volumes import write_volume
from lpm.geometry.grids import labels_of
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.reports.fits import write_fit_report
from lpm.workflows.outcome import Outcome

Export = Literal["meshes", "labels", "picture", "report", "DICOM SEG"]
MESH_FORMATS = ("ply", "stl", "obj", "glb", "vtp")


def export(
    what: Export,
    lungs: ShownLungs,
    outcome: Outcome | None,
    mesh_format: str,
    rendered: Callable[[], np.ndarray],
) -> tuple[str, bytes]:
    """Name and content of the file that is wanted.

    Args:
        what: Kind of the file.
        lungs: Lungs on the page.
        outcome: The last fit, with its evidence.
        mesh_format: File format of meshes.
        rendered: Draws the scene as it is seen.

    Raises:
        InputError: A report or a SEG of lungs that were not fitted, a SEG of what did not come as DICOM, or another
            mesh format.
        MissingExtraError: A SEG without the extra ``dicom``.
    """
    if what == "meshes":
        return "lungs.zip", meshes_zip(lungs, mesh_format)
    if what == "picture":
        return "lungs.png", picture_png(rendered())
    fitted = None if lungs.fit is None else outcome
    if what == "labels":
        return "labels.nii.gz", labels_nii(lungs.meshes, None if fitted is None else fitted.scan)
    if fitted is None:
        raise InputError(what, lungs.name, "lungs that were fitted on this page", "upload a scan, points or X-rays")
    return ("report.html", report_html(fitted)) if what == "report" else ("lungs_seg.dcm", dicom_seg(fitted))


def meshes_zip(lungs: ShownLungs, mesh_format: str) -> bytes:
    """Meshes by structure, RAS mm, and `fit.json` of fitted lungs; in a zip.

    Raises:
        InputError: Another format.
        MissingExtraError: vtp without the extra ``pictures``.
    """
    if mesh_format not in MESH_FORMATS:
        raise InputError("meshes", repr(mesh_format), f"one of {', '.join(MESH_FORMATS)}")
    names = {name: f"{name}.{mesh_format}" for name in lungs.meshes}
    files = {names[name]: _written(names[name], partial(_write_mesh, mesh)) for name, mesh in lungs.meshes.items()}
    if lungs.fit is not None:
        files["fit.json"] = (json.dumps(lungs.fit.summary(), indent=1) + "\n").encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def labels_nii(meshes: Meshes, grid: Volume | None) -> bytes:
    """Label map, .nii.gz: 1, 2, ... in the order of the structures.

    Args:
        meshes: Meshes by structure.
        grid: Grid of the scan they were fitted to; None for 1.5 mm around them.
    """
    labels = labels_of(meshes, grid)
    return _written("labels.nii.gz", lambda path: write_volume(path, labels))


def report_html(outcome: Outcome) -> bytes:
    """The report of a fit: one page that opens offline."""
    return _written("report.html", lambda path: write_fit_report(path, outcome.fit, outcome.seen()))


def dicom_seg(outcome: Outcome) -> bytes:
    """The lungs of a fit as a DICOM SEG on the series of its scan.

    Raises:
        InputError: The scan did not come as DICOM.
        MissingExtraError: highdicom is not installed.
    """
    if outcome.dicom is None:
        given, hint = f"a fit to {outcome.fit.observed}, which came without a DICOM series", "save labels instead"
        raise InputError("DICOM SEG", given, "a CT that was uploaded as DICOM", hint)
    source, lungs, algorithm = outcome.dicom, lungs_of_fit(outcome), fitting("lpm view")
    return _written("lungs.dcm", lambda path: DicomFiles(seg=path).write(lungs, source, algorithm))


def picture_png(pixels: np.ndarray) -> bytes:
    """A picture (r, c, 3 or 4) uint8; what is transparent becomes white."""
    picture = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    packed = io.BytesIO()
    picture.save(packed, format="PNG")
    return packed.getvalue()


def _write_mesh(mesh: WorldMesh, path: Path) -> None:
    write_mesh(path, mesh)


def _written(name: str, write: Callable[[Path], Any]) -> bytes:
    with temporary_folder() as folder:
        path = folder / name
        write(path)
        return path.read_bytes()

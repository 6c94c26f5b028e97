"""Command lines of `lpm` for what the module's buttons do.

Slicer writes volumes as .nrrd, segmentations as .seg.nrrd, markups as .mrk.json and models as .vtk, all in LPS mm, as
their headers say, which `lpm` reads. `lpm` writes segments as .seg.nrrd, and meshes as .ply in RAS mm, marked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {"volume": ".nrrd", "segmentation": ".seg.nrrd", "markups": ".mrk.json", "model": ".vtk"}
"""Endings that Slicer writes nodes with for `lpm`, by kind."""
_VERBS = {"volume": "ct", "segmentation": "mask", "markups": "points", "model": "points"}


@dataclass(frozen=True)
class FitOptions:
    """How lungs are fitted.

    Args:
        spacing_mm: Lattice of the surfaces.
        n_points: Points drawn on the lungs of a CT or a segmentation.
        complete: Also predict a lung that was not found.
        model: A folder or hf:owner/repository; empty for the bundled model.
        report: Whether to write report.html.
    """

    spacing_mm: float = 2.0
    n_points: int = 5000
    complete: bool = False
    model: str = ""
    report: bool = True

    def arguments(self, verb: str) -> list[str]:
        """Options of a verb of `lpm fit`."""
        found = ["--spacing-mm", f"{self.spacing_mm:g}", "--mesh-format", "ply", "--mesh-space", "ras"]
        if verb in ("ct", "mask"):
            found += ["--points", str(self.n_points), *(["--complete"] if self.complete else [])]
        found += ["--model", self.model] if self.model else []
        return [*found, "--report" if self.report else "--no-report"]


@dataclass(frozen=True)
class Radiographs:
    """Pictures of one patient, and what is known of them.

    Args:
        frontal: PNG, JPEG, TIFF or DICOM.
        lateral: Likewise.
        mm_per_px: Pixel spacing on the detector; None where the file says it.
        ap: The tube was in front of the patient.
    """

    frontal: Path | None = None
    lateral: Path | None = None
    mm_per_px: float | None = None
    ap: bool = False

    def arguments(self) -> list[str]:
        """Options of `lpm fit xray`.

        Raises:
            ValueError: Neither picture was chosen.
        """
        if self.frontal is None and self.lateral is None:
            raise ValueError("Choose a frontal or a lateral radiograph.")
        pictures = (("--frontal", self.frontal), ("--lateral", self.lateral))
        found = [word for option, path in pictures if path is not None for word in (option, str(path))]
        found += [] if self.mm_per_px is None else ["--mm-per-px", f"{self.mm_per_px:g}"]
        return [*found, "--ap"] if self.ap else found


def segment_command(lpm: Sequence[str], volume: Path, out: Path) -> list[str]:
    """From a CT to segments.

    Args:
        lpm: How `lpm` is called.
        volume: As Slicer wrote it.
        out: A .seg.nrrd.
    """
    return [*lpm, "segment", str(volume), "--out", str(out)]


def fit_command(lpm: Sequence[str], kind: str, source: Path, out: Path, options: FitOptions) -> list[str]:
    """From a node to lungs.

    Args:
        lpm: How `lpm` is called.
        kind: One of `SUFFIXES`.
        source: The node, as Slicer wrote it.
        out: Folder of the fit.
        options: How.
    """
    verb = _VERBS[kind]
    return [*lpm, "fit", verb, str(source), "--out", str(out), *options.arguments(verb)]


def fit_xray_command(lpm: Sequence[str], pictures: Radiographs, out: Path, options: FitOptions) -> list[str]:
    """From radiographs to lungs.

    Args:
        lpm: How `lpm` is called.
        pictures: One or two.
        out: Folder of the fit.
        options: How.

    Raises:
        ValueError: Neither picture was chosen.
    """
    return [*lpm, "fit", "xray", *pictures.arguments(), "--out", str(out), *options.arguments("xray")]


def export_command(lpm: Sequence[str], fit: Path | None, out: Path, model: str = "") -> list[str]:
    """From a fit, or the average lungs, to lungs with sliders.

    Args:
        lpm: How `lpm` is called.
        fit: Folder of a fit; None for the average lungs.
        out: A .glb.
        model: A folder or hf:owner/repository; empty for the bundled model.
    """
    return [*lpm, "export", *([model] if model else []), "--glb", str(out), *(["--fit", str(fit)] if fit else [])]


def measure_command(lpm: Sequence[str], fit: Path, out: Path) -> list[str]:
    """From a fit to its measures, as JSON."""
    return [*lpm, "measure", str(fit), "--json", str(out)]

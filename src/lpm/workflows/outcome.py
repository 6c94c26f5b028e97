"""The outcome of a fit: lungs, the evidence that they are shown beside, and provenance; and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lpm.files.atomic import atomic_folder
from lpm.files.dicom.writing.source import DicomSource
from lpm.files.mesh_space import Space
from lpm.files.meshes import MeshFiles
from lpm.fitting.config import FitConfig
from lpm.fitting.fit import Fit, check_fit_folder
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.measurement.norms.norm import Reference
from lpm.model.bundle import ModelBundle
from lpm.reports.fits import Seen, draw_fit_figures, write_fit_report
from lpm.reports.norms.standing import UNSIZED
from lpm.reports.xray_pictures import draw_views
from lpm.xray.fit import XrayFit
from lpm.xray.radiograph import Radiograph

# what is being done and the share of the work that lies behind; of a note on what was read there is no share
Tell = Callable[[str, float | None], None]


def silent(text: str, share: float | None) -> None:
    """Tell nobody what is being done (a `Tell`)."""


@dataclass(frozen=True)
class FitRun:
    """How lungs are fitted, whatever the evidence.

    Args:
        model: Trained.
        config: Config of the search; None for the evidence's own default.
        spacing_mm: Lattice of the extracted meshes.
        seed: Seed of the points that are drawn.
        also: Further files of the same patient in the same frame, points or label maps.
        tell: Told what is being done.
        points_space: Space of the points in files that do not say it; None for RAS.
    """

    model: ModelBundle
    config: FitConfig | None = None
    spacing_mm: float = 1.5
    seed: int = 0
    also: tuple[Path, ...] = ()
    tell: Tell = silent
    points_space: Space | None = None


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Outcome:
    """Fitted lungs and where they come from.

    Args:
        fit: The lungs.
        points_mm: (n, 3) surface points that were seen, RAS mm.
        scan: CT in HU or labels; labels of the lungs are written on its grid.
        is_ct: Whether the scan is a CT.
        radiographs: Radiographs by side.
        provenance: Rows of the report's last section: versions, digests, seed.
        dicom: Series that DICOM results refer to, where somebody looked for it.
    """

    fit: Fit
    points_mm: Floats | None = None
    scan: Volume | None = None
    is_ct: bool = False
    radiographs: Mapping[str, Radiograph] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    dicom: DicomSource | None = None

    def seen(self, views: Path | None = None, norm: Reference | None = None) -> Seen:
        """The evidence as a report shows it; `views` is a drawing of the radiographs, if there is one."""
        return Seen(self.points_mm, self.scan, views, self.provenance, norm)


@dataclass(frozen=True)
class OutcomeFiles:
    """What is written of an outcome.

    Args:
        meshes: Format, space and size of the meshes.
        parts: Whether also of the parts that the model was taught.
        report: Whether also ``report.html``.
        figures: Whether also pictures for papers, in ``figures``.
        corresponding: Whether also meshes with the same triangles for every fit of the model.
        norm: What a norm expects of the patient, for the report.
    """

    meshes: MeshFiles = field(default_factory=MeshFiles)
    parts: bool = False
    report: bool = True
    figures: bool = False
    corresponding: bool = False
    norm: Reference | None = None


def write_outcome(out: Path, outcome: Outcome, files: OutcomeFiles, tell: Tell = silent) -> dict[str, WorldMesh]:
    """Write a fit's folder, whole or not at all: meshes, labels, ``fit.json``, drawings, the report.

    Args:
        out: New, empty, or with an earlier fit, which gives way.
        outcome: Outcome to write.
        files: Files to write.
        tell: Told what is being done.

    Returns:
        Meshes of the parts by name, if they were written.

    Raises:
        FileError: The folder holds something else.
        MissingExtraError: Figures without the extra ``pictures``.
    """
    check_fit_folder(out)
    with atomic_folder(out) as folder:
        return _write(folder, outcome, files, tell)


def _write(folder: Path, outcome: Outcome, files: OutcomeFiles, tell: Tell) -> dict[str, WorldMesh]:
    fit, views = outcome.fit, folder / "views.png" if isinstance(outcome.fit, XrayFit) else None
    tell("writing meshes and labels", 0.7)
    grid, same = outcome.scan, files.corresponding
    parts = fit.write(folder, meshes=files.meshes, grid=grid, parts=files.parts, corresponding=same)
    if isinstance(fit, XrayFit) and views is not None:
        draw_views(fit, views)
    if files.figures:
        draw_fit_figures(fit, outcome.seen(views), folder / "figures")
    if files.norm and not fit.sized:
        tell(f"note: {UNSIZED}", None)
    if files.report:
        tell("drawing the report", 0.9)
        write_fit_report(folder / "report.html", fit, outcome.seen(views, files.norm))
    return parts

"""The report of a fit: the lungs in 3D, slices through what was seen, numbers, doubts, where it all comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize

from lpm.files.outputs.temporary import temporary_folder
from lpm.fitting.fit import Fit
from lpm.fitting.posterior import vertex_sigma_in_haste_mm
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.measurement.names import heading
from lpm.measurement.norms.norm import Reference
from lpm.measurement.table import AttributeTable
from lpm.reports.document import Block, Cell, Figure, Notes, Section, Table, Text, write_report
from lpm.reports.fit_plots import SIGMA_MAP, plot_sigma
from lpm.reports.norms.standing import BESIDE, UNSIZED, section_of_norm
from lpm.reports.plots import plot_lungs
from lpm.reports.scenes import Layer, mapped, solid, structure_color
from lpm.reports.slices import plot_slices
from lpm.reports.stills import draw_still
from lpm.reports.view3d import Coloring, Part, View3D, light
from lpm.reports.xray_pictures import draw_views
from lpm.xray.fit import XrayFit

SIGMA = "uncertainty: standard deviation, mm"
_POINT_COLOR = "#3d4249"
_MOST_POINTS = 5000


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Seen:
    """What a fit's report shows of the evidence.

    Args:
        points_mm: (n, 3) surface points, RAS mm.
        scan: CT or label map.
        views: Radiographs with the outlines of the lungs, as `draw_views` draws them.
        provenance: Rows of the last section; see `lpm.reports.provenance`.
        norm: What a norm expects of the patient.
    """

    points_mm: Floats | None = None
    scan: Volume | None = None
    views: Path | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    norm: Reference | None = None


def write_fit_report(path: Path, fit: Fit, seen: Seen) -> None:
    """Write a fit's report.

    Args:
        path: A .html.
        fit: Any.
        seen: The evidence.

    Raises:
        FileError: Not a .html, or the disk refuses.
        InputError: A norm of other structures.
    """
    with temporary_folder() as folder:
        sections = [
            Section("What to know first", [Notes(fit.notes), Text(_RELIANCE)]),
            Section("The lungs", [view_of(fit, seen, folder), _volumes(fit), *_measures(fit)]),
            *_evidence(fit, seen, folder),
            *_beside_norm(fit, seen.norm, folder),
            Section("What the figures mean", [Text(_meaning(fit))]),
        ]
        write_report(path, f"Lungs from {_short(fit)}", _lead(fit), sections, seen.provenance)


def _beside_norm(fit: Fit, norm: Reference | None, folder: Path) -> list[Section]:
    if norm is None:
        return []
    return [section_of_norm(fit.lungs, norm, folder) if fit.sized else Section(BESIDE, [Text((UNSIZED,))])]


def draw_fit_figures(fit: Fit, seen: Seen, folder: Path) -> None:
    """Draw a fit for a paper: `lungs.png`, `uncertainty.png`, and `slices.png` or `views.png`.

    Args:
        fit: Any.
        seen: The evidence.
        folder: Output folder.

    Raises:
        FileError: The disk refuses.
        MissingExtraError: pyvista is not installed.
    """
    small = {name: light(mesh) for name, mesh in fit.lungs.items()}
    plot_lungs(small, folder / "lungs.png")
    plot_sigma(small, {name: sigma_of(fit, name, mesh) for name, mesh in small.items()}, folder / "uncertainty.png")
    if isinstance(fit, XrayFit):
        draw_views(fit, folder / "views.png")
    if fit.shape.surface is not None:
        plot_slices(_in_colors(fit), folder / "slices.png", seen.scan, seen.points_mm)


def _short(fit: Fit) -> str:
    """Evidence in words for a title, without the number of points."""
    return "several observations" if ";" in fit.observed else fit.observed.split(", ")[0].replace("_", " ")


def _lead(fit: Fit) -> str:
    names = " and ".join(name.replace("_", " ") for name in fit.lungs)
    if not fit.sized:
        return f"The {names}, from {fit.observed}. Their size is unknown."
    low, high = fit.interval("total_volume_ml")
    total = sum(mesh.volume_ml for mesh in fit.lungs.values())
    return (
        f"The {names}, from {fit.observed}: {total:,.0f} ml in all; with a probability of 95 %, as far as the model "
        f"knows, between {low:,.0f} and {high:,.0f} ml."
    )


def view_of(fit: Fit, seen: Seen, folder: Path) -> View3D:
    """The lungs, coloured by how sure the fit is, and the points that were seen."""
    small = {name: light(mesh) for name, mesh in fit.lungs.items()}
    sigma = {name: sigma_of(fit, name, mesh) for name, mesh in small.items()}
    coloring = sigma_coloring(sigma.values())
    parts = [
        Part(name.replace("_", " "), mesh.vertices, mesh.faces, color_of(fit, name), {SIGMA: sigma[name]})
        for name, mesh in small.items()
    ]
    if seen.points_mm is not None:
        every = -(-len(seen.points_mm) // _MOST_POINTS)
        parts.append(Part("observed points", seen.points_mm[::every], None, _POINT_COLOR, shown=False))
    norm = Normalize(0.0, coloring.top)
    layers = [Layer(mesh.vertices, mesh.faces, mapped(sigma[name], norm, SIGMA_MAP)) for name, mesh in small.items()]
    draw_still(layers, folder / "lungs.png")
    caption = "The fitted lungs. Yellow is where the fit knows least."
    return View3D(parts, caption, (coloring,), sized=fit.sized, still=folder / "lungs.png")


def color_of(fit: Fit, name: str) -> str:
    """A structure's colour, the same whichever others there are."""
    return structure_color(fit.model.structures.index(name))


def sigma_coloring(sigma: Iterable[Floats]) -> Coloring:
    """A scale that a few extreme vertices do not stretch."""
    return Coloring(SIGMA, max(float(np.percentile(np.concatenate(list(sigma)), 98)), 0.1), SIGMA_MAP)


def sigma_of(fit: Fit, name: str, mesh: WorldMesh) -> Floats:
    """(v,) standard deviation, mm."""
    return vertex_sigma_in_haste_mm(fit.model, fit.shape, fit.model.structures.index(name), mesh)


def _volumes(fit: Fit) -> Block:
    if not fit.sized:
        return Text(["Without a pixel spacing there are no millimetres, and no volumes."])
    rows: list[list[Cell]] = [
        [name.replace("_", " "), f"{mesh.volume_ml:,.0f}", _range(fit, f"{name}_volume_ml")]
        for name, mesh in fit.lungs.items()
    ]
    if len(rows) > 1:
        total = sum(mesh.volume_ml for mesh in fit.lungs.values())
        rows.append(["both", f"{total:,.0f}", _range(fit, "total_volume_ml")])
    return Table(["structure", "volume, ml", "95 % interval, ml"], rows, "Volumes")


def _measures(fit: Fit) -> list[Block]:
    """What lungs measure together, and where that stands among the model's training subjects."""
    if not fit.sized or set(fit.lungs) != set(fit.model.structures):
        return []
    values = fit.attributes
    known = fit.model.manifest.attributes
    standing = AttributeTable.of(known).percentiles(values) if known else {}
    rows = [
        [heading(name), value, f"{standing[name]:.0f}" if name in standing else None]
        for name, value in values.items()
        if not name.startswith(tuple(fit.lungs))
    ]
    caption = f"Size and shape, and the percentile among {len(fit.model.manifest.training_subjects)} training subjects"
    return [Table(["measure", "value", "percentile"], rows, caption)]


def _range(fit: Fit, name: str) -> str:
    low, high = fit.interval(name)
    return f"{max(low, 0.0):,.0f} to {high:,.0f}"


def _evidence(fit: Fit, seen: Seen, folder: Path) -> list[Section]:
    """Slices through a scan or points, or the radiographs."""
    if isinstance(fit, XrayFit):
        views = seen.views or folder / "views.png"
        if seen.views is None:
            draw_views(fit, views)
        caption = "Each radiograph with the lung field that was read (yellow) and the outlines of the fitted lungs."
        shown = [Section("The radiographs", [Figure(views, caption)])]
        return shown if fit.shape.surface is None else [*shown, _slices(fit, seen, folder)]
    return [_slices(fit, seen, folder)]


def _slices(fit: Fit, seen: Seen, folder: Path) -> Section:
    plot_slices(_in_colors(fit), folder / "slices.png", seen.scan, seen.points_mm)
    shown = [name for name, has in (("the scan", seen.scan), ("points within 2 mm", seen.points_mm)) if has is not None]
    caption = (
        f"Outlines of the fitted lungs over {' and '.join(shown) or 'nothing'}; the patient's right is on the left."
    )
    return Section("Slices", [Figure(folder / "slices.png", caption)])


def _in_colors(fit: Fit) -> dict[str, Layer]:
    return {name: solid(mesh, color_of(fit, name)) for name, mesh in fit.lungs.items()}


def _followed(fit: Fit) -> str:
    """Note that small distances of points are no measure of accuracy if the residual fits them."""
    surface = fit.shape.surface
    if surface is None or fit.config.prior_only:
        return ""
    return (
        f"; that is how well the lungs follow it, and not how true they are where nothing was seen (before they "
        f"followed it, {surface.unexplained_mm:.1f} mm root mean square)"
    )


def told_of_search(fit: Fit) -> list[str]:
    """Which points had almost no say, if any, and how the search ended; for the terminal and the report."""
    n = 0 if fit.shape.surface is None else fit.shape.surface.n_outliers
    one = "1 point contradicts its neighbours and hardly counts"
    many = f"{n} points contradict their neighbours and hardly count"
    return [*([] if n == 0 else [one if n == 1 else many]), _ENDS[fit.shape.stop_reason]]


_ENDS = {
    "plateau": "the search for shape and pose came to rest",
    "iteration limit": "the search for shape and pose ended before it came to rest: look at the lungs",
}
_RELIANCE = ("Not for clinical use.",)


def _distances(fit: Fit) -> str:
    """Distances between the fit and each kind of evidence."""
    return " ".join(
        f"Mean {kind}: {np.abs(errors).mean():.2f} mm (95 % below {np.percentile(np.abs(errors), 95):.2f} mm)"
        f"{_followed(fit) if kind.startswith('distance') else ''}."
        for kind, errors in fit.misfits_mm.items()
    )


def _meaning(fit: Fit) -> list[str]:
    return [
        "The standard deviation says how far, to the front or to the back of the drawn surface, the true one may lie: "
        "in two of three places within one standard deviation, in 19 of 20 within two.",
        "A 95 % interval is meant to hold the true volume in 19 of 20 patients like those that the model learned from. "
        "How often it did, by the kind of evidence, stands in docs/benchmarks.md.",
        f"{_distances(fit)} {'; '.join(told_of_search(fit)).capitalize()}. Its shape lies "
        f"{np.linalg.norm(fit.beta):.1f} standard deviations (Mahalanobis) from the average lungs.",
        "A percentile of 30 means that three in ten of the training subjects have a smaller value. They are few, and "
        "no healthy reference.",
        "Coordinates are those of the patient: R to the right, A to the front, S to the head, in millimetres.",
    ]

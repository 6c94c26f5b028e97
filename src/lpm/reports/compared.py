"""Lungs beside the truth, in 3D: coloured by error, and by what the fit says of its own uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lpm.fitting.fit import Fit
from lpm.geometry.distances import closest_points
from lpm.geometry.meshes import WorldMesh
from lpm.reports.fits import SIGMA, sigma_coloring, sigma_of
from lpm.reports.plots import ERROR_MAP, MAX_ERROR_MM
from lpm.reports.scenes import structure_color
from lpm.reports.view3d import Coloring, Part, View3D, light

ERROR = "error: distance to the true surface, mm"
_TRUTH_COLOR = "#8a8f98"

Meshes = Mapping[str, WorldMesh]


def compared_view(found: Meshes, true: Meshes, caption: str, still: Path, fit: Fit | None = None) -> View3D:
    """Show a reconstruction, coloured by its error, and the truth, which can be laid over it.

    Args:
        found: Reconstructed meshes by structure, RAS mm.
        true: Closed meshes of the same structures, at least.
        caption: Caption of the figure.
        still: A .png of the same.
        fit: That found it; its uncertainty can then be shown.
    """
    small = {name: light(mesh) for name, mesh in found.items()}
    values = {name: {ERROR: closest_points(true[name], mesh.vertices).distance} for name, mesh in small.items()}
    colorings = [Coloring(ERROR, MAX_ERROR_MM, ERROR_MAP)]
    if fit is not None:
        sigma = {name: sigma_of(fit, name, mesh) for name, mesh in small.items()}
        values = {name: {**known, SIGMA: sigma[name]} for name, known in values.items()}
        colorings.append(sigma_coloring(sigma.values()))
    parts = [
        Part(_plain(name), mesh.vertices, mesh.faces, structure_color(index), values[name])
        for index, (name, mesh) in enumerate(small.items())
    ]
    return View3D([*parts, *_truth(true)], caption, colorings, still=still)


def _truth(true: Meshes) -> list[Part]:
    """See-through, and hidden at first."""
    small = {name: light(mesh) for name, mesh in true.items()}
    return [
        Part(f"true {_plain(name)}", mesh.vertices, mesh.faces, _TRUTH_COLOR, opacity=0.4, shown=False)
        for name, mesh in small.items()
    ]


def _plain(name: str) -> str:
    return name.replace("_", " ")

"""Colours of a surface by a number of each vertex, and their legend; readable without telling red from green."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from lpm.apps.viewer.scene.differences import differences_mm
from lpm.apps.viewer.scene.shown_lungs import OTHER_COLOR, Meshes, ShownLungs
from lpm.errors import InputError
from lpm.fitting.fit import Fit
from lpm.fitting.posterior import vertex_sigma_in_haste_mm
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh, joined
from lpm.geometry.thickness import thickness

Quantity = Literal["structure", "thickness", "uncertainty", "error", "difference"]
_MAPS: Mapping[str, str] = {
    "thickness": "viridis",
    "uncertainty": "cividis",
    "error": "viridis",
    "difference": "RdBu_r",
}
_TEXTS: Mapping[str, str] = {
    "thickness": "thickness: largest ball inside that touches here",
    "uncertainty": "uncertainty: standard deviation along the surface's normal",
    "error": "error: distance to the truth",
    "difference": "difference: red where {} lies beyond {}, blue where it falls short of it",
}
_TOP_SHARE = 98.0
_STOPS = 9


@read_only_arrays
@dataclass(frozen=True, eq=False)
class VertexColours:
    """Numbers of vertices, and how they become colours.

    Args:
        quantity: Quantity.
        values: Values by structure, (v,) mm; NaN where there is none.
        top_mm: Value of the last colour; what lies above takes it too. Differences begin at its negative, others at 0.
    """

    quantity: str
    values: Mapping[str, Floats]
    top_mm: float

    @property
    def _map(self) -> Any:
        return colormaps[_MAPS[self.quantity]]

    def colors(self, structure: str) -> np.ndarray:
        """(v, 3) uint8 sRGB."""
        values, least = self.values[structure], self._least_mm
        share = np.clip((np.nan_to_num(values) - least) / (self.top_mm - least), 0.0, 1.0)
        colors = np.asarray(self._map(share, bytes=True)[:, :3])
        colors[np.isnan(values)] = OTHER_COLOR
        return colors

    @property
    def _least_mm(self) -> float:
        return -self.top_mm if self.quantity == "difference" else 0.0

    def legend(self, names: tuple[str, str] = ("", "")) -> str:
        """HTML: the colours from end to end, and the mean in words.

        Args:
            names: Of lungs and of those that they differ from.
        """
        text = _TEXTS[self.quantity].format(*(escape(name) for name in names))
        stops = ", ".join(to_hex(self._map(share)) for share in np.linspace(0.0, 1.0, _STOPS))
        values, least, top = np.concatenate(list(self.values.values())), self._least_mm, self.top_mm
        size = f", mean size {np.nanmean(np.abs(values)):.2f}" if least else ""
        ends = f"{least:.3g}{' and less' if least else ''}", f"{(least + top) / 2:.3g}", f"{top:.3g} and more"
        return (
            f'<div class="lpm"><div>{text} (mm); mean {np.nanmean(values):.2f}{size}</div>'
            f'<div class="bar" style="background: linear-gradient(to right, {stops})"></div>'
            f'<div class="ends">{"".join(f"<span>{end}</span>" for end in ends)}</div></div>'
        )


def difference_colours(lungs: Meshes, others: Meshes) -> VertexColours:
    """Colours by how far lungs reach beyond others; both sides of a comparison take them.

    Raises:
        InputError: They are not in correspondence.
    """
    return _up_to_most("difference", differences_mm(lungs, others))


def vertex_colours(quantity: Quantity, meshes: Meshes, lungs: ShownLungs, truth: Meshes | None) -> VertexColours | None:
    """Measure a quantity at the vertices of the meshes that are shown.

    Args:
        quantity: None is measured for `structure`.
        meshes: Meshes of the lungs, as shown.
        lungs: Lungs of the meshes.
        truth: True lungs, for errors.

    Raises:
        InputError: Uncertainty of lungs that were not fitted, or an error without a truth.
    """
    if quantity == "structure":
        return None
    if quantity == "thickness":
        values = {name: thickness(mesh) for name, mesh in meshes.items()}
    elif quantity == "uncertainty":
        if lungs.fit is None:
            raise InputError(
                "uncertainty", "lungs that sliders made", "fitted lungs", "upload a scan, points or X-rays"
            )
        values = {name: _sigma_mm(lungs.fit, name, mesh) for name, mesh in meshes.items()}
    else:
        if truth is None:
            raise InputError("error", "no truth", "lungs to compare with", "upload a truth")
        values = _errors_mm(meshes, truth)
    return _up_to_most(quantity, values)


def _up_to_most(quantity: Quantity, values: Mapping[str, Floats]) -> VertexColours:
    top = float(np.nanpercentile(np.abs(np.concatenate(list(values.values()))), _TOP_SHARE))
    return VertexColours(quantity, values, max(top, 0.1))


def _errors_mm(meshes: Meshes, truth: Meshes) -> dict[str, Floats]:
    """Distance to the structure of the same name, or to all of the truth where there is none."""
    whole = joined(truth.values())
    return {name: closest_points(truth.get(name, whole), mesh.vertices).distance for name, mesh in meshes.items()}


def _sigma_mm(fit: Fit, name: str, mesh: WorldMesh) -> Floats:
    return vertex_sigma_in_haste_mm(fit.model, fit.shape, fit.model.structures.index(name), mesh)

"""What `lpm` wrote, for Slicer's scene: meshes, notes, a table, how sure each vertex is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

COLORS = {"left_lung": (0.69, 0.48, 0.40), "right_lung": (0.85, 0.63, 0.55)}
OTHER_COLOR = (0.55, 0.65, 0.75)
_NEAREST = 3  # places that another one is interpolated between
_TOUCHING_MM = 1e-3  # no place is nearer than that: its weight stays finite
_AT_ONCE = 1000  # vertices whose distances are in memory together


class Measure(NamedTuple):
    """Row of the table.

    Args:
        name: With its unit, such as height_mm.
        value: In that unit.
        low: Of the 95 % interval, where there is one.
        high: Likewise.
        percentile: Among the training lungs.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    percentile: float | None


def meshes_of(fit: Path) -> dict[str, Path]:
    """Files of a fit's surfaces by structure; RAS mm, as their headers say."""
    summary = json.loads((fit / "fit.json").read_text(encoding="utf-8"))
    return {name: fit / (name + ".ply") for name in summary["structures"]}


def notes_of(fit: Path) -> list[str]:
    """Reasons to doubt a fit, and what was assumed."""
    return list(json.loads((fit / "fit.json").read_text(encoding="utf-8"))["notes"])


def is_sized(fit: Path) -> bool:
    """Whether its lengths are known: those of radiographs without a pixel spacing are not."""
    return json.loads((fit / "fit.json").read_text(encoding="utf-8"))["total_volume_ml"] is not None


def measures_of(path: Path) -> list[Measure]:
    """Rows of what `lpm measure --json` wrote of one subject."""
    (subject,) = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for name, found in subject["values"].items():
        low, high = found.get("interval_95", (None, None))
        rows.append(Measure(name, found["value"], low, high, found.get("percentile")))
    return rows


def sigma_at(fit: Path, structure: str, points_mm: np.ndarray) -> np.ndarray | None:
    """How sure a fit is of its surface: (n,) standard deviation along the normal at points of it, mm.

    Args:
        fit: Folder.
        structure: Name.
        points_mm: (n, 3) vertices of its mesh, RAS mm.

    Returns:
        Between the nearest places that the fit tells of; None where its lengths are unknown.
    """
    with np.load(fit / "residual.npz", allow_pickle=False) as arrays:
        if structure + ".sigma_mm" not in arrays:
            return None
        places = arrays[structure + ".sure_points_mm"].astype(float)
        sigma = arrays[structure + ".sigma_mm"].astype(float)
    parts = np.array_split(np.asarray(points_mm, dtype=float), max(1, -(-len(points_mm) // _AT_ONCE)))
    return np.concatenate([_between(places, sigma, part) for part in parts])


def _between(places: np.ndarray, sigma: np.ndarray, points: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(points[:, None] - places[None], axis=2)
    nearest = np.argsort(distance, axis=1)[:, :_NEAREST]
    weight = 1.0 / (np.take_along_axis(distance, nearest, axis=1) + _TOUCHING_MM)
    return (weight * sigma[nearest]).sum(axis=1) / weight.sum(axis=1)


def shown_range(sigmas: list[np.ndarray]) -> tuple[float, float]:
    """Ends of the colours for both lungs together, mm: from 0 to what 99 of 100 vertices lie below."""
    return 0.0, float(np.percentile(np.concatenate(sigmas), 99)) if sigmas else 1.0

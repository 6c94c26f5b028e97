"""Profiles of lungs along their height: areas of horizontal sections, and volumes of slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.sections import section_area_cm2, volume_below_ml

N_TENTHS = 10  # a tenth of the height each: part of the measures' names
LEVELS_PERCENT = tuple(range(5, 100, 5))  # of the height, at which sections are taken: part of the measures' names
_MOST_SLICES = 5000  # of a lung: thinner ones are a mistake in the unit


@dataclass(frozen=True)
class Slab:
    """What lies of a structure between two levels.

    Args:
        structure: Its name.
        kind: ``slice`` of a fixed thickness, or ``tenth`` of the structure's height.
        number: From 1 at the bottom.
        low_mm: S of the lower end, RAS mm.
        high_mm: S of the upper end.
        area_cm2: Area of the section in its middle.
        volume_ml: Volume between the ends.
    """

    structure: str
    kind: Literal["slice", "tenth"]
    number: int
    low_mm: float
    high_mm: float
    area_cm2: float
    volume_ml: float


def profiles(meshes: Mapping[str, WorldMesh], slice_mm: float = 5.0) -> list[Slab]:
    """Cut structures into horizontal slices, and into tenths of the height of each.

    Slices lie at whole multiples of their thickness, the same for all structures of a subject; the first and the last
    one are thinner.

    Args:
        meshes: Meshes by structure; closed and outward, RAS mm.
        slice_mm: Thickness of slices, mm.

    Raises:
        InputError: The thickness is not positive, or so small that there would be thousands of slices.
    """
    found: list[Slab] = []
    for name, mesh in meshes.items():
        low, high = _ends(mesh)
        if not slice_mm * _MOST_SLICES > high - low:
            raise InputError("slices", f"{slice_mm:g} mm thick", "some millimetres")
        inner = np.arange(np.floor(low / slice_mm) + 1.0, np.ceil(high / slice_mm)) * slice_mm
        found += _slabs(name, mesh, "slice", np.concatenate([[low], inner, [high]]))
        found += _slabs(name, mesh, "tenth", np.linspace(low, high, N_TENTHS + 1))
    return found


def profile_measures(meshes: Mapping[str, WorldMesh]) -> dict[str, float]:
    """Measures along the height, by name: ``left_lung_tenth_1_ml`` at the bottom, ``left_lung_section_05_cm2``.

    Args:
        meshes: Meshes by structure; closed and outward, RAS mm.
    """
    found: dict[str, float] = {}
    for name, mesh in meshes.items():
        low, high = _ends(mesh)
        below = _below(mesh, np.linspace(low, high, N_TENTHS + 1))
        found |= {tenth_name(name, n): float(ml) for n, ml in enumerate(np.diff(below), start=1)}
        levels = {percent: low + percent / 100.0 * (high - low) for percent in LEVELS_PERCENT}
        found |= {section_name(name, percent): section_area_cm2(mesh, level) for percent, level in levels.items()}
    return found


def tenth_name(structure: str, number: int) -> str:
    """Name of the volume of a tenth of a structure's height, counted from 1 at the bottom."""
    return f"{structure}_tenth_{number}_ml"


def section_name(structure: str, percent: int) -> str:
    """Name of the area of the section at a share of a structure's height."""
    return f"{structure}_section_{percent:02d}_cm2"


def norm_names(slab: Slab) -> tuple[str, str] | None:
    """Names under which norms know a tenth's volume and the area in its middle; None for slices."""
    if slab.kind == "slice":
        return None
    middle = LEVELS_PERCENT[2 * (slab.number - 1)]
    return tenth_name(slab.structure, slab.number), section_name(slab.structure, middle)


def _slabs(name: str, mesh: WorldMesh, kind: Literal["slice", "tenth"], ends: Floats) -> Iterator[Slab]:
    volumes = np.diff(_below(mesh, ends))
    for number, (low, high, volume) in enumerate(zip(ends[:-1], ends[1:], volumes, strict=True), start=1):
        area = section_area_cm2(mesh, float(low + high) / 2.0)
        yield Slab(name, kind, number, float(low), float(high), area, float(volume))


def _below(mesh: WorldMesh, ends: Sequence[float] | Floats) -> Floats:
    """Volumes below each level; nothing lies below the first, and everything below the last."""
    inner = [volume_below_ml(mesh, float(level)) for level in ends[1:-1]]
    return np.array([0.0, *inner, mesh.volume_ml])


def _ends(mesh: WorldMesh) -> tuple[float, float]:
    return float(mesh.vertices[:, 2].min()), float(mesh.vertices[:, 2].max())

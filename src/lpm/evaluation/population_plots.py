"""Pictures of a population: generated lungs side by side, their attributes beside the real ones', knobs turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lpm.evaluation.scenes import (
    FRONTAL,
    Layer,
    View,
    draw_grid,
    save_png,
    solid,
    structure_color,
)
from lpm.geometry.meshes import WorldMesh

Meshes = Mapping[str, WorldMesh]
_COLUMNS = 6
_BINS = 12


def _layers(meshes: Meshes) -> list[Layer]:
    return [solid(mesh, structure_color(index)) for index, mesh in enumerate(meshes.values())]


def plot_many(shapes: Sequence[Meshes], path: Path, view: View = FRONTAL) -> None:
    """Draw lungs side by side, all at one scale.

    Args:
        shapes: As many as fill rows of six.
        path: .png.
        view: Where they are looked at from.
    """
    panels = [(_layers(meshes), view) for meshes in shapes]
    rows = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    save_png(draw_grid(rows, 1.6), path)

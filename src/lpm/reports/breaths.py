"""The report of a breath: a loop, lungs coloured by motion and by growth, what each third does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image as Pillow

from lpm.files.atomic import atomic_file
from lpm.files.outputs.temporary import temporary_folder
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.motion.breath import Breath, Region
from lpm.reports.document import Cell, Figure, Notes, Section, Table, Text, write_report
from lpm.reports.scenes import FRONTAL, Layer, solid, structure_color, window_of
from lpm.reports.stills import draw_frame, draw_still
from lpm.reports.view3d import Coloring, Part, View3D

_FRAME_FACES = 2500
_LEAST_MORE = 1.5  # times as far as apices that bases move in one frame, if the diaphragm does the work
_FRAME_MS = 120  # of a loop: a breath of ten phases, there and back, in two seconds
_MOVED, _GROWN = "motion, mm", "growth of volume, %"

Meshes = Mapping[str, WorldMesh]


def draw_loop(phases: Sequence[Meshes], path: Path) -> None:
    """Draw lungs from the front through a breath, there and back, as pictures that follow each other for ever.

    Args:
        phases: Lungs from expiration to inspiration, the same triangles in each.
        path: A .gif or .png (animated).

    Raises:
        FileError: The disk refuses.
    """
    layers = [[_layer(mesh, index) for index, mesh in enumerate(lungs.values())] for lungs in phases]
    window = window_of([layer for each in layers for layer in each], FRONTAL)
    frames = [Pillow.fromarray(draw_frame(each, FRONTAL, window)) for each in layers]
    loop = [*frames, *frames[-2:0:-1]]
    with atomic_file(path) as temporary:
        kind = "GIF" if path.suffix.lower() == ".gif" else "PNG"
        loop[0].save(temporary, kind, save_all=True, append_images=loop[1:], duration=_FRAME_MS, loop=0)


def _layer(mesh: WorldMesh, index: int) -> Layer:
    return solid(decimate(mesh, _FRAME_FACES), structure_color(index))


def write_breath_report(path: Path, breath: Breath, phases: Sequence[Meshes], provenance: Mapping[str, str]) -> None:
    """Write the report of a breath.

    Args:
        path: A .html.
        breath: The motion.
        phases: Lungs from expiration to inspiration.
        provenance: Rows of the last section.

    Raises:
        FileError: Not a .html, or the disk refuses.
    """
    regions = breath.regions()
    with temporary_folder() as folder:
        loop, still = folder / "loop.png", folder / "still.png"
        draw_loop(phases, loop)
        draw_still([_layer(mesh, index) for index, mesh in enumerate(breath.inspiration.values())], still)
        caption = "From expiration to inspiration and back, from the front."
        sections = [
            Section("What to know first", [Notes([*notes_of(phases, regions), *_RELIANCE])]),
            Section("The breath", [Figure(loop, caption), _view(breath, still)]),
            Section("Where the lungs move and grow", [_table(regions)]),
            Section("Volumes", [_volumes(phases), Text(_MEANING)]),
        ]
        write_report(path, "A breath", _lead(phases, regions), sections, provenance)


def notes_of(phases: Sequence[Meshes], regions: Sequence[Region]) -> list[str]:
    """Reasons to doubt a breath.

    Args:
        phases: Lungs from expiration to inspiration.
        regions: Thirds of the lungs.
    """
    volumes = [sum(mesh.volume_ml for mesh in lungs.values()) for lungs in phases]
    notes = [] if (np.diff(volumes) > 0).all() else ["the volume does not grow from each phase to the next"]
    smaller = [name for name in phases[0] if phases[-1][name].volume_ml < phases[0][name].volume_ml]
    notes += [f"{name}: smaller in inspiration than in expiration" for name in smaller]
    base, apex = (_mean([r.moved_mm for r in regions if r.name == third]) for third in ("base", "apex"))
    if base < _LEAST_MORE * apex:
        notes.append("the apices move about as much as the bases, or more: the scans may not share one frame")
    base, apex = (_mean([r.beside_apices_mm for r in regions if r.name == third]) for third in ("base", "apex"))
    if base < apex:
        notes.append("beside the lungs' tops, the apices move more than the bases, as no usual breath does")
    return notes


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _lead(phases: Sequence[Meshes], regions: Sequence[Region]) -> str:
    before, after = (sum(mesh.volume_ml for mesh in lungs.values()) for lungs in (phases[0], phases[-1]))
    base, apex = (_mean([r.beside_apices_mm for r in regions if r.name == third]) for third in ("base", "apex"))
    return (
        f"The lungs grow from {before:,.0f} to {after:,.0f} ml, by {100 * (after / before - 1):.0f} %. "
        f"Beside the lungs' tops, the lower thirds move by {base:.0f} mm on average, the upper thirds by {apex:.0f} mm."
    )


def _view(breath: Breath, still: Path) -> View3D:
    parts, top_mm, top = [], 0.0, 0.0
    for index, (name, mesh) in enumerate(breath.expiration.items()):
        moved = np.linalg.norm(breath.displacement_mm[name], axis=1)
        grown = np.maximum(100.0 * (breath.volume_change[name] - 1.0), 0.0)
        top_mm, top = max(top_mm, float(np.quantile(moved, 0.99))), max(top, float(np.quantile(grown, 0.99)))
        plain, values = name.replace("_", " "), {_MOVED: moved, _GROWN: grown}
        end = breath.inspiration[name]
        parts.append(Part(f"{plain}, expiration", mesh.vertices, mesh.faces, structure_color(index), values))
        parts.append(
            Part(f"{plain}, inspiration", end.vertices, end.faces, structure_color(index), values, 0.35, shown=False)
        )
    colorings = [
        Coloring(_MOVED, max(top_mm, 1.0), colormaps["viridis"]),
        Coloring(_GROWN, max(top, 1.0), colormaps["inferno"]),
    ]
    return View3D(parts, "The lungs in both states, by how far each place moves, or grows.", colorings, still=still)


def _table(regions: Sequence[Region]) -> Table:
    header = [
        "lung",
        "third",
        "moved, mm",
        "beside the tops, mm",
        "to the right, mm",
        "to the front, mm",
        "to the head, mm",
        "growth, %",
    ]
    rows: list[list[Cell]] = [
        [r.structure.replace("_", " "), r.name, r.moved_mm, r.beside_apices_mm, *r.along_mm, 100.0 * (r.growth - 1.0)]
        for r in regions
    ]
    return Table(header, rows, "Thirds of each lung's volume along its height in expiration: means")


def _volumes(phases: Sequence[Meshes]) -> Table:
    header = ["phase", *(f"{name.replace('_', ' ')}, ml" for name in phases[0])]
    rows: list[list[Cell]] = [
        [str(number), *(mesh.volume_ml for mesh in lungs.values())] for number, lungs in enumerate(phases)
    ]
    return Table(header, rows, "Volumes from expiration (0) to inspiration")


_RELIANCE = (
    "Two states say where the lungs' surfaces were, and nothing of the way between: every place moves evenly along a "
    "straight line.",
    "Surfaces slide along the chest wall: how far is assumed, by the smoothest motion that fits both surfaces. How "
    "well that meets experts' landmarks inside of lungs is measured in docs/benchmarks.md.",
    "Both scans must be in one frame: where they are not, their shift counts as motion. Not for clinical use.",
)
_MEANING = (
    "Growth of volume is the determinant of the motion's derivative (Jacobian) less one, of the smooth motion that "
    "takes the one surface onto the other but for some millimetres.",
)

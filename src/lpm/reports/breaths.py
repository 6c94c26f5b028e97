"""The report of a breath: a loop, lungs coloured by motion and by growth, what each third does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image as Pillow

from lpm.files.atomic import atomic_file
from lpm.files.outputs.temporary import temporary_folder
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.motion.breath import Breath, Region, volume_of
from lpm.reports.document import Cell, Figure, Notes, Section, Table, Text, write_report
from lpm.reports.scenes import FRONTAL, Layer, solid, structure_color, window_of
from lpm.reports.stills import draw_frame, draw_still
from lpm.reports.view3d import Coloring, Part, View3D

_FRAME_FACES = 2500
_LEAST_MORE = 1.5  # times as far as apices that bases move in one frame, if the diaphragm does the work
_FRAME_MS = 120  # of a loop: a breath of ten phases, there and back, in two seconds
_MOVED, _GROWN, _UNSURE = "motion, mm", "growth of volume, %", "uncertainty: standard deviation, mm"

Meshes = Mapping[str, WorldMesh]


def draw_loop(phases: Sequence[Meshes], path: Path, *, swings: bool = True) -> None:
    """Draw lungs from the front through a breath, as pictures that follow each other for ever.

    Args:
        phases: Lungs in their order, the same triangles in each.
        path: A .gif or .png (animated).
        swings: Whether there and back; else from the last one to the first.

    Raises:
        FileError: The disk refuses.
    """
    layers = [[_layer(mesh, index) for index, mesh in enumerate(lungs.values())] for lungs in phases]
    window = window_of([layer for each in layers for layer in each], FRONTAL)
    frames = [Pillow.fromarray(draw_frame(each, FRONTAL, window)) for each in layers]
    loop = [*frames, *frames[-2:0:-1]] if swings else frames
    with atomic_file(path) as temporary:
        kind = "GIF" if path.suffix.lower() == ".gif" else "PNG"
        loop[0].save(temporary, kind, save_all=True, append_images=loop[1:], duration=_FRAME_MS, loop=0)


def _layer(mesh: WorldMesh, index: int) -> Layer:
    return solid(decimate(mesh, _FRAME_FACES), structure_color(index))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Told:
    """What the report of a breath tells.

    Args:
        breath: The motion from the smallest lungs to the largest.
        phases: Lungs on the way, in their order.
        notes: What a reader must know.
        swings: Whether the phases go from one end to the other, and are played there and back; else around.
        sd_mm: By structure, (v,) standard deviation of a predicted state; empty where both were seen.
    """

    breath: Breath
    phases: Sequence[Meshes]
    notes: Sequence[str]
    swings: bool = True
    sd_mm: Mapping[str, Floats] = field(default_factory=dict)


def write_breath_report(path: Path, told: Told, provenance: Mapping[str, str]) -> None:
    """Write the report of a breath.

    Args:
        path: A .html.
        told: What it tells.
        provenance: Rows of the last section.

    Raises:
        FileError: Not a .html, or the disk refuses.
    """
    breath, phases, regions = told.breath, told.phases, [*told.breath.regions(), *told.breath.parts()]
    reliance = _RELIANCE[1:] if told.sd_mm or not told.swings else _RELIANCE
    with temporary_folder() as folder:
        loop, still = folder / "loop.png", folder / "still.png"
        draw_loop(phases, loop, swings=told.swings)
        draw_still([_layer(mesh, index) for index, mesh in enumerate(breath.inspiration.values())], still)
        caption = f"The lungs through the {'breath and back' if told.swings else 'series'}, from the front."
        sections = [
            Section("What to know first", [Notes([*told.notes, *reliance])]),
            Section("The breath", [Figure(loop, caption), _view(told, still)]),
            Section("Where the lungs move and grow", [_table(regions)]),
            Section("Volumes", [_volumes(phases), Text(_MEANING)]),
        ]
        write_report(path, "A breath", _lead(breath, regions), sections, provenance)


def notes_of(phases: Sequence[Meshes], regions: Sequence[Region]) -> list[str]:
    """Reasons to doubt a breath.

    Args:
        phases: Lungs from the smallest to the largest.
        regions: Thirds of the lungs.
    """
    volumes = [volume_of(lungs) for lungs in phases]
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


def _lead(breath: Breath, regions: Sequence[Region]) -> str:
    before, after = volume_of(breath.expiration), volume_of(breath.inspiration)
    base, apex = (_mean([r.beside_apices_mm for r in regions if r.name == third]) for third in ("base", "apex"))
    return (
        f"From the smallest to the largest, the lungs grow from {before:,.0f} to {after:,.0f} ml, by "
        f"{100 * (after / before - 1):.0f} %. Beside the lungs' tops, the lower thirds move by {base:.0f} mm on "
        f"average, the upper thirds by {apex:.0f} mm."
    )


def _view(told: Told, still: Path) -> View3D:
    breath, parts, tops = told.breath, [], dict.fromkeys((_MOVED, _GROWN, _UNSURE), 1.0)
    for index, (name, mesh) in enumerate(breath.expiration.items()):
        values = {
            _MOVED: np.linalg.norm(breath.displacement_mm[name], axis=1),
            _GROWN: np.maximum(100.0 * (breath.volume_change[name] - 1.0), 0.0),
        } | ({_UNSURE: told.sd_mm[name]} if told.sd_mm else {})
        tops |= {key: max(tops[key], float(np.quantile(own, 0.99))) for key, own in values.items()}
        frames = [lungs[name].vertices for lungs in told.phases]
        parts.append(Part(name.replace("_", " "), frames[0], mesh.faces, structure_color(index), values, frames=frames))
    maps = {_MOVED: "viridis", _GROWN: "inferno"} | ({_UNSURE: "viridis"} if told.sd_mm else {})
    colorings = [Coloring(name, tops[name], colormaps[colors]) for name, colors in maps.items()]
    frames_named = [f"phase {number}" for number in range(len(told.phases))]
    caption = "The lungs as they move, by how far each place moves, or grows, from the smallest to the largest state."
    return View3D(parts, caption, colorings, still=still, frames=frames_named, swings=told.swings)


def _table(regions: Sequence[Region]) -> Table:
    header = [
        "lung",
        "third or part",
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
    return Table(
        header,
        rows,
        "Thirds of each lung's volume along its height when it is smallest, and parts where the model has them: means",
    )


def _volumes(phases: Sequence[Meshes]) -> Table:
    header = ["phase", *(f"{name.replace('_', ' ')}, ml" for name in phases[0])]
    rows: list[list[Cell]] = [
        [str(number), *(mesh.volume_ml for mesh in lungs.values())] for number, lungs in enumerate(phases)
    ]
    return Table(header, rows, "Volumes from phase to phase")


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

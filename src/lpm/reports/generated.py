"""The report of generated lungs: some of them to look at, their attributes beside real ones, how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lpm.files.meshes import read_mesh
from lpm.files.outputs.temporary import temporary_folder
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.measurement.measure import OUTLINE
from lpm.measurement.names import heading, in_figures, in_words
from lpm.measurement.table import AttributeTable
from lpm.population.data_set import DataSet, Lungs
from lpm.population.generation import Generator
from lpm.reports.document import Block, Cell, Figure, Notes, Section, Table, Text, write_report
from lpm.reports.population_plots import plot_attributes
from lpm.reports.scenes import Layer, solid, structure_color
from lpm.reports.stills import draw_many, draw_still
from lpm.reports.view3d import Part, View3D, light

_SMALL_FACES, _TURNED, _MANY = 2500, 3, 24
_LEAST_FOR_SPREAD = 10

Meshes = Mapping[str, WorldMesh]


def write_generation_report(
    path: Path, data_set: DataSet, lungs: Sequence[Lungs], provenance: Mapping[str, str]
) -> None:
    """Write the report of a data set.

    Args:
        path: A .html.
        data_set: Data set, with its lungs in its folder.
        lungs: All of them.
        provenance: Rows of the last section; see `lpm.reports.provenance`.

    Raises:
        FileError: Not a .html, a mesh is missing, or the disk refuses.
    """
    population = data_set.generator.population
    structures = population.decode.model.structures
    with temporary_folder() as folder:
        shown = [_read(data_set.out / one.name, structures) for one in lungs[:_MANY]]
        sections = [
            Section("What to know first", [Notes(_RELIANCE)]),
            Section("The lungs", [_view(shown, lungs, folder), _side_by_side(shown, folder)]),
            Section("Size and shape, beside the real lungs", _attributes(lungs, population.table, folder)),
            Section("How they came about", [_gates(data_set.generator, lungs), Text(_MEANING)]),
        ]
        write_report(path, "Generated lungs", _lead(data_set, lungs), sections, provenance)


def _lead(data_set: DataSet, lungs: Sequence[Lungs]) -> str:
    asked = [_asked(name, low, high) for name, (low, high) in data_set.request.ranges.items()]
    n = len(data_set.generator.population.table.subjects)
    pairs = "pair" if len(lungs) == 1 else "pairs"
    return f"{len(lungs):,} {pairs} of lungs that no one has, drawn as the lungs of {n} subjects vary" + (
        f", with {' and '.join(asked)}." if asked else ", without conditions."
    )


def _asked(name: str, low: float, high: float) -> str:
    """Condition in words: total volume 3,000 to 6,000 ml."""
    words, unit = in_words(name)
    far = f" to {in_figures(high)}" if high > low else ""
    return f"{words} {in_figures(low)}{far} {unit}".rstrip()


def _read(folder: Path, structures: Sequence[str]) -> Meshes:
    return {name: read_mesh(folder / f"{name}.ply") for name in structures}


def _view(shown: Sequence[Meshes], lungs: Sequence[Lungs], folder: Path) -> View3D:
    """The first few, one of them shown from the start."""
    parts = [
        Part(
            f"{one.name}, {name.replace('_', ' ')}", mesh.vertices, mesh.faces, structure_color(index), shown=not number
        )
        for number, (one, meshes) in enumerate(zip(lungs[:_TURNED], shown, strict=False))
        for index, (name, mesh) in enumerate((name, light(mesh)) for name, mesh in meshes.items())
    ]
    draw_still(_layers(shown[0]), folder / "first.png")
    caption = f"The first {min(_TURNED, len(shown))}; show and hide each." if len(shown) > 1 else "The lungs."
    return View3D(parts, caption, still=folder / "first.png")


def _side_by_side(shown: Sequence[Meshes], folder: Path) -> Figure:
    draw_many([_layers(meshes) for meshes in shown], folder / "many.png")
    return Figure(folder / "many.png", f"The first {len(shown)}, from the front, all to one scale.")


def _layers(meshes: Meshes) -> list[Layer]:
    return [solid(decimate(mesh, _SMALL_FACES), structure_color(index)) for index, mesh in enumerate(meshes.values())]


def _attributes(lungs: Sequence[Lungs], real: AttributeTable, folder: Path) -> list[Block]:
    """A table, and histograms of as many lungs as show a spread."""
    names = [name for name in OUTLINE if name in lungs[0].attributes and name in real.names]
    made = {name: np.array([one.attributes[name] for one in lungs]) for name in names}
    of_real = {name: real.values[:, real.index(name)] for name in names}
    rows = [[heading(name), *_mean_and_range(made[name]), *_mean_and_range(of_real[name])[:2]] for name in names]
    header = ["attribute", "mean", "SD", "least", "largest", "real mean", "real SD"]
    table = Table(header, rows, f"{len(lungs):,} generated lungs, and {len(real.subjects)} real ones")
    if len(lungs) < _LEAST_FOR_SPREAD:
        return [table]
    drawn = AttributeTable.of({one.name: one.attributes for one in lungs})
    plot_attributes(real, drawn, names, folder / "attributes.png")
    return [Figure(folder / "attributes.png", "Generated lungs (filled) and the training subjects' (outlined)."), table]


def _mean_and_range(values: Floats) -> list[Cell]:
    """Mean, standard deviation (of one value none), least and largest."""
    deviation = float(np.nanstd(values, ddof=1)) if len(values) > 1 else float("nan")
    numbers = (float(np.nanmean(values)), deviation, float(np.nanmin(values)), float(np.nanmax(values)))
    digits = 0 if abs(numbers[0]) >= 1000 else 1
    return [None if np.isnan(number) else f"{number:,.{digits}f}" for number in numbers]


def _gates(generator: Generator, lungs: Sequence[Lungs]) -> Table:
    nearest = np.array([one.nearest_training_lungs_mm for one in lungs])
    apart = generator.familiar.nearest_each_mm()
    rows: list[list[Cell]] = [
        ["pairs of lungs drawn until all were sound and as asked for", f"{sum(one.tries for one in lungs):,}"],
        ["distance from the nearest training lungs, mean, mm", f"{nearest.mean():.1f}"],
        ["the least one, mm (nearer than the limit counts as a copy)", f"{nearest.min():.1f}"],
        ["the limit, mm", f"{generator.least_mm:.1f}"],
        ["the training lungs' own distance from the nearest other, mean, mm", f"{apart.mean():.1f}"],
    ]
    return Table(["", "value"], rows, "What the gates saw")


_RELIANCE = (
    "These lungs were drawn by a model; they are no patient's, and show no disease but what its training lungs had. "
    "Not for clinical use.",
)
_MEANING = (
    "Every pair is closed, of one piece a lung, overlaps by less than 1 ml, and has each attribute within four "
    "standard deviations of the population's mean; others were drawn again.",
    "A distance between two pairs of lungs is the mean distance of their surfaces, each to the other.",
    "With conditions, means and spreads differ from the real lungs' as they should: they are those of the part of the "
    "population that was asked for.",
    "Coordinates: R to the right, A to the front, S to the head, in millimetres, about the lungs' middle.",
)

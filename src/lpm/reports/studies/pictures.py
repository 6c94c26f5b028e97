"""Pictures of a study: the map on the mean lungs, effect sizes, lungs along a direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from lpm.measurement.names import heading
from lpm.reports.scenes import (
    BELOW,
    FRONTAL,
    GREY,
    INK,
    Layer,
    View,
    bare,
    mapped,
    new_figure,
    save_png,
    structure_color,
)
from lpm.reports.stills import draw_panels
from lpm.reports.view3d import Coloring, Part, View3D
from lpm.studies.alignment import normals_of
from lpm.studies.measures import Effects
from lpm.studies.study import Answer, Study

DIFFERENCES = colormaps["RdBu_r"]
SIGNIFICANT = 0.05
_BACK = View("from behind", (0.0, -1.0, 0.0))
_LEAST_MM = 0.5  # of the colours' range: less is noise, and should look like it
_SHOWN = 24  # effects in a forest plot: more cannot be read
_STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)


def range_mm(answer: Answer) -> float:
    """Largest difference that a map's colours tell apart: nearly all of the lungs' are smaller."""
    return max(float(np.quantile(np.abs(answer.place.estimate), 0.99)), _LEAST_MM)


def view_of(study: Study, answer: Answer, still: Path) -> View3D:
    """The map on the mean lungs in 3D: the difference, where it is significant, its p-values."""
    top = range_mm(answer)
    several = answer.question.kind == "groups"
    low, colors = (0.0, colormaps["viridis"]) if several else (-top, DIFFERENCES)
    significant = np.where(answer.place.p_corrected < SIGNIFICANT, answer.place.estimate, 0.0)
    named = {
        f"difference along the normal, mm{_per(answer)}": answer.place.estimate,
        f"the same where p < {SIGNIFICANT} for all places together": significant,
        "share of false discoveries (q), %": 100.0 * answer.place.q,
    }
    colorings = [Coloring(name, top, colors, low) for name in list(named)[:2]]
    colorings.append(Coloring(list(named)[2], 20.0, colormaps["inferno"]))
    split = {name: study.cohort.split(values) for name, values in named.items()}
    parts = [
        Part(
            structure.replace("_", " "),
            mesh.vertices,
            mesh.faces,
            structure_color(index),
            {name: values[structure] for name, values in split.items()},
        )
        for index, (structure, mesh) in enumerate(study.mean.items())
    ]
    caption = f"{answer.question.name}, on the mean lungs. Red lies farther out, blue farther in."
    if several:
        caption = f"{answer.question.name}, on the mean lungs: the spread of the groups' means."
    return View3D(parts, caption, colorings, still=still)


def _per(answer: Answer) -> str:
    return f" per {answer.question.unit}" if answer.question.unit else ""


def draw_map(study: Study, answer: Answer, path: Path) -> None:
    """Draw the map from the front, from behind and from below; what is not significant is pale.

    Args:
        study: The study.
        answer: One of its answers.
        path: A .png.
    """
    top, several = range_mm(answer), answer.question.kind == "groups"
    norm, colors = Normalize(0.0 if several else -top, top), colormaps["viridis"] if several else DIFFERENCES
    shown = mapped(answer.place.estimate, norm, colors).astype(np.float64)
    pale = answer.place.p_corrected >= SIGNIFICANT
    shown[pale] = 0.45 * shown[pale] + 0.55 * 235.0
    by_structure = study.cohort.split(shown.astype(np.uint8))
    layers = [Layer(mesh.vertices, mesh.faces, by_structure[name]) for name, mesh in study.mean.items()]
    figure = draw_panels([(layers, view) for view in (FRONTAL, _BACK, BELOW)], extra=0.9)
    bar = figure.colorbar(ScalarMappable(norm, colors), ax=figure.axes, shrink=0.8, pad=0.01, extend="both")
    bar.set_label(
        f"difference along the normal, mm{_per(answer)}\n(pale: p ≥ {SIGNIFICANT} for all places together)", fontsize=8
    )
    save_png(figure, path)


def draw_forest(effects: Effects, path: Path, title: str) -> None:
    """Draw effect sizes with their 95 % intervals, the largest first.

    Args:
        effects: In measures.
        path: A .png.
        title: What the size is.
    """
    order = np.argsort(-np.abs(effects.size), kind="stable")[:_SHOWN]
    figure = new_figure(7.2, 1.1 + 0.24 * len(order))
    axes = figure.subplots()
    for row, index in enumerate(order):
        _draw_effect(axes, row, effects, int(index))
    axes.axvline(0.0, color=GREY, lw=0.8)
    axes.set_yticks(range(len(order)), [heading(effects.names[index]) for index in order], fontsize=8)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlabel(f"{title}, with its 95 % interval (filled: corrected p < {SIGNIFICANT})", fontsize=8)
    axes.grid(axis="x", color="#e1e4e8", lw=0.7)
    axes.tick_params(axis="y", length=0)
    bare(axes)
    save_png(figure, path)


def _draw_effect(axes: Axes, row: int, effects: Effects, index: int) -> None:
    found = effects.tested.p_corrected[index] < SIGNIFICANT
    color = "#2b6ca3" if effects.size[index] < 0 else "#b8412f"
    low, high = effects.size_low[index], effects.size_high[index]
    axes.plot([low, high], [row, row], color=color, lw=1.8, alpha=0.55, solid_capstyle="round")
    axes.plot(effects.size[index], row, "o", color=color, mfc=color if found else "white", ms=5.5)


def draw_direction(study: Study, answer: Answer, path: Path) -> None:
    """Draw lungs along a direction, from -2 to 2 standard deviations, coloured by their distance from the mean's.

    Args:
        study: The study.
        answer: With a direction.
        path: A .png.
    """
    moved = answer.direction.per_sd if answer.direction else np.zeros_like(study.aligned.mean)
    outward = np.asarray((moved * normals_of(study.mean)).sum(axis=1))
    top = max(2.0 * float(np.quantile(np.abs(outward), 0.99)), _LEAST_MM)
    norm = Normalize(-top, top)
    panels = []
    for sd in _STEPS:
        colors = study.cohort.split(mapped(sd * outward, norm, DIFFERENCES))
        lungs = study.lungs(answer, sd)
        panels.append(([Layer(mesh.vertices, mesh.faces, colors[name]) for name, mesh in lungs.items()], FRONTAL))
    figure = draw_panels(panels, width=1.9, extra=0.8)
    for axes, sd in zip(figure.axes, _STEPS, strict=True):
        axes.set_title(f"{sd:+.0f} SD" if sd else "mean", fontsize=9, color=INK)
    bar = figure.colorbar(ScalarMappable(norm, DIFFERENCES), ax=figure.axes, shrink=0.8, pad=0.01)
    bar.set_label("from the mean's surface, mm", fontsize=8)
    save_png(figure, path)

"""Where lungs stand in a norm: a table of z-scores, and the sections along the height over the norm's band."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lpm.errors import InputError
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.names import heading, in_figures
from lpm.measurement.norms.norm import Reference
from lpm.measurement.profiles import LEVELS_PERCENT, profile_measures, section_name
from lpm.measurement.shapes import measure_shapes
from lpm.reports.document import Cell, Figure, Notes, Section, Table, Text
from lpm.reports.scenes import GREY, bare, new_figure, save_png, structure_color

BESIDE = "Beside the norm"
UNSIZED = "The size of these lungs is unknown: they are not compared with the norm. A pixel spacing gives it."


def section_of_norm(lungs: Mapping[str, WorldMesh], reference: Reference, folder: Path) -> Section:
    """The section of a report that says where lungs stand in a norm.

    Args:
        lungs: Closed meshes by structure, RAS mm.
        reference: What the norm expects of the person.
        folder: For its picture.

    Raises:
        InputError: The norm knows none of the lungs' measures.
        FileError: The disk refuses.
    """
    usual, along = measure_shapes(lungs), profile_measures(lungs)
    standings = reference.standings(usual)
    rows: list[list[Cell]] = []
    for name, standing in standings.items():
        low, middle, high = reference.band(name)
        expected = f"{in_figures(low)} to {in_figures(high)}"
        cells = [in_figures(usual[name]), in_figures(middle), expected, f"{standing.z:+.1f}", f"{standing.centile:.0f}"]
        rows.append([heading(name), *cells])
    draw_profiles(along, reference, folder / "norm.png")
    header = ["measure", "these lungs", "expected", "95 % of such people", "z", "centile"]
    caption = f"Where the lungs stand among {reference.norm.n_subjects} subjects of the norm"
    notes = [*reference.notes, *reference.norm.notes]
    return Section(
        BESIDE,
        [
            Figure(folder / "norm.png", "Areas of horizontal sections of the lungs over what the norm expects."),
            Table(header, rows, caption),
            *([Notes(notes)] if notes else []),
            Text(_MEANING),
        ],
    )


_MEANING = (
    "z counts standard deviations from what is expected of such a person; a centile of 30 means that three in ten have "
    "a smaller value. Of 20 independent measures one lies outside of its 95 % by chance. A norm is no better than its "
    "cohort.",
)


def draw_profiles(values: Mapping[str, float], reference: Reference, path: Path) -> None:
    """Draw the area of horizontal sections along the height of each lung, over what a norm expects.

    Args:
        values: Measures by name, those along the height among them.
        reference: What the norm expects of the person.
        path: A .png.

    Raises:
        InputError: The norm knows no lung of the subject.
        FileError: Not a .png, or the disk refuses.
    """
    known = [
        name.removesuffix("_section_05_cm2") for name in reference.norm.measures if name.endswith("_section_05_cm2")
    ]
    lungs = [name for name in known if section_name(name, LEVELS_PERCENT[0]) in values]
    if not lungs:
        raise InputError("profiles", f"structures {', '.join(known) or 'none'} in the norm", "those of the subject")
    figure = new_figure(3.2 * len(lungs), 3.6)
    panels = figure.subplots(1, len(lungs), sharex=True, sharey=True, squeeze=False).ravel()
    for index, (axes, lung) in enumerate(zip(panels, lungs, strict=True)):
        names = [section_name(lung, percent) for percent in LEVELS_PERCENT]
        low, middle, high = np.array([reference.band(name) for name in names]).T
        axes.fill_betweenx(LEVELS_PERCENT, np.maximum(low, 0.0), high, color=GREY, alpha=0.25, lw=0, label="norm, 95 %")
        axes.plot(middle, LEVELS_PERCENT, color=GREY, lw=1.0, ls="--", label="norm, middle")
        axes.plot(
            [values[name] for name in names], LEVELS_PERCENT, color=structure_color(index), lw=2.0, label="this lung"
        )
        bare(axes)
        axes.set_title(lung.replace("_", " "))
        axes.set_xlabel("area of the section, cm²")
    panels[0].set_ylabel("height of the lung, %")
    panels[0].legend(frameon=False, fontsize=7)
    save_png(figure, path)

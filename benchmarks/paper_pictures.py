"""The pictures of docs/paper.md, from what benchmarks/paper.py kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cells import Json
from lpm.files.meshes import read_mesh
from lpm.geometry.meshes import WorldMesh, joined
from lpm.reports.fit_plots import plot_amounts
from lpm.reports.scenes import FRONTAL, Layer, View, bare, draw_grid, new_figure, save_png, solid, structure_color

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
SUBJECT = "coronacases_001"  # a training lung, CC BY 4.0
TEST_SUBJECT = "coronacases_002"
BELOW_FRONT = View("from the front, below", (0.0, 1.0, -0.6))
CURVES = {
    "total": "overall loss",
    "surface": "surface",
    "off_surface": "off-surface",
    "eikonal": "eikonal",
    "latent": "latent",
}
SHORT = {
    "initial-union": "64, 4 x 512, union",
    "initial-union-normal": "the same, normal loss",
    "paper-separate-copies": "256, 8 x 1024, 15 copies",
    "initial-separate": "64, 4 x 512, separate",
    "paper-union": "256, 8 x 1024, union",
    "paper-separate": "256, 8 x 1024, separate",
    "paper-union-normal": "256, 8 x 1024, normal loss",
    "atlas": "the atlas",
}


def draw(work: Path, trained: Mapping[str, Json], tested: Sequence[tuple[str, str]], shaped: Sequence[str]) -> None:
    """Draw what can be drawn."""
    if trained:
        draw_losses(trained, PICTURES / "paper_losses.png")
    if shown := [name for name in shaped if (work / name / "shapes" / SUBJECT).exists()]:
        draw_merge(work, shown, PICTURES / "paper_merge.png")
    pair = ("initial-union", "initial-union-normal")
    cohort = cohort_of(work)
    true = {"lungs": joined(true_lungs(cohort, TEST_SUBJECT))}
    if all((name, "latent") in tested and meshes(work / name / "latent" / TEST_SUBJECT) for name in pair):
        found = {SHORT[name]: meshes(work / name / "latent" / TEST_SUBJECT) for name in pair}
        plot_amounts(found, true, PICTURES / "paper_normal.png")
    draw_tested(work, [key for key in tested if key[1] in ("latent", "residual")], PICTURES / "paper_test.png")


def draw_tested(work: Path, tested: Sequence[tuple[str, str]], path: Path) -> None:
    """A test lung by each network, coloured by its distance from the truth."""
    own = {
        f"{SHORT[name]}\n{kind}": {"lungs": joined(lungs.values())}
        for name, kind in tested
        if (lungs := meshes(work / name / kind / TEST_SUBJECT))
    }
    if own:
        plot_amounts(own, {"lungs": joined(true_lungs(cohort_of(work), TEST_SUBJECT))}, path)


def cohort_of(work: Path) -> Path:
    """The cohort that the networks were trained on."""
    return Path(json.loads((work / "given.json").read_text())["cohort"])


def true_lungs(cohort: Path, subject: str) -> list[WorldMesh]:
    return [read_mesh(path) for path in sorted((cohort / "subjects" / subject).glob("*_lung.ply"))]


def meshes(folder: Path) -> dict[str, WorldMesh]:
    return {path.stem: read_mesh(path) for path in sorted(folder.glob("*.ply"))}


def draw_losses(trained: Mapping[str, Json], path: Path) -> None:
    """Curves of all networks, a panel a part (paper Figs. 9-12)."""
    figure = new_figure(11.0, 5.6)
    panels = figure.subplots(2, 3)
    for (part, label), axes in zip(CURVES.items(), panels.flat, strict=False):
        for index, (name, found) in enumerate(trained.items()):
            values = np.array([row[part] for row in found["history"]])
            epochs = np.array([row["epoch"] for row in found["history"]])
            style = {"color": f"C{index}", "lw": 1.3, "label": SHORT[name]}
            axes.plot(epochs, np.where(values > 0, values, np.nan), **style)
        axes.set_yscale("log")
        axes.set(title=label, xlabel="epoch")
        axes.grid(which="major", color="#d5d8dc", lw=0.7)
        bare(axes)
    panels.flat[0].set_ylabel("loss (log scale)")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    panels.flat[5].set_axis_off()
    panels.flat[5].legend(handles, labels, frameon=False, loc="center")
    save_png(figure, path)


def in_pieces(parts: Sequence[WorldMesh]) -> list[Layer]:
    """Each piece in its own colour, from the patient's left: merged lungs have one."""
    pieces = [piece for mesh in parts for piece in mesh.pieces()]
    pieces.sort(key=lambda piece: float(piece.vertices[:, 0].mean()))
    return [solid(piece, structure_color(index)) for index, piece in enumerate(pieces)]


def draw_merge(work: Path, shown: Sequence[str], path: Path) -> None:
    """A training lung as each network has learnt it (paper Figs. 6 and 7)."""
    columns = [in_pieces(true_lungs(cohort_of(work), SUBJECT))]
    columns += [in_pieces([*meshes(work / name / "shapes" / SUBJECT).values()]) for name in shown]
    figure = draw_grid([[(each, view) for each in columns] for view in (FRONTAL, BELOW_FRONT)], 2.4, (0.2, 0.5))
    for axes, name in zip(figure.axes, ["truth", *(SHORT[each] for each in shown)], strict=False):
        axes.set_title(name, fontsize=9)
    save_png(figure, path)

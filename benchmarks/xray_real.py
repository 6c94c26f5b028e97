"""Real chest X-rays: the fitted lungs' visible field beside the given masks, and a contact sheet, worst first.

python benchmarks/xray_real.py --xrays DATA/xrays --out xray_real.raw.json --sheet sheet.png
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

import lpm
from lpm.files.atomic import write_text
from lpm.geometry.projection import Beam
from lpm.xray.files.reading import read_xray
from lpm.xray.fit import fit_xray
from lpm.xray.projected_field import coarser, overlap, visible_field
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import load_reader

SPACING_MM = 3.0
ON_SHEET = 40
BEAM = Beam(1800.0, 200.0)


def measured(xrays: Path, name: str) -> tuple[str, dict[str, Any], NDArray[Any]]:
    """Overlap of both lungs' field with the mask; what was read, and what the fitted lungs would show."""
    torch.set_num_threads(1)
    picture = read_xray(xrays / "images" / f"{name}.png")
    mask = np.asarray(Image.open(xrays / "masks" / f"{name}.png").convert("L")) > 127
    started = time.perf_counter()
    fit = fit_xray(lpm.load("lungs-v1").bundle, [Radiograph(picture.pixels, beam=BEAM)], spacing_mm=SPACING_MM)
    seconds = time.perf_counter() - started
    shown = visible_field(fit.lungs, coarser(fit.views[0], mask.shape)).any(axis=0)
    read = fit.readings[0].field.max(axis=0) > 0.5
    row = {"fitted": overlap(shown, mask), "read": overlap(read, mask), "seconds": seconds, "notes": list(fit.notes)}
    return name, row, np.stack([picture.pixels, mask, shown])


def draw_sheet(found: list[tuple[str, dict[str, Any], NDArray[Any]]], path: Path) -> None:
    worst = sorted(found, key=lambda each: each[1]["fitted"])[:ON_SHEET]
    figure = Figure(figsize=(20.0, 2.6 * -(-len(worst) // 8)), layout="constrained")
    panels = figure.subplots(-(-len(worst) // 8), 8).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (name, row, (picture, mask, shown)) in zip(panels, worst, strict=False):
        axes.imshow(picture, cmap="gray")
        axes.contour(mask, [0.5], colors="#e8d25c", linewidths=0.8)
        axes.contour(shown, [0.5], colors="#d98a74", linewidths=0.8)
        axes.set_title(f"{name} {row['fitted']:.3f}" + (" (flagged)" if len(row["notes"]) > 1 else ""), fontsize=7)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--xrays", type=Path, required=True, help="folder of images/ and masks/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, required=True, help="PNG to draw")
    parser.add_argument("--n", type=int, default=100, help="so many of the reader's test images")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    names = np.array(load_reader().bundle.manifest.test_names)
    names = np.sort(np.random.default_rng(0).permutation(names)[: given.n])
    tasks = (joblib.delayed(measured)(given.xrays, str(name)) for name in names)
    found = []
    for each in joblib.Parallel(n_jobs=given.jobs, return_as="generator")(tasks):
        found.append(each)
        print(each[0], each[1], flush=True)
    write_text(given.out, json.dumps({name: row for name, row, _ in found}, indent=1) + "\n")
    draw_sheet(found, given.sheet)


if __name__ == "__main__":
    main()

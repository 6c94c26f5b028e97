"""A contact sheet of lungs projected onto the radiographs of the same patients, and how well they lie there.

    python benchmarks/xray_overlays.py --lungs ../shared/data/lungs --out runs/xray_overlays.png

Each case is a frontal and a lateral picture with the outline of where a ray runs at least 10 mm inside the left (blue)
and the right (orange) lung. The numbers of each case are the mean grey value (0 to 1) beneath 60 mm of lung and in a
ring of 10 mm around the lungs' shadow, and the correlation of grey value and path length within the shadow and ring.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from lpm.files.volumes import read_volume
from lpm.structures import DEFAULT_STRUCTURES
from lpm.xray.drr import MarchConfig, path_lengths_of_labels
from lpm.xray.files.reading import read_xray
from lpm.xray.files.views import read_views

Picture = NDArray[np.float32]
_OUTLINE_MM, _THICK_MM, _RING_MM = 10.0, 60.0, 10.0
_COLOURS = ("tab:blue", "tab:orange")
_CASES_A_ROW = 4


@dataclass(frozen=True)
class Overlay:
    """Lungs projected onto a radiograph."""

    subject: str
    name: str
    picture: Picture
    lengths_mm: Picture
    mm_per_px: float

    def agreement(self, *, mirrored: bool = False) -> tuple[float, float, float]:
        """Grey value beneath thick lung, in a ring around the lungs, and correlation with the path length."""
        picture = self.picture[:, ::-1] if mirrored else self.picture
        length = self.lengths_mm.sum(axis=0)
        shadow = length > 0
        ring = binary_dilation(shadow, iterations=round(_RING_MM / self.mm_per_px)) & ~shadow
        near = shadow | ring
        correlation = float(np.corrcoef(picture[near], length[near])[0, 1])
        return float(picture[length > _THICK_MM].mean()), float(picture[ring].mean()), correlation


def overlays(folder: Path, *, step_mm: float = 2.0) -> Iterator[Overlay]:
    """Both radiographs of a subject, with what its labels project to."""
    labels = read_volume(folder / "labels.nii.gz")
    for name, view in read_views(folder / "views.json").items():
        lengths = path_lengths_of_labels(labels, view, DEFAULT_STRUCTURES, MarchConfig(step_mm=step_mm))
        picture = read_xray(folder / f"{name}.png").pixels
        yield Overlay(folder.name, name, picture, lengths, float(np.linalg.norm(view.by_column_mm)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lungs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    folders = sorted(path.parent for path in arguments.lungs.glob("*/views.json"))
    if not folders:
        parser.error(f"--lungs {arguments.lungs}: no */views.json")
    shown = []
    for folder in folders:
        for overlay in overlays(folder):
            thick, ring, correlation = overlay.agreement()
            mirrored = overlay.agreement(mirrored=True)[2]
            numbers = f"{thick:.3f}  {ring:.3f}  {correlation:+.3f}  mirrored {mirrored:+.3f}"
            print(f"{overlay.subject:14s} {overlay.name:8s} {numbers}", flush=True)
            shown.append(overlay)
    draw(shown, arguments.out)


def draw(shown: list[Overlay], path: Path) -> None:
    rows = -(-len(shown) // (2 * _CASES_A_ROW))
    figure, axes = plt.subplots(rows, 2 * _CASES_A_ROW, figsize=(2.0 * 2 * _CASES_A_ROW, 2.1 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, overlay in zip(axes.flat, shown, strict=False):
        axis.imshow(overlay.picture, cmap="gray", vmin=0, vmax=1)
        for length, colour in zip(overlay.lengths_mm, _COLOURS, strict=True):
            axis.contour(length, levels=[_OUTLINE_MM], colors=colour, linewidths=0.7)
        axis.set_title(f"{overlay.subject} {overlay.name}", fontsize=6, pad=2)
    figure.tight_layout(pad=0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

"""A model of your own organ, here of kidneys, from label maps on: prepare, train, partition, fit, evaluate.

    python examples/kidneys.py --out runs/kidneys

The kidneys are generated, so no data is needed; with your own label maps, begin at `lpm prepare`. The script prints
every command that it runs, as you would type it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lpm.apps.cli import run
from lpm.files.points import write_points
from lpm.files.volumes import write_volume
from lpm.geometry.grids import VoxelGrid, grid_nodes
from lpm.geometry.volumes import Volume
from lpm.preparation.cohort import Cohort

LABELS = "left_kidney=1+2,right_kidney=3+4"
PARTS = "left_upper_pole=1,left_lower_pole=2,right_upper_pole=3,right_lower_pole=4"
PREPARE = """
[sampling]
n_surface = 5000
n_off_surface = 5000
volume_margin_mm = 15.0
"""
# The presets suit lungs; lengths in mm that suit a kidney are about half as long.
TRAIN = """
spacing_mm = 3.0
margin_mm = 9.0
components = 5
warp_scales = [[4.0, 35.0, 20]]

[registration]
rounds = 1
spacing_mm = 8.0
scales = [[6.0, 35.0, 30], [2.5, 18.0, 50]]
"""


def kidneys(rng: np.random.Generator, voxel_mm: float) -> Volume:
    """Two beans beside the spine, the right one lower; each with an upper and a lower pole: values 1 to 4."""
    grid = VoxelGrid(np.array([-100.0, -50.0, -80.0]), voxel_mm, tuple(int(n / voxel_mm) for n in (200, 100, 160)))  # type: ignore[arg-type]
    nodes = grid_nodes(grid)
    half_mm = np.array([26.0, 21.0, 54.0]) * np.exp(rng.normal(0.0, 0.08, 3))
    bend, hilum_mm = rng.uniform(2e-3, 5e-3), rng.uniform(10.0, 16.0)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    for first, side in ((1, -1.0), (3, 1.0)):
        center = np.array([side * rng.normal(48.0, 3.0), rng.normal(0.0, 3.0), rng.normal(-8.0 * side, 4.0)])
        x, y, z = np.moveaxis(nodes - center, -1, 0)
        outwards = side * x + bend * z**2  # poles lean towards the spine
        bean = (outwards / half_mm[0]) ** 2 + (y / half_mm[1]) ** 2 + (z / half_mm[2]) ** 2 < 1.0
        hilum = (outwards + half_mm[0]) ** 2 + y**2 + z**2 < hilum_mm**2
        labels[bean & ~hilum] = first + 1
        labels[bean & ~hilum & (z + 0.3 * outwards > 0.0)] = first
    return grid.volume(labels)


def lpm(*words: object) -> None:
    """Run a verb as on the command line."""
    command = [str(word) for word in words]
    print("\nlpm " + " ".join(command), flush=True)
    if code := run(command):
        raise SystemExit(code)


def main(out: Path, n: int = 8, voxel_mm: float = 2.0) -> None:
    """Generate kidneys and take them through every stage.

    Args:
        out: Folder of everything.
        n: Subjects; three quarters of them are trained on.
        voxel_mm: Of the label maps.
    """
    for number in range(n):
        labels = kidneys(np.random.default_rng(number), voxel_mm)
        write_volume(out / "labels" / f"kidneys{number:02}.nii.gz", labels)
    for name, text in {"prepare": PREPARE, "train": TRAIN}.items():
        (out / f"{name}.toml").write_text(text, encoding="utf-8")
    cohort, model = out / "cohort", out / "model"
    lpm("prepare", out / "labels", "--labels", LABELS, "--config", out / "prepare.toml", "--out", cohort)
    lpm("train", cohort, "--preset", "atlas", "--config", out / "train.toml", "--out", out / "atlas", "--jobs", 1)
    train, test = (Cohort(cohort).subjects(part) for part in ("train", "test"))
    known = [out / "labels" / f"{subject}.nii.gz" for subject in train[:3]]
    lpm(
        "partition",
        *known,
        "--points",
        1500,
        "--labels",
        LABELS,
        "--parts",
        PARTS,
        "--model",
        out / "atlas",
        "--out",
        model,
    )
    write_points(out / "points.ply", Cohort(cohort).surface(test[0]).points_mm[:300])
    lpm("fit", "points", out / "points.ply", "--model", model, "--spacing-mm", 2, "--parts", "--out", out / "fit")
    mask = out / "labels" / f"{test[0]}.nii.gz"
    how = ("--labels", LABELS, "--model", model, "--points", 1500, "--spacing-mm", 2, "--parts")
    lpm("fit", "mask", mask, *how, "--out", out / "fit-mask")
    lpm("evaluate", model, cohort, "--points", 300, "--baselines", "mean", "--out", out / "evaluation")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/kidneys"))
    main(parser.parse_args().out)

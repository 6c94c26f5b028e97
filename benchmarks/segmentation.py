"""The built-in segmenter on a real CT, beside TotalSegmentator's lobes, and on generated CTs whose lungs are known.

python benchmarks/segmentation.py --ct shared/data/ct --out segmentation.raw.json
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from lpm.files.atomic import write_text
from lpm.files.volumes import read_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.geometry.volumes import Volume
from lpm.preparation.hounsfield import hounsfield
from lpm.preparation.segmentation import ThresholdSegmenter

LOBES = {1: (10, 11), 2: (12, 13, 14)}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no table": {"with_table": False},
    "no gas in the stomach": {"with_gas": False},
    "arms down": {"with_arms": True},
    "padding -2048": {"padding_hu": -2048.0},
    "padding -3024, arms": {"padding_hu": -3024.0, "with_arms": True},
    "noise 60 HU": {"noise_hu": 60.0},
    "noise 90 HU": {"noise_hu": 90.0},
    "no noise": {"noise_hu": 0.0},
    "emphysema, -930 HU": {"lung_hu": -930.0},
    "dense lung, -700 HU": {"lung_hu": -700.0},
    "lungs that touch": {"touching": True},
    "lungs that touch, noise 60 HU": {"touching": True, "noise_hu": 60.0},
    "slices 5 mm apart": {"spacing_mm": (1.0, 1.0, 5.0)},
    "slices 8 mm apart": {"spacing_mm": (1.0, 1.0, 8.0)},
    "voxels of 3 mm": {"spacing_mm": (3.0, 3.0, 3.0)},
    "cut above the bases": {"cropped_mm": 70.0},
    "cut in the middle": {"cropped_mm": 140.0},
    "5 % consolidated": {"consolidated": 0.05},
    "30 % consolidated": {"consolidated": 0.3},
    "touching, emphysema, arms": {"touching": True, "lung_hu": -930.0, "with_arms": True},
    "all but consolidation": {"with_arms": True, "noise_hu": 60.0, "padding_hu": -2048.0, "lung_hu": -900.0},
}


def dice(found: Volume, true: Volume) -> dict[str, float]:
    pairs = {name: (found.voxels == side, true.voxels == side) for side, name in ((1, "left"), (2, "right"))}
    return {name: 2.0 * float((a & b).sum()) / float(a.sum() + b.sum()) for name, (a, b) in pairs.items()}


def generated(index: int, name: str) -> tuple[str, dict[str, float]]:
    rng = np.random.default_rng((7, index))
    spacing: dict[str, Any] = {"spacing_mm": (1.5, 1.5, 2.0)}
    ct, true = render_scan(PhantomScan(random_lungs(rng=rng), **(spacing | VARIANTS[name])), rng=rng)
    found = ThresholdSegmenter().segment(hounsfield(ct, name), name)
    exchanged = found.with_voxels(np.array([0, 2, 1], dtype=np.uint8)[found.voxels])
    return name, dice(found, true) | {"if_exchanged": max(dice(exchanged, true).values())}


def real(folder: Path) -> dict[str, float]:
    """In this process, alone: its peak memory is the segmenter's."""
    started = time.perf_counter()
    scan = hounsfield(read_volume(folder / "ct.nii.gz"), folder.name)
    found = ThresholdSegmenter().segment(scan, folder.name)
    seconds = time.perf_counter() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    lobes = read_volume(folder / "totalsegmentator_labels.nii.gz").voxels
    sides = sum(side * np.isin(lobes, values) for side, values in LOBES.items())
    true = scan.volume.with_voxels(np.asarray(sides, dtype=np.uint8))
    return dice(found, true) | {"seconds": seconds, "peak_gib": peak_gib}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path, required=True, help="folder of folders with ct.nii.gz and lobes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    scans = {folder.name: real(folder) for folder in sorted(given.ct.iterdir()) if (folder / "ct.nii.gz").exists()}
    print(scans, flush=True)
    tasks = (joblib.delayed(generated)(index, name) for index, name in enumerate(VARIANTS))
    found = {}
    for name, scores in joblib.Parallel(n_jobs=given.jobs, return_as="generator")(tasks):
        found[name] = scores
        print(name, {key: round(value, 4) for key, value in scores.items()}, flush=True)
    write_text(given.out, json.dumps({"real": scans, "generated": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

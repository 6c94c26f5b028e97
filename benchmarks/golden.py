"""Golden fits: what `lungs-v1` gives for every kind of evidence of three training lungs, frozen in golden.json.

python benchmarks/golden.py --cohort WORK/cohort --lungs ../shared/data/lungs --out WORK/golden.json

`lungs-v1` and the reader of radiographs know these lungs: figures say whether fits have changed, and nothing of
accuracy. With ``--against`` the differences are printed, and a fit whose ASSD is larger by more than 2 % ends in 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import lpm
from evidence import noisy, three_slices, without_lowest_quarter
from lpm.evaluation.evaluate import EvaluationConfig, observed_points, subject_rng
from lpm.evaluation.metrics import MetricsConfig, score
from lpm.evaluation.xray_subjects import read_subject
from lpm.evaluation.xrays import compare
from lpm.files.atomic import write_text
from lpm.files.volumes import read_volume
from lpm.fitting.fit import Fit
from lpm.geometry.volumes import Volume
from lpm.preparation.cohort import Cohort

SUBJECTS = ("luna16_0645", "luna16_5513", "luna16_6262")
METRICS = MetricsConfig(n_points=1000, n_surface=50_000, voxel_mm=3.0)
WORSE = 1.02
Measured = dict[str, dict[str, float]]


def measure(cohort: Cohort, lungs: Path, subject: str) -> Measured:
    """ASSD, volume, its interval and the norm of beta of every kind of fit."""
    model, true = lpm.load("lungs-v1"), cohort.meshes(subject)
    labels = read_volume(cohort.path(subject, "labels.nii.gz"))
    pictures = read_subject(lungs / subject).radiographs

    def drawn(n: int) -> np.ndarray:
        return observed_points(cohort, subject, EvaluationConfig(points=n))[0]

    def masked(volume: Volume) -> Fit:
        return model.fit_mask(volume, rng=subject_rng(subject, 6))

    runs: dict[str, Callable[[], Fit]] = {
        "100 points": lambda: model.fit_points(drawn(100)),
        "500 points": lambda: model.fit_points(drawn(500)),
        "5,000 points": lambda: model.fit_points(drawn(5000)),
        "5,000 points, 2 mm noise": lambda: model.fit_points(noisy(drawn(5000), subject_rng(subject, 3))),
        "mask": lambda: masked(labels),
        "cut mask": lambda: masked(without_lowest_quarter(labels)[0]),
        "three slices": lambda: masked(three_slices(labels)),
        "frontal": lambda: model.fit_xray([pictures["frontal"]]),
        "frontal + lateral": lambda: model.fit_xray([pictures["frontal"], pictures["lateral"]]),
    }
    found: Measured = {}
    for kind, run in runs.items():
        fit = run()
        if kind.startswith("frontal"):
            assd = float(compare(fit.lungs, true, METRICS).assd_mm or 0.0)
        else:
            assd = score(fit.lungs, true, METRICS, rng=subject_rng(subject, 4)).assd_mm
        low, high = fit.interval("total_volume_ml")
        volume = sum(mesh.volume_ml for mesh in fit.lungs.values())
        found[kind] = {
            "assd_mm": assd,
            "volume_ml": volume,
            "interval_ml": high - low,
            "mahalanobis": float(np.linalg.norm(fit.beta)),
            "iterations": fit.shape.iterations,
        }
        print(subject, kind, {key: round(value, 3) for key, value in found[kind].items()}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--lungs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=SUBJECTS, nargs="+", default=list(SUBJECTS), help="subjects")
    parser.add_argument("--against", type=Path, help="JSON of an earlier run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cohort = Cohort(given.cohort)
    found = {subject: measure(cohort, given.lungs, subject) for subject in given.only}
    write_text(given.out, json.dumps(found, indent=1) + "\n")
    if given.against:
        sys.exit(differ(json.loads(given.against.read_text()), found))


def differ(before: dict[str, Measured], now: dict[str, Measured]) -> int:
    """Print each kind's mean before and now; 1 if an ASSD has grown by more than 2 %."""
    worse = 0
    for kind in before[SUBJECTS[0]]:
        pair = [
            {name: float(np.mean([each[s][kind][name] for s in now])) for name in ("assd_mm", "interval_ml")}
            for each in (before, now)
        ]
        is_worse = pair[1]["assd_mm"] > WORSE * pair[0]["assd_mm"]
        worse |= is_worse
        told = [f"{each['assd_mm']:.3f} mm, interval {each['interval_ml']:.0f} ml" for each in pair]
        print(f"{kind}: {told[0]} -> {told[1]}{'  WORSE' if is_worse else ''}")
    return int(worse)


if __name__ == "__main__":
    main()

"""The atlas where points are noisy, wrong, few or turned, and how sure it says that it is: the ten test lungs.

python benchmarks/robustness.py --cohort WORK/cohort --model WORK/atlas --out robustness.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from lpm.evaluation.evaluate import EvaluationConfig, observed_points, subject_rng
from lpm.evaluation.metrics import MetricsConfig, score
from lpm.files.atomic import write_text
from lpm.fitting.fit import Fit
from lpm.fitting.points import fit_points
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.preparation.cohort import Cohort

Change = Callable[[Floats, np.random.Generator], Floats]
SPACING_MM = 2.0
METRICS = MetricsConfig(n_points=1000, n_surface=20_000, voxel_mm=4.0)


def noisy(points: Floats, rng: np.random.Generator) -> Floats:
    return points + rng.normal(0.0, 2.0, points.shape)


def with_outliers(points: Floats, rng: np.random.Generator) -> Floats:
    """One point in twenty lies anywhere in the box of the points."""
    changed = points.copy()
    chosen = rng.choice(len(points), len(points) // 20, replace=False)
    changed[chosen] = rng.uniform(points.min(axis=0), points.max(axis=0), (len(chosen), 3))
    return changed


def both(points: Floats, rng: np.random.Generator) -> Floats:
    return with_outliers(noisy(points, rng), rng)


def unchanged(points: Floats, rng: np.random.Generator) -> Floats:
    return points


CASES: dict[str, tuple[int, Change]] = {
    "5,000 points": (5000, unchanged),
    "5,000 points, 2 mm noise": (5000, noisy),
    "5,000 points, 5 % outliers": (5000, with_outliers),
    "5,000 points, 2 mm noise and 5 % outliers": (5000, both),
    "100 points": (100, unchanged),
    "500 points": (500, unchanged),
}
TURNED = {"5,000 points, turned by 20 degrees": 5000, "100 points, turned by 20 degrees": 100}


def turned_fit(model: ModelBundle, points: Floats, rng: np.random.Generator) -> dict[str, WorldMesh]:
    """Turn and move the points, fit, and take the lungs back."""
    axis = rng.standard_normal(3)
    turn = Rotation.from_rotvec(np.radians(20.0) * axis / np.linalg.norm(axis)).as_matrix()
    there = rng.uniform(-300.0, 300.0, 3)
    lungs = fit_points(model, points @ turn.T + there, spacing_mm=SPACING_MM).lungs
    return {name: WorldMesh((mesh.vertices - there) @ turn, mesh.faces) for name, mesh in lungs.items()}


def certainty(fit: Fit, true: dict[str, WorldMesh]) -> dict[str, float]:
    """Whether the volume's interval holds the truth, and whether sigma ranks the error of the left lung's vertices."""
    low, high = fit.interval("total_volume_ml", 0.95)
    volume = sum(mesh.volume_ml for mesh in true.values())
    error = closest_points(true["left_lung"], fit.lungs["left_lung"].vertices).distance
    rank = float(spearmanr(fit.sigma_mm("left_lung"), error).statistic)
    return {"covered": float(low <= volume <= high), "width_ml": high - low, "spearman": rank}


def measure(model: ModelBundle, cohort: Cohort, subject: str) -> dict[str, dict[str, float]]:
    true, found = cohort.meshes(subject), {}
    for name, (n_points, change) in CASES.items():
        points, _ = observed_points(cohort, subject, EvaluationConfig(points=n_points))
        fit = fit_points(model, change(points, subject_rng(subject, 3)), spacing_mm=SPACING_MM)
        assd_mm = score(fit.lungs, true, METRICS, rng=subject_rng(subject, 4)).assd_mm
        found[name] = {"assd_mm": assd_mm, **certainty(fit, true)}
    for name, n_points in TURNED.items():
        points, _ = observed_points(cohort, subject, EvaluationConfig(points=n_points))
        lungs = turned_fit(model, points, subject_rng(subject, 5))
        found[name] = {"assd_mm": score(lungs, true, METRICS, rng=subject_rng(subject, 4)).assd_mm}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    cohort, model = Cohort(given.cohort), read_bundle(given.model)
    subjects: dict[str, Any] = {}
    for subject in cohort.subjects("test"):
        subjects[subject] = measure(model, cohort, subject)
        print(subject, {name: round(values["assd_mm"], 2) for name, values in subjects[subject].items()}, flush=True)
    write_text(given.out, json.dumps({"subjects": subjects}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Unseen lungs from every kind of evidence: points many, few, noisy, wrong or turned, masks, cut masks, slices, a lung.

python benchmarks/evidence.py --cohort WORK/cohort --model WORK/atlas --out evidence.raw.json

What the file holds already is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from lpm.evaluation.evaluate import EvaluationConfig, observed_points, subject_rng
from lpm.evaluation.metrics import MetricsConfig, score
from lpm.files.atomic import write_text
from lpm.files.volumes import read_volume
from lpm.fitting.evidence.masks import fit_mask
from lpm.fitting.evidence.points import fit_points
from lpm.fitting.extraction import mean_shape
from lpm.fitting.fit import Fit
from lpm.fitting.posterior import vertex_sigma_mm
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh, sample_surface
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.preparation.cohort import Cohort

Numbers = dict[str, float]
Change = Callable[[Floats, np.random.Generator], Floats]
Meshes = dict[str, WorldMesh]
SPACING_MM = 1.5
METRICS = MetricsConfig(n_points=1000, n_surface=20_000, voxel_mm=3.0)
N_SURFACE, N_VERTICES = 20_000, 3000
DOUBTS = ("unlike the model's shapes", "possibly mirrored")


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


def measure(model: ModelBundle, cohort: Cohort, subject: str, kind: str) -> tuple[str, str, Numbers]:
    """One kind of evidence of one subject, on one core: cores that share it wait for each other more than they help."""
    torch.set_num_threads(1)
    if kind in TURNED:
        return subject, kind, TURNED[kind](model, cohort, subject)
    return subject, kind, JUDGED.get(kind, judged)(FITS[kind](model, cohort, subject), cohort, subject)


def of_points(model: ModelBundle, cohort: Cohort, subject: str, n_points: int, change: Change) -> Fit:
    points, _ = observed_points(cohort, subject, EvaluationConfig(points=n_points))
    return fit_points(model, change(points, subject_rng(subject, 3)), spacing_mm=SPACING_MM)


def turned(model: ModelBundle, cohort: Cohort, subject: str, n_points: int) -> Numbers:
    points, _ = observed_points(cohort, subject, EvaluationConfig(points=n_points))
    lungs = turned_fit(model, points, subject_rng(subject, 5))
    return {"assd_mm": assd(lungs, cohort.meshes(subject), subject)}


def of_mask(model: ModelBundle, cohort: Cohort, subject: str, change: Callable[[Volume], Volume]) -> Fit:
    return fit_mask(model, change(labels_of(cohort, subject)), rng=subject_rng(subject, 6))


def labels_of(cohort: Cohort, subject: str) -> Volume:
    return read_volume(cohort.path(subject, "labels.nii.gz"))


def judged(fit: Fit, cohort: Cohort, subject: str) -> Numbers:
    """How near a fit came, and how sure it was."""
    true = cohort.meshes(subject)
    scores = score(fit.lungs, true, METRICS, rng=subject_rng(subject, 4))
    found = {"assd_mm": scores.assd_mm, "hd95_mm": scores.hd95_mm, "dice": scores.dice}
    return found | certainty(fit, true)


def certainty(fit: Fit, true: Meshes) -> Numbers:
    """Whether the volume's interval holds the truth, and whether sigma ranks the error of the left lung's vertices."""
    low, high = fit.interval("total_volume_ml", 0.95)
    volume = sum(mesh.volume_ml for mesh in true.values())
    left = fit.lungs["left_lung"]
    some = WorldMesh(left.vertices[:: max(len(left.vertices) // N_VERTICES, 1)], np.array([[0, 1, 2]]))
    error = closest_points(true["left_lung"], some.vertices).distance
    sigma = vertex_sigma_mm(fit.model, fit.shape, fit.model.structures.index("left_lung"), some)
    rank = float(spearmanr(sigma, error).statistic)
    return {
        "covered": float(low <= volume <= high),
        "width_percent": 100.0 * (high - low) / volume,
        "spearman": rank,
        "doubted": float(any(note.startswith(DOUBTS) for note in fit.notes)),
    }


def assd(lungs: Meshes, true: Meshes, subject: str) -> float:
    return score(lungs, true, METRICS, rng=subject_rng(subject, 4)).assd_mm


def turned_fit(model: ModelBundle, points: Floats, rng: np.random.Generator) -> Meshes:
    """Turn and move the points, fit, and take the lungs back."""
    axis = rng.standard_normal(3)
    turn = Rotation.from_rotvec(np.radians(20.0) * axis / np.linalg.norm(axis)).as_matrix()
    there = rng.uniform(-300.0, 300.0, 3)
    lungs = fit_points(model, points @ turn.T + there, spacing_mm=SPACING_MM).lungs
    return {name: WorldMesh((mesh.vertices - there) @ turn, mesh.faces) for name, mesh in lungs.items()}


def without_lowest_quarter(labels: Volume) -> tuple[Volume, float]:
    """An image that ends above the diaphragm, and the height at which it ends, mm."""
    filled = np.flatnonzero((labels.voxels > 0).any(axis=(0, 1)))
    quarter = round(0.25 * (filled[-1] - filled[0]))
    up = labels.world_from_voxel[2, 2] > 0
    first, last = (filled[0] + quarter, labels.voxels.shape[2] - 1) if up else (0, filled[-1] - quarter)
    affine = labels.world_from_voxel.copy()
    affine[:3, 3] = labels.to_world(np.array([[0, 0, first]]))[0]
    height_mm = float(labels.to_world(np.array([[0, 0, first - 0.5 if up else last + 0.5]]))[0, 2])
    return Volume(np.ascontiguousarray(labels.voxels[:, :, first : last + 1]), affine), height_mm


def cut_judged(fit: Fit, cohort: Cohort, subject: str) -> Numbers:
    """The seen and the unseen part, where a quarter of the lungs' height is missing."""
    true, height_mm = cohort.meshes(subject), without_lowest_quarter(labels_of(cohort, subject))[1]
    return parts(fit.lungs, true, height_mm, subject) | certainty(fit, true)


def parts(lungs: Meshes, true: Meshes, height_mm: float, subject: str) -> Numbers:
    """ASSD above and below a height."""
    rng, above, below = subject_rng(subject, 7), [], []
    for name, mesh in true.items():
        for here, other in ((mesh, lungs[name]), (lungs[name], mesh)):
            points = sample_surface(here, N_SURFACE, rng=rng).points
            distance = closest_points(other, points).distance
            above.append(distance[points[:, 2] > height_mm].mean())
            below.append(distance[points[:, 2] <= height_mm].mean())
    return {"assd_mm": assd(lungs, true, subject), "seen_mm": float(np.mean(above)), "unseen_mm": float(np.mean(below))}


def three_slices(labels: Volume) -> Volume:
    """An axial and a coronal slice through the middle of both lungs, a sagittal one through that of the right lung."""
    kept = np.zeros(labels.voxels.shape, dtype=bool)
    middle = np.argwhere(labels.voxels > 0).mean(axis=0).round().astype(int)
    right = np.argwhere(labels.voxels == 2).mean(axis=0).round().astype(int)
    kept[right[0]] = kept[:, middle[1]] = kept[:, :, middle[2]] = True
    return labels.with_voxels(np.where(kept, labels.voxels, 0).astype(labels.voxels.dtype))


def of_left_lung(model: ModelBundle, cohort: Cohort, subject: str) -> Fit:
    points, structure = observed_points(cohort, subject, EvaluationConfig(points=2500))
    seen = points[structure == cohort.structures.index("left_lung")][:1000]
    return fit_points(model, seen, ["left_lung"] * len(seen), spacing_mm=SPACING_MM)


def right_judged(fit: Fit, cohort: Cohort, subject: str) -> Numbers:
    """The right lung's ASSD from the left lung's points, beside the mean shape's and the mirrored left lung's."""
    true, mean = cohort.meshes(subject), mean_shape(fit.model, SPACING_MM).meshes
    offset = true["left_lung"].vertices.mean(axis=0) - mean["left_lung"].vertices.mean(axis=0)
    placed = WorldMesh(mean["right_lung"].vertices + offset, mean["right_lung"].faces)
    left = true["left_lung"]
    turned = left.vertices * np.array([-1.0, 1.0, 1.0])
    at = placed.vertices.mean(axis=0) - turned.mean(axis=0)
    mirrored = WorldMesh(turned + at, left.faces[:, ::-1])
    goal = {"right_lung": true["right_lung"]}
    own = assd({"right_lung": fit.lungs["right_lung"]}, goal, subject)
    others = {"mean_shape_mm": placed, "mirrored_left_mm": mirrored}
    return (
        {"assd_mm": own}
        | {name: assd({"right_lung": mesh}, goal, subject) for name, mesh in others.items()}
        | certainty(fit, true)
    )


CUT, LEFT = "mask without the lowest quarter", "left lung's 1,000 points"
FITS: dict[str, Callable[[ModelBundle, Cohort, str], Fit]] = {
    "5,000 points": partial(of_points, n_points=5000, change=unchanged),
    "500 points": partial(of_points, n_points=500, change=unchanged),
    "100 points": partial(of_points, n_points=100, change=unchanged),
    "50 points": partial(of_points, n_points=50, change=unchanged),
    "5,000 points, 2 mm noise": partial(of_points, n_points=5000, change=noisy),
    "5,000 points, 5 % outliers": partial(of_points, n_points=5000, change=with_outliers),
    "5,000 points, 2 mm noise and 5 % outliers": partial(of_points, n_points=5000, change=both),
    "full mask": partial(of_mask, change=lambda labels: labels),
    CUT: partial(of_mask, change=lambda labels: without_lowest_quarter(labels)[0]),
    "three orthogonal slices": partial(of_mask, change=three_slices),
    LEFT: of_left_lung,
}
TURNED = {
    "5,000 points, turned by 20 degrees": partial(turned, n_points=5000),
    "100 points, turned by 20 degrees": partial(turned, n_points=100),
}
KINDS = (*FITS, *TURNED)
JUDGED = {CUT: cut_judged, LEFT: right_judged}
ERRORS = {CUT: "unseen_mm"}
"""What a kind is judged by, if not by the ASSD of all that was reconstructed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, each on one core")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS), help="kinds of evidence")
    parser.add_argument("--subjects", nargs="+", help="default: all test subjects")
    given = parser.parse_args()
    cohort, model = Cohort(given.cohort), read_bundle(given.model)
    subjects: dict[str, dict[str, Numbers]] = json.loads(given.out.read_text()) if given.out.exists() else {}
    tasks = [
        joblib.delayed(measure)(model, cohort, subject, kind)
        for kind in given.only
        for subject in given.subjects or cohort.subjects("test")
        if kind not in subjects.get(subject, {})
    ]
    for subject, kind, found in joblib.Parallel(n_jobs=given.jobs, return_as="generator_unordered")(tasks):
        print(f"{subject}, {kind}: {found['assd_mm']:.2f}", flush=True)
        subjects.setdefault(subject, {})[kind] = found
        whole = {name: {key: kinds[key] for key in KINDS if key in kinds} for name, kinds in sorted(subjects.items())}
        write_text(given.out, json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()

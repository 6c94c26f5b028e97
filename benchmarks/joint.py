"""Unseen lungs from several kinds of evidence in one fit, each part alone beside it.

python benchmarks/joint.py --cohort WORK/cohort --model WORK/atlas --lungs ../shared/data/lungs --out joint.raw.json

Subjects with radiographs only. What the file holds already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import torch

from evidence import assd, certainty, three_slices
from lpm.evaluation.evaluate import EvaluationConfig, observed_points, subject_rng
from lpm.evaluation.xray_subjects import read_subject
from lpm.evaluation.xrays import compare
from lpm.files.atomic import write_text
from lpm.files.volumes import read_volume
from lpm.fitting.evidence.masks import observe_mask
from lpm.fitting.evidence.observation import Observation
from lpm.fitting.evidence.points import observe_points
from lpm.fitting.fit import Fit
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.preparation.cohort import Cohort
from lpm.xray.evidence import observe_xray
from lpm.xray.fit import Evidence, fit_evidence
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import load_reader

Numbers = dict[str, float]
SHIFT_MM = 100.0


@dataclass(frozen=True)
class Case:
    """A subject and all that can be observed of it."""

    model: ModelBundle
    cohort: Cohort
    subject: str
    pictures: Mapping[str, Radiograph]

    @property
    def true(self) -> dict[str, WorldMesh]:
        """Its lungs."""
        return self.cohort.meshes(self.subject)

    def points(self, n: int) -> Observation:
        """Surface points, sides unknown."""
        return observe_points(self.model, observed_points(self.cohort, self.subject, EvaluationConfig(points=n))[0])

    def left(self) -> Observation:
        """Points of the left lung alone."""
        points, structure = observed_points(self.cohort, self.subject, EvaluationConfig(points=2500))
        seen = points[structure == self.cohort.structures.index("left_lung")][:1000]
        return observe_points(self.model, seen, ["left_lung"] * len(seen))

    def slices(self) -> Observation:
        """Three orthogonal slices of the label map."""
        labels = read_volume(self.cohort.path(self.subject, "labels.nii.gz"))
        return observe_mask(self.model, three_slices(labels), rng=subject_rng(self.subject, 6))

    def seen(self, side: str, *, placed: bool = True) -> Evidence:
        """A radiograph; without a place, its middle lies at the origin of a world of its own."""
        picture = self.pictures[side]
        if not placed:
            picture = replace(picture, view=None, mm_per_px=picture.spacing_mm)
        return observe_xray(self.model, picture, reader=load_reader())

    @property
    def shift_mm(self) -> np.ndarray:
        """How far the world of an unplaced picture lies from the patient's, in the picture's plane."""
        right, up = subject_rng(self.subject, 8).uniform(-SHIFT_MM, SHIFT_MM, 2)
        return np.array([right, 0.0, up])


def observe(case: Case, kind: str) -> list[Evidence]:
    """Evidence by the words of a kind."""
    makers: dict[str, Callable[[], Evidence]] = {
        "50 points": lambda: case.points(50),
        "5,000 points": lambda: case.points(5000),
        "left lung's 1,000 points": case.left,
        "three slices": case.slices,
        "frontal": lambda: case.seen("frontal"),
        "lateral": lambda: case.seen("lateral"),
        "unplaced frontal": lambda: case.seen("frontal", placed=False),
    }
    found = [makers[part]() for part in kind.split(" + ")]
    there = case.shift_mm if "unplaced" in kind else np.zeros(3)
    return [
        replace(each, points_mm=each.points_mm + there) if isinstance(each, Observation) else each for each in found
    ]


KINDS = (
    "50 points",
    "frontal",
    "50 points + frontal",
    "three slices",
    "frontal + lateral",
    "three slices + frontal + lateral",
    "three slices + unplaced frontal",
    "left lung's 1,000 points",
    "left lung's 1,000 points + frontal",
    "5,000 points",
    "5,000 points + frontal + lateral",
)


def measure(case: Case, kind: str) -> tuple[str, str, Numbers]:
    """One fit, on one core."""
    torch.set_num_threads(1)
    started = time.process_time()
    fit = fit_evidence(case.model, observe(case, kind))
    seconds = time.process_time() - started
    return case.subject, kind, scores(fit, case, kind) | {"seconds": seconds}


def scores(fit: Fit, case: Case, kind: str) -> Numbers:
    """Radiographs alone are compared after their middles are laid on each other."""
    there = case.shift_mm if "unplaced" in kind else np.zeros(3)
    true = {name: WorldMesh(mesh.vertices + there, mesh.faces) for name, mesh in case.true.items()}
    alone = kind.startswith("frontal")
    found = compare(fit.lungs, true).assd_mm if alone else assd(fit.lungs, true, case.subject)
    right = {"right_lung": fit.lungs["right_lung"]}
    goal = {"right_lung": true["right_lung"]}
    sure = certainty(fit, true)
    return {
        "assd_mm": float(found or np.nan),
        "right_mm": assd(right, goal, case.subject),
        "covered": sure["covered"],
        "width_percent": sure["width_percent"],
        "doubted": float(bool(fit.notes)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lungs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="test", choices=("train", "test"))
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, each on one core")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS))
    given = parser.parse_args()
    cohort, model = Cohort(given.cohort), read_bundle(given.model)
    names = [name for name in cohort.subjects(given.split) if (given.lungs / name / "views.json").exists()]
    cases = [Case(model, cohort, name, read_subject(given.lungs / name).radiographs) for name in names]
    done: dict[str, dict[str, Numbers]] = json.loads(given.out.read_text()) if given.out.exists() else {}
    tasks = [
        joblib.delayed(measure)(case, kind)
        for kind in given.only
        for case in cases
        if kind not in done.get(case.subject, {})
    ]
    for subject, kind, found in joblib.Parallel(n_jobs=given.jobs, return_as="generator_unordered")(tasks):
        print(f"{subject}, {kind}: {found['assd_mm']:.2f}, right {found['right_mm']:.2f}", flush=True)
        done.setdefault(subject, {})[kind] = found
        whole = {name: {key: kinds[key] for key in KINDS if key in kinds} for name, kinds in sorted(done.items())}
        write_text(given.out, json.dumps(whole, indent=1) + "\n")
    for kind in KINDS:
        rows = [kinds[kind] for kinds in done.values() if kind in kinds]
        if rows:
            told = ", ".join(f"{key} {np.mean([row[key] for row in rows]):.2f}" for key in rows[0])
            print(f"{kind} ({len(rows)}): {told}")


if __name__ == "__main__":
    main()

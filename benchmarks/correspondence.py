"""Quality of meshes in correspondence: the lungs of all subjects, and lungs in two breaths.

python benchmarks/correspondence.py --lungs FOLDER --breath WORK/breath --work WORK/correspondence --out OUT.json

Lungs: a folder for each subject with `labels.nii.gz`; fitted with 2,000 points and a lattice of 3 mm. Breath: the fits
of breath.py. Seed 0. Subjects that are done are kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import lpm
from lpm.fitting.corresponding import corresponding
from lpm.fitting.evidence.masks import MaskFitConfig
from lpm.fitting.fitted_field import FittedField
from lpm.geometry.distances import closest_points

CONFIG = MaskFitConfig(n_points=2000, spacing_mm=3.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--lungs", "--breath", "--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    given = parser.parse_args()
    model = lpm.load("lungs-v1")  # which knows none of these patients
    lungs = [path.parent for path in sorted(given.lungs.glob("*/labels.nii.gz"))]
    breaths = [path.parent for path in sorted(given.breath.glob("*/*/fit.json"))]
    found = {f"breath/{each.parent.name}/{each.name}": quality(model, each, given.work) for each in breaths}
    for each in lungs:
        found[f"lungs/{each.name}"] = quality(model, fitted(model, each, given.work), given.work)
    given.out.write_text(json.dumps({"fits": found}, indent=1) + "\n", encoding="utf-8")


def fitted(model: lpm.LungModel, subject: Path, work: Path) -> Path:
    folder = work / subject.name
    if not (folder / "fit.json").exists():
        labels = lpm.read_volume(subject / "labels.nii.gz")
        model.fit_mask(labels, rng=np.random.default_rng(0), config=CONFIG).write(folder)
    return folder


def quality(model: lpm.LungModel, folder: Path, work: Path) -> dict[str, float]:
    """Of both lungs together; distances also of the fitted surface to the meshes."""
    done = work / f"{folder.parent.name}-{folder.name}.json"
    if not done.exists():
        work.mkdir(parents=True, exist_ok=True)
        measured = measure(model.read_fit(folder), folder)
        done.write_text(json.dumps(measured), encoding="utf-8")
        print(folder.name, measured, flush=True)
    return dict(json.loads(done.read_text(encoding="utf-8")))


def measure(field: FittedField, folder: Path) -> dict[str, float]:
    found = corresponding(field, 8000)
    each = list(found.quality.values())
    back = [
        closest_points(mesh, lpm.read_mesh(folder / f"{name}.ply").vertices[::4]).distance
        for name, mesh in found.meshes.items()
    ]
    return {
        "distance_mm": float(np.mean([one.distance_mean_mm for one in each])),
        "back_mm": float(np.concatenate(back).mean()),
        "folded": sum(one.folded for one in each),
        "crossing": sum(one.crossing for one in each),
        "stretch_95": float(np.mean([one.edge_stretch_95 for one in each])),
        "closed": all(mesh.is_closed and mesh.enclosed_volume > 0 for mesh in found.meshes.values()),
        "faces": sum(len(mesh.faces) for mesh in found.meshes.values()),
    }


if __name__ == "__main__":
    main()

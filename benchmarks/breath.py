"""Landmarks of lungs in two breaths, carried from expiration to inspiration by the two masks alone.

python benchmarks/breath.py --data FOLDER --work WORK/breath --out OUT.json

The data: a folder for each patient with `exp/labels.nii.gz`, `insp/labels.nii.gz` and `landmarks.npz` (`exp_ras_mm`,
`insp_ras_mm`), and `split.json` with the names of training and test patients. Nothing is learned from landmarks; the
motion's numbers were chosen on the training patients.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import lpm
from lpm.fitting.corresponding import corresponding
from lpm.fitting.evidence.masks import MaskFitConfig
from lpm.fitting.fitted_field import FittedField
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume
from lpm.motion.breath import breathe

STATES = ("exp", "insp")
CONFIG = MaskFitConfig(n_points=6000, spacing_mm=2.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--data", "--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    given = parser.parse_args()
    model = lpm.load("lungs-v1")  # which knows none of these patients
    split = json.loads((given.data / "split.json").read_text(encoding="utf-8"))
    patients = {}
    for kind, names in sorted(split.items()):  # test before train
        for name in names:
            patients[name] = {"split": kind, **measured(model, given.data / name, given.work / name)}
            print(name, {key: value for key, value in patients[name].items() if key != "regions"}, flush=True)
    given.out.write_text(json.dumps({"patients": patients}, indent=1) + "\n", encoding="utf-8")


def measured(model: lpm.LungModel, data: Path, work: Path) -> dict[str, object]:
    """How well landmarks are met, and how the lungs move."""
    labels = [lpm.read_volume(data / state / "labels.nii.gz") for state in STATES]
    fields = [fitted(model, each, work / state) for each, state in zip(labels, STATES, strict=True)]
    with np.load(data / "landmarks.npz") as archive:
        before, after = archive["exp_ras_mm"], archive["insp_ras_mm"]
    started = time.process_time()
    breath = breathe(*fields)
    carried = breath.motion.points(before)
    seconds = time.process_time() - started
    seen = ~np.isnan(carried[:, 0])
    volumes = [[mesh.volume_ml for mesh in breath.at(share).values()] for share in np.linspace(0.0, 1.0, 10)]
    return {
        "unmoved_mm": off(before, after),
        "boxes_mm": off(boxes(labels, before), after),
        "carried_mm": off(carried[seen], after[seen]),
        "carried_p95_mm": float(np.quantile(errors(carried[seen], after[seen]), 0.95)),
        "outside": int((~seen).sum()),
        "volume_ml": [float(sum(each)) for each in volumes],
        "quality": {state: quality(model, field, work / state) for state, field in zip(STATES, fields, strict=True)},
        "regions": [
            {"structure": r.structure, "name": r.name, "moved_mm": r.beside_apices_mm} for r in breath.regions()
        ],
        "seconds": seconds,
    }


def fitted(model: lpm.LungModel, labels: Volume, folder: Path) -> FittedField:
    """Fit a mask, or read the fit again."""
    if not (folder / "fit.json").exists():
        model.fit_mask(labels, rng=np.random.default_rng(0), config=CONFIG).write(folder)
    return model.read_fit(folder)


def quality(model: lpm.LungModel, field: FittedField, folder: Path) -> dict[str, float]:
    """Of the meshes in correspondence, both lungs together; distances also of the fitted surface to them."""
    found = corresponding(field, 8000)
    back = [
        closest_points(mesh, lpm.read_mesh(folder / f"{name}.ply").vertices).distance
        for name, mesh in found.meshes.items()
    ]
    each = list(found.quality.values())
    return {
        "distance_mm": float(np.mean([one.distance_mean_mm for one in each])),
        "back_mm": float(np.concatenate(back).mean()),
        "folded": sum(one.folded for one in each),
        "crossing": sum(one.crossing for one in each),
        "faces": sum(len(mesh.faces) for mesh in found.meshes.values()),
    }


def boxes(labels: list[Volume], points: Floats) -> Floats:
    """Each lung's box stretched onto the other's."""
    places = [{value: each.to_world(np.argwhere(each.voxels == value)) for value in (1, 2)} for each in labels]
    away = [np.abs(points[:, 0] - places[0][value][:, 0].mean()) for value in (1, 2)]
    moved = points.copy()
    for value in (1, 2):
        own = np.argmin(away, axis=0) == value - 1
        low, size = places[0][value].min(axis=0), np.ptp(places[0][value], axis=0)
        end, end_size = places[1][value].min(axis=0), np.ptp(places[1][value], axis=0)
        moved[own] = end + (points[own] - low) / size * end_size
    return moved


def errors(carried: Floats, true: Floats) -> Floats:
    """(n,) distances after the mean offset is removed: the states' relative shift is not known."""
    away = carried - true
    return np.asarray(np.linalg.norm(away - away.mean(axis=0), axis=1))


def off(carried: Floats, true: Floats) -> float:
    return float(errors(carried, true).mean())


if __name__ == "__main__":
    main()

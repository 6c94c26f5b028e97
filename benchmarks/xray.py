"""Lungs from the radiographs of unseen subjects, beside baselines: one table by one command.

python benchmarks/xray.py --lungs DATA/lungs --model W/atlas --out xray.raw.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

from lpm.evaluation.metrics import MetricsConfig, score
from lpm.files.atomic import write_text
from lpm.files.views import read_views
from lpm.files.volumes import read_volume
from lpm.files.xrays import read_xray
from lpm.fitting.fit import mean_shape
from lpm.fitting.xray import Radiograph, XrayFit, fit_xray
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.model.lung_field import Reading, load_reader
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import DEFAULT_STRUCTURES, MeshingConfig
from lpm.preparation.meshing import mesh_structure

Meshes = Mapping[str, WorldMesh]
VIEWS = {"frontal": ("frontal",), "frontal + lateral": ("frontal", "lateral")}


@dataclass(frozen=True)
class Subject:
    """True lungs, and radiographs placed in their world."""

    name: str
    lungs: Meshes
    radiographs: dict[str, Radiograph]


def read_subject(lungs: Path, name: str) -> Subject:
    labels = read_volume(lungs / name / "labels.nii.gz")
    masks = clean_labels(labels, dict(DEFAULT_STRUCTURES), name, need_all=True, plain=False).masks
    views = read_views(lungs / name / "views.json")
    pictures = {side: read_xray(lungs / name / f"{side}.png").pixels for side in ("frontal", "lateral")}
    radiographs = {side: Radiograph(pictures[side], side, view=views[side]) for side in pictures}  # type: ignore[arg-type]
    return Subject(name, {key: mesh_structure(mask, MeshingConfig())[0] for key, mask in masks.items()}, radiographs)


def ml(meshes: Meshes) -> float:
    return sum(mesh.volume_ml for mesh in meshes.values())


def sides_mm(meshes: Meshes) -> Floats:
    vertices = np.concatenate([mesh.vertices for mesh in meshes.values()])
    return np.ptp(vertices, axis=0)


def onto(meshes: Meshes, true: Meshes) -> dict[str, WorldMesh]:
    """Moved, and no more, so that the middles of the boxes lie on each other's."""

    def middle(of: Meshes) -> Floats:
        return np.mean([0.5 * (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) for mesh in of.values()], axis=0)

    shift = middle(true) - middle(meshes)
    return {name: WorldMesh(mesh.vertices + shift, mesh.faces) for name, mesh in meshes.items()}


def compared(meshes: Meshes, true: Meshes) -> dict[str, float]:
    found = score(onto(meshes, true), dict(true), MetricsConfig(), rng=np.random.default_rng(0))
    off = sides_mm(meshes) / sides_mm(true) - 1.0
    return {
        "assd_mm": found.assd_mm,
        "hd95_mm": found.hd95_mm,
        "dice": found.dice,
        "volume": ml(meshes) / ml(true) - 1.0,
        "width": off[0],
        "depth": off[1],
        "height": off[2],
    }


def field_size_mm(reading: Reading, radiograph: Radiograph) -> Floats:
    """(3,) width, height and area of the visible field of a frontal picture: mm, mm, mm2."""
    spacing = radiograph.in_patient_mm or (1.0, 1.0)
    row_mm, column_mm = (step * mm for step, mm in zip(reading.step_px, spacing, strict=True))
    shown = (reading.field > 0.5).any(axis=0)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    return np.array([np.ptp(columns) * column_mm, np.ptp(rows) * row_mm, shown.sum() * row_mm * column_mm])


@dataclass(frozen=True)
class Baselines:
    """What needs no fit: learned from the training subjects' frontal pictures and lungs."""

    mean: dict[str, WorldMesh]
    mean_field_mm: Floats
    coefficients: Floats

    @classmethod
    def learn(cls, model: ModelBundle, sizes_mm: Sequence[Floats], volumes_ml: Sequence[float]) -> Baselines:
        """From fields' sizes and true volumes."""
        logs = np.log(np.stack(sizes_mm))[:, 1:]
        rows = np.column_stack([np.ones(len(logs)), logs])
        coefficients = np.linalg.lstsq(rows, np.log(volumes_ml), rcond=None)[0]
        return cls(mean_shape(model, 2.0).meshes, np.mean(sizes_mm, axis=0), coefficients)

    def scaled(self, size_mm: Floats) -> dict[str, WorldMesh]:
        """The mean shape with the field's width and height; its depth by the mean of the two factors."""
        width, height = size_mm[:2] / self.mean_field_mm[:2]
        factors = np.array([width, 0.5 * (width + height), height])
        return {name: WorldMesh(mesh.vertices * factors, mesh.faces) for name, mesh in self.mean.items()}

    def volume_ml(self, size_mm: Floats) -> float:
        """By regression on the field's height and area."""
        return float(np.exp(self.coefficients @ [1.0, *np.log(size_mm[1:])]))


def measured(lungs: Path, name: str, model: Path) -> tuple[str, dict[str, Any]]:
    torch.set_num_threads(1)
    subject, bundle, reader = read_subject(lungs, name), read_bundle(model), load_reader()
    rows: dict[str, Any] = {}
    for key, sides in VIEWS.items():
        started = time.perf_counter()
        fit: XrayFit = fit_xray(bundle, [subject.radiographs[side] for side in sides], reader=reader)
        low, high = fit.interval("total_volume_ml")
        rows[key] = compared(fit.lungs, subject.lungs) | {
            "seconds": time.perf_counter() - started,
            "holds": float(low <= ml(subject.lungs) <= high),
            "interval": (high - low) / ml(fit.lungs),
            "doubts": list(fit.notes),
        }
    return name, rows


def sizes(lungs: Path, name: str) -> tuple[Floats, float]:
    """What the baselines learn from: the size of the frontal field, and the true volume, ml."""
    torch.set_num_threads(1)
    subject = read_subject(lungs, name)
    radiograph = subject.radiographs["frontal"]
    return field_size_mm(load_reader().frontal(radiograph.pixels, radiograph.in_patient_mm), radiograph), ml(
        subject.lungs
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lungs", type=Path, required=True, help="folder of subjects with radiographs, and split.json")
    parser.add_argument("--model", type=Path, required=True, help="trained on the train split")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    split = json.loads((given.lungs / "split.json").read_text())
    train, test = (
        [name for name in split[part] if (given.lungs / name / "views.json").exists()] for part in ("train", "test")
    )
    parallel = joblib.Parallel(n_jobs=given.jobs, return_as="generator")
    rows = {}
    for name, found in parallel(joblib.delayed(measured)(given.lungs, name, given.model) for name in test):
        rows[name] = found
        print(name, found, flush=True)
    known = dict(zip(train + test, parallel(joblib.delayed(sizes)(given.lungs, n) for n in train + test), strict=True))
    baselines = Baselines.learn(read_bundle(given.model), *zip(*(known[name] for name in train), strict=True))
    for name in test:
        true, size_mm = read_subject(given.lungs, name).lungs, known[name][0]
        rows[name]["mean shape"] = compared(baselines.mean, true)
        rows[name]["mean shape, scaled"] = compared(baselines.scaled(size_mm), true)
        rows[name]["regression"] = {"volume": baselines.volume_ml(size_mm) / known[name][1] - 1.0}
    write_text(given.out, json.dumps({"subjects": rows, "n_train": len(train)}, indent=1) + "\n")


if __name__ == "__main__":
    main()

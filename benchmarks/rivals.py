"""Other packages on the same points as LPM: what they need, and what they give."""

from __future__ import annotations

import json
import subprocess
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np

from lpm.evaluation.evaluate import EvaluationConfig, observed_points, subject_rng
from lpm.evaluation.metrics import MetricsConfig, score
from lpm.fitting.config import FitConfig
from lpm.fitting.extraction import extract_fit
from lpm.fitting.fitted_shape import fit_shape
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Indices, WorldMesh, joined
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.model.correspondence import template_surfaces
from lpm.preparation.cohort import Cohort

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
FACES_EACH = 20_000
PACKAGES = (
    "numpy<2",
    "scipy<1.14",
    "scikit-learn==1.2.0",
    "scikit-image==0.22.0",
    "networkx",
    "vedo",
    "trimesh",
)
PYSSAM = "pyssam==0.2.3"
METRICS = MetricsConfig(n_points=1000, n_surface=20_000, voxel_mm=3.0)


def measure_deepsdf(work: Path, python: str) -> Json:
    """DeepSDFStruct's DeepSDF and our fit on 5,000 points of each test lung: errors and seconds."""
    cohort, model = Cohort(work / "cohort"), read_bundle(work / "atlas")
    subjects = cohort.subjects("test")
    seen = {name: observed_points(cohort, name, EvaluationConfig(points=5000))[0] for name in subjects}
    np.savez(work / "points.npz", **seen)
    script = ROOT / "benchmarks" / "deepsdfstruct.py"
    given = ["--cohort", work / "cohort", "--points", work / "points.npz", "--work", work / "deepsdf"]
    subprocess.run([python, script, *given], check=True)
    result, rows = json.loads((work / "deepsdf" / "result.json").read_text()), {}
    for name in subjects:
        started = time.perf_counter()
        shape = fit_shape(model, seen[name], np.full(len(seen[name]), -1), FitConfig())
        seconds = time.perf_counter() - started
        own = extract_fit(model, shape, model.structures, 1.5).meshes.values()
        theirs = np.load(work / "deepsdf" / f"{name}.npz", allow_pickle=False)
        true, metrics = (
            joined(cohort.meshes(name).values()),
            MetricsConfig(n_points=1000, n_surface=20_000, voxel_mm=4.0),
        )
        meshes = {"own": joined(own), "theirs": WorldMesh(theirs["vertices"], theirs["faces"])}
        rows[name] = {
            key: score({"lungs": mesh}, {"lungs": true}, metrics, rng=subject_rng(name, 4)).assd_mm
            for key, mesh in meshes.items()
        } | {"own_seconds": seconds, "theirs_seconds": result["fit_seconds"][name]}
    return {"subjects": rows, "training_seconds": result["training_seconds"]}


def measure_pyssam(work: Path, counts: tuple[int, ...]) -> Json:
    """Fit pyssam's model of the training lungs to points of the test lungs; errors, seconds, memory."""
    cohort, model, folder = Cohort(work / "cohort"), read_bundle(work / "atlas"), work / "pyssam"
    folder.mkdir(exist_ok=True)
    landmarks, faces = corresponding_points(model, cohort)
    np.savez(folder / "training.npz", landmarks=np.stack([np.concatenate(each) for each in landmarks]))
    subjects = cohort.subjects("test")
    seen = {
        f"{name} {n}": observed_points(cohort, name, EvaluationConfig(points=n))[0] for n in counts for name in subjects
    }
    np.savez(folder / "points.npz", **seen)
    script, out = ROOT / "benchmarks" / "pyssam_fit.py", folder / "fits"
    given = ["--training", folder / "training.npz", "--points", folder / "points.npz", "--out", out]
    subprocess.run([environment(folder / "env"), script, *given], check=True)
    result, fits = json.loads((out / "result.json").read_text()), np.load(out / "fits.npz", allow_pickle=False)
    ends = np.cumsum([len(part) for part in landmarks[0]])[:-1]
    rows = {}
    for case in seen:
        name = case.split(" ")[0]
        parts = zip(cohort.structures, np.split(fits[case], ends), faces, strict=True)
        lungs = {structure: WorldMesh(vertices, triangles) for structure, vertices, triangles in parts}
        scores = score(lungs, cohort.meshes(name), METRICS, rng=subject_rng(name, 4))
        rows[case] = {"assd_mm": scores.assd_mm, "hd95_mm": scores.hd95_mm, "dice": scores.dice}
        rows[case]["seconds"] = result["fit_seconds"][case]
    found = {key: result[key] for key in ("modes", "training_seconds", "peak_gib")}
    found |= {"counts": list(counts), "landmarks": len(fits[next(iter(seen))]), "own_mm": own_errors(work, counts)}
    return found | {"cases": rows}


def own_errors(work: Path, counts: tuple[int, ...]) -> Json:
    """LPM's errors from the same points, where the step `evidence` has run."""
    path = work / "evidence.raw.json"
    subjects = json.loads(path.read_text()).values() if path.exists() else []
    kinds = {n: [one[f"{n:,} points"]["assd_mm"] for one in subjects if f"{n:,} points" in one] for n in counts}
    return {str(n): float(np.mean(values)) for n, values in kinds.items() if values}


def corresponding_points(model: ModelBundle, cohort: Cohort) -> tuple[list[list[Floats]], list[Indices]]:
    """Vertices of the average carried to each training lung and put on its surface, and their triangles."""
    surfaces = template_surfaces(model, FACES_EACH)
    found = []
    for subject, code in zip(model.manifest.training_subjects, model.codes, strict=True):
        meshes = surfaces.meshes(code, cohort.world_from_model(subject), model.structures)
        true = cohort.meshes(subject)
        found.append([closest_points(true[name], mesh.vertices).point for name, mesh in meshes.items()])
    return found, list(surfaces.faces)


def environment(folder: Path) -> Path:
    """A Python that has pyssam; made once."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        venv.create(folder, with_pip=True, clear=True, symlinks=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *PACKAGES], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", PYSSAM], check=True)
        (folder / "made").touch()
    return python

"""DeepSDF as DeepSDFStruct packages it: trained on the cohort's training lungs, fitted by L-BFGS to unseen points.

Runs in an environment of its own, for the package brings some thirty others (docs/benchmarks.md, `run.py`):

    pip install torch==2.13.0 gustaf splinepy vedo libigl tetgenpy meshio numba napf mmapy triangle vtk torch-fem \
        pandas mlflow onnx natsort imageio huggingface-hub plyfile scikit-image trimesh
    pip install --no-deps DeepSDFStruct
    python benchmarks/deepsdfstruct.py --cohort WORK/cohort --points WORK/points.npz --work WORK/deepsdf

It learns the distance to the union of both lungs. `points.npz` holds the surface points of each test subject; meshes
and seconds are written beside the model.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from DeepSDFStruct.deep_sdf.models import DeepSDFModel
from DeepSDFStruct.deep_sdf.reconstruction import reconstruct_from_samples
from DeepSDFStruct.deep_sdf.training import train_deep_sdf
from DeepSDFStruct.deep_sdf.workspace import load_latent_vectors, load_trained_model
from DeepSDFStruct.sampling import SampledSDF
from DeepSDFStruct.SDF import SDFfromDeepSDF
from skimage.measure import marching_cubes

Json = dict[str, Any]
N_SAMPLES = 60_000
SPECS: Json = {
    "Description": "lungs",
    "NetworkArch": "deep_sdf_decoder",
    "TrainSplit": "split.json",
    "NetworkSpecs": {
        "dims": [256] * 6,
        "dropout": [],
        "dropout_prob": 0.0,
        "norm_layers": [0, 1, 2, 3, 4, 5],
        "latent_in": [3],
        "xyz_in_all": False,
        "use_tanh": False,
        "latent_dropout": False,
        "weight_norm": True,
        "geom_dimension": 3,
    },
    "CodeLength": 64,
    "SnapshotFrequency": 10_000,
    "AdditionalSnapshots": [],
    "LearningRateSchedule": [
        {"Type": "Step", "Initial": 0.001, "Interval": 70, "Factor": 0.5},
        {"Type": "Step", "Initial": 0.005, "Interval": 70, "Factor": 0.5},
    ],
    "SamplesPerScene": 4096,
    "ScenesPerBatch": 8,
    "DataLoaderThreads": 0,
    "ClampingDistance": 0.1,
    "CodeInitStdDev": 0.01,
    "CodeRegularization": True,
    "CodeRegularizationLambda": 1e-4,
    "seed": 0,
}


def write_data(cohort: Path, folder: Path) -> None:
    """Samples of the training lungs' union about each subject's centre, at the cohort's scale."""
    manifest = json.loads((cohort / "cohort.json").read_text())
    names = [name for name, split in manifest["split"].items() if split == "train"]
    there = folder / "SdfSamples" / "lungs" / "train"
    there.mkdir(parents=True, exist_ok=True)
    for name in names:
        given = np.load(cohort / "subjects" / name / "off_surface.npz", allow_pickle=False)
        points = (given["points_mm"] - manifest["subjects"][name]["center_mm"]) / manifest["scale_mm"]
        distance = given["signed_distance_mm"].min(axis=1) / manifest["scale_mm"]
        rows = np.c_[points, distance].astype(np.float32)
        rows = rows[np.random.default_rng(0).permutation(len(rows))[:N_SAMPLES]]
        np.savez(there / name, pos=rows[rows[:, 3] > 0], neg=rows[rows[:, 3] <= 0])
    (folder / "split.json").write_text(json.dumps({"lungs": {"train": names}}))


def fit(model: DeepSDFModel, points: np.ndarray) -> tuple[SDFfromDeepSDF, float]:
    """The union's field through surface points, and the seconds it took."""
    sdf = SDFfromDeepSDF(model)
    sdf.set_latent_vec(model._trained_latent_vectors.mean(dim=0).clone())
    places = torch.from_numpy(points).float()
    samples = SampledSDF(samples=places, distances=torch.zeros(len(places), 1))
    started = time.perf_counter()
    reconstruct_from_samples(
        sdf,
        samples,
        num_iterations=10,
        lr=1.0,
        loss_fn="L1",
        batch_size=len(places),
        optimizer_name="lbfgs",
        code_reg_lambda=1e-4,
    )
    return sdf, time.perf_counter() - started


def surface(sdf: SDFfromDeepSDF, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Its surface in the model's frame."""
    axis = np.arange(-1.0, 1.0 + spacing, spacing)
    nodes = torch.from_numpy(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)).float()
    with torch.no_grad():
        values = torch.cat([sdf(part)[:, 0] for part in nodes.split(32_768)]).numpy().reshape([len(axis)] * 3)
    vertices, faces, _, _ = marching_cubes(values, 0.0, spacing=(spacing,) * 3, gradient_direction="ascent")
    return vertices + axis[0], faces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--points", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=180)
    given = parser.parse_args()
    experiment, started = given.work / "experiment", time.perf_counter()
    if not (experiment / "ModelParameters" / "latest.pth").exists():
        experiment.mkdir(parents=True, exist_ok=True)
        write_data(given.cohort, given.work / "data")
        (experiment / "specs.json").write_text(json.dumps(SPECS | {"NumEpochs": given.epochs}))
        train_deep_sdf(str(experiment), str(given.work / "data"), device="cpu")
        (experiment / "seconds.json").write_text(json.dumps(time.perf_counter() - started))
    decoder = load_trained_model(str(experiment), "latest", device="cpu").eval()
    model = DeepSDFModel(decoder, load_latent_vectors(str(experiment), "latest", "cpu"), "cpu")
    manifest = json.loads((given.cohort / "cohort.json").read_text())
    seen, seconds = np.load(given.points, allow_pickle=False), {}
    for name in seen.files:
        center, scale = seen[name].mean(axis=0), manifest["scale_mm"]
        sdf, seconds[name] = fit(model, (seen[name] - center) / scale)
        vertices, faces = surface(sdf, 2.5 / scale)
        np.savez(given.work / f"{name}.npz", vertices=vertices * scale + center, faces=faces)
    training = json.loads((experiment / "seconds.json").read_text())
    (given.work / "result.json").write_text(json.dumps({"fit_seconds": seconds, "training_seconds": training}))


if __name__ == "__main__":
    main()

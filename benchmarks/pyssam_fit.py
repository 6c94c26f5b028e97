"""A statistical shape model as pyssam packages it: PCA of corresponding points, fitted to unseen points by ICP.

Runs in an environment of its own, for the package is AGPL and pins old versions (`run.py` makes it):

    pip install "numpy<2" "scipy<1.14" scikit-learn==1.2.0 scikit-image==0.22.0 networkx vedo trimesh
    pip install --no-deps pyssam==0.2.3
    python benchmarks/pyssam_fit.py --training WORK/pyssam/training.npz --points WORK/pyssam/points.npz \
        --out WORK/pyssam/fits

`training.npz` holds (n, p, 3) corresponding points of the training lungs, both lungs one after the other; `points.npz`
(m, 3) surface points of each case. pyssam builds the model and forms its shapes; it has no search of its own, so pose
(similarity) and modes follow nearest points in turn, the modes with their variances for a prior.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import pyssam
from scipy.spatial import cKDTree

ROUNDS = 60
NOISE_MM = 3.0
INDEPENDENT_POINTS = 300
"""More points than these on the lungs tell nothing new: as for the PCA of SDF grids."""
VARIANCE = 0.999


class ShapeModel:
    """pyssam's, with the scale that it takes out given back to the pose."""

    def __init__(self, training: np.ndarray) -> None:
        self.ssm = pyssam.SSM(training)
        self.ssm.create_pca_model(self.ssm.landmarks_columns_scale, VARIANCE)
        self.n_modes = min(int(self.ssm.required_mode_number) + 1, len(training) - 1)
        self.mean = self.ssm.compute_dataset_mean()
        self.scale_mm = float(np.mean((training - training.mean(axis=1, keepdims=True)).std(axis=(1, 2))))
        modes = self.ssm.pca_model_components[: self.n_modes] * self.ssm.std[: self.n_modes, None]
        self.modes = modes.reshape(self.n_modes, -1, 3)

    def shape(self, parameters: np.ndarray) -> np.ndarray:
        """(p, 3) the model's points, its own units."""
        components = self.ssm.pca_model_components
        return self.ssm.morph_model(self.mean, components, parameters, self.n_modes).reshape(-1, 3)

    def fit(self, points: np.ndarray) -> np.ndarray:
        """(p, 3) the model's points, mm, after pose and modes have followed the nearest points."""
        parameters, rotation, scale = np.zeros(self.n_modes), np.eye(3), self.scale_mm
        shift = points.mean(axis=0)
        balance = NOISE_MM**2 * max(len(points) / INDEPENDENT_POINTS, 1.0)
        for _ in range(ROUNDS):
            shape = self.shape(parameters)
            nearest = cKDTree(scale * shape @ rotation.T + shift).query(points)[1]
            rotation, scale, shift = similarity(shape[nearest], points)
            inside = (points - shift) @ rotation / scale
            rows = self.modes[:, nearest].reshape(self.n_modes, -1)
            wrong = (inside - self.mean.reshape(-1, 3)[nearest]).ravel()
            normal = rows @ rows.T + balance / scale**2 * np.eye(self.n_modes)
            parameters = np.clip(np.linalg.solve(normal, rows @ wrong), -3.0, 3.0)
        return scale * self.shape(parameters) @ rotation.T + shift


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Rotation, scale and shift that take points to others best (Umeyama 1991)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    left, spread, right = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    scale = float((spread * sign).sum() / (a**2).sum())
    return rotation, scale, target.mean(axis=0) - scale * source.mean(axis=0) @ rotation.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--points", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    started = time.perf_counter()
    model = ShapeModel(np.load(given.training, allow_pickle=False)["landmarks"])
    training_seconds = time.perf_counter() - started
    seen, fits, seconds = np.load(given.points, allow_pickle=False), {}, {}
    for name in seen.files:
        started = time.perf_counter()
        fits[name] = model.fit(seen[name])
        seconds[name] = time.perf_counter() - started
    given.out.mkdir(parents=True, exist_ok=True)
    np.savez(given.out / "fits.npz", **fits)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = {"modes": model.n_modes, "training_seconds": training_seconds, "fit_seconds": seconds, "peak_gib": peak_gib}
    (given.out / "result.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()

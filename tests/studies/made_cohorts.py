"""Cohorts whose effects are known: two ellipsoids each, stretched, with the same triangles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import trimesh

from lpm.batch.subjects import SubjectTable
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.studies.cohort import Cohort, Lungs

CENTRES = {"left_lung": np.array([-75.0, 0.0, 0.0]), "right_lung": np.array([75.0, 4.0, -6.0])}
RADII = np.array([50.0, 70.0, 110.0])
_BALL = trimesh.creation.icosphere(2)


def lungs(name: str, scale: Floats, sigma_mm: float | None = None, shift: Floats | None = None) -> Lungs:
    """Two ellipsoids of their own size, placed and turned anyhow."""
    place = np.zeros(3) if shift is None else shift
    meshes = {}
    for structure, centre in CENTRES.items():
        meshes[structure] = WorldMesh((RADII * _BALL.vertices + centre) * scale + place, _BALL.faces)
    sigma = {} if sigma_mm is None else {key: np.full(len(mesh.vertices), sigma_mm) for key, mesh in meshes.items()}
    height = float(2.0 * RADII[2] * scale[2])
    measures = {"total_volume_ml": sum(mesh.volume_ml for mesh in meshes.values()), "height_mm": height}
    return Lungs(name, meshes, measures, {} if sigma_mm is None else {"height_mm": sigma_mm}, sigma)


def cohort(scales: Sequence[Floats], rng: np.random.Generator) -> Cohort:
    """Subjects s0, s1, ... in frames of their own."""
    return Cohort(tuple(lungs(f"s{i}", scale, shift=rng.normal(0.0, 30.0, 3)) for i, scale in enumerate(scales)))


def table(columns: Mapping[str, Sequence[object]], names: Sequence[str] | None = None) -> SubjectTable:
    """Rows of s0, s1, ... or of other names."""
    n = len(next(iter(columns.values())))
    names = names or [f"s{i}" for i in range(n)]
    rows = {name: {key: str(values[i]) for key, values in columns.items()} for i, name in enumerate(names)}
    return SubjectTable("table.csv", rows)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path

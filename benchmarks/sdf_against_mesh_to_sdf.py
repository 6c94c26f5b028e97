"""Signed distances: `lpm.geometry.distances.signed_distance` against the paper's library, mesh-to-sdf, on a lung.

    python benchmarks/sdf_against_mesh_to_sdf.py COHORT/subjects/ID/left_lung.ply --out sdf.json

Needs the extra ``benchmarks`` and, for the scan methods, an OpenGL that works without a screen: on Debian
``apt-get install libegl1 libgl1-mesa-dri`` (software rendering by Mesa; PYOPENGL_PLATFORM=egl is set here). OSMesa does
not work: pyrender 0.1.45 with its PyOpenGL 3.1.0 lacks OSMesaCreateContextAttribs.

mesh-to-sdf pays for its scans or samples once a mesh, so that its time a point falls with the number of points: the
default is the 250,000 of a prepared subject. A point there is 80 % near the surface (sigma 2 and 8 mm), 20 % anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("PYOPENGL_PLATFORM", "egl")

import igl
import mesh_to_sdf
import numpy as np
from numpy.typing import NDArray

from lpm.files.atomic import write_text
from lpm.files.meshes import read_mesh
from lpm.geometry.distances import signed_distance
from lpm.geometry.meshes import WorldMesh
from lpm.preparation.config import SamplingConfig
from lpm.preparation.sampling import sample_sdf

Floats = NDArray[np.float64]
METHODS = (("scan", "normal"), ("scan", "depth"), ("sample", "normal"))


def segment_distance(points: Floats, a: Floats, b: Floats) -> Floats:
    """(n, f) distances from points to segments."""
    along = b - a
    part = np.einsum("nfi,fi->nf", points[:, None] - a, along) / np.maximum((along**2).sum(axis=1), 1e-300)
    nearest = a + np.clip(part, 0.0, 1.0)[..., None] * along
    return np.asarray(np.linalg.norm(points[:, None] - nearest, axis=2))


def triangle_distance(points: Floats, corners: Floats) -> Floats:
    """(n,) distance from points to the nearest of all triangles, in float64, by trying every one.

    The distance to a triangle is that to its plane where the foot lies inside, else that to the nearest edge.
    """
    a, b, c = corners.transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    height = np.abs(np.einsum("nfi,fi->nf", points[:, None] - a, normal)) / np.maximum(length, 1e-300)
    is_over = np.tile(length > 0, (len(points), 1))
    for start, end in ((a, b), (b, c), (c, a)):
        inwards = np.cross(normal, end - start)
        is_over &= np.einsum("nfi,fi->nf", points[:, None] - start, inwards) >= 0
    edges = np.min([segment_distance(points, *edge) for edge in ((a, b), (b, c), (c, a))], axis=0)
    return np.asarray(np.where(is_over, height, edges).min(axis=1))


def exact_signed_distance(mesh: WorldMesh, points: Floats) -> Floats:
    """The truth: magnitude by trying every triangle, sign by the generalised winding number, both in float64."""
    batches = np.array_split(points, max(len(points) // 2, 1))
    magnitude = np.concatenate([triangle_distance(batch, mesh.corners) for batch in batches])
    is_inside = igl.winding_number(mesh.vertices, mesh.faces, points) > 0.5
    return np.where(is_inside, -magnitude, magnitude)


def paper_signed_distance(mesh: WorldMesh, points: Floats, surface: str, sign: str) -> Floats:
    """mesh-to-sdf as it is meant to be used: the mesh in the unit sphere, the result scaled back to mm."""
    center = 0.5 * (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0))
    radius = float(np.linalg.norm(mesh.vertices - center, axis=1).max())
    inside_ball = WorldMesh((mesh.vertices - center) / radius, mesh.faces).to_trimesh()
    distance = mesh_to_sdf.mesh_to_sdf(
        inside_ball, (points - center) / radius, surface_point_method=surface, sign_method=sign, bounding_radius=1.0
    )
    return np.asarray(distance, dtype=np.float64) * radius


def measure(name: str, work: Callable[[], Floats], repeats: int, truth: Floats) -> dict[str, Any]:
    """Time a method (the best of some repeats) and compare its first values with the truth."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - started)
    error = np.abs(found[: len(truth)] - truth)
    return {
        "method": name,
        "seconds": min(seconds),
        "us_per_point": 1e6 * min(seconds) / len(found),
        "max_error_mm": float(error.max()),
        "mean_error_mm": float(error.mean()),
        "wrong_signs": int(np.count_nonzero(np.sign(found[: len(truth)]) != np.sign(truth))),
    }


def compare(mesh: WorldMesh, n: int, n_exact: int, methods: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    """All methods on the same points; LPM first."""
    config = SamplingConfig(n_off_surface=n)
    points = sample_sdf({"lung": mesh}, config, rng=np.random.default_rng(0)).points_mm
    truth = exact_signed_distance(mesh, points[:n_exact])
    rows = [measure("lpm", lambda: signed_distance(mesh, points), 3, truth)]
    for surface, sign in methods:

        def paper(surface: str = surface, sign: str = sign) -> Floats:
            return paper_signed_distance(mesh, points, surface, sign)

        rows.append(measure(f"mesh-to-sdf {surface}, {sign}", paper, 1, truth))
    return [row | {"times_lpm": row["seconds"] / rows[0]["seconds"]} for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| method | s | us a point | times lpm | max error mm | mean error mm | wrong signs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = f"{row['seconds']:.2f} | {row['us_per_point']:.1f} | {row['times_lpm']:.0f}"
        errors = f"{row['max_error_mm']:.2g} | {row['mean_error_mm']:.2g} | {row['wrong_signs']}"
        lines.append(f"| {row['method']} | {numbers} | {errors} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mesh", type=Path, help="a lung's .ply of a prepared cohort")
    parser.add_argument("--points", type=int, default=250_000)
    parser.add_argument("--exact", type=int, default=300, help="points whose exact distance is computed")
    parser.add_argument("--methods", default=",".join("-".join(m) for m in METHODS), help="scan-normal,scan-depth,...")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    given = parser.parse_args()
    mesh = read_mesh(given.mesh)
    methods = tuple((surface, sign) for surface, sign in METHODS if f"{surface}-{sign}" in given.methods.split(","))
    rows = compare(mesh, given.points, given.exact, methods)
    about = {
        "mesh": given.mesh.name,
        "faces": len(mesh.faces),
        "points": given.points,
        "exact_points": given.exact,
        "cpus": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "python": platform.python_version(),
        "opengl": os.environ["PYOPENGL_PLATFORM"],
    }
    write_text(given.out, json.dumps(about | {"rows": rows}, indent=1) + "\n")
    print(f"{given.points:,} points, {len(mesh.faces):,} faces\n\n{table(rows)}")


if __name__ == "__main__":
    main()

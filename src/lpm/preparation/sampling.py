"""Surface points with normals, and off-surface points with signed distances to every structure (paper II.F, Fig. 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import signed_distance
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh, sample_surface
from lpm.preparation.config import SamplingConfig


@read_only_arrays
@dataclass(frozen=True, eq=False)
class StructureSurfaces:
    """Surface points of all structures of a subject, in random order.

    Args:
        points_mm: (n, 3) RAS mm; the signed distance to their own structure is 0.
        normals: (n, 3) outward unit normals.
        structure: (n,) index of the structure that each lies on.
    """

    points_mm: Floats
    normals: Floats
    structure: NDArray[np.uint8]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class SdfSamples:
    """Points off the surface, in random order.

    Args:
        points_mm: (n, 3) RAS mm.
        signed_distance_mm: (n, s) to each structure, negative inside.
    """

    points_mm: Floats
    signed_distance_mm: Floats


def sample_surfaces(meshes: Mapping[str, WorldMesh], n: int, *, rng: np.random.Generator) -> StructureSurfaces:
    """Draw points uniformly by area over all structures together.

    Args:
        meshes: Meshes by structure.
        n: Number of points in all.
        rng: Source of randomness.
    """
    areas = np.array([mesh.face_areas.sum() for mesh in meshes.values()])
    counts = rng.multinomial(n, areas / areas.sum())
    drawn = [sample_surface(mesh, count, rng=rng) for mesh, count in zip(meshes.values(), counts, strict=True)]
    order = rng.permutation(n)
    return StructureSurfaces(
        np.concatenate([samples.points for samples in drawn])[order],
        np.concatenate([samples.normals for samples in drawn])[order],
        np.repeat(np.arange(len(counts), dtype=np.uint8), counts)[order],
    )


def sample_sdf(meshes: Mapping[str, WorldMesh], config: SamplingConfig, *, rng: np.random.Generator) -> SdfSamples:
    """Draw points near the surfaces and in the volume, with exact signed distances to every structure.

    Args:
        meshes: Closed, by structure.
        config: Counts and spreads.
        rng: Source of randomness.
    """
    n_volume = round(config.n_off_surface * config.volume_share)
    n_near = config.n_off_surface - n_volume
    near = sample_surfaces(meshes, n_near, rng=rng).points_mm
    sigma = np.resize(np.array(config.near_sigmas_mm), n_near)[:, None]
    near = near + sigma * rng.standard_normal((n_near, 3))
    points = np.concatenate([near, _sample_box(meshes, n_volume, config.volume_margin_mm, rng)])
    points = points[rng.permutation(len(points))]
    return SdfSamples(points, np.stack([signed_distance(mesh, points) for mesh in meshes.values()], axis=1))


def _sample_box(meshes: Mapping[str, WorldMesh], n: int, margin_mm: float, rng: np.random.Generator) -> Floats:
    vertices = np.concatenate([mesh.vertices for mesh in meshes.values()])
    lower, upper = vertices.min(axis=0) - margin_mm, vertices.max(axis=0) + margin_mm
    return np.asarray(rng.uniform(lower, upper, size=(n, 3)))

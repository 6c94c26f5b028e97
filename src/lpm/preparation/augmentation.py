"""More lungs from few: smooth, anatomically plausible deformations of prepared subjects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.records import StrictModel

_WAVES = 96  # random Fourier features of a displacement field: their sum is nearly Gaussian


class AugmentationConfig(StrictModel):
    """How many deformed copies of each training subject are made, and how far they go.

    The displacement is a sum of Gaussian random fields, one per (amplitude, length) pair: a prior over smooth
    deformations of the space in which both lungs lie, so that they move together and never cross.
    """

    copies: int = Field(0, ge=0, le=1000, description="deformed copies of each training subject")
    axis_scale_sd: float = Field(0.08, ge=0, le=0.5, description="standard deviation of the log scale of each axis")
    amplitudes_mm: tuple[float, ...] = Field((6.0, 3.0), description="standard deviation of each displacement field")
    lengths_mm: tuple[float, ...] = Field((90.0, 45.0), description="correlation length of each displacement field")
    faces: int = Field(12_000, ge=100, description="triangles of a structure's deformed mesh")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class SmoothDeformation:
    """A smooth map of the space around a subject's centre: axis scales, then random waves.

    Args:
        axis_scale: (3,) factors along R, A, S.
        frequencies: (w, 3) per mm.
        phases: (w,).
        amplitudes_mm: (w, 3).
    """

    axis_scale: Floats
    frequencies: Floats
    phases: Floats
    amplitudes_mm: Floats

    def __call__(self, points_mm: Floats) -> Floats:
        """Deform (n, 3) points given relative to the subject's centre."""
        scaled = points_mm * self.axis_scale
        return np.asarray(scaled + np.cos(scaled @ self.frequencies.T + self.phases) @ self.amplitudes_mm)


def random_deformation(config: AugmentationConfig, *, rng: np.random.Generator) -> SmoothDeformation:
    """Draw a deformation; random Fourier features make the Gaussian fields (Rahimi and Recht 2007)."""
    n_fields = len(config.amplitudes_mm)
    lengths = np.repeat(np.array(config.lengths_mm), _WAVES)
    amplitudes = np.repeat(np.array(config.amplitudes_mm), _WAVES) * np.sqrt(2.0 / _WAVES)
    return SmoothDeformation(
        axis_scale=np.exp(config.axis_scale_sd * rng.standard_normal(3)),
        frequencies=rng.standard_normal((n_fields * _WAVES, 3)) / lengths[:, None],
        phases=rng.uniform(0.0, 2.0 * np.pi, n_fields * _WAVES),
        amplitudes_mm=rng.standard_normal((n_fields * _WAVES, 3)) * amplitudes[:, None],
    )


def deformed_copies(
    meshes: Mapping[str, WorldMesh],
    center_mm: Floats,
    config: AugmentationConfig,
    *,
    rngs: Iterable[np.random.Generator],
) -> Iterator[dict[str, WorldMesh]]:
    """Deform all structures of a subject, each time by one random map.

    Args:
        meshes: Closed, RAS mm, by structure.
        center_mm: (3,) the subject's centre, which stays where it is up to the displacement.
        config: Config: strength of the deformations.
        rngs: Source of randomness of each copy.

    Yields:
        Closed meshes of at most ``config.faces`` triangles each.
    """
    coarse = {name: decimate(mesh, config.faces) for name, mesh in meshes.items()}
    for rng in rngs:
        deformation = random_deformation(config, rng=rng)
        yield {
            name: WorldMesh(deformation(mesh.vertices - center_mm) + center_mm, mesh.faces)
            for name, mesh in coarse.items()
        }

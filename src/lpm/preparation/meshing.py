"""From a clean mask to a closed, smooth mesh (paper II.F, Fig. 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpm.errors import NoSurfaceError
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import (
    adaptive_sigma_mm,
    decimate,
    extract_surface,
    level_that_keeps_volume,
    smooth_mask,
    smooth_surface,
)
from lpm.geometry.volumes import Volume, cropped
from lpm.preparation.config import MeshingConfig


@dataclass(frozen=True)
class MeshingReport:
    """Report of meshing one structure.

    Args:
        sigma_mm: Gaussian width along each voxel axis.
        mask_ml: Volume of the mask's voxels.
        mesh_ml: Volume of the finished mesh.
        smoothing_change_percent: Volume gained or lost by the Laplacian smoothing alone.
        volume_change_percent: Volume gained or lost from mask to finished mesh.
    """

    sigma_mm: tuple[float, ...]
    mask_ml: float
    mesh_ml: float
    smoothing_change_percent: float
    volume_change_percent: float


def mesh_structure(mask: Volume, config: MeshingConfig) -> tuple[WorldMesh, MeshingReport]:
    """Filter, extract, smooth and decimate the surface of one structure.

    Args:
        mask: One piece without holes, on a canonical grid.
        config: Widths, iterations, triangle size.

    Returns:
        A closed outward mesh of one piece in RAS mm, and what was done.

    Raises:
        NoSurfaceError: The mask is too small to enclose anything.
    """
    n_voxels = int(np.count_nonzero(mask.voxels))
    if n_voxels < 8:
        raise NoSurfaceError("mask", f"{n_voxels} voxels", "a structure of at least 8 voxels")
    small = cropped(mask, mask.voxels, margin=6)
    sigma_mm = adaptive_sigma_mm(small.spacing_mm, config.sigma_voxels, config.sigma_min_mm)
    field = smooth_mask(small, sigma_mm)
    extracted = extract_surface(field, level_that_keeps_volume(field, n_voxels)).largest_piece()
    smoothed = smooth_surface(extracted, config.smoothing_iterations)
    target_faces = max(int(smoothed.face_areas.sum() / config.face_area_mm2), 500)
    mesh = decimate(smoothed, target_faces)
    mask_ml = n_voxels * mask.voxel_ml
    report = MeshingReport(
        sigma_mm=tuple(float(s) for s in sigma_mm),
        mask_ml=mask_ml,
        mesh_ml=mesh.volume_ml,
        smoothing_change_percent=100.0 * (smoothed.volume_ml / extracted.volume_ml - 1.0),
        volume_change_percent=100.0 * (mesh.volume_ml / mask_ml - 1.0),
    )
    return mesh, report

"""From a mask or a field to a closed surface: adaptive Gaussian, marching cubes, smoothing without shrinking."""

from __future__ import annotations

from typing import Any

import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from lpm.errors import NoSurfaceError
from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume

# tried in turn until the mesh stays closed: the library's default, and two that take more care where sheets touch
_AGGRESSIVENESS = (7.0, 5.0, 3.0)
_OVER = 2  # triangles: edges collapse two triangles at a time


def adaptive_sigma_mm(spacing_mm: Floats, sigma_voxels: float, sigma_min_mm: float) -> Floats:
    """Width of the Gaussian along each voxel axis: it follows the voxel, which is what makes the staircase.

    A mask of 0.7 x 0.7 x 2.5 mm has steps of 2.5 mm along its third axis and of 0.7 mm along the others: one width
    for all would leave steps along one axis or wipe out recesses along the others.

    Args:
        spacing_mm: (3,) voxel size.
        sigma_voxels: Width in voxels.
        sigma_min_mm: Width below which an axis is not filtered less (the contour noise of a segmentation does not
            become finer with the voxels).

    Returns:
        (3,) standard deviations, mm.
    """
    return np.maximum(sigma_voxels * spacing_mm, np.minimum(sigma_min_mm, 2.0 * spacing_mm))


def smooth_mask(mask: Volume, sigma_mm: Floats) -> Volume:
    """Filter a mask to a field between 0 and 1 whose 0.5 level is its surface."""
    blurred = gaussian_filter(mask.voxels.astype(np.float32), sigma_mm / mask.spacing_mm, truncate=3.0)
    return mask.with_voxels(handed_over(blurred))


def level_that_keeps_volume(field: Volume, n_voxels: float) -> float:
    """Iso-level of a smoothed mask whose surface encloses as much as the mask's voxels do.

    A Gaussian at level 0.5 loses volume where the surface is sharply convex (recesses, apex); this gives it back.
    The volume is that of two surfaces, interpolated to the level between them: counting voxels above a level is
    too coarse where the surface runs along the voxel axes (it was off by up to 1.4 % of a sphere, this by 0.15 %).
    Kept within 0.35 to 0.65, so that a tiny mask cannot turn into its own halo.
    """
    low, high = 0.42, 0.58
    volume = {level: _enclosed_voxels(field, level) for level in (low, high)}
    if volume[low] <= volume[high]:
        return 0.5
    level = low + (high - low) * (volume[low] - n_voxels) / (volume[low] - volume[high])
    return float(np.clip(level, 0.35, 0.65))


def _enclosed_voxels(field: Volume, level: float) -> float:
    """Volume above a level, in voxels; nothing if the field does not reach it."""
    if float(field.voxels.max()) <= level:
        return 0.0
    return extract_surface(field, level).volume_ml / field.voxel_ml


def extract_surface(field: Volume, level: float, *, inside_is_above: bool = True) -> WorldMesh:
    """Marching cubes (Lewiner) of a field on a voxel grid.

    Args:
        field: Values; those on the border must lie outside, or the mesh will be open there: pad first.
        level: Iso-value of the surface.
        inside_is_above: True for a mask, False for a signed distance.

    Returns:
        Outward mesh in RAS mm, whatever the handedness of the affine.

    Raises:
        NoSurfaceError: The field never crosses the level.
    """
    low, high = float(field.voxels.min()), float(field.voxels.max())
    if not low < level < high:
        raise NoSurfaceError(
            "surface", f"values from {low:.4g} to {high:.4g} never cross {level:.4g}", "both sides of it"
        )
    values = np.array(field.voxels, dtype=np.float32, order="C")  # marching_cubes takes no read-only array
    direction = "ascent" if inside_is_above else "descent"
    vertices, faces, _, _ = marching_cubes(values, level, gradient_direction=direction, allow_degenerate=False)
    mesh = WorldMesh(field.to_world(vertices.astype(np.float64)), faces.astype(np.int64))
    is_mirrored = np.linalg.det(field.world_from_voxel[:3, :3]) < 0
    return mesh.flipped() if is_mirrored else mesh


def surface_on_grid(field: NDArray[Any], grid: VoxelGrid) -> WorldMesh:
    """Zero level of a field that is negative inside, closed even where the shape leaves the grid.

    Args:
        field: (i, j, k) at the grid's nodes.
        grid: Grid of the values.

    Returns:
        Outward mesh in RAS mm.

    Raises:
        NoSurfaceError: The field is negative nowhere.
    """
    if (field <= 0).sum() > (field[1:-1, 1:-1, 1:-1] <= 0).sum():
        i, j, k = (n + 2 for n in field.shape)
        grid = VoxelGrid(grid.origin_mm - grid.spacing_mm, grid.spacing_mm, (i, j, k))
        field = np.pad(field, 1, constant_values=grid.spacing_mm)
    return extract_surface(grid.volume(field), 0.0, inside_is_above=False)


def smooth_surface(mesh: WorldMesh, iterations: int) -> WorldMesh:
    """Laplacian smoothing that does not shrink (Taubin 1995: a step in, a slightly larger step out)."""
    if iterations == 0:
        return mesh
    import trimesh  # slow to import: only when it is needed

    smoothed = mesh.to_trimesh()
    trimesh.smoothing.filter_taubin(smoothed, lamb=0.5, nu=0.53, iterations=2 * iterations)
    return WorldMesh(np.asarray(smoothed.vertices), mesh.faces)


def decimate(mesh: WorldMesh, target_faces: int) -> WorldMesh:
    """Reduce the number of triangles by quadric error; a mesh that is already small enough is returned as it is.

    Where the usual haste lets two sheets touch, it is done more carefully, and then with twice the triangles. Returns
    the input if no reduced mesh is closed: fewer triangles are a convenience, a closed surface is a promise.
    """
    wanted = target_faces
    while wanted < len(mesh.faces):
        for aggressiveness in _AGGRESSIVENESS:
            reduced = _reduced(mesh, wanted, aggressiveness)
            # the most careful one may stop long before it is there
            if len(reduced.faces) <= wanted + _OVER and (reduced.is_closed or not mesh.is_closed):
                return reduced
        wanted *= 2
    return mesh


def _reduced(mesh: WorldMesh, target_faces: int, aggressiveness: float) -> WorldMesh:
    vertices, faces = fast_simplification.simplify(
        mesh.vertices.copy(), mesh.faces.astype(np.int32), target_count=target_faces, agg=aggressiveness
    )
    return WorldMesh(np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64))

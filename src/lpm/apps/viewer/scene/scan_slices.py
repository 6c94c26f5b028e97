"""Slices of a scan with the outlines of the lungs, and where they lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lpm.apps.viewer.scene.shown_lungs import Meshes
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.grids import voxelise_on
from lpm.geometry.volumes import Volume, canonical
from lpm.reports.scenes import rgb, structure_color

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: dict[str, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
_MOST_VOXELS_A_SIDE = 220
_WINDOW_HU = (-1250.0, 250.0)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class ScanSlice:
    """A picture in the patient.

    Args:
        picture: (r, c, 3) uint8.
        center_mm: (3,) RAS mm.
        size_mm: Size along columns and along rows.
        axes: (3, 3) columns: to the picture's right, down in the picture, away from the viewer; unit.
    """

    picture: NDArray[np.uint8]
    center_mm: Floats
    size_mm: tuple[float, float]
    axes: Floats


@dataclass(frozen=True)
class ScanSlices:
    """A scan that is leafed through.

    Args:
        volume: CT in HU or labels.
        is_ct: Whether the scan is a CT.
        meshes: Lungs whose outlines are drawn.
    """

    volume: Volume
    is_ct: bool
    meshes: Meshes

    @cached_property
    def shown(self) -> Volume:
        """Along R, A, S, and coarse enough to be leafed through quickly."""
        whole = canonical(self.volume)
        every = [-(-n // _MOST_VOXELS_A_SIDE) for n in whole.voxels.shape]
        affine = whole.world_from_voxel.copy()
        affine[:3, :3] = affine[:3, :3] * every
        return Volume(np.ascontiguousarray(whole.voxels[:: every[0], :: every[1], :: every[2]]), affine)

    @cached_property
    def inside(self) -> list[NDArray[np.bool_]]:
        """Voxels inside each structure."""
        return [voxelise_on(mesh, self.shown) for mesh in self.meshes.values()]

    def n(self, plane: str) -> int:
        """How many slices there are."""
        return int(self.shown.voxels.shape[PLANES[plane]])

    def at(self, plane: str, index: int) -> ScanSlice:
        """One slice: axial seen from the feet, coronal from the front, sagittal from the patient's left."""
        axis = PLANES[plane]
        across, up = [other for other in range(3) if other != axis]
        grey = self._grey(np.take(self.shown.voxels, index, axis=axis))
        picture = np.repeat(grey[:, :, None], 3, axis=2)
        for number, inside in enumerate(self.inside):
            picture[_edge(np.take(inside, index, axis=axis))] = rgb(structure_color(number))
        return ScanSlice(picture.transpose(1, 0, 2)[::-1, ::-1], *self._place(axis, across, up, index))

    def _grey(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        low, high = _WINDOW_HU if self.is_ct else (0.0, 2.0 * max(float(self.shown.voxels.max()), 1.0))
        share = (np.asarray(values, dtype=np.float64) - low) / (high - low)
        return np.asarray(np.clip(255.0 * share, 0, 255), dtype=np.uint8)

    def _place(self, axis: int, across: int, up: int, index: int) -> tuple[Floats, tuple[float, float], Floats]:
        shape, spacing = np.array(self.shown.voxels.shape), self.shown.spacing_mm
        middle = (shape - 1) / 2.0
        middle[axis] = index
        unit = self.shown.world_from_voxel[:3, :3] / spacing
        right, down = -unit[:, across], -unit[:, up]
        size = (float(shape[across] * spacing[across]), float(shape[up] * spacing[up]))
        return self.shown.to_world(middle[None])[0], size, np.stack([right, down, np.cross(right, down)], axis=1)


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels inside that touch one outside."""
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(inside & ~core)

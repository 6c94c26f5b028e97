"""Exact line integrals through voxels, cell by cell (Siddon 1985), slow and in float64: what the ray march is held to.

With ``nearest`` a voxel's value holds to its faces, as Siddon has it. With ``linear`` values are trilinear between
voxel centres and fade to zero over one voxel beyond the outermost: along a line that is a cubic in each cell, which
Simpson's rule integrates exactly.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from lpm.geometry.projection import View
from lpm.geometry.volumes import Volume


def siddon(volume: Volume, view: View, interpolation: str) -> np.ndarray:
    """(rows, columns) integral of a volume's values along each ray, in mm."""
    pixels = np.indices(view.shape).reshape(2, -1).T
    places, directions = view.places_mm(pixels), view.directions(pixels)
    affine = volume.world_from_voxel.copy()
    affine[:3, 3] = volume.to_world(np.full((1, 3), -2.0))[0]
    padded = Volume(np.pad(volume.voxels.astype(np.float64), 2), affine)  # nothing lies outside
    found = [_line(padded, place, along, interpolation) for place, along in zip(places, directions, strict=True)]
    return np.array(found).reshape(view.shape)


def _line(volume: Volume, place: np.ndarray, along: np.ndarray, interpolation: str) -> float:
    start = volume.to_voxel(place[None])[0]
    step = volume.to_voxel(place[None] + along)[0] - start
    cuts = _cuts(start, step, volume.voxels.shape, 0.5 if interpolation == "nearest" else 0.0)
    values = volume.voxels
    if len(cuts) < 2:
        return 0.0

    def at(t: np.ndarray) -> np.ndarray:
        indices = start[:, None] + step[:, None] * t
        if interpolation == "nearest":
            inside = np.clip(np.rint(indices).astype(int), 0, np.array(values.shape)[:, None] - 1)
            return values[tuple(inside)]
        return map_coordinates(values, indices, order=1, mode="nearest")

    first, last = cuts[:-1], cuts[1:]
    middle = at(0.5 * (first + last))
    mean = middle if interpolation == "nearest" else (at(first) + 4.0 * middle + at(last)) / 6.0
    return float(((last - first) * mean).sum())


def _cuts(start: np.ndarray, step: np.ndarray, shape: tuple[int, ...], offset: float) -> np.ndarray:
    """Where along a line, in mm, it meets the planes between cells."""
    found = []
    near, far = -np.inf, np.inf
    for axis in range(3):
        planes = np.arange(shape[axis]) + offset
        if abs(step[axis]) < 1e-12:
            if not planes[0] < start[axis] < planes[-1]:
                return np.empty(0)
            continue
        t = (planes - start[axis]) / step[axis]
        near, far = max(near, t.min()), min(far, t.max())
        found.append(t)
    t = np.unique(np.concatenate(found))
    return t[(t >= near) & (t <= far)]

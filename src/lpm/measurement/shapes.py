"""What can be measured on the structures of a subject together: sizes, shares, asymmetry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lpm.geometry.distances import closest_points
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.structure import Box, box_of, measure_structure

_MIRROR = np.array([-1.0, 1.0, 1.0])  # left is right
_POINTS = 1500  # vertices of each lung, at least, whose distance is averaged: a sample is enough for a mean
_SHARED = ("dome_height_mm", "base_tilt_deg", "apex_radius_mm")


def measure_shapes(meshes: Mapping[str, WorldMesh], boxes_mm: Mapping[str, Box] | None = None) -> dict[str, float]:
    """Measure the structures of a subject, together and one by one.

    Args:
        meshes: Meshes by structure; closed and outward, RAS mm.
        boxes_mm: Lowest and highest corner of structures, where they are known better than by the meshes.

    Returns:
        Values by name, such as ``total_volume_ml`` or ``left_lung_dome_height_mm``; docs/measure.md lists them.
    """
    boxes = {name: box_of(mesh) for name, mesh in meshes.items()} | dict(boxes_mm or {})
    each = {name: measure_structure(mesh, boxes[name]) for name, mesh in meshes.items()}
    lower, upper = zip(*(boxes[name] for name in meshes), strict=True)
    width, depth, height = (np.max(upper, axis=0) - np.min(lower, axis=0)).tolist()
    total = sum(values["volume_ml"] for values in each.values())
    found = {"total_volume_ml": total, "height_mm": height, "width_mm": width, "depth_mm": depth}
    found |= {name: float(np.mean([values[name] for values in each.values()])) for name in _SHARED}
    found |= _sides(meshes, each)
    return found | {f"{name}_{key}": value for name, values in each.items() for key, value in values.items()}


def _sides(meshes: Mapping[str, WorldMesh], each: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of two structures that are left and right of a kind: the right one's share, and how unlike its mirror image."""
    pair = sorted(meshes)
    if len(pair) != 2 or not pair[0].startswith("left") or pair[1] != pair[0].replace("left", "right", 1):
        return {}
    left, right = (meshes[name] for name in pair)
    volumes = [each[name]["volume_ml"] for name in pair]
    return {
        "right_share_percent": 100.0 * volumes[1] / sum(volumes),
        "asymmetry_mm": asymmetry_mm(left, right),
    }


def asymmetry_mm(left: WorldMesh, right: WorldMesh) -> float:
    """Mean distance between a structure and its partner's mirror image, laid centre on centre; mm."""
    mirrored = WorldMesh((left.vertices - left.centroid) * _MIRROR, left.faces).flipped()
    centred = WorldMesh(right.vertices - right.centroid, right.faces)
    apart = [
        closest_points(mesh, other.vertices[:: max(len(other.vertices) // _POINTS, 1)]).distance.mean()
        for mesh, other in ((mirrored, centred), (centred, mirrored))
    ]
    return float(np.mean(apart))

"""Left and right: which pieces of a mask or mesh of both lungs lie on which side of the patient.

The world is RAS: the patient's left lung has the smaller R.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.geometry.frames import Floats
from lpm.geometry.masks import Mask, pieces
from lpm.geometry.meshes import WorldMesh

LEFT = 1  # the value of the left lung in label maps
RIGHT = 2  # that of the right lung
_LEFT_LUNG, _RIGHT_LUNG = "left_lung", "right_lung"
_LEAST_SHARE = number("geometry.second_lung")
_WAIST = number("geometry.waist")
# share of a piece on its smaller side: one lung reaches past the middle by less, two lungs that touch by more
_ACROSS = 0.2


def split_mask(mask: Mask) -> NDArray[np.uint8] | None:
    """Tell the lungs of a mask apart: its two largest pieces, by their centres along the first axis.

    Args:
        mask: First axis nearly along R (`canonical`).

    Returns:
        1 in the left and 2 in the right lung, 0 in smaller pieces; None unless there are two of comparable size.
    """
    found, sizes = pieces(mask)
    first, second = _two_largest(sizes[1:])
    if second is None:
        return None
    one, other = found == first + 1, found == second + 1
    is_swapped = np.nonzero(one)[0].mean() > np.nonzero(other)[0].mean()
    return np.asarray(LEFT * (other if is_swapped else one) + RIGHT * (one if is_swapped else other), dtype=np.uint8)


def split_mesh(mesh: WorldMesh) -> dict[str, WorldMesh] | None:
    """Tell the lungs of a mesh apart: its two large bodies, by their centroids.

    Returns:
        ``left_lung`` and ``right_lung``, oriented as they were; None unless there are two bodies of comparable volume.
    """
    bodies = large_bodies(mesh)
    if len(bodies) < 2:
        return None
    left, right = sorted(bodies[:2], key=lambda part: float(part.centroid[0]))
    return {_LEFT_LUNG: left, _RIGHT_LUNG: right}


def large_bodies(mesh: WorldMesh) -> list[WorldMesh]:
    """Connected pieces that could be lungs, the largest first: not scraps, and not the walls of cavities."""
    parts = sorted(mesh.pieces(), key=lambda part: -abs(part.enclosed_volume))
    least = _LEAST_SHARE * abs(parts[0].enclosed_volume)
    found: list[WorldMesh] = []
    for part in parts:
        if abs(part.enclosed_volume) < least:
            break
        if not any(_lies_within(part, other) for other in found):
            found.append(part)
    return found


def _lies_within(part: WorldMesh, other: WorldMesh) -> bool:
    """Whether the box of a mesh lies in that of another."""
    is_above = (part.vertices.min(axis=0) > other.vertices.min(axis=0)).all()
    return bool(is_above and (part.vertices.max(axis=0) < other.vertices.max(axis=0)).all())


def looks_like_two(mesh: WorldMesh) -> bool:
    """Whether one closed piece has a waist between left and right, as lungs that touch have and one lung has not.

    The cross-section at R is the projected area of all that lies beyond: of single lungs, the smallest in the middle
    two fifths is 0.65 to 0.84 of the largest; of both lungs together up to 0.07.
    """
    across = mesh.corners.mean(axis=1)[:, 0]
    projected = mesh.face_areas * mesh.face_normals[:, 0]
    at = np.linspace(across.min(), across.max(), 41)[1:-1]
    section = np.abs([projected[across > place].sum() for place in at])
    return bool(section[11:28].min() < _WAIST * section.max())


def _two_largest(sizes: NDArray[np.number]) -> tuple[int, int | None]:
    """The largest of some pieces, and the next if it is large enough for a second lung."""
    order = np.argsort(-sizes, kind="stable")
    is_pair = len(order) > 1 and sizes[order[1]] >= _LEAST_SHARE * sizes[order[0]]
    return (int(order[0]) if len(order) else -1), (int(order[1]) if is_pair else None)


def split_at_middle(mask: Mask, middle: float) -> NDArray[np.uint8]:
    """Tell left from right by where pieces lie; a piece that lies across the middle is cut there.

    Args:
        mask: First axis along R.
        middle: Index along that axis that parts left from right.

    Returns:
        1 in the left and 2 in the right part.
    """
    numbers, sizes = pieces(mask)
    share = left_share(numbers, sizes, middle)
    is_before = (np.arange(mask.shape[0]) < middle).reshape(-1, *[1] * (mask.ndim - 1))
    is_left = np.where(lies_across(share)[numbers], is_before, (share > 0.5)[numbers])
    return np.asarray(np.where(mask, np.where(is_left, LEFT, RIGHT), 0), dtype=np.uint8)


def left_share(numbers: NDArray[np.int32], sizes: NDArray[np.int64], middle: float) -> Floats:
    """(n + 1,) share of each connected piece that lies left of a plane.

    Args:
        numbers: Numbers of the pieces, as `pieces` gives them, with the first axis along R.
        sizes: Voxels of each.
        middle: Index along the first axis that parts left from right.
    """
    before = np.bincount(numbers[: round(middle)].ravel(), minlength=len(sizes))
    return np.where(sizes > 0, before / np.maximum(sizes, 1), 0.0)


def lies_across(share: Floats) -> Mask:
    """Whether a piece reaches far into both sides, by its `left_share`."""
    return np.asarray((share > _ACROSS) & (share < 1.0 - _ACROSS))


def is_exchanged(across_mm: Mapping[str, float]) -> bool:
    """Whether the left lung lies on the patient's right: labels were exchanged, or an image is stored wrongly.

    Args:
        across_mm: R of the centre of each structure; without both lungs there is nothing to compare.
    """
    return {_LEFT_LUNG, _RIGHT_LUNG} <= set(across_mm) and across_mm[_LEFT_LUNG] > across_mm[_RIGHT_LUNG]

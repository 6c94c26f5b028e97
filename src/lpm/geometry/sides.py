"""Left and right: which pieces of a mask or mesh of both lungs lie on which side of the patient.

The world is RAS: the patient's left lung has the smaller R.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number, several
from lpm.geometry.frames import Floats
from lpm.geometry.masks import Mask, averaged, pieces
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume, cropped

LEFT = 1  # the value of the left lung in label maps
RIGHT = 2  # that of the right lung
_BLOCKS_ACROSS = 90  # both lungs: blocks of 3 mm in adults
_FRONT = 0.45  # of the lungs' depth from the back: what lies in front of it is the heart's
_LOW = 0.6  # of their height from below: the heart's
_HEART = number("geometry.heart_shift")
_SHARE = number("geometry.right_share_spread")
_MIRRORED = number("geometry.mirrored_score")
_LEFT_LUNG, _RIGHT_LUNG = "left_lung", "right_lung"
_DEEP = number("geometry.deeper_than_high")
_FORWARD = several("geometry.forward_weights")
_TURNED = number("geometry.turned_score")
_END = 0.05  # of a lung's volume: its lowest and its highest part
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


def have_waist(mask: Mask, axis: int) -> bool:
    """Whether a mask has a waist along an axis, as both lungs together have from left to right (`looks_like_two`)."""
    section = mask.sum(axis=tuple({0, 1, 2} - {axis}))
    found = np.flatnonzero(section)
    inner = section[found[0] : found[-1] + 1] if len(found) else section
    n = len(inner)
    return bool(n > 4 and inner[int(0.3 * n) : int(0.7 * n) + 1].min() < _WAIST * inner.max())


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


def looks_mirrored(labels: Volume, values: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether two lungs look like each other's mirror image: the heart on the right, and the left lung the larger one.

    Args:
        labels: Upright, the left lung on the left.
        values: Label values of the left and the right lung.
    """
    wanted = np.isin(labels.voxels, [value for own in values.values() for value in own])
    small = cropped(labels, wanted, 1)
    block_mm = small.voxels.shape[0] * small.spacing_mm[0] / _BLOCKS_ACROSS
    masks = (np.isin(small.voxels, values[name]).astype(np.float32) for name in (_LEFT_LUNG, _RIGHT_LUNG))
    left, right = (averaged(small.with_voxels(mask), block_mm).voxels >= 0.5 for mask in masks)
    shift = _heart_shift(left, right)
    if shift is None:
        return False
    share = float(right.sum() / (left.sum() + right.sum()))
    return (share - 0.5) / _SHARE - shift / _HEART < -_MIRRORED


def turned_doubts(labels: Volume, values: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Doubts whether two whole lungs lie as their coordinates say; none of lungs that end at the image's top or bottom.

    Lungs are higher than deep; they reach lowest at their backs, and their apices lie behind their middle.

    Args:
        labels: Upright, the left lung on the left.
        values: Label values of the left and the right lung.
    """
    masks = [np.isin(labels.voxels, values[name]) for name in (_LEFT_LUNG, _RIGHT_LUNG)]
    slices = np.flatnonzero((masks[0] | masks[1]).any(axis=(0, 1)))
    if not len(slices) or slices[0] == 0 or slices[-1] == labels.voxels.shape[2] - 1:
        return []
    if not all(mask.any() for mask in masks):
        return []
    rows = np.flatnonzero((masks[0] | masks[1]).any(axis=(0, 2)))
    depth_mm, height_mm = (
        float(np.ptp(at)) * step for at, step in zip((rows, slices), labels.spacing_mm[1:], strict=True)
    )
    if depth_mm > _DEEP * height_mm:
        return ["the lungs are deeper than high: the axes seem to be exchanged (y up?)"]
    low, top = np.mean([_forward(mask) for mask in masks], axis=0)
    if low * _FORWARD[0] + top * _FORWARD[1] < _TURNED:
        return []
    return ["front and back seem to be exchanged, and left and right with them (LPS taken for RAS?)"]


def _forward(lung: Mask) -> tuple[float, float]:
    """How far the lowest and the highest parts of a lung lie in front of its middle, in its depth."""
    counts = lung.sum(axis=0).astype(np.float64)
    rows, share = np.arange(len(counts)), counts.sum(axis=0).cumsum() / counts.sum()
    middle, depth = np.average(rows, weights=counts.sum(axis=1)), np.ptp(np.flatnonzero(counts.any(axis=1))) + 1
    ends = (counts[:, share <= max(_END, share[share > 0][0])], counts[:, share >= 1.0 - _END])
    low, top = ((np.average(rows, weights=end.sum(axis=1)) - middle) / depth for end in ends)
    return float(low), float(top)


def _heart_shift(left: Mask, right: Mask) -> float | None:
    """How far the gap between the lungs lies right of their middle, in front and below, in widths of both lungs.

    Returns:
        None where no row there has both lungs, the left one first.
    """
    both, n = left | right, len(left)
    first, ends = left.argmax(axis=0), n - left[::-1].argmax(axis=0)
    starts, last = right.argmax(axis=0), n - right[::-1].argmax(axis=0)
    is_pair = left.any(axis=0) & right.any(axis=0) & (starts >= ends)
    rows, slices = np.flatnonzero(both.any(axis=(0, 2))), np.flatnonzero(both.any(axis=(0, 1)))
    is_front = np.arange(both.shape[1])[:, None] > rows[0] + _FRONT * (rows[-1] - rows[0])
    is_low = np.arange(both.shape[2]) < slices[0] + _LOW * (slices[-1] - slices[0])
    gap = np.where(is_pair & is_front & is_low, starts - ends, 0)
    if not gap.any():
        return None
    middle = np.average(0.5 * (starts + ends), weights=gap)
    outer = (0.5 * (first + last))[is_pair].mean()
    return float((middle - outer) / np.ptp(np.flatnonzero(both.any(axis=(1, 2)))))

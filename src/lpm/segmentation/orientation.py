"""Whether a patient lies in a CT as its header says: the heart on the left, the spine behind, the apices above."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lpm.calibration import number
from lpm.geometry.masks import Mask, nearest_on
from lpm.geometry.sides import LEFT, RIGHT, looks_mirrored
from lpm.geometry.volumes import Volume
from lpm.segmentation.hounsfield import BONE_GRID_MM, Scan
from lpm.structures import DEFAULT_STRUCTURES

_SPINE_RATIO = number("segmentation.spine_ratio")
_LYING = number("segmentation.lying_ratio")
_RIM = 0.4  # of a lung's columns, by their distance to its outline: its rim; as many are its middle


def orientation_doubts(scan: Scan, labels: Volume, *, is_usual: bool) -> list[str]:
    """Doubts about the header of a scan that shows both lungs from top to bottom; none is raised of others.

    Args:
        scan: Scan in HU.
        labels: Labels on the grid of its upright volume: 1 left, 2 right.
        is_usual: Whether both lungs are healthy and in view: only then their shapes and the heart's place tell.
    """
    coarse = scan.averaged(BONE_GRID_MM)
    lungs = nearest_on(labels, coarse)
    if not ((lungs == LEFT).any() and (lungs == RIGHT).any()):
        return []
    box = ndimage.find_objects((lungs > 0).astype(np.uint8))[0]
    if box[2].start == 0 or box[2].stop == lungs.shape[2]:
        return []
    doubts = []
    _, depth_mm, height_mm = (
        (each.stop - each.start) * step for each, step in zip(box, coarse.spacing_mm, strict=True)
    )
    if depth_mm > _LYING * height_mm:
        doubts.append("the lungs are deeper than high: the header's axes seem to be exchanged")
    elif scan.spine.before_hu > _SPINE_RATIO * scan.spine.behind_hu:
        doubts.append("the spine seems to lie in front: the header's axes seem to be turned")
    elif is_usual and _is_upside_down([lungs == side for side in (LEFT, RIGHT)], coarse):
        doubts.append("the lungs' apices seem to lie below: the header seems to be upside down")
    if is_usual and looks_mirrored(coarse.with_voxels(lungs), DEFAULT_STRUCTURES):
        doubts.append("the heart seems to lie on the right: the header is mirrored, or the organs are (situs inversus)")
    return doubts


def _is_upside_down(lungs: list[Mask], grid: Volume) -> bool:
    """Whether undersides are more dome-shaped than upper sides: an apex is one, the diaphragm makes a hollow base."""
    domes = [_dome_mm(lung, grid) - _dome_mm(lung[:, :, ::-1], grid) for lung in lungs]
    return float(np.mean(domes)) < 0.0


def _dome_mm(lung: Mask, grid: Volume) -> float:
    """How much higher the middle of the upper side lies than its rim, mm."""
    columns = np.asarray(lung.any(axis=2))
    top = (lung.shape[2] - 1 - lung[:, :, ::-1].argmax(axis=2)) * float(grid.spacing_mm[2])
    inwards = ndimage.distance_transform_edt(np.pad(columns, 1), sampling=grid.spacing_mm[:2])[1:-1, 1:-1]
    rim, middle = np.quantile(inwards[columns], [_RIM, 1.0 - _RIM])
    return float(top[inwards > middle].mean() - top[columns & (inwards < rim)].mean())

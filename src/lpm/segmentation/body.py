"""The patient in a CT: the largest dense piece with all that its skin encloses, without table, sheets and arms."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lpm.calibration import number
from lpm.geometry.masks import Mask, grown, largest_piece, shrunk
from lpm.geometry.volumes import Volume

_DENSE_HU = number("segmentation.dense_hu")
_TABLE_MM = number("segmentation.table_mm")


def find_body(ct: Volume) -> Mask:
    """Find the patient, with all that the skin encloses; without table, sheets and arms that lie apart.

    Args:
        ct: CT in HU, third axis along the body.
    """
    solid = ct.voxels > _DENSE_HU
    core = shrunk(solid, 0.5 * _TABLE_MM, ct)
    if not core.any():
        return solid
    body = solid & grown(largest_piece(core), 0.5 * _TABLE_MM + max(ct.spacing_mm), ct)
    enclosed = np.stack([ndimage.binary_fill_holes(body[:, :, k]) for k in range(body.shape[2])], axis=2)
    return np.asarray(enclosed | ndimage.binary_fill_holes(body))

"""Where a mask ends because the picture does: at its border, or in a flat face that no lung has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpm.calibration import number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

_FACES = ("left", "right", "posterior", "anterior", "inferior", "superior")
_FLAT_SHARE = number("preparation.flat_share")
_FLAT_CM2 = number("preparation.flat_cm2")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Cut:
    """A truncation: a plane at which a mask ends because the image does.

    Args:
        face: Face at which it cuts: inferior, superior, left, ...
        area_cm2: Area of the mask's slice there.
        at_border: Whether it is the image's border; otherwise the mask ends in a flat face within the image.
        normal: (3,) unit vector out of the mask, world.
        offset_mm: Points x on the plane have ``x @ normal == offset_mm``.
        voxel_mm: Voxel size along the normal.
    """

    face: str
    area_cm2: float
    at_border: bool
    normal: Floats
    offset_mm: float
    voxel_mm: float

    def beyond_mm(self, points_mm: Floats) -> Floats:
        """(n,) how far (n, 3) points lie beyond the plane; negative on the mask's side."""
        return np.asarray(points_mm @ self.normal - self.offset_mm)


def find_cuts(mask: Volume) -> list[Cut]:
    """Find the planes at which a mask is truncated.

    A mask in the image's outermost slice is cut by its border. A lung tapers off at its ends: a first or last slice
    of at least three tenths of the largest one's area is a cut as well, as of a mask whose lower part was blanked.

    Args:
        mask: Mask of one structure, in the whole image, axes nearly along R, A, S (`canonical`).
    """
    cuts = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        sides = mask.world_from_voxel[:3, others]
        normal = np.cross(sides[:, 0], sides[:, 1])
        pixel_cm2 = float(np.linalg.norm(normal)) / 100.0
        normal = normal / np.linalg.norm(normal)
        step = float(normal @ mask.world_from_voxel[:3, axis])
        areas = mask.voxels.sum(axis=others) * pixel_cm2
        occupied = np.flatnonzero(areas)
        for end, outwards in ((occupied[0], -1.0), (occupied[-1], 1.0)):
            at_border = end in {0, len(areas) - 1} and (end == 0) == (outwards < 0)
            if not at_border and areas[end] < max(_FLAT_SHARE * areas.max(), _FLAT_CM2):
                continue
            corner = np.zeros((1, 3))
            corner[0, axis] = end + 0.5 * outwards
            direction = normal * outwards * np.sign(step)
            offset = float(mask.to_world(corner)[0] @ direction)
            face = _FACES[2 * axis + (outwards > 0)]
            cuts.append(Cut(face, round(float(areas[end]), 3), at_border, direction, offset, abs(step)))
    return cuts

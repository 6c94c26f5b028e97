"""Affines as headers give them: what cannot be used is refused, what a header leaves open is noted."""

from __future__ import annotations

import numpy as np

from lpm.errors import InputError
from lpm.geometry.frames import Floats

RIGHT_ANGLES = 1e-3  # cosine between voxel axes: what is less was rounded off, 0.3 mm over 300 mm


def check_affine(affine: Floats, subject: str) -> None:
    """Refuse an affine that leads voxels to no place, or whose axes are not at right angles.

    Args:
        affine: (4, 4), voxel indices to mm.
        subject: Name for messages.

    Raises:
        InputError: Not finite, without a size along an axis, or sheared.
    """
    if not np.isfinite(affine).all():
        raise InputError(subject, f"affine {affine.tolist()}", "a finite 4 x 4 matrix", "repair the file's header")
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if (sizes < 1e-6).any() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        given = f"affine {affine.tolist()} cannot be inverted"
        raise InputError(subject, given, "independent axes", "repair the file's header")
    refuse_shear(affine, subject)


def refuse_shear(affine: Floats, subject: str) -> None:
    """Refuse an affine whose axes are not at right angles: file formats hold no others, and a tilt would be lost.

    Raises:
        InputError: Two axes are not at right angles.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if (worst := float(np.abs(directions.T @ directions - np.eye(3)).max())) > RIGHT_ANGLES:
        degrees = np.degrees(np.arcsin(min(worst, 1.0)))
        given = f"axes are not at right angles ({degrees:.1f} degrees off: a tilted gantry?)"
        raise InputError(subject, given, "an orthogonal affine", "give the DICOM series, or resample it")


def geometry_notes(affine: Floats) -> tuple[str, ...]:
    """A note on an affine that says nothing: what an array was saved with that came without a header.

    Args:
        affine: (4, 4), voxel indices to RAS mm.
    """
    if not np.allclose(np.abs(affine), np.eye(4), atol=1e-6):
        return ()
    ends = zip("RAS", "LPI", np.diag(affine)[:3], strict=True)
    axes = "".join(plus if value > 0 else minus for plus, minus, value in ends)
    return (f"the header holds no geometry: 1 mm voxels whose axes run {axes} are assumed, sides may be exchanged",)

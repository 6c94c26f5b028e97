"""What other values of a label map do: lie in the lungs, make a shell around them, or fill the image around all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.masks import Mask
from lpm.geometry.volumes import Volume, cropped

_WITHIN = number("preparation.within_lungs")
_WITHIN_SHARE = number("preparation.within_share")
_SHELL_THICK = number("preparation.shell_thickness")
_SHELL_COVERS = number("preparation.shell_covers")
_SHELL_VALUES = 3  # at least: one or two may be a wall that somebody drew
_BORDER = number("preparation.border_share")
_GREY_VALUES = 8  # at least, that reach across the patient: of organs few do
_GREY_WIDE = number("preparation.grey_wide")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class _Faces:
    """Faces of voxels between different values, near the lungs.

    Args:
        voxels: (n,) voxels of each value.
        of: (n,) faces of each value to any other.
        lung: (n,) those to lungs.
        reach_out: (n,) whether a value is there beyond the lungs' box.
    """

    voxels: NDArray[np.int64]
    of: NDArray[np.int64]
    lung: NDArray[np.int64]
    reach_out: NDArray[np.bool_]

    @classmethod
    def near(cls, labels: Volume, lungs: Mask) -> _Faces:
        box = cropped(labels.with_voxels(lungs), lungs, 2)
        own = cropped(labels, lungs, 2).voxels
        n = int(own.max()) + 1
        of, lung = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for axis in range(3):
            values, are_lung = (np.moveaxis(each, axis, 0) for each in (own, box.voxels))
            differ = values[:-1] != values[1:]
            first, second = values[:-1][differ], values[1:][differ]
            is_first, is_second = are_lung[:-1][differ], are_lung[1:][differ]
            of += np.bincount(first, minlength=n) + np.bincount(second, minlength=n)
            lung += np.bincount(first[is_second & ~is_first], minlength=n)
            lung += np.bincount(second[is_first & ~is_second], minlength=n)
        ends = np.concatenate([np.take(own, [0, -1], axis=axis).ravel() for axis in range(3)])
        return cls(np.bincount(own.ravel(), minlength=n), of, lung, np.bincount(ends, minlength=n) > 0)


def notes_on_others(
    labels: Volume, lungs: Mask, others: Sequence[int], claimed: Mapping[str, tuple[int, ...]], subject: str
) -> list[str]:
    """A note on values that are no lung and lie within the lungs, as of lesions and vessels.

    Args:
        labels: Upright, whole numbers.
        lungs: Where the lungs are.
        others: Values of no structure.
        claimed: Those of the lungs, by lung.
        subject: Name for messages.

    Raises:
        InputError: Such values make a shell around the lungs, as interpolation between labels does.
    """
    if not others or not lungs.any():
        return []
    faces = _Faces.near(labels, lungs)
    near = np.array([value for value in others if value < len(faces.of) and faces.lung[value]], dtype=np.int64)
    _refuse_shells(faces, near, subject)
    within = near[(faces.lung[near] > _WITHIN * faces.of[near]) & ~faces.reach_out[near]]
    ml = float(faces.voxels[within].sum()) * labels.voxel_ml
    if ml < max(_WITHIN_SHARE * float(np.count_nonzero(lungs)) * labels.voxel_ml, 1e-9):
        return []
    plural = "values" if len(within) > 1 else "value"
    counted = ",".join(f"{name}={'+'.join(map(str, (*own, *within)))}" for name, own in claimed.items())
    which = f"label {plural} {', '.join(map(str, within))} within the lungs ({ml:,.0f} ml)"
    return [f"{which} were not counted as lung; --labels {counted} counts them"]


def _refuse_shells(faces: _Faces, near: NDArray[np.int64], subject: str) -> None:
    """Refuse lungs whose surface lies beneath thin shells of several other values.

    Raises:
        InputError: It does.
    """
    is_shell = (faces.voxels[near] < _SHELL_THICK * faces.lung[near]) & (faces.lung[near] < _WITHIN * faces.of[near])
    shells = near[is_shell]
    if len(shells) < _SHELL_VALUES or faces.lung[shells].sum() < _SHELL_COVERS * faces.lung.sum():
        return
    given = f"values {', '.join(map(str, shells[:8]))} make a thin shell around the lungs, as interpolation does"
    raise InputError(subject, given, "labels as they were drawn", "resample labels to the nearest neighbour")


def refuse_background(labels: Volume, subject: str) -> None:
    """Refuse structures that fill the image's border to left, right, back and front, as a background does.

    Raises:
        InputError: They do.
    """
    voxels = labels.voxels
    border = np.concatenate([voxels[[0, -1]].ravel(), voxels[:, [0, -1]].ravel()])
    value = int(np.bincount(border).argmax())
    if value and np.mean(border == value) > _BORDER:
        hint = "exchange them, so that 0 is what is no lung"
        raise InputError(subject, "a mask that lies around what is 0: inverted?", "lungs within their image", hint)


def refuse_grey(boxes_mm: Sequence[tuple[float, float]], values: Sequence[int], subject: str) -> None:
    """Refuse a map of many values that reach across the patient, each in a shell of the next.

    Args:
        boxes_mm: Ends of each value from left to right.
        values: The values.
        subject: Name for messages.

    Raises:
        InputError: Probabilities or a smoothed mask, as whole numbers.
    """
    edges = np.array(boxes_mm)
    width_mm = edges[:, 1].max() - edges[:, 0].min()
    n_wide = int(np.count_nonzero(edges[:, 1] - edges[:, 0] > _GREY_WIDE * width_mm))
    if n_wide >= max(_GREY_VALUES, _GREY_WIDE * len(values)):
        given = f"{len(values)} values up to {max(values)}, nearly all across both lungs: probabilities?"
        hint = f"a mask of them: values from {(max(values) + 1) // 2} on set to 1"
        raise InputError(subject, given, "a label map", hint)

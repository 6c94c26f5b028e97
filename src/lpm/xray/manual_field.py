"""A lung field that a person gives: in place of what the reader finds, or where there is no picture at all.

The reader's lengths then hold where both agree. Where only the person sees lung, rays are as long as nearby; where only
the reader sees open lung, there is none. Without a picture, lengths are those of the mean lungs, stretched until their
visible field is as wide and as high as the given one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.calibration import number
from lpm.errors import InputError
from lpm.fitting.extraction import mean_shape
from lpm.geometry.frames import Floats
from lpm.geometry.grids import grid_around, voxelise
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.projection import PARALLEL, View, turned_view
from lpm.geometry.sides import LEFT, RIGHT, split_at_middle
from lpm.model.bundle import ModelBundle
from lpm.xray.drr import MarchConfig, path_lengths_of_labels
from lpm.xray.projected_field import visible_field
from lpm.xray.reader import Answers, Reading

Field = NDArray[np.bool_]
FIELD_HEIGHT_MM = number("xray.field_height_mm")
_SIDES = ("left_lung", "right_lung")
_GRID_PX = 192  # of a reading's longer side, at most: as much as the network sees
_LEAST_SHARE = number("xray.least_length_share")
_UNSURE = number("xray.unsure")
_MEAN_LENGTH_SD = number("xray.mean_length_sd")
_MEAN_VOLUME_SD = number("xray.mean_volume_sd")
_SPACING_MM = number("xray.mean_lungs_spacing_mm")
_VOXEL_MM = number("xray.mean_lungs_voxel_mm")
# who draws a field has answered what the network is asked of a picture
_AS_GIVEN = Answers(chest=1.0, mirrored=0.0, inverted=0.0, turned=(1.0, 0.0, 0.0, 0.0))


def sides_of(mask: Field) -> Field:
    """(2, r, c) the patient's left and right field of (r, c) both: by pieces, or by the middle.

    The patient's right is on the picture's left. A piece that lies over both sides is cut at the middle.

    Raises:
        InputError: An empty mask, or one of one side only.
    """
    if not mask.any():
        raise InputError("lung field", "an empty mask", "the field of both lungs")
    across = np.flip(mask, axis=1).T  # first axis towards the patient's right
    found = np.flip(split_at_middle(across, float(np.nonzero(across)[0].mean())).T, axis=1)
    sides = np.stack([found == LEFT, found == RIGHT])
    if not sides.any(axis=(1, 2)).all():
        raise InputError("lung field", "lung on one side only", "the field of both lungs")
    return sides


def with_field(reading: Reading, field: Field) -> Reading:
    """Combine the reading of a frontal picture with a lung field that a person has drawn.

    Args:
        reading: Reading of the left and the right lung.
        field: (2, r, c) on the picture's pixels or any other grid over it.
    """
    given = np.stack([_resampled(side, reading.field.shape[1:]) for side in field])
    paths, sds = reading.path_length.copy(), reading.path_sd.copy()
    for side, (mask, seen) in enumerate(zip(given, reading.field > 0.5, strict=True)):
        length = reading.path_length[side]
        typical = float(np.median(length[mask & seen])) if (mask & seen).any() else float(length.max())
        missed, wrong = mask & (length < _LEAST_SHARE * typical), ~mask & seen
        certain = mask & ~missed
        if certain.any():
            nearest = ndimage.distance_transform_edt(~certain, return_distances=False, return_indices=True)
            length = length[tuple(nearest)]
        paths[side][missed], paths[side][wrong] = length[missed], 0.0
        sds[side][missed | wrong] = _UNSURE * typical
    return replace(reading, field=given.astype(np.float32), path_length=paths, path_sd=sds)


def _resampled(mask: Field, shape: tuple[int, ...]) -> Field:
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(shape, mask.shape, strict=True))
    return np.asarray(mask[np.ix_(rows, columns)])


def reading_of_field(model: ModelBundle, field: Field, mm_per_px: tuple[float, float] | None) -> Reading:
    """What the visible field alone says of the lungs: the lengths of the mean lungs in a field of this size.

    Args:
        model: Model of the left and the right lung.
        field: (2, r, c) left and right.
        mm_per_px: Of rows and columns, in the plane of the patient; None if nobody knows: lengths are in pixels.
    """
    step = max(1.0, max(field.shape[1:]) / _GRID_PX)
    shape = (max(1, round(field.shape[1] / step)), max(1, round(field.shape[2] / step)))
    steps = (field.shape[1] / shape[0], field.shape[2] / shape[1])
    given = np.stack([_resampled(side, shape) for side in field])
    rows = np.flatnonzero(field.any(axis=(0, 2)))
    usual = FIELD_HEIGHT_MM / float(rows[-1] - rows[0] + 1)
    unit = mm_per_px or (usual, usual)
    lungs, view = _as_large(model, given, (steps[0] * unit[0], steps[1] * unit[1]))
    shown = visible_field(lungs, view)
    lengths = np.stack([_lengths_mm(lungs[name], view) for name in _SIDES]).astype(np.float32)
    lengths /= np.float32(1.0 if mm_per_px else usual)
    sd = np.float32(_MEAN_LENGTH_SD) * lengths + np.float32(0.05 * float(lengths.max()))
    reading = Reading(
        field=shown.astype(np.float32),
        path_length=lengths,
        path_sd=sd,
        volume_sd=_MEAN_VOLUME_SD,
        step_px=steps,
        in_mm=mm_per_px is not None,
        answers=_AS_GIVEN,
        doubts=("The lung field was given without a picture: depth is that of the mean lungs.",),
    )
    return with_field(reading, given)


def _as_large(model: ModelBundle, field: Field, spacing: tuple[float, float]) -> tuple[dict[str, WorldMesh], View]:
    """The mean lungs, stretched so that what is seen of them is as large as a field, and the view of that field."""
    meshes = {name: mesh for name, mesh in mean_shape(model, _SPACING_MM).meshes.items() if name in _SIDES}
    around = turned_view((128, 128), (3.5, 3.5), 0.0, np.zeros(3), PARALLEL)
    own, wanted = _box_mm(visible_field(meshes, around), (3.5, 3.5)), _box_mm(field, spacing)
    height, width = (wanted[1] - wanted[0]) / (own[1] - own[0])
    factors = np.array([width, 0.5 * (width + height), height])
    # rows run down and columns to the patient's left, from the picture's middle
    down, left = own.mean(axis=0) * (height, width) - wanted.mean(axis=0)
    middle = np.array([left, 0.0, down])
    lungs = {name: WorldMesh(meshes[name].vertices * factors + middle, meshes[name].faces) for name in _SIDES}
    return lungs, turned_view((field.shape[1], field.shape[2]), spacing, 0.0, np.zeros(3), PARALLEL)


def _box_mm(field: Field, spacing: tuple[float, float]) -> Floats:
    """(2, 2) first and last row and column of a field, from the middle of its picture."""
    shown: Field = np.any(field, axis=0)
    lines = [np.flatnonzero(shown.any(axis=1 - axis)) for axis in (0, 1)]
    ends = np.array([[line[0] - 0.5, line[-1] + 0.5] for line in lines]).T
    return np.asarray((ends - 0.5 * (np.array(shown.shape) - 1.0)) * spacing)


def _lengths_mm(mesh: WorldMesh, view: View) -> Floats:
    """(r, c) of each ray in a mesh."""
    grid = grid_around([mesh], _VOXEL_MM)
    labels = grid.volume(voxelise(mesh, grid).astype(np.uint8))
    found = path_lengths_of_labels(labels, view, {"lung": (1,)}, MarchConfig(step_mm=_VOXEL_MM))
    return np.asarray(found[0], dtype=np.float64)

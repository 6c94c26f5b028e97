"""X-ray geometry: where the ray of each pixel of a radiograph runs through the patient; world, RAS mm.

A view is a detector plane and, for a cone beam, a source. Rows run down, columns to the right of the picture as it is
hung: the patient's right is on the left of a frontal picture, the front is on the left of a lateral one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.arrays import ComparedByContent, read_only_arrays
from lpm.geometry.frames import Floats, as_points

USUAL_SOURCE_DETECTOR_MM = number("geometry.usual_source_detector_mm")
USUAL_PATIENT_DETECTOR_MM = number("geometry.usual_patient_detector_mm")
_DOWN = (0.0, 0.0, -1.0)  # towards the feet, RAS


@read_only_arrays
@dataclass(frozen=True, eq=False)
class View(ComparedByContent):
    """A radiograph's geometry.

    Args:
        shape: Rows and columns of the picture.
        origin_mm: (3,) centre of the pixel in row 0, column 0, on the detector.
        by_column_mm: (3,) from a pixel to the next in its row.
        by_row_mm: (3,) from a pixel to the one below.
        beam: (3,) unit vector, the way the X-rays go; normal to the detector for a parallel beam.
        source_mm: (3,) the focal spot of a cone beam; None for a parallel beam.
    """

    shape: tuple[int, int]
    origin_mm: Floats
    by_column_mm: Floats
    by_row_mm: Floats
    beam: Floats
    source_mm: Floats | None = None

    def places_mm(self, pixels: ArrayLike) -> Floats:
        """(n, 3) where (n, 2) pixels, row and column, lie on the detector."""
        row, column = np.asarray(pixels, dtype=np.float64).reshape(-1, 2).T
        return np.asarray(self.origin_mm + column[:, None] * self.by_column_mm + row[:, None] * self.by_row_mm)

    def directions(self, pixels: ArrayLike) -> Floats:
        """(n, 3) unit vectors along the rays of (n, 2) pixels, from the source to the detector."""
        places = self.places_mm(pixels)
        if self.source_mm is None:
            return np.broadcast_to(self.beam, places.shape)
        along = places - self.source_mm
        return np.asarray(along / np.linalg.norm(along, axis=1, keepdims=True))

    def to_pixels(self, points_mm: Floats) -> Floats:
        """(n, 2) row and column where the rays through (n, 3) world points meet the detector."""
        points = as_points(points_mm)
        normal = np.cross(self.by_column_mm, self.by_row_mm)
        along = np.broadcast_to(self.beam, points.shape) if self.source_mm is None else points - self.source_mm
        reach = ((self.origin_mm - points) @ normal) / (along @ normal)
        onto = points + reach[:, None] * along - self.origin_mm
        axes = np.stack([self.by_row_mm, self.by_column_mm], axis=1)
        return np.asarray(onto @ np.linalg.pinv(axes).T)


@dataclass(frozen=True)
class Beam:
    """X-ray source: cone or parallel beam, and its distances.

    Args:
        source_detector_mm: Distance from the focal spot to the detector; None for a parallel beam.
        patient_detector_mm: Distance from the patient's middle to the detector; of no consequence to a parallel beam.
        back_to_front: PA, as the standing patient is taken; false for AP, as in bed. For a lateral view: the
            left side at the detector.
    """

    source_detector_mm: float | None = None
    patient_detector_mm: float = USUAL_PATIENT_DETECTOR_MM
    back_to_front: bool = True

    def __post_init__(self) -> None:
        """Refuse a source behind the patient."""
        far = self.source_detector_mm
        if far is not None and not far > self.patient_detector_mm > 0:
            given = f"source {far} mm and patient {self.patient_detector_mm} mm from the detector"
            raise InputError(
                "X-ray geometry",
                given,
                "0 < patient < source",
                f"{USUAL_SOURCE_DETECTOR_MM:g} and {USUAL_PATIENT_DETECTOR_MM:g} are usual",
            )


PARALLEL = Beam()


def turned_view(
    shape: tuple[int, int], mm_per_px: tuple[float, float], degrees: float, center_mm: ArrayLike, beam: Beam = PARALLEL
) -> View:
    """A view at an angle about the patient's long axis, its picture's middle at a world point.

    Args:
        shape: Rows and columns.
        mm_per_px: Pixel spacing of rows and of columns, on the detector.
        degrees: 0 is frontal; 90 lateral, the front on the left of the picture.
        center_mm: (3,) world point on the middle ray.
        beam: Parallel or cone.

    Raises:
        InputError: A size that is not positive.
    """
    if min(*shape, *mm_per_px) <= 0:
        raise InputError("X-ray geometry", f"shape {shape}, {mm_per_px} mm per pixel", "positive numbers")
    angle = np.deg2rad(degrees)
    # what the picture shows to its right, seen from the front: the patient's left, then (lateral) the back
    right = np.array([-np.cos(angle), -np.sin(angle), 0.0])
    onward = np.cross(right, _DOWN)  # away from who looks at the picture
    sign = -1.0 if beam.back_to_front else 1.0
    forward = sign * onward
    center = np.asarray(center_mm, dtype=np.float64)
    middle = center + beam.patient_detector_mm * forward
    by_row, by_column = mm_per_px[0] * np.array(_DOWN), mm_per_px[1] * right
    origin = middle - 0.5 * (shape[1] - 1) * by_column - 0.5 * (shape[0] - 1) * by_row
    source = None if beam.source_detector_mm is None else middle - beam.source_detector_mm * forward
    return View(shape, origin, by_column, by_row, forward, source)


VIEW_DEGREES = {"frontal": 0.0, "lateral": 90.0}  # of `turned_view`


@dataclass(frozen=True)
class AxisMap:
    """How one world coordinate becomes a pixel's row or column: ``pixel = offset_px + sign * mm / mm_per_px``.

    Args:
        axis: x (right), y (front) or z (head) of the patient.
        sign: -1 where pixels run against the axis.
        offset_px: Pixel of the coordinate 0.
        mm_per_px: Distance between pixels.
    """

    axis: Literal["x", "y", "z"]
    sign: Literal[-1, 1]
    offset_px: float
    mm_per_px: float

    @property
    def step_mm(self) -> Floats:
        """(3,) from a pixel to the next."""
        return np.asarray(self.sign * self.mm_per_px * np.eye(3)["xyz".index(self.axis)])

    @property
    def first_mm(self) -> Floats:
        """(3,) where pixel 0 lies along the axis; 0 along the others."""
        return -self.offset_px * self.step_mm


def axis_view(shape: tuple[int, int], column: AxisMap, row: AxisMap) -> View:
    """A parallel view along a world axis, from the maps of its columns and rows.

    The beam goes towards whoever looks at the picture, as in a PA view.

    Args:
        shape: Rows and columns.
        column: Map of the coordinate that columns show.
        row: Map of the coordinate that rows show.

    Raises:
        InputError: Rows and columns show the same axis, or a size is not positive.
    """
    if column.axis == row.axis or min(*shape, column.mm_per_px, row.mm_per_px) <= 0:
        given = f"columns along {column.axis}, rows along {row.axis}, shape {shape}"
        raise InputError("X-ray geometry", given, "two axes and positive sizes", "such as x and z for a frontal view")
    normal = np.cross(row.step_mm, column.step_mm)
    beam = normal / np.linalg.norm(normal)
    return View(shape, column.first_mm + row.first_mm, column.step_mm, row.step_mm, beam)

"""A radiograph as a fit takes it: the picture, how it was taken, and a lung field where a person has drawn one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.projection import PARALLEL, VIEW_DEGREES, Beam, View, turned_view


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Radiograph:
    """A picture and what is known of how it was taken.

    Args:
        pixels: (r, c) 0 to 1, bright = dense; the patient's right on the left of a frontal picture, the front on the
            left of a lateral one.
        side: Frontal (PA or AP) or lateral.
        mm_per_px: Pixel spacing between rows and between columns, on the detector; None if nobody knows.
        beam: Parallel, or a cone of known distances.
        view: Where the rays run in the patient's own world, if that is known; it then holds the spacing too, and the
            beam but for the patient's distance from the detector.
        name: Name of the picture, for those who read `fit.json`.
        field: (2, r, c) the visible field of the left and the right lung where a person has drawn it, of a frontal
            picture; or (r, c) both. It takes the place of what the reader finds.
        is_picture: Whether `pixels` are one; else nothing but the field is known (`of_field`).
        size_from_prior: Whether, where there is no pixel spacing, the lungs are taken to be of the sizes that the
            model's training lungs had; else they have a shape and no size.

    Raises:
        InputError: Another side, a view or a field of another size, or a field of a lateral picture.
    """

    pixels: NDArray[np.float32]
    side: Literal["frontal", "lateral"] = "frontal"
    mm_per_px: tuple[float, float] | None = None
    beam: Beam = PARALLEL
    view: View | None = None
    name: str = ""
    field: NDArray[np.bool_] | None = None
    is_picture: bool = True
    size_from_prior: bool = False

    @classmethod
    def of_field(cls, field: NDArray[np.bool_], **known: Any) -> Radiograph:
        """Make a radiograph of a drawn field only, (r, c) or (2, r, c); `known` are the other arguments."""
        drawn = field if field.ndim == 2 else field.any(axis=0)
        return cls(np.asarray(drawn, dtype=np.float32), field=field, is_picture=False, **known)

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.field is not None:
            self._check_field(self.field)
        if self.side not in VIEW_DEGREES:
            raise InputError("radiograph", f"side {self.side!r}", f"one of {', '.join(VIEW_DEGREES)}")
        if self.view is not None and self.view.shape != self.pixels.shape:
            given = f"{self.pixels.shape} pixels, and a view of {self.view.shape}"
            raise InputError("radiograph", given, "a view of this picture")

    def _check_field(self, field: NDArray[np.bool_]) -> None:
        if self.side != "frontal":
            raise InputError("lung field", f"of a {self.side} picture", "of a frontal one")
        if field.dtype != np.bool_ or field.shape not in (self.pixels.shape, (2, *self.pixels.shape)):
            given = f"{field.dtype} of {field.shape}, and a picture of {self.pixels.shape}"
            raise InputError("lung field", given, "a mask of the same pixels, of both lungs or of each")

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Between rows and columns, on the detector."""
        if self.view is None:
            return self.mm_per_px
        return float(np.linalg.norm(self.view.by_row_mm)), float(np.linalg.norm(self.view.by_column_mm))

    @property
    def is_sized(self) -> bool:
        """Whether lungs seen in it alone have a size."""
        return self.size_from_prior or self.spacing_mm is not None

    @property
    def in_patient_mm(self) -> tuple[float, float] | None:
        """Between rows and columns in the plane of the patient's middle."""
        if self.spacing_mm is None:
            return None
        return self.spacing_mm[0] / self.magnification, self.spacing_mm[1] / self.magnification

    @property
    def magnification(self) -> float:
        """Magnification of the patient's middle on the detector."""
        far = self.source_detector_mm
        return 1.0 if far is None else far / (far - self.beam.patient_detector_mm)

    @property
    def source_detector_mm(self) -> float | None:
        """Distance from the focal spot to the detector, mm; None for a parallel beam."""
        return self.beam.source_detector_mm if self.view is None else source_detector_mm(self.view)

    def placed(self) -> View:
        """Geometry with the middle of the picture at the world's origin, where nothing else is known."""
        if self.view is not None:
            return self.view
        if self.mm_per_px is None:
            raise InputError("radiograph", "no pixel spacing", "mm between pixels")
        rows, columns = self.pixels.shape
        return turned_view((rows, columns), self.mm_per_px, VIEW_DEGREES[self.side], np.zeros(3), self.beam)


def source_detector_mm(view: View) -> float | None:
    """Distance from a view's focal spot to its detector, mm; None for a parallel beam."""
    if view.source_mm is None:
        return None
    normal = np.cross(view.by_row_mm, view.by_column_mm)
    return abs(float((view.origin_mm - view.source_mm) @ normal)) / float(np.linalg.norm(normal))

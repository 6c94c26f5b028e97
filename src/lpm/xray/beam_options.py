"""The beam of a radiograph: by what a person says of it, else by its file, else as is usual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lpm.errors import MisuseError
from lpm.geometry.projection import PARALLEL, USUAL_PATIENT_DETECTOR_MM, USUAL_SOURCE_DETECTOR_MM, Beam, View
from lpm.xray.files.image import Xray
from lpm.xray.radiograph import source_detector_mm

Side = Literal["frontal", "lateral"]
Projection = Literal["parallel", "cone"]
_MOST_MM = 10_000.0  # no detector stands ten metres from its tube: a longer distance is of another unit
_REVERSED = ("AP", "RL")
SAME = 0.01  # relative: lengths that differ less are the same, written with fewer digits


@dataclass(frozen=True)
class BeamOptions:
    """Beam options of the user; errors name the field that is wrong.

    Args:
        projection: Kind of beam.
        source_detector_mm: Distance, of a cone beam, from the focal spot to the detector; None as the file says.
        patient_detector_mm: Distance, of a cone beam, from the patient's middle to the detector; None as the file says.
        ap: Whether the tube was in front of the patient, of a frontal picture.

    Raises:
        MisuseError: Distances of a parallel beam, or such as cannot be.
    """

    projection: Projection = "cone"
    source_detector_mm: float | None = None
    patient_detector_mm: float | None = None
    ap: bool = False

    def __post_init__(self) -> None:
        distances = {name: getattr(self, name) for name in ("source_detector_mm", "patient_detector_mm")}
        if self.projection == "parallel" and any(value is not None for value in distances.values()):
            raise MisuseError("projection parallel", "a distance", "a cone beam", "the projection cone")
        if self.projection == "parallel" and self.ap:
            raise MisuseError("ap", "a parallel beam, which is the same both ways", "a cone beam", "leave it out")
        for name, value in distances.items():
            if value is not None and not 0 < value < _MOST_MM:
                raise MisuseError(name, f"{value:g} mm", f"above 0, below {_MOST_MM:g} mm", "1800 and 200 are usual")

    def beam(self, found: Xray, side: Side = "frontal") -> Beam:
        """The beam of a picture that nothing places in the patient.

        Raises:
            MisuseError: The file says PA where a person says AP, or the patient stands behind the source.
        """
        is_ap = self.ap and side == "frontal"
        if is_ap and found.position == "PA":
            raise MisuseError("ap", "the file says PA", "what the file says", "leave it out")
        far = self.source_detector_mm or found.source_detector_mm or USUAL_SOURCE_DETECTOR_MM
        return self._cone(far, found.source_patient_mm, is_reversed=is_ap or found.position in _REVERSED)

    def beam_of(self, view: View, source_patient_mm: float | None) -> Beam:
        """The beam of a placed view, which knows all but where the patient stands.

        Raises:
            MisuseError: Something else was said than the view knows.
        """
        if self.ap:
            raise MisuseError("ap", "the views know where the tube was", "one of both", "leave it out")
        far = source_detector_mm(view)
        if far is None:
            if self.source_detector_mm is not None or self.patient_detector_mm is not None:
                raise MisuseError("views", "a parallel beam, and distances were given", "a cone beam", "leave them out")
            return PARALLEL
        if self.projection == "parallel":
            raise MisuseError("projection", "parallel, and the views have a cone beam", "theirs", "leave it out")
        if self.source_detector_mm is not None and abs(self.source_detector_mm - far) > SAME * far:
            given = f"{self.source_detector_mm:g} mm, and the views say {far:g}"
            raise MisuseError("source_detector_mm", given, "the same", "leave it out")
        return self._cone(far, source_patient_mm, is_reversed=False)

    def _cone(self, far: float, source_patient_mm: float | None, *, is_reversed: bool) -> Beam:
        if self.projection == "parallel":
            return PARALLEL
        known = far - source_patient_mm if source_patient_mm and source_patient_mm < far else None
        patient = self.patient_detector_mm or known or USUAL_PATIENT_DETECTOR_MM
        if patient >= far:
            given = f"the patient {patient:g} mm from the detector, and the source {far:g} mm"
            raise MisuseError("patient_detector_mm", given, "a source behind the patient", "1800 and 200 are usual")
        return Beam(far, patient, back_to_front=not is_reversed)

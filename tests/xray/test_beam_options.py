from __future__ import annotations

import numpy as np
import pytest

from lpm.errors import MisuseError
from lpm.geometry.projection import Beam, turned_view
from lpm.xray.beam_options import BeamOptions
from lpm.xray.files.image import Xray

PIXELS = np.zeros((4, 4), np.float32)
CONE = turned_view((4, 4), (1.0, 1.0), 0.0, np.zeros(3), Beam(1800.0, 300.0))


def test_a_person_comes_before_the_file_and_the_file_before_what_is_usual() -> None:
    file = Xray(PIXELS, source_detector_mm=1100.0, source_patient_mm=950.0)
    assert BeamOptions().beam(Xray(PIXELS)) == Beam(1800.0, 200.0)
    assert BeamOptions().beam(file) == Beam(1100.0, 150.0)
    assert BeamOptions(source_detector_mm=1500.0).beam(file) == Beam(1500.0, 550.0)
    assert BeamOptions(source_detector_mm=1500.0, patient_detector_mm=100.0).beam(file) == Beam(1500.0, 100.0)


def test_a_tube_in_front_is_said_by_either() -> None:
    assert not BeamOptions(ap=True).beam(Xray(PIXELS)).back_to_front
    assert not BeamOptions().beam(Xray(PIXELS, position="AP")).back_to_front
    assert BeamOptions(ap=True).beam(Xray(PIXELS), "lateral").back_to_front


def test_a_placed_view_knows_all_but_where_the_patient_stands() -> None:
    assert BeamOptions().beam_of(CONE, None) == Beam(1800.0, 200.0)
    assert BeamOptions().beam_of(CONE, 1500.0) == Beam(1800.0, 300.0)
    assert BeamOptions().beam_of(turned_view((4, 4), (1.0, 1.0), 0.0, np.zeros(3)), None).source_detector_mm is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projection": "parallel", "source_detector_mm": 1800.0}, r"^projection parallel: a distance"),
        ({"projection": "parallel", "ap": True}, r"^ap: a parallel beam"),
        ({"source_detector_mm": float("nan")}, r"^source_detector_mm: nan mm"),
        ({"patient_detector_mm": -5.0}, r"^patient_detector_mm: -5 mm; expected above 0"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_its_field(options: dict[str, object], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        BeamOptions(**options)  # type: ignore[arg-type]


def test_what_the_file_or_the_view_contradicts_is_refused() -> None:
    with pytest.raises(MisuseError, match=r"^ap: the file says PA"):
        BeamOptions(ap=True).beam(Xray(PIXELS, position="PA"))
    with pytest.raises(
        MisuseError, match=r"^patient_detector_mm: the patient 200 mm from the detector, and the source"
    ):
        BeamOptions(source_detector_mm=150.0).beam(Xray(PIXELS))
    with pytest.raises(MisuseError, match=r"^ap: the views know"):
        BeamOptions(ap=True).beam_of(CONE, None)
    with pytest.raises(MisuseError, match=r"^projection: parallel, and the views have a cone beam"):
        BeamOptions("parallel").beam_of(CONE, None)
    with pytest.raises(MisuseError, match=r"^source_detector_mm: 1000 mm, and the views say 1800"):
        BeamOptions(source_detector_mm=1000.0).beam_of(CONE, None)
    with pytest.raises(MisuseError, match=r"^views: a parallel beam, and distances were given"):
        BeamOptions(patient_detector_mm=9.0).beam_of(turned_view((4, 4), (1.0, 1.0), 0.0, np.zeros(3)), None)

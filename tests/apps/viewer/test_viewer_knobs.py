from __future__ import annotations

import numpy as np
import pytest

from lpm.apps.viewer.knobs import Turning
from lpm.apps.viewer.mesher import Mesher
from lpm.apps.viewer.shape import Shape
from lpm.fitting.pose import Pose
from lpm.measurement.shapes import measure_shapes
from lpm.model.bundle import ModelBundle
from lpm.population.knobs import Knobs

VOLUME = "total_volume_ml"


@pytest.fixture(scope="module")
def turning(tiny_atlas: ModelBundle) -> Turning:
    """Of two knobs: four generated training subjects teach no more."""
    return Turning(Knobs(Knobs.of(tiny_atlas).population, (VOLUME, "height_mm")), Mesher(tiny_atlas))


def stretched(model: ModelBundle) -> Shape:
    """A shape as a fit leaves it: not the mean, and with a pose."""
    beta = np.zeros(model.latents.n_modes)
    beta[1] = 0.4
    return Shape(beta, Pose(np.array([10.0, 0.0, 900.0]), np.array([1.1, 1.0, 0.95]), np.array([0.0, 0.1, 0.0])))


def test_lungs_measure_what_was_asked_for_and_stay_where_they_lie(turning: Turning, tiny_atlas: ModelBundle) -> None:
    shape = stretched(tiny_atlas)
    stand = measure_shapes(turning.mesher.fine(shape))
    wanted = {VOLUME: 1.1 * stand[VOLUME]}
    found = turning.reached(turning.moved(shape, stand, wanted), wanted)
    values = measure_shapes(turning.mesher.fine(found))
    assert values[VOLUME] == pytest.approx(wanted[VOLUME], abs=0.05 * turning.knobs.sd(VOLUME))
    assert found.pose is shape.pose
    assert turning.missed(wanted, values) == ""


def test_the_first_guess_is_near(turning: Turning, tiny_atlas: ModelBundle) -> None:
    shape = Shape.mean(tiny_atlas.latents.n_modes)
    stand = measure_shapes(turning.mesher.fine(shape))
    wanted = {VOLUME: stand[VOLUME] + 0.3 * turning.knobs.sd(VOLUME), "height_mm": stand["height_mm"]}
    values = measure_shapes(turning.mesher.fine(turning.moved(shape, stand, wanted)))
    assert values[VOLUME] - stand[VOLUME] == pytest.approx(0.3 * turning.knobs.sd(VOLUME), rel=0.3)


def test_what_no_lungs_have_is_told(turning: Turning) -> None:
    said = turning.missed({VOLUME: 9000.0, "height_mm": 250.0}, {VOLUME: 5000.0, "height_mm": 250.0})
    assert "total volume 9,000, got 5,000 ml" in said
    assert "height" not in said


def test_a_knob_names_its_unit(turning: Turning) -> None:
    assert [knob.label for knob in turning.all] == ["total volume, ml", "height, mm"]
    assert all(knob.low < knob.high for knob in turning.all)

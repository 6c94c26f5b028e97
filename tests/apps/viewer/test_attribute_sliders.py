from __future__ import annotations

import numpy as np
import pytest

from lpm.apps.viewer.attribute_sliders import AttributeEdit
from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.fitting.pose import Pose
from lpm.measurement.shapes import measure_shapes
from lpm.model.bundle import ModelBundle
from lpm.population.knobs import Knobs

VOLUME = "total_volume_ml"


@pytest.fixture(scope="module")
def edit(tiny_atlas: ModelBundle) -> AttributeEdit:
    """Of two knobs: four generated training subjects teach no more."""
    return AttributeEdit(Knobs(Knobs.of(tiny_atlas).population, (VOLUME, "height_mm")), Mesher(tiny_atlas))


def stretched(model: ModelBundle) -> ShapeParameters:
    """A shape as a fit leaves it: not the mean, and with a pose."""
    beta = np.zeros(model.latents.n_modes)
    beta[1] = 0.4
    return ShapeParameters(
        beta, Pose(np.array([10.0, 0.0, 900.0]), np.array([1.1, 1.0, 0.95]), np.array([0.0, 0.1, 0.0]))
    )


def test_lungs_measure_what_was_asked_for_and_stay_where_they_lie(edit: AttributeEdit, tiny_atlas: ModelBundle) -> None:
    shape = stretched(tiny_atlas)
    stand = measure_shapes(edit.mesher.fine(shape))
    wanted = {VOLUME: 1.1 * stand[VOLUME]}
    found = edit.reached(edit.moved(shape, stand, wanted), wanted)
    values = measure_shapes(edit.mesher.fine(found))
    assert values[VOLUME] == pytest.approx(wanted[VOLUME], abs=0.05 * edit.knobs.sd(VOLUME))
    assert found.pose is shape.pose
    assert edit.missed(wanted, values) == ""


def test_the_first_guess_is_near(edit: AttributeEdit, tiny_atlas: ModelBundle) -> None:
    shape = ShapeParameters.mean(tiny_atlas.latents.n_modes)
    stand = measure_shapes(edit.mesher.fine(shape))
    wanted = {VOLUME: stand[VOLUME] + 0.3 * edit.knobs.sd(VOLUME), "height_mm": stand["height_mm"]}
    values = measure_shapes(edit.mesher.fine(edit.moved(shape, stand, wanted)))
    assert values[VOLUME] - stand[VOLUME] == pytest.approx(0.3 * edit.knobs.sd(VOLUME), rel=0.3)


def test_what_no_lungs_have_is_told(edit: AttributeEdit) -> None:
    said = edit.missed({VOLUME: 9000.0, "height_mm": 250.0}, {VOLUME: 5000.0, "height_mm": 250.0})
    assert "total volume 9,000, got 5,000 ml" in said
    assert "height" not in said


def test_a_knob_names_its_unit(edit: AttributeEdit) -> None:
    assert [knob.label for knob in edit.all] == ["total volume, ml", "height, mm"]
    assert all(knob.low < knob.high for knob in edit.all)

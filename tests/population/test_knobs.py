from __future__ import annotations

import numpy as np
import pytest

from lpm.errors import InputError
from lpm.lung_model import LungModel
from lpm.model.bundle import ModelBundle
from lpm.population.gates import unsound
from lpm.population.knobs import Knobs, interpolate

TURNED = ("total_volume_ml", "height_mm")


@pytest.fixture(scope="module")
def knobs(tiny_atlas: ModelBundle) -> Knobs:
    """Four generated training subjects span three coordinates: two knobs are held exactly."""
    return Knobs(Knobs.of(tiny_atlas).population, TURNED)


@pytest.mark.slow
def test_one_knob_turns_and_the_other_is_held(knobs: Knobs) -> None:
    table = knobs.disentanglement()
    assert np.diag(table) == pytest.approx([1.0, 1.0], abs=0.05)
    assert np.abs(table - np.diag(np.diag(table))).max() < 0.1


def test_a_knob_goes_both_ways(knobs: Knobs) -> None:
    start, less = knobs.average(), knobs.turn("height_mm", -0.5)
    fallen = start.attributes["height_mm"] - less.attributes["height_mm"]
    assert fallen == pytest.approx(0.5 * knobs.sd("height_mm"), rel=0.05)


def test_what_no_lungs_do_is_refused_with_the_nearest_that_can_be(knobs: Knobs) -> None:
    with pytest.raises(InputError, match=r"total_volume_ml by \+5 standard deviations") as refused:
        knobs.turn("total_volume_ml", 5.0)
    nearest = float(refused.value.expected.split(",")[0])
    assert 0.0 < nearest < 5.0
    turned, start = knobs.turn("total_volume_ml", nearest), knobs.average()
    grown = turned.attributes["total_volume_ml"] - start.attributes["total_volume_ml"]
    assert grown == pytest.approx(nearest * knobs.sd("total_volume_ml"), rel=0.05)


def test_joint_directions_follow_the_population_and_others_are_held(knobs: Knobs) -> None:
    slopes = knobs.population.slopes(TURNED)
    sd = np.array([knobs.sd(name) for name in TURNED])
    held = knobs.directions(joint=False) @ slopes.T / sd
    assert np.allclose(held, np.eye(2), atol=1e-9)
    followed = knobs.directions(joint=True) @ slopes.T / sd
    assert np.allclose(np.diag(followed), (slopes**2).sum(axis=1) / sd**2)
    assert abs(followed[0, 1]) > 0.01


@pytest.mark.slow
def test_setting_an_attribute_meets_it(tiny_atlas: ModelBundle) -> None:
    model = LungModel(tiny_atlas)
    asked = 1.05 * model.population.expected({})["total_volume_ml"]
    shape = model.set(volume_ml=asked)
    assert shape.attributes["total_volume_ml"] == pytest.approx(asked, rel=0.005)
    assert unsound(shape.lungs) == ""
    (lungs,) = model.generate(1, volume_ml=(0.9 * asked, asked), rng=np.random.default_rng(0))
    assert 0.89 * asked < lungs.attributes["total_volume_ml"] < 1.01 * asked


def test_what_shape_explains_is_between_nothing_and_all(knobs: Knobs) -> None:
    found = knobs.explained()
    assert found.keys() == set(TURNED)
    assert all(value <= 1.0 for value in found.values())


def test_a_sweep_moves_evenly(knobs: Knobs) -> None:
    heights = [shape.attributes["height_mm"] for shape in knobs.sweep("height_mm", -0.5, 0.5, 3)]
    assert np.diff(heights) == pytest.approx([0.5 * knobs.sd("height_mm")] * 2, rel=0.1)


def test_interpolation_ends_at_both_lungs(knobs: Knobs) -> None:
    population = knobs.population
    ends = [population.beta(population.coordinates[index]) for index in (0, 1)]
    shapes = list(interpolate(ends[0], ends[1], population, 3))
    for shape, beta in ((shapes[0], ends[0]), (shapes[2], ends[1])):
        for name, mesh in population.decode(beta).items():
            assert np.allclose(shape[name].vertices, mesh.vertices, atol=1e-3)


def test_misuse_is_refused(knobs: Knobs) -> None:
    with pytest.raises(InputError, match="knob: 'weight'"):
        knobs.turn("weight")
    with pytest.raises(InputError, match="sweep: 1 shapes"):
        list(knobs.sweep("height_mm", -1.0, 1.0, 1))
    with pytest.raises(InputError, match="interpolate: 1 shapes"):
        list(interpolate(np.zeros(2), np.zeros(2), knobs.population, 1))
    with pytest.raises(InputError, match=r"interpolate: shape parameters \(2,\)"):
        list(interpolate(np.zeros(2), np.zeros(2), knobs.population, 3))

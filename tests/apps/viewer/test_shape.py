from __future__ import annotations

import numpy as np
import pytest

from lpm.apps.viewer.shape import N_SLIDERS, REACH, Shape


def test_the_mean_is_nothing_but_zeros() -> None:
    assert np.array_equal(Shape.mean(12).beta, np.zeros(12))


def test_a_random_shape_moves_the_first_parameters_only_and_within_reach(rng: np.random.Generator) -> None:
    draws = np.stack([Shape.random(N_SLIDERS + 5, rng=rng).beta for _ in range(400)])
    assert np.abs(draws).max() <= REACH
    assert (draws[:, N_SLIDERS:] == 0).all()
    assert draws[:, :N_SLIDERS].std() == pytest.approx(1.0, abs=0.05)


def test_a_model_of_few_modes_has_random_shapes_too(rng: np.random.Generator) -> None:
    assert Shape.random(3, rng=rng).beta.shape == (3,)


def test_moving_one_parameter_leaves_the_old_shape_as_it_was() -> None:
    first = Shape.mean(4)
    second = first.moved(2, 1.5)
    assert second.beta.tolist() == [0, 0, 1.5, 0]
    assert first.beta.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("source", "expected"), [(None, "lpm.load()"), ("it's/here", 'lpm.load("it\'s/here")')])
def test_code_names_the_model(source: str | None, expected: str) -> None:
    assert expected in Shape.mean(2).code(source)

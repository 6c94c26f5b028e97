from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lpm.apps.viewer.scene.shape_parameters import N_SLIDERS, REACH, ShapeParameters
from lpm.fitting.pose import Pose


def test_the_mean_is_nothing_but_zeros() -> None:
    assert np.array_equal(ShapeParameters.mean(12).beta, np.zeros(12))


def test_a_random_shape_moves_the_first_parameters_only_and_within_reach(rng: np.random.Generator) -> None:
    draws = np.stack([ShapeParameters.random(N_SLIDERS + 5, rng=rng).beta for _ in range(400)])
    assert np.abs(draws).max() <= REACH
    assert (draws[:, N_SLIDERS:] == 0).all()
    assert draws[:, :N_SLIDERS].std() == pytest.approx(1.0, abs=0.05)


def test_a_model_of_few_modes_has_random_shapes_too(rng: np.random.Generator) -> None:
    assert ShapeParameters.random(3, rng=rng).beta.shape == (3,)


def test_moving_one_parameter_leaves_the_old_shape_as_it_was() -> None:
    first = ShapeParameters.mean(4)
    second = first.moved(2, 1.5)
    assert second.beta.tolist() == [0, 0, 1.5, 0]
    assert first.beta.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("source", "expected"), [(None, "lpm.load()"), ("it's/here", 'lpm.load("it\'s/here")')])
def test_code_names_the_model(source: str | None, expected: str) -> None:
    assert expected in ShapeParameters.mean(2).code(source)


class Called:
    """Stands where the package does in code that is run, and keeps what it was asked for."""

    def load(self) -> Called:
        return self

    def shape(self, beta: Any, pose: Pose | None = None) -> dict[str, Any]:
        self.beta, self.pose = beta, pose
        return {}


@pytest.mark.parametrize("is_moved", [False, True])
def test_code_asks_for_this_very_shape(is_moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pose = Pose(np.array([1.5, -2.0, 3.25]), np.array([1.1, 0.9, 1.0]), np.array([0.0, 0.1, -0.2]))
    shape = ShapeParameters(np.array([0.5, 0.0, -1.25, 0.0, 0.0]), pose if is_moved else Pose.nothing())
    called = Called()
    lines = shape.code(None).replace("import lpm\n", "")
    exec(lines, {"lpm": called})  # noqa: S102
    assert called.beta == [0.5, 0.0, -1.25]
    if not is_moved:
        assert called.pose is None
        return
    assert called.pose is not None
    for name in ("translation_mm", "axis_scale", "rotation_rad"):
        assert getattr(called.pose, name).tolist() == getattr(pose, name).tolist()

"""A series of states of known motion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lpm.errors import InputError
from lpm.fitting.discrepancy.residual import ResidualConfig, ResidualField
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.pose import Pose
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.motion import carrying, sliding
from lpm.motion import series as motion_of_series
from lpm.motion.series import Series, Times, breathe_series

SIZES = (1.0, 1.08, 1.14, 1.07)  # of a breath in and out


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    """Fewer points and triangles than in use: what is asked here does not depend on their number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion_of_series, "_FACES", 1000)
        for name, value in {"_POINTS": 60, "_STEPS": 4, "_CONTROLS": 12, "_SPACING_MM": 10.0}.items():
            patch.setattr(sliding, name, value)
        patch.setattr(carrying, "_SPACING_MM", 10.0)
        yield


def state(model: ModelBundle, size: float) -> FittedField:
    residual = ResidualField.nothing(ResidualConfig(), len(model.structures))
    pose = Pose(np.zeros(3), np.array([1.0, 1.0, size]), np.zeros(3))
    return FittedField(model, torch.zeros(model.latents.n_modes), pose, residual, model.structures)


@pytest.fixture(scope="module")
def series(tiny_atlas: ModelBundle) -> Series:
    return breathe_series([state(tiny_atlas, size) for size in SIZES], Times.of(len(SIZES), periodic=True))


def volume(lungs: dict[str, WorldMesh]) -> float:
    return sum(mesh.volume_ml for mesh in lungs.values())


def test_volumes_of_states_are_those_of_their_fits(series: Series) -> None:
    volumes = np.array([volume(lungs) for lungs in series.states])
    assert volumes / volumes[0] == pytest.approx(SIZES, rel=0.01)
    faces = {lungs["left_lung"].faces.tobytes() for lungs in series.states}
    assert len(faces) == 1


def test_the_path_goes_through_the_states_and_closes(series: Series) -> None:
    for time, lungs in enumerate(series.states):
        assert series.at(float(time))["left_lung"].vertices == pytest.approx(lungs["left_lung"].vertices, abs=1e-6)
    assert series.at(4.3)["left_lung"].vertices == pytest.approx(series.at(0.3)["left_lung"].vertices, abs=1e-6)
    volumes = [volume(lungs) for lungs in series.phases(12)]
    assert len(volumes) == 12
    assert volumes[0] == pytest.approx(volume(series.states[0]))
    assert volumes[1] > volumes[0] < volumes[-1]  # around once, and no state twice
    largest = int(np.argmax(volumes))
    assert (np.diff(volumes[: largest + 1]) > 0).all()
    assert (np.diff(volumes[largest:]) < 0).all()


def test_the_smallest_and_the_largest_state_are_told(series: Series, tiny_atlas: ModelBundle) -> None:
    assert "smallest in state 0" in series.notes[0]
    assert "largest in state 2" in series.notes[0]
    assert volume(series.breath.inspiration) > volume(series.breath.expiration)


def test_times_beyond_an_open_path_are_refused(series: Series) -> None:
    opened = Series(Times.of(len(SIZES)), series.states, series.breath, series.notes)
    with pytest.raises(InputError, match="from 0 to 3"):
        opened.at(3.5)
    with pytest.raises(InputError, match="at least 2"):
        opened.phases(1)
    assert volume(opened.phases(4)[3]) == pytest.approx(volume(series.states[3]))

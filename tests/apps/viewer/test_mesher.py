from __future__ import annotations

import numpy as np
import pytest

import lpm
from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.fitting.pose import Pose
from lpm.model.bundle import ModelBundle
from lpm.model.correspondence import TemplateSurfaces


@pytest.fixture(scope="module")
def model() -> ModelBundle:
    return lpm.load().bundle


def test_coarse_and_fine_are_the_same_lungs_with_the_same_triangles_for_every_shape() -> None:
    model = lpm.load()
    mesher, n_modes = Mesher(model.bundle), model.bundle.latents.n_modes
    mean, other = ShapeParameters.mean(n_modes), ShapeParameters.mean(n_modes).moved(0, 1.5)
    coarse, fine, true = mesher.coarse(other), mesher.fine(other), model.shape([1.5], spacing_mm=4.0)
    for name, mesh in fine.items():
        assert len(coarse[name].faces) < 0.5 * len(mesh.faces)
        assert coarse[name].volume_ml == pytest.approx(mesh.volume_ml, rel=0.02)
        assert mesh.volume_ml == pytest.approx(true[name].volume_ml, rel=0.02)
        assert np.array_equal(mesh.faces, mesher.fine(mean)[name].faces)
        assert np.array_equal(coarse[name].faces, mesher.coarse(mean)[name].faces)


def test_a_pose_moves_them() -> None:
    model = lpm.load()
    mesher, mean = Mesher(model.bundle), ShapeParameters.mean(model.bundle.latents.n_modes)
    moved = ShapeParameters(mean.beta, Pose(np.array([10.0, 20.0, 30.0]), np.ones(3), np.zeros(3)))
    here, there = mesher.coarse(mean)["left_lung"], mesher.coarse(moved)["left_lung"]
    assert there.vertices - here.vertices == pytest.approx(
        np.tile([10.0, 20.0, 30.0], (len(here.vertices), 1)), abs=1e-3
    )


def test_lungs_that_follow_sliders_are_those_of_their_shape(model: ModelBundle) -> None:
    """From a rest, along one slider after the other, back and forth, and along no slider."""
    rest = ShapeParameters.mean(model.latents.n_modes).moved(1, 0.7)
    mesher = Mesher(model)
    mesher.warm()
    mesher.fine(rest)
    rng = np.random.default_rng(1)
    anywhere = ShapeParameters(0.3 * rng.standard_normal(model.latents.n_modes))
    for shape in (rest.moved(0, 1.5), rest.moved(0, -2.5), rest.moved(1, -1.0), rest, anywhere, anywhere.moved(0, 1.0)):
        following, own = mesher.coarse(shape), Mesher(model).coarse(shape)
        for name, mesh in own.items():
            assert following[name].vertices == pytest.approx(mesh.vertices, abs=0.01)


def test_nothing_that_sliders_share_is_worked_out_while_they_move(
    model: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    warp = TemplateSurfaces._warp
    monkeypatch.setattr(TemplateSurfaces, "_warp", lambda self, latent: calls.append(latent) or warp(self, latent))
    mesher, shape = Mesher(model), ShapeParameters.mean(model.latents.n_modes)
    mesher.warm()
    mesher.fine(shape)
    n_calls = len(calls)
    for mode in range(min(10, model.latents.n_modes)):
        mesher.coarse(shape.moved(mode, 0.05))
        mesher.coarse(shape.moved(mode, -2.0))
    assert len(calls) == n_calls

from __future__ import annotations

import numpy as np
import pytest

import lpm
from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.fitting.pose import Pose


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

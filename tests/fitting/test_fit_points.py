from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lpm.errors import FileError, InputError
from lpm.files.meshes import read_mesh
from lpm.files.volumes import read_volume
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.points import draw_points, fit_points
from lpm.fitting.evidence.structure_names import structure_indices
from lpm.fitting.extraction import mean_shape
from lpm.fitting.fit import Fit
from lpm.fitting.fitted_shape import fit_shape
from lpm.fitting.posed import PosedModel
from lpm.fitting.state import State
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort

UNKNOWN_SIDES = np.full(400, -1)


@pytest.fixture(scope="module")
def unseen(tiny_cohort: Path) -> tuple[Cohort, str]:
    cohort = Cohort(tiny_cohort)
    return cohort, cohort.subjects("test")[0]


@pytest.fixture(scope="module")
def points_mm(unseen: tuple[Cohort, str]) -> Floats:
    return unseen[0].surface(unseen[1]).points_mm[:1500]


@pytest.fixture(scope="module")
def fit(tiny_model: ModelBundle, points_mm: Floats) -> Fit:
    return fit_points(tiny_model, points_mm, spacing_mm=4.0)


def mean_distance(unseen: tuple[Cohort, str], fit_meshes: dict) -> float:
    cohort, subject = unseen
    return float(
        np.mean(
            [
                closest_points(cohort.mesh(subject, name), mesh.vertices).distance.mean()
                for name, mesh in fit_meshes.items()
            ]
        )
    )


def test_unseen_lungs_are_reconstructed_in_place(fit: Fit, unseen: tuple[Cohort, str]) -> None:
    assert mean_distance(unseen, fit.lungs) < 7.0
    assert fit.lungs["left_lung"].centroid[0] < fit.lungs["right_lung"].centroid[0]
    for mesh in fit.lungs.values():
        assert mesh.is_closed
        assert mesh.n_pieces == 1
        assert mesh.volume_ml > 500
    assert fit.shape.stop_reason == "plateau"


def test_a_training_subject_comes_back_better_than_the_mean(tiny_model: ModelBundle, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    errors: list[float] = []
    average = mean_shape(tiny_model, 5.0).meshes
    for subject in cohort.subjects("train"):
        points = cohort.surface(subject).points_mm[:500]
        there = points.mean(axis=0)
        mean = {name: WorldMesh(m.vertices + there, m.faces) for name, m in average.items()}
        fitted = fit_points(tiny_model, points, spacing_mm=5.0).lungs
        errors.extend(mean_distance((cohort, subject), lungs) for lungs in (fitted, mean))
    assert np.mean(errors[::2]) < 0.7 * np.mean(errors[1::2])


def test_moving_the_points_moves_the_lungs(tiny_model: ModelBundle, points_mm: Floats, fit: Fit) -> None:
    there = np.array([120.0, -300.0, 1000.0])
    other = fit_points(tiny_model, points_mm + there, spacing_mm=8.0)
    moved = other.shape.pose.translation_mm - fit.shape.pose.translation_mm
    np.testing.assert_allclose(moved, there, atol=0.3)
    np.testing.assert_allclose(other.beta, fit.beta, atol=0.1)


def test_known_sides_are_used(tiny_model: ModelBundle, unseen: tuple[Cohort, str]) -> None:
    cohort, subject = unseen
    surface = cohort.surface(subject)
    left = surface.structure[:1000] == 0
    points = surface.points_mm[:1000][left]
    fit = fit_points(tiny_model, points, ["left_lung"] * len(points), spacing_mm=5.0)
    assert set(fit.lungs) == {"left_lung", "right_lung"}
    assert any("right_lung: no point was given" in note for note in fit.notes)
    assert closest_points(cohort.mesh(subject, "left_lung"), fit.lungs["left_lung"].vertices).distance.mean() < 7.0


def test_a_stronger_prior_keeps_beta_smaller(tiny_model: ModelBundle, points_mm: Floats) -> None:
    loose = fit_shape(tiny_model, points_mm[:400], UNKNOWN_SIDES, FitConfig(noise_mm=1.0))
    tight = fit_shape(tiny_model, points_mm[:400], UNKNOWN_SIDES, FitConfig(noise_mm=30.0))
    assert tight.beta.norm() < loose.beta.norm()
    residuals = [np.abs(shape.surface.residuals_mm).mean() for shape in (tight, loose) if shape.surface is not None]
    assert residuals[0] > residuals[1]


def test_jacobian_agrees_with_finite_differences(tiny_model: ModelBundle, points_mm: Floats) -> None:
    posed, seen, sides = (
        PosedModel(tiny_model),
        torch.tensor(points_mm[:50]).float(),
        torch.zeros(50, dtype=torch.int64),
    )
    center = torch.from_numpy(points_mm.mean(axis=0)).float()
    n = tiny_model.latents.n_modes
    state = State(0.3 * torch.ones(n), center, torch.tensor([0.02, -0.01, 0.03]), torch.tensor([0.05, -0.1, 0.2]))
    values, jacobian = posed.linearise(state, seen, sides)
    torch.testing.assert_close(values, posed.own_values(state, seen, sides), atol=1e-3, rtol=0)
    for column, size in (
        (0, 0.02),
        (n, 0.2),
        (n + 2, 0.2),
        (n + 3, 0.002),
        (n + 5, 0.002),
        (n + 6, 0.002),
        (n + 7, 0.002),
        (n + 8, 0.002),
    ):
        step = torch.zeros(n + 9)
        step[column] = size
        there, back = (posed.own_values(state.moved(sign * step), seen, sides) for sign in (1.0, -1.0))
        change = (there - back) / (2 * size)
        error = (change - jacobian[:, column]).abs().median() / change.abs().median()
        assert error < 0.05, column


def test_fixed_scales_stay_fixed(tiny_model: ModelBundle, points_mm: Floats) -> None:
    shape = fit_shape(tiny_model, points_mm[:400], UNKNOWN_SIDES, FitConfig(axis_scale_sd=0.0))
    np.testing.assert_allclose(shape.pose.axis_scale, np.ones(3), atol=1e-8)
    free = fit_shape(tiny_model, points_mm[:400], UNKNOWN_SIDES, FitConfig(axis_scale_sd=0.1))
    assert not np.allclose(free.pose.axis_scale, np.ones(3), atol=1e-4)


def test_files_of_a_fit(tiny_model: ModelBundle, fit: Fit, tmp_path: Path) -> None:
    fit.write(tmp_path / "fit")
    assert sorted(path.name for path in (tmp_path / "fit").iterdir()) == [
        "fit.json",
        "labels.nii.gz",
        "left_lung.ply",
        "residual.npz",
        "right_lung.ply",
    ]
    labels = read_volume(tmp_path / "fit" / "labels.nii.gz")
    for value, (name, mesh) in enumerate(fit.lungs.items(), start=1):
        again = read_mesh(tmp_path / "fit" / f"{name}.ply")
        np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-3)
        voxels = np.count_nonzero(labels.voxels == value) * labels.voxel_ml
        assert voxels == pytest.approx(mesh.volume_ml, rel=0.02)
    summary = json.loads((tmp_path / "fit" / "fit.json").read_text())
    assert summary["stop_reason"] in ("plateau", "iteration limit")
    assert len(summary["beta"]) == tiny_model.latents.n_modes
    assert summary["total_volume_ml"] == pytest.approx(sum(summary["volume_ml"].values()))


def test_labels_on_a_given_grid_keep_its_orientation(fit: Fit) -> None:
    lungs = random_lungs(rng=np.random.default_rng(0))
    grid = to_labels(lungs, 6.0, directions=np.array([[0, -1, 0], [-1, 0, 0], [0, 0, 1.0]]))
    labels = fit.labels(grid)
    np.testing.assert_array_equal(labels.world_from_voxel, grid.world_from_voxel)
    left = labels.to_world(np.argwhere(labels.voxels == 1).astype(float)).mean(axis=0)
    right = labels.to_world(np.argwhere(labels.voxels == 2).astype(float)).mean(axis=0)
    assert left[0] < right[0]


def test_draw_points_is_without_replacement_and_capped() -> None:
    rng = np.random.default_rng(0)
    drawn = draw_points(np.zeros((100, 3)), 30, rng=rng)
    assert len(set(drawn.tolist())) == 30
    assert len(draw_points(np.zeros((20, 3)), 30, rng=rng)) == 20


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((20, 3), np.nan), "20 of 20 points are NaN"),
        (np.random.default_rng(0).uniform(-100, 100, (9, 3)), "points: 9 points; expected at least 10"),
        (np.random.default_rng(0).uniform(-100, 100, (50, 2)), r"shape \(50, 2\)"),
        (np.random.default_rng(0).uniform(-0.15, 0.15, (500, 3)), "metres"),
        (np.random.default_rng(0).uniform(-15, 15, (500, 3)), "centimetres"),
    ],
)
def test_bad_points_are_refused(tiny_model: ModelBundle, points: Floats, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_points(tiny_model, points)


def test_sides_may_be_named_as_they_begin(tiny_model: ModelBundle) -> None:
    names = ["left", "R", "RIGHT_LUNG", "left_lung"]
    assert structure_indices(names, tiny_model, "points").tolist() == [0, 1, 1, 0]
    for unknown in ("middle", "", "lung"):
        with pytest.raises(InputError, match=r"points: structures \['.*'\]; expected of left_lung, right_lung"):
            structure_indices(["left", unknown], tiny_model, "points")


def test_bad_sides_are_refused(tiny_model: ModelBundle, points_mm: Floats) -> None:
    with pytest.raises(InputError, match="3 sides for 1500 points"):
        fit_points(tiny_model, points_mm, ["left_lung"] * 3)
    with pytest.raises(InputError, match=r"structures \['spleen'\]"):
        fit_points(tiny_model, points_mm, ["spleen"] * len(points_mm))


def test_writing_loses_nothing_of_others(tiny_atlas: ModelBundle, points_mm: Floats, tmp_path: Path) -> None:
    fit = fit_points(tiny_atlas, points_mm[:60], spacing_mm=8.0)
    fit.write(tmp_path / "own")
    fit.write(tmp_path / "own", meshes=".stl")  # an earlier fit gives way
    assert sorted(path.suffix for path in (tmp_path / "own").glob("*lung.*")) == [".stl", ".stl"]
    (tmp_path / "own" / "thesis.txt").write_text("mine")
    with pytest.raises(FileError, match=r"holds thesis\.txt, which would be lost"):
        fit.write(tmp_path / "own")
    assert (tmp_path / "own" / "thesis.txt").read_text() == "mine"
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "mine.ply").touch()
    with pytest.raises(FileError, match=r"holds mine\.ply"):  # a folder without a fit holds no mesh of ours
        fit.write(tmp_path / "meshes")


def test_a_fit_and_its_model_are_named_in_a_line(tiny_atlas: ModelBundle, points_mm: Floats) -> None:
    fit = fit_points(tiny_atlas, points_mm[:60], spacing_mm=8.0)
    assert repr(fit).startswith("<Fit to 60 surface points: left_lung ")
    assert len(repr(fit)) < 200
    assert repr(tiny_atlas).startswith("<ModelBundle atlas of ")
    assert len(repr(tiny_atlas)) < 200

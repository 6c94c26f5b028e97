"""The residual in the fit: noise told from shape, outliers, and one rule for any number of points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.noise import Noise, estimate_noise
from lpm.fitting.discrepancy.residual import (
    Clusters,
    Observed,
    ResidualConfig,
    Waves,
    cells,
    condition,
    covariance,
    spread_evenly,
)
from lpm.fitting.evidence.points import fit_points
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort

CONFIG = ResidualConfig(sd_mm=4.0, length_mm=18.0, long_range_share=0.0)


@pytest.fixture
def plate() -> torch.Tensor:
    rng = np.random.default_rng(3)
    return torch.from_numpy(np.c_[rng.uniform(0, 80, (400, 2)), np.zeros(400)])


@pytest.fixture
def smooth(plate: torch.Tensor) -> torch.Tensor:
    """A draw of the residual itself."""
    factor = torch.linalg.cholesky(covariance(plate, plate, CONFIG) + 1e-8 * torch.eye(len(plate)))
    return factor @ torch.randn(len(plate), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[:, 0]


def test_covariance_is_matern() -> None:
    first, second = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[18.0, 0, 0]], dtype=torch.float64)
    assert float(covariance(first, first, CONFIG)) == pytest.approx(16.0)
    assert float(covariance(first, second, CONFIG)) == pytest.approx(16.0 * (1 + 3**0.5) * np.exp(-(3**0.5)))


def test_a_share_of_the_covariance_reaches_farther() -> None:
    config = ResidualConfig(sd_mm=4.0, length_mm=18.0, long_range_share=0.25, long_range_length_mm=60.0)
    first, second = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[60.0, 0, 0]], dtype=torch.float64)
    near, far = 60.0 / 18.0 * 3**0.5, 3**0.5
    expected = 0.75 * (1 + near) * np.exp(-near) + 0.25 * (1 + far) * np.exp(-far)
    assert float(covariance(first, first, config)) == pytest.approx(16.0)
    assert float(covariance(first, second, config)) == pytest.approx(16.0 * expected)


def test_waves_have_the_covariance_of_both_lengths() -> None:
    """Over many draws, at places near and far."""
    config = ResidualConfig(sd_mm=4.0, length_mm=18.0, long_range_share=0.4, long_range_length_mm=60.0)
    places = torch.tensor([[0.0, 0, 0], [10.0, 0, 0], [0, 40.0, 0], [0, 0, 90.0]], dtype=torch.float64)
    rng = np.random.default_rng(0)
    drawn = torch.stack([Waves.draw(config, rng=rng)(places) for _ in range(3000)])
    found = drawn.T @ drawn / len(drawn)
    assert (found - covariance(places, places, config)).abs().max() < 1.2  # four standard errors of 16 mm^2


def test_the_residual_undoes_the_errors_at_precise_points(plate: torch.Tensor, smooth: torch.Tensor) -> None:
    structure = torch.zeros(400, dtype=torch.int64)
    field = condition(Observed(plate, structure, smooth, torch.full_like(smooth, 1e-3)), 2, CONFIG)
    assert (field.at(plate, structure) + smooth).abs().max() < 0.2
    assert field(plate, 1).abs().max() == 0  # nothing was seen of the other structure
    far = plate + torch.tensor([0.0, 0.0, 500.0], dtype=torch.float64)
    assert field(far, 0).abs().max() < 1e-6


def estimate(places: torch.Tensor, errors: torch.Tensor) -> Noise:
    structure = torch.zeros(len(places), dtype=torch.int64)
    return estimate_noise(places, structure, (errors, torch.ones_like(errors)), FitConfig(residual=CONFIG))


@pytest.mark.parametrize("true_mm", [0.15, 0.3, 1.0, 2.0])
def test_noise_is_told_from_shape(smooth: torch.Tensor, plate: torch.Tensor, true_mm: float) -> None:
    noise = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert estimate(plate, smooth + true_mm * noise).sd_mm == pytest.approx(true_mm, rel=0.3)


def test_where_the_field_is_flat_noise_moves_it_less(smooth: torch.Tensor, plate: torch.Tensor) -> None:
    noise = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slopes = torch.full_like(smooth, 0.5)
    structure = torch.zeros(400, dtype=torch.int64)
    found = estimate_noise(plate, structure, (smooth + 0.5 * noise, slopes), FitConfig(residual=CONFIG))
    assert found.sd_mm == pytest.approx(1.0, rel=0.3)


def test_most_points_cannot_be_outliers() -> None:
    ordinary = torch.tensor([1.0, 1.0, 1.0, 0.001, 0.001])
    torch.testing.assert_close(Noise(2.0, 5.0, ordinary).variance, 4.0 / ordinary)
    mostly = torch.tensor([1.0, 0.001, 0.001])
    torch.testing.assert_close(Noise(2.0, 5.0, mostly).variance, torch.full((3,), 4.0))


def test_a_known_noise_is_kept(smooth: torch.Tensor, plate: torch.Tensor) -> None:
    config = FitConfig(residual=CONFIG, noise_mm=1.7)
    structure = torch.zeros(400, dtype=torch.int64)
    assert estimate_noise(plate, structure, (smooth, torch.ones_like(smooth)), config).sd_mm == 1.7


@pytest.mark.parametrize("n", [60, 400])
def test_a_point_that_its_neighbours_contradict_loses_its_say(
    smooth: torch.Tensor, plate: torch.Tensor, n: int
) -> None:
    errors = smooth[:n].clone()
    is_wrong = torch.arange(n) % 20 == 0
    errors[is_wrong] += 25.0
    found = estimate(plate[:n], errors)
    assert bool((found.ordinary[is_wrong] < 0.05).all())
    assert float(found.ordinary[~is_wrong].mean()) > 0.97
    assert found.variance[is_wrong].median() > 10 * found.variance[~is_wrong].median()


def test_clusters_keep_mean_and_precision(plate: torch.Tensor, smooth: torch.Tensor) -> None:
    member = cells(plate, 100)
    clusters = Clusters.of(member, torch.full_like(smooth, 4.0))
    assert 50 < len(clusters.variance) <= 100
    assert float((1 / clusters.variance).sum()) == pytest.approx(400 / 4.0)
    average = clusters.average(smooth)
    assert float((average / clusters.variance).sum() * 4.0 / 400) == pytest.approx(float(smooth.mean()))


def test_cells_of_points_far_apart_are_numbered_apart() -> None:
    points = torch.zeros(100, 3, dtype=torch.float64)
    points[0], points[1] = 1e9, -1e9
    member = cells(points, 10)
    assert len(member.unique()) == 3
    assert len(member[2:].unique()) == 1


def test_each_point_alone_is_its_own_cluster(plate: torch.Tensor, smooth: torch.Tensor) -> None:
    clusters = Clusters.of(cells(plate, 400), torch.ones_like(smooth))
    assert torch.equal(clusters.average(smooth), smooth)
    assert torch.equal(clusters.average(plate), plate)


def test_points_are_spread_evenly(plate: torch.Tensor) -> None:
    points = plate.numpy()
    few = spread_evenly(points, 40)
    assert len(few) == 40
    assert np.array_equal(few, spread_evenly(points, 40))
    assert np.array_equal(spread_evenly(points, 500), np.arange(400))


@pytest.fixture(scope="module")
def unseen(tiny_cohort: Path) -> tuple[Cohort, str, Floats]:
    cohort = Cohort(tiny_cohort)
    subject = cohort.subjects("test")[0]
    return cohort, subject, cohort.surface(subject).points_mm


def error_mm(unseen: tuple[Cohort, str, Floats], model: ModelBundle, points: Floats, config: FitConfig) -> float:
    fit = fit_points(model, points, config=config, spacing_mm=4.0)
    cohort, subject, _ = unseen
    pairs = ((cohort.mesh(subject, name), mesh) for name, mesh in fit.lungs.items())
    return float(np.mean([closest_points(true, mesh.vertices).distance.mean() for true, mesh in pairs]))


@pytest.mark.slow
def test_the_residual_helps_and_more_points_help_more(
    tiny_atlas: ModelBundle, unseen: tuple[Cohort, str, Floats]
) -> None:
    few, many = unseen[2][:100], unseen[2][:1500]
    prior = FitConfig(residual=ResidualConfig(sd_mm=0.0))
    with_residual_mm = error_mm(unseen, tiny_atlas, many, FitConfig())
    assert with_residual_mm < 0.5 * error_mm(unseen, tiny_atlas, many, prior)
    assert with_residual_mm < 0.5 * error_mm(unseen, tiny_atlas, few, FitConfig())


def test_a_turned_patient_is_found(tiny_atlas: ModelBundle, unseen: tuple[Cohort, str, Floats]) -> None:
    angle = np.radians(15.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    fit = fit_points(tiny_atlas, unseen[2][:500] @ turn.T, spacing_mm=8.0)
    assert np.degrees(fit.shape.pose.rotation_rad[2]) == pytest.approx(15.0, abs=6.0)

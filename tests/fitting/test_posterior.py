from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig
from lpm.fitting.evidence.points import fit_points
from lpm.fitting.fit import Fit
from lpm.fitting.posterior import draw_surfaces, normal_interval
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort


@pytest.fixture(scope="module")
def upper_points(tiny_cohort: Path) -> Floats:
    """Points of the upper halves of both lungs of an unseen subject."""
    cohort = Cohort(tiny_cohort)
    points = cohort.surface(cohort.subjects("test")[0]).points_mm[:2000]
    return points[points[:, 2] > np.median(points[:, 2])]


@pytest.fixture(scope="module")
def upper(tiny_atlas: ModelBundle, upper_points: Floats) -> Fit:
    return fit_points(tiny_atlas, upper_points, spacing_mm=5.0)


@pytest.fixture(scope="module")
def fits(tiny_atlas: ModelBundle, tiny_cohort: Path) -> dict[int, Fit]:
    """Fits of an unseen subject to few and to many points."""
    cohort = Cohort(tiny_cohort)
    points = cohort.surface(cohort.subjects("test")[0]).points_mm
    return {n: fit_points(tiny_atlas, points[:n], spacing_mm=5.0) for n in (60, 800)}


def width(fit: Fit, name: str) -> float:
    low, high = fit.interval(name)
    return high - low


def test_more_points_more_certain(fits: dict[int, Fit]) -> None:
    assert 0 < width(fits[800], "total_volume_ml") < 0.5 * width(fits[60], "total_volume_ml")
    assert fits[800].sigma_mm("left_lung").mean() < 0.6 * fits[60].sigma_mm("left_lung").mean()


def test_the_interval_is_about_the_volume_and_widens_with_its_level(fits: dict[int, Fit]) -> None:
    fit = fits[60]
    low, high = fit.interval("right_lung_volume_ml", 0.5)
    assert low < fit.lungs["right_lung"].volume_ml < high
    assert high - low < 0.5 * width(fit, "right_lung_volume_ml")
    total = width(fit, "left_lung_volume_ml") + width(fit, "right_lung_volume_ml")
    assert width(fit, "total_volume_ml") <= total * 1.001


def test_the_true_volume_lies_within_three_widths(fits: dict[int, Fit], tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    true = sum(mesh.volume_ml for mesh in cohort.meshes(cohort.subjects("test")[0]).values())
    for fit in fits.values():
        low, high = fit.interval("total_volume_ml")
        assert abs(true - 0.5 * (low + high)) < 1.5 * (high - low)


def test_where_nothing_was_seen_it_is_less_certain(upper: Fit, upper_points: Floats, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    sigma, vertices = upper.sigma_mm("left_lung"), upper.lungs["left_lung"].vertices
    is_seen = np.linalg.norm(vertices[:, None] - upper_points[::5], axis=2).min(axis=1) < 20.0
    assert sigma[~is_seen].mean() > 1.5 * sigma[is_seen].mean()
    error = closest_points(cohort.mesh(cohort.subjects("test")[0], "left_lung"), vertices).distance
    assert error[~is_seen].mean() > error[is_seen].mean()


def test_many_points_of_one_part_leave_the_rest_uncertain(
    tiny_atlas: ModelBundle, upper: Fit, upper_points: Floats
) -> None:
    exact = fit_points(tiny_atlas, upper_points, config=FitConfig(certain_points=1e9), spacing_mm=5.0)
    assert width(upper, "total_volume_ml") > 1.3 * width(exact, "total_volume_ml")
    np.testing.assert_array_equal(exact.beta, upper.beta)  # only certainty changes


def test_without_a_residual_shape_and_pose_alone_are_uncertain(tiny_atlas: ModelBundle, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    points = cohort.surface(cohort.subjects("test")[0]).points_mm[:300]
    fit = fit_points(tiny_atlas, points, config=FitConfig(residual=ResidualConfig(sd_mm=0.0)), spacing_mm=5.0)
    assert width(fit, "total_volume_ml") > 0
    assert (fit.sigma_mm("right_lung") > 0).all()


def test_other_names_and_levels_are_refused(fits: dict[int, Fit]) -> None:
    with pytest.raises(InputError, match=r"interval: 'weight_kg'; expected one of left_lung_volume_ml"):
        fits[60].interval("weight_kg")
    with pytest.raises(InputError, match="interval: level 95; expected between 0 and 1"):
        fits[60].interval("total_volume_ml", 95)


def test_normal_interval_of_two_sigma() -> None:
    low, high = normal_interval(10.0, 2.0, 0.9545)
    assert low == pytest.approx(6.0, abs=0.01)
    assert high == pytest.approx(14.0, abs=0.01)


def test_drawn_lungs_spread_as_the_interval_says(fits: dict[int, Fit]) -> None:
    fit = fits[60]
    drawn = list(fit.sample(12, rng=np.random.default_rng(1), spacing_mm=8.0))
    volumes = [sum(mesh.volume_ml for mesh in lungs.values()) for lungs in drawn]
    assert all(mesh.is_closed for lungs in drawn for mesh in lungs.values())
    sd = width(fit, "total_volume_ml") / 3.92
    assert 0.4 * sd < np.std(volumes, ddof=1) < 2.2 * sd


def test_draws_follow_the_points_and_stray_where_there_are_none(fits: dict[int, Fit]) -> None:
    many, few = (np.mean([_strays(fits[n], seed) for seed in (0, 1, 2)]) for n in (800, 60))
    assert many < 0.6 * few


def _strays(fit: Fit, seed: int) -> float:
    """How far a drawn lung lies from the fitted one, mm."""
    (drawn,) = fit.sample(1, rng=np.random.default_rng(seed), spacing_mm=6.0)
    return float(closest_points(fit.lungs["left_lung"], drawn["left_lung"].vertices).distance.mean())


def test_the_same_seed_draws_the_same_lungs(fits: dict[int, Fit]) -> None:
    one, again = (next(iter(fits[60].sample(1, rng=np.random.default_rng(3), spacing_mm=8.0))) for _ in range(2))
    assert np.array_equal(one["left_lung"].vertices, again["left_lung"].vertices)


def test_a_lung_of_which_nothing_was_seen_is_drawn_as_well(tiny_atlas: ModelBundle, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    surface = cohort.surface(cohort.subjects("test")[0])
    left = surface.points_mm[surface.structure == 0][:200]
    fit = fit_points(tiny_atlas, left, ["left_lung"] * len(left), spacing_mm=6.0)
    drawn = list(fit.sample(8, rng=np.random.default_rng(0), spacing_mm=8.0))
    spread = {name: np.std([lungs[name].volume_ml for lungs in drawn]) for name in fit.lungs}
    assert spread["right_lung"] > spread["left_lung"] > 0


def test_the_prior_alone_is_drawn_as_well(tiny_atlas: ModelBundle, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    points = cohort.surface(cohort.subjects("test")[0]).points_mm[:200]
    fit = fit_points(tiny_atlas, points, config=FitConfig(residual=ResidualConfig(sd_mm=0.0)), spacing_mm=6.0)
    (drawn,) = fit.sample(1, rng=np.random.default_rng(0), spacing_mm=8.0)
    assert all(mesh.is_closed for mesh in drawn.values())


@pytest.mark.slow
def test_attributes_of_a_fit_and_their_intervals(fits: dict[int, Fit]) -> None:
    fit = fits[60]
    assert fit.attributes["total_volume_ml"] == pytest.approx(sum(mesh.volume_ml for mesh in fit.lungs.values()))
    found = fit.attribute_intervals(rng=np.random.default_rng(0), n=40, spacing_mm=None)
    for name in ("total_volume_ml", "left_lung_volume_ml"):
        low, high = found[name]
        assert low < fit.attributes[name] < high
        assert (high - low) / width(fit, name) == pytest.approx(1.0, abs=0.35)  # forty draws tell it to a ninth
    assert found.keys() == fit.attributes.keys()
    again = fit.attribute_intervals(rng=np.random.default_rng(0), n=40, spacing_mm=None)
    assert again == found
    whole = fit.attribute_intervals(rng=np.random.default_rng(0), n=8, spacing_mm=8.0)
    assert np.ptp(whole["height_mm"]) / np.ptp(found["height_mm"]) == pytest.approx(1.0, abs=0.7)


def test_surfaces_of_any_number_of_vertices_are_drawn_as_wide(
    fits: dict[int, Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fits[60]
    names = fit.model.structures
    meshes = {names.index(name): mesh for name, mesh in fit.lungs.items()}

    def spread() -> float:
        drawn = [lungs[0].volume_ml for lungs in draw_surfaces(fit.model, fit.shape, meshes, 60, rng=rng())]
        return float(np.std(drawn))

    def rng() -> np.random.Generator:
        return np.random.default_rng(0)

    at_all = spread()
    monkeypatch.setattr("lpm.fitting.posterior._ANCHORS", 250)
    assert max(len(mesh.vertices) for mesh in meshes.values()) > 1000
    assert spread() == pytest.approx(at_all, rel=0.25)


def test_intervals_of_attributes_need_draws_and_a_size(fits: dict[int, Fit]) -> None:
    with pytest.raises(InputError, match="1 draws"):
        fits[60].attribute_intervals(rng=np.random.default_rng(0), n=1)
    with pytest.raises(InputError, match="attributes: lungs of unknown size"):
        _ = replace(fits[60], sized=False).attributes

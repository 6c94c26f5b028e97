"""Lengths of rays become the lungs that they were made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lpm
from lpm.fitting.config import FitConfig
from lpm.fitting.extraction import extract_fit
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.posterior import sd_of_sum_ml, vertex_sigma_mm, volume_spread_ml
from lpm.fitting.search import JointProblem, search
from lpm.fitting.state import State
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.projection import PARALLEL, Beam, turned_view
from lpm.xray import rays
from lpm.xray.rays import FittedRays, RayTerm, SeenPaths, initial_states
from true_lungs import TrueLungs

CONE = Beam(1800.0, 200.0)
BOTH = ("frontal", "lateral")
NO_GAIN = torch.zeros(1, dtype=torch.float64)


@pytest.fixture(scope="module")
def lungs() -> TrueLungs:
    return TrueLungs(lpm.load().bundle)


class Fitted:
    """A fit and its meshes."""

    def __init__(self, lungs: TrueLungs, seen: list[SeenPaths]) -> None:
        self.lungs, terms = lungs, [RayTerm(lungs.model, each) for each in seen]
        problem = JointProblem(lungs.model, terms, FitConfig())
        starts = [problem.at(state) for state in initial_states(lungs.model, seen)]
        found = search(lungs.model, terms, FitConfig(), min(starts, key=problem.energy).state)
        self.shape = FittedShape.of(found, lungs.model, None)
        own = zip(terms, found.nuisances, strict=True)
        self.rays: list[FittedRays] = [term.finished(found.state, nuisance) for term, nuisance in own]
        self.meshes: dict[str, WorldMesh] = extract_fit(
            lungs.model, self.shape, list(lungs.model.structures), 5.0
        ).meshes

    def volume_ml(self, name: str | None = None) -> float:
        return sum(mesh.volume_ml for own, mesh in self.meshes.items() if name in (None, own))

    def volume_sd_ml(self) -> float:
        meshes = enumerate(self.meshes.values())
        return sd_of_sum_ml(volume_spread_ml(self.lungs.model, self.shape, number, mesh) for number, mesh in meshes)

    def sigma_mm(self, axis: int) -> float:
        """Of the left lung's surface where it faces along an axis."""
        mesh = self.meshes["left_lung"]
        facing = np.abs(np.asarray(mesh.to_trimesh().vertex_normals)[:, axis]) > 0.9
        return float(vertex_sigma_mm(self.lungs.model, self.shape, 0, mesh)[facing].mean())


@pytest.fixture(scope="module")
def two(lungs: TrueLungs) -> Fitted:
    return Fitted(lungs, [lungs.seen(side) for side in BOTH])


@pytest.fixture(scope="module")
def two_cone(lungs: TrueLungs) -> Fitted:
    return Fitted(lungs, [lungs.seen(side, CONE) for side in BOTH])


@pytest.fixture(scope="module")
def frontal(lungs: TrueLungs) -> Fitted:
    return Fitted(lungs, [lungs.seen("frontal")])


@pytest.fixture(scope="module")
def frontal_cone(lungs: TrueLungs) -> Fitted:
    return Fitted(lungs, [lungs.seen("frontal", CONE)])


@pytest.mark.parametrize("beam", ["two", "two_cone"])
def test_two_views_give_the_lungs_back(lungs: TrueLungs, beam: str, request: pytest.FixtureRequest) -> None:
    fitted: Fitted = request.getfixturevalue(beam)
    assert fitted.volume_ml() == pytest.approx(lungs.volume_ml, rel=0.02)
    for name, mesh in lungs.meshes.items():
        assert fitted.volume_ml(name) == pytest.approx(mesh.volume_ml, rel=0.03)
        np.testing.assert_allclose(fitted.meshes[name].centroid, mesh.centroid, atol=3.0)
    assert lungs.dice(fitted.shape) > 0.96
    assert fitted.shape.stop_reason == "plateau"
    np.testing.assert_allclose([each.gain for each in fitted.rays], 0.0, atol=0.03)


@pytest.mark.parametrize("beam", ["frontal", "frontal_cone"])
def test_one_view_gives_the_volume_back(lungs: TrueLungs, beam: str, request: pytest.FixtureRequest) -> None:
    fitted: Fitted = request.getfixturevalue(beam)
    assert fitted.volume_ml() == pytest.approx(lungs.volume_ml, rel=0.05)
    assert abs(fitted.volume_ml() - lungs.volume_ml) < 2.0 * fitted.volume_sd_ml()


def test_path_errors_are_those_of_each_view(lungs: TrueLungs, two: Fitted) -> None:
    frontal, lateral = (each.path_errors_mm for each in two.rays)
    assert len(frontal) == 2 * len(lungs.seen("frontal").pixels)
    term = RayTerm(lungs.model, lungs.seen("lateral"))
    again = term.paths(State.of(two.shape.beta, two.shape.pose), NO_GAIN) - term.seen.flat_mm
    np.testing.assert_allclose(lateral, again.numpy(), atol=0.1)
    assert np.abs(np.concatenate([frontal, lateral])).mean() < 4.0
    assert two.shape.surface is None  # no point was seen


def test_a_picture_that_shows_all_lengths_too_long_is_found_out(lungs: TrueLungs) -> None:
    fitted = Fitted(lungs, [lungs.seen("frontal", times=1.1), lungs.seen("lateral", gain_sd=0.02)])
    assert fitted.rays[0].gain == pytest.approx(0.1, abs=0.03)
    assert fitted.rays[1].gain == pytest.approx(0.0, abs=0.03)
    assert fitted.volume_ml() == pytest.approx(lungs.volume_ml, rel=0.03)


def test_one_view_knows_less_than_two_above_all_of_depth(two: Fitted, frontal: Fitted) -> None:
    assert frontal.volume_sd_ml() > 1.5 * two.volume_sd_ml()
    width, depth = (frontal.sigma_mm(axis) / two.sigma_mm(axis) for axis in (0, 1))
    assert depth > 1.5
    assert depth > width


def test_a_cone_beam_may_stand_anywhere_in_the_world(lungs: TrueLungs, frontal_cone: Fitted) -> None:
    there = np.array([0.0, -700.0, 900.0])
    seen = lungs.seen("frontal", CONE)
    source = seen.view.source_mm
    assert source is not None
    view = replace(seen.view, origin_mm=seen.view.origin_mm + there, source_mm=source + there)
    moved = Fitted(lungs, [replace(seen, view=view)])
    assert moved.volume_ml() == pytest.approx(frontal_cone.volume_ml(), rel=0.02)
    shift = moved.shape.pose.translation_mm - frontal_cone.shape.pose.translation_mm
    np.testing.assert_allclose(shift, there, atol=20.0)


# --- Parts -----------------------------------------------------------------------------------------------------------


def test_rays_pass_the_patients_middle_where_they_should() -> None:
    view = turned_view((50, 40), (2.0, 2.0), 0.0, (5.0, 7.0, 9.0), CONE)
    seen = SeenPaths(view, np.zeros((1, 2)), np.ones((1, 1)), ((0,),), np.ones((1, 1)), 30.0, 0.05, 200.0)
    points = np.array([[5.0, 7.0, 9.0], [-25.0, 7.0, 39.0]])
    np.testing.assert_allclose(seen.places_mm(view.to_pixels(points)), points, atol=1e-9)
    flat = replace(seen, patient_detector_mm=None)
    np.testing.assert_allclose(flat.places_mm(seen.pixels), view.places_mm(seen.pixels))


@pytest.mark.parametrize(("beam", "n_rows"), [(PARALLEL, 3), (CONE, 4)])
def test_a_view_tells_where_the_middle_of_what_it_sees_lies(beam: Beam, n_rows: int) -> None:
    middle = np.array([5.0, 7.0, 9.0])
    view = turned_view((50, 40), (2.0, 2.0), 90.0, middle, beam)
    pixels = np.array([[20.5, 19.5], [28.5, 19.5], [0.0, 0.0]])
    paths = np.array([[50.0], [50.0], [0.0]])
    seen = SeenPaths(view, pixels, paths, ((0, 1),), np.ones((3, 1)), 30.0, 0.05, beam.patient_detector_mm)
    rows, places = seen.middle()
    assert len(rows) == len(places) == n_rows
    np.testing.assert_allclose(rows @ middle, places, atol=1e-9)


@pytest.fixture(scope="module")
def state(lungs: TrueLungs) -> State:
    log_scale, rotation = torch.tensor([0.02, -0.01, 0.03]), torch.tensor([0.05, -0.1, 0.1])
    return State(0.5 * lungs.beta, torch.tensor([3.0, -5.0, 4.0]), log_scale, rotation)


def some(seen: SeenPaths, every: int) -> SeenPaths:
    """Every so many of the rays."""
    return replace(
        seen, pixels=seen.pixels[::every], paths_mm=seen.paths_mm[::every], sd_mm=np.full_like(seen.sd_mm[::every], 6.0)
    )


@pytest.fixture
def finely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rays in steps well below the softness of surfaces, and nothing left out of the derivatives."""
    monkeypatch.setattr(rays, "_STEP_MM", 1.25)
    monkeypatch.setattr(rays, "_NEAR_MM", 24.0)


def wrong_slopes(term: RayTerm, state: State, columns: list[tuple[int, float]]) -> dict[int, float]:
    """By column, the share by which derivatives differ from central differences."""
    nuisance = torch.zeros(len(term.nuisance_sd), dtype=torch.float64)
    nuisance[0], found = 0.07, {}
    slope = term.linearise(state, nuisance).by_state
    for column, size in columns:
        step = torch.zeros(slope.shape[1])
        step[column] = size
        there, back = (term.errors(state.moved(sign * step), nuisance) for sign in (1.0, -1.0))
        change = (there - back) / (2.0 * size)
        found[column] = float((change - slope[:, column]).norm() / change.norm())
    return found


@pytest.mark.usefixtures("finely")
@pytest.mark.parametrize(("side", "beam"), [("frontal", PARALLEL), ("lateral", CONE)])
def test_derivatives_agree_with_finite_differences(lungs: TrueLungs, state: State, side: str, beam: Beam) -> None:
    projection = RayTerm(lungs.model, some(lungs.seen(side, beam), 12))
    n = lungs.model.latents.n_modes
    columns = [(0, 0.05), (4, 0.05), (n + (0 if side == "frontal" else 1), 0.3), (n + 2, 0.3)]
    columns += [(n + at, 0.003) for at in (3, 4, 5, 6, 7, 8)]
    wrong = wrong_slopes(projection, state, columns)
    assert max(wrong.values()) < 0.08, wrong
    assert np.median(list(wrong.values())) < 0.02, wrong


def test_derivatives_are_good_enough_as_rays_are_marched(lungs: TrueLungs, state: State) -> None:
    n = lungs.model.latents.n_modes
    projection = RayTerm(lungs.model, some(lungs.seen("frontal"), 8))
    wrong = wrong_slopes(projection, state, [(0, 0.05), (n, 0.3), (n + 2, 0.3), (n + 3, 0.003), (n + 4, 0.003)])
    assert max(wrong.values()) < 0.25, wrong


def test_the_derivative_by_the_gain_is_exact(lungs: TrueLungs, state: State) -> None:
    term = RayTerm(lungs.model, some(lungs.seen("frontal", CONE), 8))

    def errors(gain: float) -> torch.Tensor:
        return term.errors(state, torch.tensor([gain], dtype=torch.float64))

    found = term.linearise(state, torch.tensor([0.07], dtype=torch.float64))
    assert found.by_state.shape == (len(found.errors), lungs.model.latents.n_modes + 9)
    torch.testing.assert_close(found.errors, errors(0.07), atol=1e-6, rtol=1e-6)
    change = (errors(0.08) - errors(0.06)) / 0.02
    torch.testing.assert_close(found.by_nuisance[:, 0], change, atol=1e-6, rtol=1e-6)


@pytest.mark.usefixtures("finely")
def test_a_parallel_beam_says_nothing_of_the_place_along_it(lungs: TrueLungs, state: State) -> None:
    n = lungs.model.latents.n_modes
    for side, along, across in (("frontal", n + 1, n), ("lateral", n, n + 1)):
        slope = RayTerm(lungs.model, some(lungs.seen(side), 12)).linearise(state, NO_GAIN).by_state
        assert slope[:, along].norm() < 0.03 * slope[:, across].norm()


def test_paths_are_those_of_the_shape_but_for_the_softness(lungs: TrueLungs) -> None:
    true = State(lungs.beta, torch.zeros(3), torch.tensor(lungs.axis_scale).log(), torch.zeros(3))
    for side in BOTH:
        seen = lungs.seen(side)
        found = RayTerm(lungs.model, seen).paths(true, NO_GAIN)
        assert float(found.sum()) == pytest.approx(float(seen.flat_mm.sum()), rel=0.03)
        assert float((found - seen.flat_mm).abs().median()) < 3.0


def test_channels_add_structures(lungs: TrueLungs, state: State) -> None:
    seen = some(lungs.seen("frontal"), 10)
    each = RayTerm(lungs.model, seen).paths(state, NO_GAIN).reshape(2, -1)
    one = replace(seen, channels=((0, 1),), paths_mm=seen.paths_mm[:, :1], sd_mm=seen.sd_mm[:, :1])
    torch.testing.assert_close(RayTerm(lungs.model, one).paths(state, NO_GAIN), each.sum(dim=0))
    swapped = RayTerm(lungs.model, replace(seen, channels=((1,), (0,)))).paths(state, NO_GAIN).reshape(2, -1)
    torch.testing.assert_close(swapped, each.flip(0))
    assert not torch.allclose(swapped, each)


def test_errors_of_neighbours_go_together(lungs: TrueLungs) -> None:
    seen = lungs.seen("frontal")
    covariance = (seen.factor @ seen.factor.T).numpy()
    n = len(seen.pixels)
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    apart = np.linalg.norm(seen.places_mm(seen.pixels) - seen.places_mm(seen.pixels[:1]), axis=1)
    near, far = (apart > 0) & (apart < 20.0), apart > 150.0
    assert correlation[0, :n][near].min() > 0.5
    assert correlation[0, :n][far].max() < 0.01
    np.testing.assert_allclose(covariance[:n, n:], 0.0)

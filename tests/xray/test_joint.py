"""Points, masks and radiographs of one patient in one fit: lungs of the bundled model whose shape is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import lpm
from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.observation import Observation
from lpm.fitting.evidence.points import observe_points
from lpm.fitting.fit import Fit
from lpm.geometry.distances import closest_points
from lpm.geometry.meshes import WorldMesh, sample_surface
from lpm.geometry.projection import turned_view
from lpm.xray.evidence import XrayObservation, observe_xray
from lpm.xray.fit import XrayFit, fit_evidence, fit_xray
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import Answers, Reading
from true_lungs import TrueLungs

N, MM = 26, 16.0
PIXELS = np.zeros((N, N), dtype=np.float32)
CALM = Answers(chest=0.9, mirrored=0.1, inverted=0.1, turned=(1.0, 0.0, 0.0, 0.0))
SHIFT = np.array([70.0, 0.0, -85.0])


class ExactReader:
    """Sees the exact lengths of one frontal picture."""

    def __init__(self, lengths_mm: np.ndarray) -> None:
        self.lengths_mm = lengths_mm

    def frontal(self, pixels: np.ndarray, mm_per_px: tuple[float, float] | None = None) -> Reading:
        unit = MM if mm_per_px is None else 1.0
        lengths = (self.lengths_mm / unit).astype(np.float32)
        field = (self.lengths_mm > 30.0).astype(np.float32)
        sd = np.full_like(lengths, 4.0 / unit)
        return Reading(field, lengths, sd, 0.05, (1.0, 1.0), mm_per_px is not None, CALM, ())


@pytest.fixture(scope="module")
def lungs() -> TrueLungs:
    return TrueLungs(lpm.load().bundle)


@pytest.fixture(scope="module")
def others() -> TrueLungs:
    """Of another patient: another shape and size."""
    return TrueLungs(lpm.load().bundle, first=(-1.5, 1.5, -1.0, -1.0, 1.5, -1.0), axis_scale=(0.9, 1.1, 0.85))


def _reader(lungs: TrueLungs) -> ExactReader:
    return ExactReader(lungs.lengths_mm(turned_view((N, N), (MM, MM), 0.0, lungs.middle_mm)))


def frontal(lungs: TrueLungs, *, placed: bool = True, sized: bool = True) -> XrayObservation:
    """Its frontal radiograph, aimed at the middle of the lungs."""
    view = turned_view((N, N), (MM, MM), 0.0, lungs.middle_mm)
    given = Radiograph(PIXELS, "frontal", (MM, MM) if sized else None, view=view if placed else None)
    return observe_xray(lungs.model, given, reader=ExactReader(lungs.lengths_mm(view)))


def points(lungs: TrueLungs, n: int, *, only: str | None = None) -> Observation:
    rng, names = np.random.default_rng(0), [only] if only else list(lungs.meshes)
    drawn = [sample_surface(lungs.meshes[name], n, rng=rng).points for name in names]
    return observe_points(lungs.model, np.concatenate(drawn), np.repeat(names, n).tolist())


def apart_mm(found: Mapping[str, WorldMesh], lungs: TrueLungs, name: str) -> float:
    return float(closest_points(lungs.meshes[name], found[name].vertices).distance.mean())


@pytest.fixture(scope="module")
def left_alone(lungs: TrueLungs) -> Fit:
    return fit_evidence(lungs.model, [points(lungs, 100, only="left_lung")], spacing_mm=6.0)


@pytest.fixture(scope="module")
def left_and_frontal(lungs: TrueLungs) -> XrayFit:
    fit = fit_evidence(lungs.model, [points(lungs, 100, only="left_lung"), frontal(lungs)], spacing_mm=6.0)
    assert isinstance(fit, XrayFit)
    return fit


def test_a_radiograph_shows_the_lung_of_which_no_point_was_seen(
    lungs: TrueLungs, left_alone: Fit, left_and_frontal: XrayFit
) -> None:
    alone, joint = (apart_mm(fit.lungs, lungs, "right_lung") for fit in (left_alone, left_and_frontal))
    assert joint < 0.6 * alone
    assert apart_mm(left_and_frontal.lungs, lungs, "left_lung") < 1.5
    widths = [np.ptp(fit.interval("right_lung_volume_ml")) for fit in (left_alone, left_and_frontal)]
    assert widths[1] < 0.7 * widths[0]
    low, high = left_and_frontal.interval("total_volume_ml")
    assert low < lungs.volume_ml < high
    assert not left_and_frontal.notes


def test_a_result_holds_what_its_evidence_gives_and_no_more(
    lungs: TrueLungs, left_alone: Fit, left_and_frontal: XrayFit
) -> None:
    joint, alone, picture = left_and_frontal.summary(), left_alone.summary(), frontal(lungs)
    assert joint["residuals_mm"]["n"] == 100
    assert len(joint["radiographs"]) == 1
    assert "radiographs" not in alone
    assert joint["observed"] == "100 surface points; frontal radiograph"
    kinds = {"distance of the points", "error of the lengths of the frontal radiograph's rays"}
    assert set(left_and_frontal.misfits_mm) == kinds
    reader, once = ExactReader(lungs.lengths_mm(picture.seen.view)), FitConfig(max_iterations=1)
    rays = fit_xray(lungs.model, [picture.radiograph], reader=reader, config=once, spacing_mm=8.0)
    assert "residuals_mm" not in rays.summary()
    assert "noise_mm" not in rays.summary()["fit_config"]
    assert "noise_mm" in alone["fit_config"]


def test_a_radiograph_without_a_place_is_placed_by_the_points(lungs: TrueLungs) -> None:
    seen = points(lungs, 150)
    there = replace(seen, points_mm=seen.points_mm + SHIFT)
    fit = fit_evidence(lungs.model, [there, frontal(lungs, placed=False)], spacing_mm=6.0)
    assert isinstance(fit, XrayFit)
    for name, mesh in lungs.meshes.items():
        np.testing.assert_allclose(fit.lungs[name].centroid, mesh.centroid + SHIFT, atol=2.0)
    assert fit.summary()["radiographs"][0]["view"]["origin_mm"] == fit.views[0].origin_mm.tolist()
    middle = fit.views[0].to_pixels((lungs.middle_mm + SHIFT)[None])[0]
    np.testing.assert_allclose(middle, [(N - 1) / 2] * 2, atol=4.0 / MM)


def test_a_radiograph_without_a_spacing_is_scaled_by_the_points(lungs: TrueLungs) -> None:
    fit = fit_evidence(lungs.model, [points(lungs, 150), frontal(lungs, placed=False, sized=False)], spacing_mm=6.0)
    assert isinstance(fit, XrayFit)
    assert fit.sized
    assert float(np.linalg.norm(fit.views[0].by_row_mm)) == pytest.approx(MM, rel=0.02)
    assert "frontal radiograph: without a pixel spacing its scale was fitted to the other evidence" in fit.notes


@pytest.mark.slow
def test_what_is_given_twice_counts_once(lungs: TrueLungs) -> None:
    few, picture, quick = points(lungs, 20), frontal(lungs), FitConfig(max_iterations=3)
    once, twice = (
        fit_evidence(lungs.model, evidence, config=quick, spacing_mm=8.0)
        for evidence in ([few, picture], [few, picture, frontal(lungs), points(lungs, 20)])
    )
    np.testing.assert_array_equal(once.beta, twice.beta)
    assert "40 surface points: given twice, counted once" in twice.notes
    assert "frontal radiograph: given twice, counted once" in twice.notes
    assert not [note for note in once.notes if "twice" in note]


@pytest.mark.slow
def test_a_radiograph_of_another_patient_is_named(lungs: TrueLungs, others: TrueLungs) -> None:
    fit = fit_evidence(lungs.model, [points(lungs, 150), frontal(others)], spacing_mm=6.0)
    assert [
        note for note in fit.notes if "300 surface points and frontal radiograph: contradict each other by " in note
    ]


@pytest.mark.slow
def test_points_of_another_patient_are_named(lungs: TrueLungs, others: TrueLungs) -> None:
    fit = fit_evidence(lungs.model, [points(lungs, 150), points(others, 100)], spacing_mm=8.0)
    assert [note for note in fit.notes if note.startswith("200 surface points: lies ") and "the other points" in note]


def test_nothing_given_is_refused(lungs: TrueLungs) -> None:
    with pytest.raises(InputError, match="no observation; expected points, a mask or slices"):
        fit_evidence(lungs.model, [])


def test_a_setting_that_nothing_uses_is_refused(lungs: TrueLungs) -> None:
    with pytest.raises(InputError, match="noise_mm, which only surface points use; expected of axis_scale_sd"):
        fit_evidence(lungs.model, [frontal(lungs)], config=FitConfig(noise_mm=2.0))


@pytest.mark.slow
def test_errors_of_rays_are_millimetres_of_the_patient(lungs: TrueLungs) -> None:
    """A picture whose pixels are said to be half as large shows lengths half as long, and is scaled back."""
    half = replace(frontal(lungs, placed=False).radiograph, mm_per_px=None)
    sized, unsized = (
        fit_evidence(lungs.model, [points(lungs, 60), each], config=FitConfig(max_iterations=8), spacing_mm=8.0)
        for each in (frontal(lungs, placed=False), observe_xray(lungs.model, half, reader=_reader(lungs)))
    )
    assert isinstance(sized, XrayFit)
    assert isinstance(unsized, XrayFit)
    errors = [float(np.abs(each.path_errors_mm[0]).mean()) for each in (sized, unsized)]
    assert errors[1] == pytest.approx(errors[0], rel=0.35)


@pytest.mark.slow
def test_points_that_are_mirrored_are_noted_beside_a_radiograph_too(lungs: TrueLungs) -> None:
    seen = points(lungs, 150)
    unknown = np.full(len(seen.points_mm), -1)
    turned = replace(seen, points_mm=seen.points_mm * np.array([-1.0, 1.0, 1.0]), structure=unknown)
    alone, joint = (
        fit_evidence(lungs.model, evidence, config=FitConfig(max_iterations=4), spacing_mm=8.0)
        for evidence in ([turned], [turned, frontal(lungs, placed=False)])
    )
    for fit in (alone, joint):
        assert [note for note in fit.notes if note.startswith("possibly mirrored")]

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lpm.fitting.evidence.points import fit_points
from lpm.fitting.fit import Fit
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort
from lpm.reports.compared import ERROR, compared_view
from lpm.reports.document import Table
from lpm.reports.fits import SIGMA, Seen, _measures, draw_fit_figures, told_of_search, view_of, write_fit_report
from lpm.reports.provenance import provenance

pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture(scope="module")
def points(tiny_cohort: Path) -> np.ndarray:
    return Cohort(tiny_cohort).surface("case0").points_mm[::40]


@pytest.fixture(scope="module")
def fit(tiny_model: ModelBundle, points: np.ndarray) -> Fit:
    return fit_points(tiny_model, points, spacing_mm=6.0)


def _words(path: Path) -> str:
    html = re.sub(r"<script.*?</script>|<style.*?</style>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_a_report_tells_of_volumes_points_and_origin(fit: Fit, points: np.ndarray, tmp_path: Path) -> None:
    source = tmp_path / "points.bin"
    source.write_bytes(points.tobytes())
    seen = Seen(points, provenance=provenance(fit.model, [source], seed=7))
    write_fit_report(tmp_path / "report.html", fit, seen)
    words = _words(tmp_path / "report.html")
    for mesh in fit.lungs.values():
        assert f"{mesh.volume_ml:,.0f}" in words
    assert f"{len(points)} surface points" in words
    assert hashlib.sha256(points.tobytes()).hexdigest()[:16] in words
    assert "seed 7" in words
    assert "Not for clinical use" in words
    assert (tmp_path / "report.html").stat().st_size < 10e6


@pytest.mark.parametrize(
    ("n", "told"),
    [
        (0, []),
        (1, ["1 point contradicts its neighbours and hardly counts"]),
        (7, ["7 points contradict their neighbours and hardly count"]),
    ],
)
def test_outliers_and_the_end_of_the_search_are_told(fit: Fit, n: int, told: list[str]) -> None:
    assert fit.shape.surface is not None
    shape = replace(fit.shape, surface=replace(fit.shape.surface, n_outliers=n), stop_reason="iteration limit")
    end = "the search for shape and pose ended before it came to rest: look at the lungs"
    assert told_of_search(replace(fit, shape=shape)) == [*told, end]


def test_a_report_measures_the_fit_itself(tiny_atlas: ModelBundle, points: np.ndarray) -> None:
    """And no thinned mesh of it, whose asymmetry, a mean over vertices, is another."""
    fit = fit_points(tiny_atlas, points, spacing_mm=2.0)
    (table,) = _measures(fit)
    assert isinstance(table, Table)
    assert {row[0]: row[1] for row in table.rows}["asymmetry, mm"] == fit.attributes["asymmetry_mm"]


@pytest.mark.parametrize(
    ("observed", "title"),
    [
        ("mask of left_lung and right_lung, 9000 points on its surface", "Lungs from mask of left lung and right lung"),
        ("60 surface points", "Lungs from 60 surface points"),
        ("60 surface points; mask of left_lung, 50 points on its surface", "Lungs from several observations"),
    ],
)
def test_a_title_says_what_was_observed(fit: Fit, observed: str, title: str, tmp_path: Path) -> None:
    write_fit_report(tmp_path / "report.html", replace(fit, observed=observed), Seen())
    assert f"<title>{title}</title>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_report_needs_nothing_outside(fit: Fit, tmp_path: Path) -> None:
    write_fit_report(tmp_path / "report.html", fit, Seen())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert all(url.startswith(("data:", "#")) for url in re.findall(r"(?:src|href)=\"([^\"]*)", outside))


def test_notes_are_told_first_and_cannot_become_markup(fit: Fit, tmp_path: Path) -> None:
    write_fit_report(tmp_path / "report.html", replace(fit, notes=("a <b>doubt</b>",)), Seen())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<li>a &lt;b&gt;doubt&lt;/b&gt;</li>" in html
    assert html.index("doubt") < html.index('class="view3d"')


def test_the_view_shows_uncertainty_of_each_vertex(fit: Fit, points: np.ndarray, tmp_path: Path) -> None:
    view = view_of(fit, Seen(points), tmp_path)
    left, right, cloud = view.parts
    assert (left.name, right.name, cloud.name) == ("left lung", "right lung", "observed points")
    assert left.color != right.color
    exact = fit.sigma_mm("left_lung")
    assert len(exact) > 2000, "some vertices lie between those that were asked"
    assert np.abs(left.values[SIGMA] - exact).mean() < 0.05 * exact.mean()


def test_lungs_without_a_size_have_no_volumes(fit: Fit, tmp_path: Path) -> None:
    write_fit_report(tmp_path / "report.html", replace(fit, sized=False), Seen())
    words = _words(tmp_path / "report.html")
    assert " ml" not in words.replace("no volumes", "")
    assert "no millimetres" in words


def test_one_lung_has_one_row(fit: Fit, tmp_path: Path) -> None:
    right = {"right_lung": fit.lungs["right_lung"]}
    one = replace(fit, extraction=replace(fit.extraction, meshes=right))
    write_fit_report(tmp_path / "report.html", one, Seen())
    words = _words(tmp_path / "report.html")
    assert "left lung" not in words
    assert " both " not in words


def test_figures_for_papers(fit: Fit, points: np.ndarray, tmp_path: Path) -> None:
    draw_fit_figures(fit, Seen(points, to_labels(random_lungs(rng=np.random.default_rng(0)), 6.0)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lungs.png", "slices.png", "uncertainty.png"]


def test_a_reconstruction_beside_the_truth(fit: Fit, tmp_path: Path) -> None:
    up = np.array([0.0, 0.0, 300.0])
    moved = {name: WorldMesh(mesh.vertices + up, mesh.faces) for name, mesh in fit.lungs.items()}
    view = compared_view(fit.lungs, moved, "caption", tmp_path / "still.png", fit)
    left, _right, true_left, _true_right = view.parts
    assert [coloring.name for coloring in view.colorings] == [ERROR, SIGMA]
    assert left.values[ERROR].min() > 20.0
    assert (true_left.name, true_left.shown) == ("true left lung", False)
    assert view.parts[0].points == pytest.approx(fit.lungs["left_lung"].vertices)
    at_home = compared_view(fit.lungs, fit.lungs, "caption", tmp_path / "still.png")
    assert at_home.parts[0].values[ERROR] == pytest.approx(0.0, abs=1e-6)

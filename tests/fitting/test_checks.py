"""What cannot be lungs is refused; what is unlike lungs is not returned as if good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lpm.errors import InputError
from lpm.fitting.checks import check_points, other_sides
from lpm.fitting.evidence.points import fit_points, observe_points
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort

ANY = np.full(400, -1)


@pytest.fixture(scope="module")
def lungs(tiny_cohort: Path) -> Floats:
    cohort = Cohort(tiny_cohort)
    return cohort.surface(cohort.subjects("test")[0]).points_mm[:400]


def test_lungs_raise_no_doubt(tiny_atlas: ModelBundle, lungs: Floats) -> None:
    assert fit_points(tiny_atlas, lungs, spacing_mm=8.0).notes == ()


def test_points_on_a_line_are_refused(lungs: Floats) -> None:
    line = np.linspace(0, 200, 400)[:, None] * np.array([0.6, 0.8, 0.0]) + 0.1 * lungs / 200
    with pytest.raises(InputError, match="all on a line"):
        check_points(line, ANY)


def test_points_in_one_plane_say_so(lungs: Floats) -> None:
    flat = lungs * np.array([1.0, 1.0, 0.0])
    assert "lie in one plane" in check_points(flat, ANY).notes[0]


def test_the_same_place_counts_once(lungs: Floats) -> None:
    twice = np.concatenate([lungs[:200], lungs[:200]])
    checked = check_points(twice, ANY)
    assert np.array_equal(checked.points_mm, lungs[:200])
    assert "200 points lie exactly on others" in checked.notes[0]


def test_too_few_different_points_are_refused(lungs: Floats) -> None:
    with pytest.raises(InputError, match="400 points, 4 of them different"):
        check_points(np.tile(lungs[:4], (100, 1)), ANY)


def test_another_object_is_flagged(tiny_atlas: ModelBundle, rng: np.random.Generator) -> None:
    """A slab of the size of a person."""
    sides = rng.uniform(-1, 1, (400, 3))
    sides[np.arange(400), rng.integers(0, 3, 400)] = rng.choice([-1.0, 1.0], 400)
    fit = fit_points(tiny_atlas, sides * np.array([230.0, 60.0, 330.0]), spacing_mm=8.0)
    assert any("unlike the model's shapes" in note for note in fit.notes)


def test_a_mirrored_patient_is_flagged(tiny_atlas: ModelBundle, lungs: Floats) -> None:
    fit = fit_points(tiny_atlas, lungs * np.array([-1.0, 1.0, 1.0]), spacing_mm=8.0)
    assert any("possibly mirrored" in note for note in fit.notes)


@pytest.mark.parametrize(
    ("axes", "note"),
    [
        ([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]], "possibly LPS"),
        ([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], "possibly y up"),
        ([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]], "possibly z, y, x"),
    ],
)
@pytest.mark.slow
def test_points_with_other_axes_are_flagged(
    tiny_atlas: ModelBundle, lungs: Floats, axes: list[list[float]], note: str
) -> None:
    fit = fit_points(tiny_atlas, lungs @ np.array(axes).T, spacing_mm=8.0)
    assert any(note in each for each in fit.notes)


def test_voxel_indices_are_flagged(tiny_atlas: ModelBundle, lungs: Floats) -> None:
    indices = np.round(lungs - lungs.min(axis=0))
    assert "voxel indices?" in observe_points(tiny_atlas, indices).notes[0]
    assert observe_points(tiny_atlas, lungs).notes == observe_points(tiny_atlas, indices - 1.0).notes == ()


def test_structures_have_their_like_on_the_other_side() -> None:
    found = other_sides(("right_kidney", "left_kidney"))
    assert found is not None
    assert found.tolist() == [1, 0]
    assert other_sides(("left_upper_lobe", "right_upper_lobe", "right_middle_lobe")) is None
    assert other_sides(("femur",)) is None


def test_evidence_that_contradicts_itself_is_flagged(tiny_atlas: ModelBundle, lungs: Floats) -> None:
    """A quarter of the points from the same lungs, 60 mm away."""
    torn = lungs.copy()
    torn[::4] += np.array([60.0, 0.0, 0.0])
    assert fit_points(tiny_atlas, torn, spacing_mm=8.0).notes

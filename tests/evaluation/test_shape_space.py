"""Few modes: fewer explain less, and the first ones most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lpm.evaluation.shape_space import ShapeSpace, judge, shape_spaces, truncated
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort


@pytest.fixture(scope="module")
def spaces(tiny_atlas: ModelBundle, tiny_cohort: Path) -> list[ShapeSpace]:
    return list(shape_spaces(tiny_atlas, Cohort(tiny_cohort), (1, 3)))


def test_each_model_with_each_number_of_modes(spaces: list[ShapeSpace]) -> None:
    names = ["LPM", "LPM, translation only", "PCA of SDF grids"]
    assert [(space.name, space.n_modes) for space in spaces] == [(name, n) for n in (1, 3) for name in names]


def test_more_modes_hold_more_variance(spaces: list[ShapeSpace]) -> None:
    for few, more in zip(spaces[:3], spaces[3:], strict=True):
        assert 0 < few.variance_share < more.variance_share <= 1.0 + 1e-9


def test_draws_are_closed_lungs_and_differ(spaces: list[ShapeSpace]) -> None:
    for space in spaces[3:]:
        one, other = (space.draw(np.random.default_rng(seed)) for seed in (0, 1))
        assert all(mesh.is_closed for mesh in one.values())
        assert abs(one["left_lung"].volume_ml - other["left_lung"].volume_ml) > 1.0


@pytest.mark.slow
def test_scores_are_in_millimetres_of_lungs(spaces: list[ShapeSpace], tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    scores = judge(spaces[3], cohort, n_draws=2, points=300)
    assert len(scores.generalisation_mm) == len(cohort.subjects("test"))
    assert all(0.1 < value < 15.0 for value in scores.generalisation_mm + scores.specificity_mm)


def test_shape_parameters_are_sorted_by_how_far_they_move_the_surface(tiny_atlas: ModelBundle) -> None:
    latents = tiny_atlas.latents
    assert truncated(tiny_atlas, 2).latents.n_modes == 2
    gram = latents.basis.T @ latents.basis
    assert float((gram - np.eye(latents.n_modes)).abs().max()) < 1e-4  # turned, not stretched: the prior is the same

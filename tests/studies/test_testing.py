"""The linear model at many places, against statsmodels and against what chance gives."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import ttest_1samp

from lpm.errors import InputError
from lpm.studies.testing import Model, Permutations, compared

N = 24
DESIGN = np.column_stack([np.ones(N), np.arange(N) % 2, np.random.default_rng(1).normal(size=N)])
STEP = np.array([[0.0, 1.0, 0.0]])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("is_unsure", [False, True])
def test_estimates_and_intervals_are_those_of_weighted_least_squares(is_unsure: bool) -> None:
    values = rng().normal(size=(N, 5)) + 1.5 * DESIGN[:, 1:2]
    own_sd = np.abs(rng().normal(size=(N, 5))) if is_unsure else None
    found = compared(values, Model(DESIGN, STEP), own_sd, Permutations(200), rng=rng())
    for place in range(5):
        expected = sm.WLS(values[:, place], DESIGN, weights=found.weight[:, place]).fit()
        assert found.estimate[place] == pytest.approx(expected.params[1])
        assert found.statistic[place] == pytest.approx(expected.tvalues[1])
        assert (found.low[place], found.high[place]) == pytest.approx(tuple(expected.conf_int()[1]))


def test_permutations_agree_with_the_normal_theory() -> None:
    values = rng().normal(size=(N, 3)) + 0.5 * DESIGN[:, 1:2]
    found = compared(values, Model(DESIGN, STEP), None, Permutations(4000), rng=rng())
    expected = [sm.OLS(values[:, place], DESIGN).fit().pvalues[1] for place in range(3)]
    assert found.p == pytest.approx(expected, abs=0.03)
    assert (found.p_corrected >= found.p).all()


def test_three_groups_are_compared_by_f() -> None:
    member = np.eye(3)[np.arange(N) % 3]
    steps = np.array([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    values = rng().normal(size=(N, 2)) + member[:, 1:2]
    found = compared(values, Model(member, steps), None, Permutations(2000), rng=rng())
    expected = sm.OLS(values[:, 0], member).fit().f_test(steps)
    assert found.statistic[0] ** 2 == pytest.approx(expected.fvalue)
    assert found.p[0] == pytest.approx(expected.pvalue, abs=0.03)
    assert np.isnan(found.low).all()


def test_all_flips_of_few_pairs_are_made() -> None:
    differences = 2.0 + rng().normal(size=(7, 3))
    found = compared(differences, Model(np.ones((7, 1)), np.ones((1, 1)), True), None, Permutations(5000), rng=rng())
    assert found.n_permutations == 128
    assert found.statistic == pytest.approx(ttest_1samp(differences, 0.0).statistic)
    assert found.p.min() == pytest.approx(2 / 128)


@pytest.mark.parametrize("by_signs", [False, True])
@pytest.mark.parametrize("is_unsure", [False, True])
def test_where_there_is_nothing_little_is_found(by_signs: bool, is_unsure: bool) -> None:
    draws = rng()
    model = Model(np.ones((N, 1)), np.ones((1, 1)), True) if by_signs else Model(DESIGN, STEP)
    own_sd = np.where(np.arange(N) % 4 == 0, 3.0, 0.3)[:, None] * np.ones(20) if is_unsure else None
    found = 0
    for _ in range(120):
        noise = 0.0 if own_sd is None else own_sd * draws.normal(size=(N, 20))
        values = draws.normal(size=(N, 1)) + draws.normal(size=(N, 20)) + noise
        done = compared(values, model, own_sd, Permutations(100, pooled=20.0), rng=draws)
        found += done.p_corrected.min() < 0.05
    assert 0.01 <= found / 120 <= 0.1


def test_a_noisy_value_counts_less() -> None:
    own_sd = np.full((N, 1), 0.1)
    own_sd[0] = 10.0
    values = rng().normal(size=(N, 1))
    values[0] += 30.0
    model = Model(np.ones((N, 1)), np.ones((1, 1)), True)
    unweighted = compared(values, model, None, Permutations(100), rng=rng())
    weighted = compared(values, model, own_sd, Permutations(100), rng=rng())
    assert weighted.weight[0, 0] < 0.2 * weighted.weight[1:].mean()
    assert unweighted.estimate[0] > 1.0
    assert abs(weighted.estimate[0]) < 0.75
    assert weighted.high[0] - weighted.low[0] < 0.5 * (unweighted.high[0] - unweighted.low[0])


def test_places_without_any_difference_are_not_found() -> None:
    values = np.column_stack([np.zeros(N), rng().normal(size=N) + 3.0 * DESIGN[:, 1]])
    found = compared(values, Model(DESIGN, STEP), None, Permutations(200, pooled=20.0), rng=rng())
    assert found.p[0] == 1.0
    assert found.p_corrected[1] < 0.05


def test_more_terms_than_subjects_are_refused() -> None:
    with pytest.raises(InputError, match="3 subjects for 3 terms; expected more subjects"):
        compared(np.zeros((3, 1)), Model(np.eye(3), STEP), None, Permutations(100), rng=rng())

"""Studies of lungs whose differences are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_cohorts import RADII, cohort, lungs, table

from lpm.errors import InputError, LpmError, MisuseError
from lpm.studies.alignment import align, rotations_onto, tops_of
from lpm.studies.choice import named_fits
from lpm.studies.cohort import Cohort
from lpm.studies.design import Asked
from lpm.studies.study import Study, StudyConfig, study_of
from lpm.workflows.studying import summary

QUICK = StudyConfig(permutations=200, direction_permutations=19)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def scales(n: int, taller: np.ndarray | float = 0.0, sd: float = 0.03) -> np.ndarray:
    """(n, 3) of R, A, S, with so much more height for some."""
    found = 1.0 + sd * rng().normal(size=(n, 3))
    found[:, 2] += taller
    return found


@pytest.fixture(scope="module")
def groups() -> Study:
    """Lungs of the second group are 15 % taller."""
    is_ill = np.arange(24) % 2 == 1
    rows = table({"group": np.where(is_ill, "ill", "well"), "age": rng().normal(60.0, 9.0, 24).round(1)})
    return study_of(cohort(list(scales(24, 0.15 * is_ill)), rng()), rows, Asked("group", ("age",)), QUICK)


def test_a_taller_group_is_found_by_how_many_mm(groups: Study) -> None:
    answer = groups.answers[0]
    assert answer.question.name == "ill - well"
    index = answer.measures.names.index("height_mm")
    assert answer.measures.tested.estimate[index] == pytest.approx(0.15 * 2 * RADII[2], abs=8.0)
    assert answer.measures.tested.p_corrected[index] < 0.05
    assert 2.5 < answer.measures.size[index] < 9.0
    assert answer.measures.size_low[index] < answer.measures.size[index] < answer.measures.size_high[index]
    regions = groups.regions()
    for structure in groups.cohort.structures:
        top, middle = (answer.place.estimate[regions[structure, name]] for name in ("top", "middle third"))
        assert top.max() == pytest.approx(0.15 * RADII[2], abs=4.0)  # half of it above the centre
        assert abs(middle.mean()) < 3.0
        assert answer.moved_mm[regions[structure, "base"], 2].mean() < -5.0


def test_a_direction_tells_groups_apart_and_its_lungs_differ_in_height(groups: Study) -> None:
    direction = groups.answers[0].direction
    assert direction is not None
    assert direction.accuracy > 0.85
    assert direction.p == pytest.approx(1 / 20)
    heights = [np.ptp(groups.lungs(groups.answers[0], sd)["left_lung"].vertices[:, 2]) for sd in (-2.0, 0.0, 2.0)]
    assert heights[0] < heights[1] < heights[2]


def test_all_that_is_found_can_be_written_as_json(groups: Study) -> None:
    found = summary(groups)
    assert found["questions"][0]["significant_share_of_surface"] > 0.1
    assert "ill - well (24 subjects)" in found["findings"][0]
    assert "groups: well (12), ill (12)" in found["notes"]


def test_a_covariate_is_told_from_its_confounder() -> None:
    draws = rng()
    age = draws.normal(60.0, 9.0, 40)
    smoke = age / 9.0 + draws.normal(size=40)
    rows = table({"age": age.round(2), "smoke": smoke.round(3)})
    study = study_of(cohort(list(scales(40, 0.01 * (age - 60.0))), draws), rows, Asked(None, ("age", "smoke")), QUICK)
    by_name = {answer.question.name: answer for answer in study.answers}
    place = study.answers[0].measures.names.index("height_mm")
    assert by_name["age"].measures.tested.p_corrected[place] < 0.05
    assert by_name["smoke"].measures.tested.p_corrected[place] > 0.05
    expected_mm = 0.01 * age.std(ddof=1) * 2 * RADII[2]  # a standard deviation of age
    assert by_name["age"].measures.tested.estimate[place] == pytest.approx(expected_mm, rel=0.3)
    assert by_name["age"].direction is not None
    assert by_name["age"].direction.accuracy > 0.5


def test_pairs_hold_what_a_patient_is() -> None:
    own = scales(9, sd=0.1)
    first, second = (
        Cohort(tuple(lungs(f"{s}{i}", own[i] * grown) for i in range(9)))
        for s, grown in (("e", np.ones(3)), ("i", np.array([1.0, 1.0, 1.1])))
    )
    both = Cohort((*first.subjects, *second.subjects))
    rows = table({"patient": [*range(9), *range(9)], "state": ["breath - out"] * 9 + ["in"] * 9}, both.names)
    study = study_of(both, rows, Asked("state", (), "patient"), QUICK)
    answer, regions = study.answers[0], study.regions()
    assert answer.question.name == "in - breath - out"
    base, top = (answer.place.estimate[regions["left_lung", name]].mean() for name in ("base", "top"))
    assert base > 12.0  # tops are laid on each other: the whole growth lies below
    assert abs(top) < 3.0
    assert answer.place.p_corrected[regions["left_lung", "base"]].max() < 0.05
    assert any("tops" in note for note in study.notes)


def test_without_size_lungs_that_differ_in_size_alone_are_alike() -> None:
    is_ill = np.arange(20) % 2 == 1
    grown = scales(20, sd=0.02) * np.where(is_ill, 1.2, 1.0)[:, None]
    rows = table({"group": np.where(is_ill, "ill", "well")})
    made = cohort(list(grown), rng())
    kept = study_of(made, rows, Asked("group"), QUICK).answers[0]
    without = study_of(made, rows, Asked("group"), QUICK.model_copy(update={"size": "remove"})).answers[0]
    assert (kept.place.p_corrected < 0.05).mean() > 0.8
    assert (without.place.p_corrected < 0.05).mean() < 0.05
    volume, size = (without.measures.names.index(name) for name in ("total_volume_ml", "size_mm"))
    assert without.measures.tested.p_corrected[volume] > 0.05
    assert without.measures.tested.p_corrected[size] < 0.05  # the size itself is still told


def test_what_sizes_hide_is_found_in_lungs_of_the_mean_size() -> None:
    is_ill = np.arange(24) % 2 == 1
    sizes = rng().permutation(np.linspace(0.75, 1.25, 24))[:, None]
    rows = table({"group": np.where(is_ill, "ill", "well")})
    found = study_of(cohort(list(sizes * scales(24, 0.06 * is_ill, sd=0.005)), rng()), rows, Asked("group"), QUICK)
    tested, names = found.answers[0].measures.tested, found.answers[0].measures.names
    assert tested.p_corrected[names.index("height_mm")] > 0.05
    scaled = names.index("scaled_height_mm")
    assert tested.p_corrected[scaled] < 0.05
    assert tested.estimate[scaled] == pytest.approx(0.04 * 2 * RADII[2], rel=0.3)  # a third of it is size


def test_three_groups_are_compared_at_once_and_two_by_two() -> None:
    group = np.array(["a", "b", "c"])[np.arange(18) % 3]
    study = study_of(
        cohort(list(scales(18, 0.2 * (group == "c"))), rng()), table({"group": group}), Asked("group"), QUICK
    )
    assert [answer.question.name for answer in study.answers] == ["any difference by group", "b - a", "c - a", "c - b"]
    place = study.answers[0].measures.names.index("height_mm")
    p = [answer.measures.tested.p_corrected[place] for answer in study.answers]
    assert p[0] < 0.05 < p[1]
    assert max(p[2:]) < 0.05


def test_a_fit_that_is_unsure_counts_less() -> None:
    subjects = [lungs(f"s{i}", scale, 8.0 if i < 2 else 0.5) for i, scale in enumerate(scales(12))]
    study = study_of(Cohort(tuple(subjects)), table({"group": ["a", "b"] * 6}), Asked("group"), QUICK)
    weight = study.answers[0].place.weight.mean(axis=1)
    assert weight[:2].max() < 0.5 * weight[2:].min()
    of_height = study.answers[0].measures.tested.weight[:, study.answers[0].measures.names.index("height_mm")]
    assert of_height[:2].max() < of_height[2:].min()


def test_alignment_takes_shifts_and_turns_away() -> None:
    made = cohort(list(scales(5)), rng())
    turn = np.linalg.qr(rng().normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = made.vertices.copy()
    moved[2] = moved[2] @ turn + 50.0
    tops, members = tops_of(made.subjects[0].meshes), np.arange(5)
    one, other = (align(each, members, "keep", "whole", tops).shapes for each in (made.vertices, moved))
    rotation = rotations_onto(one.reshape(-1, 3), other.reshape(1, -1, 3))[0]
    assert np.abs(other @ rotation - one).max() < 0.01


def test_who_is_left_out_is_listed() -> None:
    made = cohort(list(scales(14)), rng())
    odd = replace(made.subjects[0], doubts=("left_lung is small",))
    made = Cohort((odd, *made.subjects[1:]))
    names = [*made.names[:13], "nobody"]
    rows = table({"group": ["a", "b"] * 6 + ["", "b"]}, names)
    study = study_of(made, rows, Asked("group"), QUICK)
    assert dict(study.left_out) == {
        "s13": "not in the table",
        "nobody": "in the table, but there is no fit of it",
        "s0": "doubtful: left_lung is small",
        "s12": "no group in the table",
    }
    kept = study_of(made, rows, Asked("group"), QUICK.model_copy(update={"keep_doubtful": True}))
    assert "s0" in kept.design.subjects
    assert "s0 takes part, though doubtful: left_lung is small" in kept.notes


def test_who_is_left_out_is_said_where_too_few_remain() -> None:
    made = cohort(list(scales(8)), rng())
    doubted = [
        replace(one, doubts=("left_lung is small",)) if i in (1, 3) else one for i, one in enumerate(made.subjects)
    ]
    rows = table({"group": ["a", "b"] * 4}, ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "nobody"])
    with pytest.raises(
        InputError, match=r"b: 1\); left out: s1, s3 \(doubtful: left_lung is small; --keep-doubtful takes it\)"
    ):
        study_of(Cohort(tuple(doubted)), rows, Asked("group"), QUICK)
    every = [replace(one, doubts=("left_lung is small",)) for one in made.subjects]
    with pytest.raises(InputError, match=r"no subject with a fit that can be used; left out: s0, .* \(doubtful"):
        study_of(Cohort(tuple(every)), rows, Asked("group"), QUICK)


def test_states_that_the_table_does_not_say_leave_both_fits_of_a_pair_out() -> None:
    rows = table({"p": sorted([*range(6)] * 2), "state": ["", "in", *["ex", "in"] * 5]})
    study = study_of(cohort(list(scales(12)), rng()), rows, Asked("state", (), "p"), QUICK)
    assert dict(study.left_out) == {"s0": "no state in the table", "s1": "the only fit of 0"}
    assert [answer.question.name for answer in study.answers] == ["in - ex"]


def test_what_cannot_be_asked_is_refused_before_fits_are_read(tmp_path: Path) -> None:
    for name in ("001", "002", "003", "004", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fit.json").write_text("unread", encoding="utf-8")
    with pytest.raises(InputError, match=r"one group \(a\); left out: other \(not in the table\)"):
        named_fits([tmp_path], table({"g": ["a"] * 4}, ["1", "2", "3", "4"]), Asked("g"))
    named, unread = named_fits([tmp_path], table({"x": range(4)}, ["1", "2", "3", "4"]), Asked(None, ("x",)))
    assert named == {name: tmp_path / name for name in ("001", "002", "003", "004")}
    assert unread == ("other",)


def test_lungs_far_from_all_others_and_copies_are_doubtful() -> None:
    found = list(scales(20))
    found[3] = np.array([3.0, 3.0, 3.0])
    made = cohort(found, np.random.default_rng(0))
    copy = replace(made.subjects[5], name="s7")
    made = Cohort((*made.subjects[:7], copy, *made.subjects[8:]))
    left_out = study_of(made, table({"group": ["a", "b"] * 10}), Asked("group"), QUICK).left_out
    assert "shape outlier" in left_out["s3"]
    assert "the same lungs as s5" in left_out["s7"]


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({"g": ["a"] * 12}, Asked("g"), r"one group \(a\); expected two groups or more"),
        ({"g": ["a"] * 10 + ["b"] * 2}, Asked("g"), r"too few subjects in a group \(b: 2\); expected at least 3"),
        ({"g": list(range(12))}, Asked("g"), "12 groups; expected at most 8"),
        ({"x": [1.0] * 12}, Asked(None, ("x",)), "x is 1 for all 12 subjects; expected values that differ"),
        ({"x": range(12), "y": [2 * i for i in range(12)]}, Asked(None, ("x", "y")), "y follows from the mean, x"),
        ({"g": ["a", "b"] * 6, "x": [0, 1] * 6}, Asked("g", ("x",)), "x follows from g a, g b"),
        ({"x": [*range(11), "old"]}, Asked(None, ("x",)), "text: 'old' of s11; expected numbers"),
        ({"p": [1] * 3 + list(range(9))}, Asked(None, (), "p"), "'1' has 4 fits"),
        ({"p": range(12)}, Asked(None, (), "p"), "0 whole pairs, and 12 of one fit; expected at least 3"),
        ({"p": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], "g": ["a"] * 2 + ["a", "b"] * 5}, Asked("g", (), "p"), "states"),
        ({"x": [*range(2), *[""] * 10]}, Asked(None, ("x",)), "2 subjects with x; expected at least 3"),
        ({"x": [1, 2, 3, *[""] * 9], "y": [3, 1, 7, *[""] * 9]}, Asked(None, ("x", "y")), "3 subjects for 2 cov"),
        ({"g": ["a", "b"] * 6}, Asked("h"), "no column 'h'"),
        ({"g": ["ill", "well", "Ill "] * 4}, Asked("g"), "'ill' and 'Ill ', which differ in capitals or blanks only"),
        ({"p": sorted([*range(6)] * 2), "g": ["in", "ex", "In", "ex"] * 3}, Asked("g", (), "p"), "differ in capitals"),
        ({"x": ["inf", *range(11)]}, Asked(None, ("x",)), "x that is not finite"),
    ],
)  # fmt: skip
def test_designs_that_cannot_be_tested_are_refused(
    columns: dict[str, list[object]], asked: Asked, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        study_of(cohort(list(scales(12)), rng()), table({k: list(v) for k, v in columns.items()}), asked, QUICK)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(), "nothing to compare"),
        (Asked(None, ("g",), "g"), "beside --pairs"),
        (Asked("g", ("g",)), "column 'g' twice"),
    ],
)
def test_questions_that_ask_for_nothing_are_misuse(asked: Asked, message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        study_of(cohort(list(scales(6)), rng()), table({"g": ["a", "b"] * 3}), asked, QUICK)


def test_subjects_of_other_names_are_refused() -> None:
    rows = table({"g": ["a", "b"] * 3}, [f"p{i}" for i in range(6)])
    with pytest.raises(InputError, match=r"subjects p0, .* and 1 more; fits s0, .*; expected the names of the fits"):
        study_of(cohort(list(scales(6)), rng()), rows, Asked("g"), QUICK)


def test_other_structures_or_triangles_are_refused() -> None:
    one, two = lungs("one", np.ones(3)), lungs("two", np.ones(3))
    half = replace(two, meshes={"left_lung": two.meshes["left_lung"]})
    for given in ((half, one, lungs("three", np.ones(3))), (one, lungs("three", np.ones(3)), half)):
        with pytest.raises(InputError, match=r"two: left_lung, but most have left_lung, right_lung.*leave them out"):
            Cohort(given)
    fewer = replace(two, meshes={name: mesh.flipped() for name, mesh in two.meshes.items()})
    with pytest.raises(LpmError, match="other triangles than those of one; expected meshes in correspondence"):
        Cohort((one, fewer))
    with pytest.raises(InputError, match="several fits called 'one'"):
        Cohort((one, one))


def test_what_is_nearly_collinear_and_few_is_said() -> None:
    x = np.arange(12.0)
    y = x + 0.1 * rng().normal(size=12)
    rows = table({"x": x, "y": y.round(3)})
    notes = study_of(cohort(list(scales(12)), rng()), rows, Asked(None, ("x", "y")), QUICK).notes
    assert any("y nearly follows from the other terms" in note for note in notes)
    pairs = table({"p": [0, 0, 1, 1, 2, 2, 3, 3]})
    notes = study_of(cohort(list(scales(8)), rng()), pairs, Asked(None, (), "p"), QUICK).notes
    assert any("with 4 pairs no permutation gives a p below 0.125" in note for note in notes)
    assert any("the second row of a pair in the table less the first" in note for note in notes)

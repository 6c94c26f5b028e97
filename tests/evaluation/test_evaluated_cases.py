"""Results of cases: which are shown, what is summarised, what is written."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lpm.evaluation.cases import MODEL, CaseResult, best_median_worst, summaries, write_results
from lpm.evaluation.tables import MethodTable, mean_and_interval


@dataclass(frozen=True)
class Numbers:
    assd_mm: float

    def flat(self) -> dict[str, float | None]:
        return {"assd_mm": self.assd_mm, "dice": None}


def case(subject: str, assd_mm: float | None, method: str = MODEL) -> CaseResult[Any]:
    scores = None if assd_mm is None else Numbers(assd_mm)
    return CaseResult(subject, method, scores, 1.25, {}, ("plateau",) if scores else ("no lungs",))


CASES = [case("a", 3.0), case("b", 1.0), case("c", None), case("d", 2.0), case("a", 4.0, "mean shape")]


def test_three_cases_stand_for_all_and_failed_ones_for_none() -> None:
    chosen = best_median_worst([each for each in CASES if each.method == MODEL])
    assert {label: each.subject for label, each in chosen.items()} == {"best": "b", "median": "d", "worst": "a"}
    assert best_median_worst([case("c", None)]) == {}


def test_numbers_that_no_subject_has_and_methods_that_always_failed_are_left_out() -> None:
    found = summaries([*CASES, case("a", None, "never")], rng=np.random.default_rng(0), p95=("assd_mm",))
    assert list(found) == [MODEL, "mean shape"]
    assert list(found[MODEL]) == ["assd_mm"]
    assert found[MODEL]["assd_mm"]["mean"] == pytest.approx(2.0)
    assert found[MODEL]["assd_mm"]["p95"] == pytest.approx(2.9)


def test_a_method_is_a_row_with_how_many_it_did() -> None:
    by_method = summaries(CASES, rng=np.random.default_rng(0))
    table = MethodTable("", {"ASSD mm": ("assd_mm", "{:.1f}"), "Dice": ("dice", "{:.2f}")}, {"n": lambda r, _: "x"})
    header, rows = table.rows(CASES, by_method)
    assert header == ["method", "cases", "ASSD mm", "Dice", "n", "seconds"]
    assert rows[1] == ["mean shape", "1/1", "4.0 [4.0, 4.0]", "-", "x", "1.2"]
    assert rows[0][:2] == [MODEL, "3/4"]
    assert mean_and_interval({"mean": 1.0, "low": 0.5, "high": 2.0}, "{:+.1f}") == "+1.0 [+0.5, +2.0]"


def test_files_hold_every_case(tmp_path: Path) -> None:
    write_results(tmp_path, CASES, {"methods": {}}, [("All", (["a", "b"], [["1", "2"]]))])
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["subject"] for row in rows] == ["a", "b", "c", "d", "a"]
    assert (rows[2]["assd_mm"], rows[2]["note"]) == ("", "no lungs")
    assert json.loads((tmp_path / "summary.json").read_text()) == {"methods": {}}
    assert (tmp_path / "tables.md").read_text() == "All\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"

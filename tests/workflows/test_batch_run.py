"""Runs of many cases with quick work: tables, failures, kills, what is kept and what is done again."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lpm.batch.cases import Case
from lpm.batch.workers import cluster_workers
from lpm.errors import FileError, InputError
from lpm.workflows.batch.record import read_record
from lpm.workflows.batch.run import Done, run_batch
from lpm.workflows.batch.tables import COLUMNS, CaseOutcome, Tables

PATIENCE_S = 60


@dataclass(frozen=True)
class Counting:
    """Work that writes its input's length; some inputs go wrong."""

    option: int = 0
    pause_s: float = 0.0

    def describe(self) -> str:
        return repr(self.option)

    def check_folder(self, folder: Path) -> None:
        if (folder / "own.txt").exists():
            raise FileError(str(folder), "holds own.txt")

    def do(self, case: Case, folder: Path) -> Done:
        text = case.path.read_text()
        time.sleep(self.pause_s)
        (folder / "sub").mkdir()
        (folder / "sub" / "half.txt").write_text("half")
        if text == "bad":
            raise InputError(case.subject, "bad", "good")
        if text == "large":
            raise MemoryError("59 GiB")
        if text == "deadly":
            os._exit(1)
        (folder / "n.txt").write_text(str(len(text)))
        return Done((f"note on {case.subject}", "a, b"), {"mahalanobis": 0.123456789, "beta_1": len(text)})


def cases_of(folder: Path, **texts: str) -> list[Case]:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return [Case(name, folder / f"{name}.txt") for name in texts]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(path: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows(path)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_a_case_and_two_tables(tmp_path: Path, jobs: int) -> None:
    cases, out = cases_of(tmp_path, b="123", a="1", bad="bad", huge="large"), tmp_path / "out"
    found = {outcome.case: outcome.status for outcome in run_batch(cases, Counting(), out, jobs=jobs)}
    assert found == {"a": "done", "b": "done", "bad": "failed", "huge": "failed"}
    assert sorted(path.name for path in out.iterdir()) == ["a", "b", "cases.csv", "shapes.csv"]
    table = rows(out / "cases.csv")
    assert [row["case"] for row in table] == ["a", "b", "bad", "huge"]
    assert tuple(table[0]) == COLUMNS
    assert table[0]["notes"] == "note on a; a, b"
    assert table[0]["input"] == str(tmp_path / "a.txt")
    assert table[2]["error"] == "bad: bad; expected good"
    assert table[3]["error"].startswith("huge: it does not fit into memory (59 GiB); expected at most")
    assert rows(out / "shapes.csv") == [
        {"case": "a", "mahalanobis": "0.123457", "beta_1": "1"},
        {"case": "b", "mahalanobis": "0.123457", "beta_1": "3"},
    ]
    assert (out / "b" / "n.txt").read_text() == "3"
    assert {path.name for path in (out / "b").iterdir()} == {"sub", "n.txt", "case.json"}


def test_a_worker_that_dies_takes_only_its_own_case_with_it(tmp_path: Path) -> None:
    cases, out = cases_of(tmp_path, a="1", b="deadly", c="12", d="123"), tmp_path / "out"
    found = {outcome.case: outcome for outcome in run_batch(cases, Counting(), out, jobs=2)}
    assert {name for name, outcome in found.items() if outcome.status == "failed"} == {"b"}
    assert "its worker died, often for want of memory. Try: --resume" in found["b"].error
    assert not list(out.glob(".*")), "what the dead worker left half done is gone"


def test_a_cluster_takes_the_cases(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="extra cluster")
    cases, out = cases_of(tmp_path, a="1", b="12", bad="bad"), tmp_path / "out"
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        cluster_workers(cluster.scheduler_address) as workers,
    ):
        found = {outcome.case: outcome.status for outcome in run_batch(cases, Counting(), out, jobs=workers)}
    assert found == {"a": "done", "b": "done", "bad": "failed"}
    assert [row["beta_1"] for row in rows(out / "shapes.csv")] == ["1", "2"]


def test_what_is_finished_with_the_same_input_and_options_is_kept(tmp_path: Path) -> None:
    cases, out = cases_of(tmp_path, a="1", b="12", c="123", d="1234", e="bad"), tmp_path / "out"
    list(run_batch(cases, Counting(), out))
    before = without_seconds(out / "cases.csv"), without_seconds(out / "shapes.csv")
    (out / "a" / "n.txt").unlink()
    (out / "b" / "sub" / "half.txt").write_text("ha")
    (out / "c" / "case.json").write_text("{")
    found = {outcome.case: outcome.is_kept for outcome in run_batch(cases, Counting(), out, resume=True)}
    assert found == {"a": False, "b": False, "c": False, "d": True, "e": False}
    assert (without_seconds(out / "cases.csv"), without_seconds(out / "shapes.csv")) == before
    assert not any(outcome.is_kept for outcome in run_batch(cases, Counting(option=1), out, resume=True))
    cases_of(tmp_path, a="changed")
    found = {outcome.case: outcome.is_kept for outcome in run_batch(cases, Counting(option=1), out, resume=True)}
    assert found == {"a": False, "b": True, "c": True, "d": True, "e": False}
    assert not any(outcome.is_kept for outcome in run_batch(cases, Counting(option=1), out)), "nobody asked"


def test_a_picture_given_as_another_side_is_another_case(tmp_path: Path) -> None:
    (path := tmp_path / "a.txt").write_text("1")
    variants = [({}, {"frontal": path}), ({}, {"lateral": path}), ({"mm_per_px": "0.4"}, {"lateral": path})]
    for attributes, files in variants:
        case = Case("a", path, attributes, files)
        assert [each.is_kept for each in run_batch([case], Counting(), tmp_path / "out", resume=True)] == [False]
        assert [each.is_kept for each in run_batch([case], Counting(), tmp_path / "out", resume=True)] == [True]


def test_tables_of_a_resumed_run_lose_no_row_on_the_way(tmp_path: Path) -> None:
    cases, out = cases_of(tmp_path, a="1", b="12", c="123"), tmp_path / "out"
    list(run_batch(cases, Counting(), out))
    run = run_batch(cases, Counting(), out, resume=True)
    next(run)
    run.close()
    assert [row["case"] for row in rows(out / "cases.csv")] == ["a", "b", "c"]


def test_a_killed_run_leaves_whole_tables_and_is_resumed_without_loss(tmp_path: Path) -> None:
    cases, out = cases_of(tmp_path, **{f"c{n:02}": "1" * n for n in range(30)}), tmp_path / "out"
    whole = tmp_path / "whole"
    list(run_batch(cases, Counting(), whole))
    program = "import sys, test_batch_run as t; t.go(t.Path(sys.argv[1]), 30)"
    start = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(start, cwd=Path(__file__).parent, start_new_session=True) as process:
        deadline = time.monotonic() + PATIENCE_S
        while len(list(out.glob("c[0-9]*"))) < 8 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    finished = {path.name for path in out.glob("c[0-9]*")}
    assert 8 <= len(finished) < 30
    assert all(read_record(out / name) for name in finished)
    assert {row["case"] for row in rows(out / "cases.csv")} <= finished
    kept = [outcome.case for outcome in run_batch(cases, Counting(), out, resume=True) if outcome.is_kept]
    assert set(kept) == finished
    for name in ("cases.csv", "shapes.csv"):
        assert without_seconds(out / name) == without_seconds(whole / name)
    assert not list(out.glob(".*"))


def go(folder: Path, n: int) -> None:
    """The run that is killed."""
    cases = [Case(f"c{number:02}", folder / f"c{number:02}.txt") for number in range(n)]
    list(run_batch(cases, Counting(pause_s=0.1), folder / "out", jobs=2))


# --- Refusals --------------------------------------------------------------------------------------------------------


def test_what_others_put_into_the_folder_is_not_lost(tmp_path: Path) -> None:
    cases, out = cases_of(tmp_path, a="1", b="1"), tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "own.txt").write_text("mine")
    found = {outcome.case: outcome for outcome in run_batch(cases, Counting(), out)}
    assert (found["a"].error, found["b"].status) == (f"{out / 'a'}: holds own.txt", "done")
    assert (out / "a" / "own.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["cases.csv", "shapes.csv"])
def test_a_table_of_others_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("case,path\na,a.nii\n")
    with pytest.raises(FileError, match=r"is not a table that an earlier run wrote.*choose another --out"):
        list(run_batch(cases_of(tmp_path, a="1"), Counting(), tmp_path))
    assert (tmp_path / name).read_text() == "case,path\na,a.nii\n"


def test_rows_of_other_finished_cases_are_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(run_batch(cases_of(tmp_path, a="1", bad="bad"), Counting(), out))
    with pytest.raises(FileError, match=r"holds 1 other finished cases \(a\); expected only cases of this run"):
        list(run_batch(cases_of(tmp_path, b="1"), Counting(), out))
    list(run_batch(cases_of(tmp_path, a="1", b="1"), Counting(), out, resume=True))  # without the bad one: no loss
    assert [row["case"] for row in rows(out / "cases.csv")] == ["a", "b"]


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(FileError, match="is a file; expected a folder for many cases"):
        list(run_batch(cases_of(tmp_path, a="1"), Counting(), tmp_path / "out"))


class Elsewhere:
    """Workers that write where this machine does not see it."""

    def each(self, work: object, items: list[Case]) -> list[tuple[Case, CaseOutcome]]:
        return [(item, CaseOutcome(item.subject, ("x",), "done", 1.0)) for item in items]


def test_what_workers_wrote_elsewhere_is_missed(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"lacks what workers wrote of a; expected the folder of every case"):
        list(run_batch(cases_of(tmp_path, a="1"), Counting(), tmp_path / "out", jobs=Elsewhere()))  # type: ignore[arg-type]


def test_tables_are_written_seldom_if_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 1.0, 5.0, 30.0, 30.0, 31.0])
    monkeypatch.setattr("lpm.workflows.batch.tables.time.monotonic", lambda: next(times))
    tables, ends = Tables(tmp_path), []
    for name in ("a", "b", "c"):
        tables.add(CaseOutcome(name, (name,), "done", 1.0))
        ends.append(len(rows(tmp_path / "cases.csv")))
    assert ends == [1, 1, 3]

"""A Dask cluster on this machine: two workers, one of which dies at work."""

from __future__ import annotations

import os
import time
from pathlib import Path

import joblib
import pytest

from lpm.errors import FileError
from lpm.preparation.workers import workers

distributed = pytest.importorskip("distributed", reason="extra cluster")


def leave_a_mark(folder: Path, number: int) -> int:
    """A case that kills the first worker that takes it up."""
    first = folder / "first"
    if number == 3 and not first.exists():
        first.write_text("died")
        os._exit(1)
    time.sleep(0.05)
    with (folder / f"done-{number}").open("a") as file:
        file.write("x")
    return number


def test_cases_of_a_dead_worker_are_done_by_another(tmp_path: Path) -> None:
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        workers(cluster.scheduler_address),
    ):
        tasks = (joblib.delayed(leave_a_mark)(tmp_path, number) for number in range(12))
        found = list(joblib.Parallel(n_jobs=-1, return_as="generator_unordered", batch_size=1)(tasks))
    assert (tmp_path / "first").exists()
    assert sorted(found) == list(range(12))
    assert sorted(path.name for path in tmp_path.glob("done-*")) == sorted(f"done-{n}" for n in range(12))


def test_no_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpm.preparation.workers._PATIENCE_S", 1)
    with pytest.raises(FileError, match=r"--dask: no scheduler at tcp://127.0.0.1:1"), workers("tcp://127.0.0.1:1"):
        pass


def test_without_a_cluster_nothing_changes() -> None:
    with workers(None):
        assert list(joblib.Parallel(n_jobs=1)(joblib.delayed(abs)(-n) for n in range(3))) == [0, 1, 2]

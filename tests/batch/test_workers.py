"""A Dask cluster on this machine, and processes: some of the workers die at work."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lpm.batch.workers import PACKAGES, ClusterWorkers, LocalWorkers, check_versions, cluster_workers
from lpm.errors import FileError
from lpm.records import versions

dask = pytest.importorskip("dask", reason="extra cluster")
distributed = pytest.importorskip("distributed", reason="extra cluster")


def leave_a_mark(number: int, folder: Path) -> int:
    """A case that kills the first worker that takes it up."""
    first = folder / "first"
    if number == 3 and not first.exists():
        first.write_text("died")
        os._exit(1)
    time.sleep(0.05)
    with (folder / f"done-{number}").open("a") as file:
        file.write("x")
    return number


def die(number: int) -> int:
    """A case that kills whoever takes it up."""
    if number == 1:
        os._exit(1)
    return os.getpid()


def start(n_workers: int) -> Any:
    return distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None)


@pytest.fixture(scope="module")
def one_worker() -> Iterator[ClusterWorkers]:
    """It need not die four times before its case is given up, as by default."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        start(1) as cluster,
        cluster_workers(cluster.scheduler_address) as workers,
    ):
        yield workers


def test_cases_of_a_dead_worker_are_done_by_another(tmp_path: Path) -> None:
    with start(2) as cluster, cluster_workers(cluster.scheduler_address) as workers:
        found = dict(workers.each(partial(leave_a_mark, folder=tmp_path), range(12)))
    assert (tmp_path / "first").exists()
    assert found == {number: number for number in range(12)}
    assert sorted(path.name for path in tmp_path.glob("done-*")) == sorted(f"done-{n}" for n in range(12))
    assert (tmp_path / "done-3").read_text() == "x"


def test_a_cluster_of_one_worker_does_the_work(one_worker: ClusterWorkers) -> None:
    found = dict(one_worker.each(die, [0, 2, 3]))
    assert found.keys() == {0, 2, 3}
    assert len(set(found.values())) == 1
    assert os.getpid() not in found.values()


def test_a_case_that_kills_every_worker_is_given_up(one_worker: ClusterWorkers) -> None:
    assert dict(one_worker.each(die, [1])) == {1: None}
    assert dict(one_worker.each(die, [0]))[0] is not None, "the cluster lives on"


def test_a_killed_process_of_this_machine_takes_only_its_own_case_with_it() -> None:
    found = list(LocalWorkers(2).each(die, range(5)))
    assert sorted(number for number, _ in found) == list(range(5)), "every case ends, and once"
    assert {number for number, result in found if result is None} == {1}


def test_a_case_whose_worker_was_killed_from_outside_is_done_again(tmp_path: Path) -> None:
    found = dict(LocalWorkers(2).each(partial(leave_a_mark, folder=tmp_path), range(6)))
    assert (tmp_path / "first").exists()
    assert found == {number: number for number in range(6)}


def test_one_job_works_in_this_process() -> None:
    assert list(LocalWorkers(1).each(die, [0, 2])) == [(0, os.getpid()), (2, os.getpid())]


def test_no_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpm.batch.workers._PATIENCE_S", 1)
    with pytest.raises(FileError, match=r"--dask: no scheduler at tcp://127.0.0.1:1"):
        cluster_workers("tcp://127.0.0.1:1").__enter__()


def test_a_scheduler_without_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpm.batch.workers._PATIENCE_S", 2)
    with start(0) as cluster, pytest.raises(FileError, match=r"--dask: no worker came to tcp://.*start dask workers"):
        cluster_workers(cluster.scheduler_address).__enter__()


def test_a_worker_with_other_packages_is_named() -> None:
    here = versions(*PACKAGES)
    check_versions({"tcp://a:1": here})
    with pytest.raises(FileError, match=r"worker tcp://b:2 has torch 1\.0; expected lungs-parametric-model"):
        check_versions({"tcp://a:1": here, "tcp://b:2": here | {"torch": "1.0"}})

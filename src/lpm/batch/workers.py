"""Where cases are worked on: processes of this machine, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import joblib

from lpm.errors import FileError, WorkerDiedError
from lpm.extras import import_extra
from lpm.processes import in_processes
from lpm.records import versions

Item = TypeVar("Item")
Result = TypeVar("Result")
_OTHER_PROCESS = 2  # jobs: joblib does one job in the process that asks
PACKAGES = ("numpy", "scipy", "torch")  # besides this one: on them results depend
_PATIENCE_S = 60  # for a scheduler, and for its first worker, which may still be starting


class Workers(Protocol):
    """Interface of a pool of workers that process cases."""

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result | None]]:
        """Yield items with their results as they finish; None for an item whose workers all died."""


class LocalWorkers:
    """Worker processes on this machine. One that is killed, often for want of memory, takes only its own item with it.

    Args:
        jobs: Number of processes; 1 works in this process.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result | None]]:
        """Yield items with their results as they finish; None for an item whose worker died."""
        waiting = dict(enumerate(items))
        while waiting:
            try:
                for number, result in _in_parallel(self.jobs, work, dict(waiting)):
                    yield waiting.pop(number), result
            except WorkerDiedError:
                # the death of one ends all: those that were at work are done again, each by a worker of its own
                for number in list(waiting)[: self.jobs]:
                    yield waiting[number], _alone(work, waiting[number])
                    del waiting[number]


def _in_parallel(jobs: int, work: Callable[[Item], Result], items: Mapping[int, Item]) -> Iterator[tuple[int, Result]]:
    """Results by number; at any time no more items are given out than there are workers, in their order."""
    tasks = (joblib.delayed(_numbered)(work, number, item) for number, item in items.items())
    yield from in_processes(jobs, tasks, order="finished", ahead=jobs)


def _numbered(work: Callable[[Item], Result], number: int, item: Item) -> tuple[int, Result]:
    return number, work(item)


def _alone(work: Callable[[Item], Result], item: Item) -> Result | None:
    """The result of an item in a process that works on nothing else; None if it kills it, too."""
    try:
        ((_, result),) = _in_parallel(_OTHER_PROCESS, work, {0: item})
    except WorkerDiedError:
        return None
    return result


class ClusterWorkers:
    """Workers of a Dask cluster. The task of a worker that died is given to another.

    joblib's Dask backend is not used: it works in this process where the cluster has one worker, counts workers only
    once, and waits for ever for a case that killed every worker that took it.

    Args:
        client: A `distributed.Client`.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result | None]]:
        """Yield items with their results as they finish; None for an item that killed several workers in turn."""
        distributed = import_extra("distributed", "cluster", "--dask")
        items_of = {self.client.submit(work, item, pure=False): item for item in items}
        for future in distributed.as_completed(list(items_of)):
            item = items_of.pop(future)
            try:
                result = future.result()
            except distributed.KilledWorker:
                result = None
            future.release()
            yield item, result


@contextmanager
def workers_of(jobs: int, dask: str | None) -> Iterator[Workers]:
    """Processes of this machine, or the workers of a Dask scheduler if its address is given."""
    if dask is None:
        yield LocalWorkers(jobs)
        return
    with cluster_workers(dask) as workers:
        yield workers


@contextmanager
def cluster_workers(address: str) -> Iterator[ClusterWorkers]:
    """The workers of a Dask scheduler.

    They read the inputs and write the results themselves: both must lie where all of them can reach them, under
    the same path.

    Args:
        address: Such as tcp://10.0.0.1:8786.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        FileError: No scheduler answers, it has no worker, or a worker has other versions of packages.
    """
    distributed = import_extra("distributed", "cluster", "--dask")
    try:
        client = distributed.Client(address, timeout=_PATIENCE_S)
    except (OSError, ValueError) as error:
        raise FileError("--dask", f"no scheduler at {address} ({error})", "tcp://HOST:8786", "start one") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_S)
        except TimeoutError as error:
            raise FileError("--dask", f"no worker came to {address}", "at least one", "start dask workers") from error
        check_versions(client.run(versions, *PACKAGES))
        yield ClusterWorkers(client)


def check_versions(workers: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse workers whose packages are others than this process's.

    Args:
        workers: Versions by the address of the worker.

    Raises:
        FileError: One differs; it is named.
    """
    here = versions(*PACKAGES)
    for worker, there in workers.items():
        if other := [f"{name} {there.get(name)}" for name in here if there.get(name) != here[name]]:
            same = ", ".join(f"{name} {value}" for name, value in here.items())
            raise FileError("--dask", f"worker {worker} has {', '.join(other)}", same, "install the same versions")

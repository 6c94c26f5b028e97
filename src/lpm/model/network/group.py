"""Processes that train one network together: which shapes each has, and what they add up.

Gradients are summed as one buffer after the backward pass, not by `DistributedDataParallel`: its hooks would take the
latents of training shapes, of which each process has only its own, for weights that all have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from lpm.errors import InputError, LpmError, WorkerDiedError

_PATIENCE = timedelta(minutes=10)  # for a process that does not answer
_AGAIN = "see what ended it, and go on with --resume"


@dataclass(frozen=True)
class Group:
    """Processes that work in step; one alone is a group as well.

    Args:
        rank: Number of this process, from 0; process 0 writes files.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    def own(self, n: int) -> Tensor:
        """Indices of those of n training shapes that this process has."""
        return torch.arange(self.rank, n, self.size)

    def add_up(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in its place; all of them have to ask."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def least(self, value: Tensor) -> Tensor:
        """The least of each entry over all processes, in its place."""
        if self.size > 1:
            distributed.all_reduce(value, distributed.ReduceOp.MIN)
        return value

    def whole(self, rows: Tensor, n: int) -> Tensor:
        """(n, ...) rows of all training shapes, of which each process gives its own."""
        found = rows.new_zeros(n, *rows.shape[1:])
        found[self.own(n)] = rows
        return self.add_up(found)

    def check_same(self, known: Mapping[str, str]) -> None:
        """Compare what each process knows by name: versions, the cohort, the configuration.

        Raises:
            InputError: Two processes differ; it names in what.
        """
        everywhere: list[Mapping[str, str]] = [known] * self.size
        if self.size > 1:
            distributed.all_gather_object(everywhere, known)
        for other, there in enumerate(everywhere):
            for name, value in known.items():
                if there[name] != value:
                    given = f"{name} is {value} in process {self.rank}, {there[name]} in process {other}"
                    raise InputError("train", given, "the same in all", "the same packages and files on all nodes")


ALONE = Group()


@contextmanager
def joined(rank: int, size: int, meeting: str, device: str) -> Iterator[Group]:
    """Join the other processes, and leave them at the end.

    Args:
        rank: Number of this process.
        size: Number of processes.
        meeting: HOST:PORT of the first process.
        device: ``cpu`` or ``cuda``.

    Raises:
        WorkerDiedError: Another process ended meanwhile.
    """
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(
        backend, init_method=f"tcp://{meeting}", rank=rank, world_size=size, timeout=_PATIENCE
    )
    try:
        yield Group(rank, size)
    except RuntimeError as error:
        if not isinstance(error, LpmError) and ("gloo" in str(error) or isinstance(error, distributed.DistError)):
            raise WorkerDiedError("train", "another process no longer answers", hint=_AGAIN) from error
        raise
    finally:
        distributed.destroy_process_group()

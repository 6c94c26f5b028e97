"""Where cases are worked on: processes of this machine, or a Dask cluster, by one code path of joblib's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from lpm.errors import FileError
from lpm.extras import import_extra

_PATIENCE_S = 60


@contextmanager
def workers(cluster: str | None) -> Iterator[None]:
    """Within, joblib's `Parallel` sends its work to a Dask scheduler, if one is named.

    A worker that dies loses what it was at; the scheduler gives it to another. Workers read the inputs and write the
    cohort themselves: both must lie where all of them can reach them, under the same path.

    Args:
        cluster: Address of the scheduler, such as tcp://10.0.0.1:8786; None for this machine.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        FileError: No scheduler answers.
    """
    if cluster is None:
        yield
        return
    distributed = import_extra("distributed", "cluster", "--dask")
    try:
        client = distributed.Client(cluster, timeout=_PATIENCE_S)
    except (OSError, ValueError) as error:
        raise FileError("--dask", f"no scheduler at {cluster} ({error})", "tcp://HOST:8786", "start one") from error
    with client, joblib.parallel_config(backend="dask", wait_for_workers_timeout=_PATIENCE_S):
        try:
            yield
        except TimeoutError as error:
            raise FileError("--dask", f"no worker came to {cluster}", "at least one", "start dask workers") from error

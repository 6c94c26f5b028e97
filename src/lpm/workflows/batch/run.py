"""Work on many cases: several at a time, each in a folder of its own; one bad case never stops the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from lpm.batch.attempt import attempt
from lpm.batch.cases import Case
from lpm.batch.digests import digest_inputs
from lpm.batch.workers import LocalWorkers, Workers
from lpm.errors import FileError
from lpm.files.atomic import atomic_folder, clear_left_overs
from lpm.files.outputs.inputs import refuse_inputs_in
from lpm.files.outputs.locks import locked
from lpm.files.outputs.temporary import remove_stale
from lpm.workflows.batch.record import CaseRecord, files_of, read_record, write_record
from lpm.workflows.batch.tables import CaseOutcome, Tables, check_output


@dataclass(frozen=True)
class Done:
    """What came of a case, beside its files.

    Args:
        notes: What a reader must know.
        shape: Row of shapes.csv, if it was a fit.
    """

    notes: tuple[str, ...]
    shape: Mapping[str, float] = field(default_factory=dict)


class Work(Protocol):
    """Interface of what is done with each case. It is sent to the workers: small, and without a model in it."""

    def describe(self) -> str:
        """Everything that the result depends on but for the input: options, the model's digest."""

    def check_folder(self, folder: Path) -> None:
        """Refuse the folder of a case if what others put there would be lost."""

    def do(self, case: Case, folder: Path) -> Done:
        """Work on a case, and write its files into a folder."""


def run_batch(
    cases: Sequence[Case], work: Work, out: Path, *, jobs: int | Workers = 1, resume: bool = False
) -> Iterator[CaseOutcome]:
    """Work on cases, several at a time, and yield each as it ends.

    A case's folder appears whole or not at all; the tables ``cases.csv`` and ``shapes.csv`` are whole at any time, and
    hold all cases that have ended (docs/batch.md).

    Args:
        cases: Cases to work on.
        work: Work on each.
        out: Output folder.
        jobs: Worker processes of this machine, or the workers of a cluster.
        resume: Keep cases that an earlier run finished with the same input, options and model.

    Raises:
        FileError: Something in the output folder would be lost, another run writes there, a case's folder holds an
            input, or workers elsewhere wrote out of sight.
    """
    out = out.resolve()  # workers elsewhere may stand in another folder
    check_output(out, [case.subject for case in cases])
    folders = {case.subject: out / case.subject for case in cases}
    refuse_inputs_in(folders, {case.subject: _files(case) for case in cases})
    workers = LocalWorkers(jobs) if isinstance(jobs, int) else jobs
    with locked(out):
        remove_stale(out)
        tables = Tables(out, _earlier(cases, out) if resume else ())
        work_on = partial(_try_case, work=work, out=out, resume=resume)
        done = []
        try:
            for case, ended in workers.each(work_on, cases):
                outcome = ended or _lost(case)
                tables.add(outcome)
                done += [outcome.case] if outcome.status == "done" else []
                yield outcome
        finally:
            tables.write()
        clear_left_overs(out)
        _check_written(done, out)


def _earlier(cases: Sequence[Case], out: Path) -> Iterator[CaseOutcome]:
    for case in cases:
        if record := read_record(out / case.subject):
            yield CaseOutcome.of(record, is_kept=True)


def _lost(case: Case) -> CaseOutcome:
    error = f"{case.subject}: its worker died, often for want of memory. Try: --resume, with fewer --jobs"
    return CaseOutcome(case.subject, _inputs(case), "failed", 0.0, error=error)


def _try_case(case: Case, work: Work, out: Path, *, resume: bool) -> CaseOutcome:
    tried = attempt(case.subject, partial(_kept_or_done, case, work, out / case.subject, resume=resume))
    if tried.result is None:
        return CaseOutcome(case.subject, _inputs(case), "failed", tried.seconds, error=tried.error, trace=tried.trace)
    return tried.result


def _kept_or_done(case: Case, work: Work, folder: Path, *, resume: bool) -> CaseOutcome:
    started = time.perf_counter()
    work.check_folder(folder)
    digest = digest_inputs(_files(case), case.subject, *_values(case), work.describe())
    if resume and (record := read_record(folder)) and record.digest == digest:
        return CaseOutcome.of(record, is_kept=True)
    with atomic_folder(folder) as temporary:
        done = work.do(case, temporary)
        record = CaseRecord(
            case=case.subject,
            input=_inputs(case),
            digest=digest,
            files=files_of(temporary),
            notes=done.notes,
            seconds=round(time.perf_counter() - started, 1),
            shape=dict(done.shape),
        )
        write_record(temporary, record)
    return CaseOutcome.of(record, is_kept=False)


def _files(case: Case) -> list[Path]:
    return list(case.files.values()) or [case.path]


def _values(case: Case) -> list[str]:
    """Columns of files and of values with their names: the same picture as another side is another case."""
    return [*case.files, *(f"{name}={value}" for name, value in sorted(case.attributes.items()))]


def _inputs(case: Case) -> tuple[str, ...]:
    return tuple(str(path) for path in _files(case))


def _check_written(names: Sequence[str], out: Path) -> None:
    """Check that what workers report to have written exists on this machine.

    Raises:
        FileError: It does not.
    """
    if missing := sorted(name for name in names if not (out / name).is_dir()):
        given = f"lacks what workers wrote of {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
        hint = "give a folder that all workers share with this machine, or --jobs instead of --dask"
        raise FileError(str(out), given, "the folder of every case", hint)

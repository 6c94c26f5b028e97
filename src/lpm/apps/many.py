"""What verbs that take many cases share: options, the progress bar, the summary."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpm.apps.terminal import plain, progress, screen
from lpm.errors import CasesFailedError, MisuseError

if TYPE_CHECKING:
    from rich.progress import Progress

    from lpm.batch.kinds import Kind
    from lpm.workflows.batch.run import Work
    from lpm.workflows.batch.tables import CaseOutcome

JobsOption = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Of many cases: worker processes, 1 by default; each loads the model once."),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="Of many cases: keep those that are finished with the same input, options and model."
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option("--dask", help="Of many cases: address of a Dask scheduler that takes them, instead of --jobs."),
]
_FEW = 5  # names in a summary


@dataclass(frozen=True)
class Many:
    """How many cases are worked on, as the command line says; any of it makes even one input a case among many.

    Args:
        jobs: Worker processes; None if nothing was said.
        dask: Address of a Dask scheduler.
        resume: Whether finished cases are kept.
    """

    jobs: int | None = None
    dask: str | None = None
    resume: bool = False

    def takes(self, inputs: Iterable[Path], kind: Kind) -> bool:
        """Whether inputs are many cases, and not one that is worked on by itself."""
        from lpm.batch.cases import is_one_case

        return self != Many() or not is_one_case(list(inputs), kind)


def refuse_with_many(options: Mapping[str, object], hint: str) -> None:
    """Refuse options that belong to one patient.

    Args:
        options: Values by option, empty or None where it was not given.
        hint: Advice on what to do instead.

    Raises:
        MisuseError: One of them was given.
    """
    if given := next((name for name, value in options.items() if value), None):
        raise MisuseError(given, "an option of one case, and there may be many", "one input", hint)


def work_on_many(verb: str, inputs: Iterable[Path], kind: Kind, work: Work, out: Path, many: Many) -> None:
    """Work on many cases, and say what came of each.

    Args:
        verb: Name of the command.
        inputs: Files, folders, patterns, tables.
        kind: What counts as a case.
        work: Work on each.
        out: Output folder.
        many: How they are worked on.

    Raises:
        CasesFailedError: Some failed.
    """
    from lpm.batch.cases import find_cases
    from lpm.batch.workers import cluster_workers
    from lpm.workflows.batch.run import run_batch

    # a worker that has grown is replaced by a new one: nothing for a user to act on
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    cases = find_cases([path.absolute() for path in inputs], kind)
    outcomes: list[CaseOutcome] = []
    with progress() as bar, cluster_workers(many.dask) if many.dask else nullcontext(many.jobs or 1) as jobs:
        task = bar.add_task(verb, total=len(cases))
        for outcome in run_batch(cases, work, out, jobs=jobs, resume=many.resume):
            outcomes.append(outcome)
            bar.advance(task)
            _print_outcome(outcome, bar)
    failed = sorted(outcome.case for outcome in outcomes if outcome.status == "failed")
    n_done, tables = len(outcomes) - len(failed), " and ".join(str(path) for path in sorted(out.glob("*.csv")))
    screen.print(f"{n_done} of {len(outcomes)} cases done: {plain(tables)}", soft_wrap=True)
    if failed:
        names = f"{', '.join(failed[:_FEW])}{' ...' if len(failed) > _FEW else ''}"
        hint = f"see the column error of {out / 'cases.csv'}; --resume keeps the others"
        raise CasesFailedError(verb, f"{len(failed)} of {len(outcomes)} cases failed: {names}", hint=hint)


def _print_outcome(outcome: CaseOutcome, bar: Progress) -> None:
    status = "kept" if outcome.is_kept else f"{outcome.status}, {outcome.seconds:.1f} s"
    said = "; ".join([outcome.error] if outcome.error else outcome.notes)
    bar.console.print(plain(f"{outcome.case}: {status}{f'; {said}' if said else ''}"), soft_wrap=True)
    if outcome.trace:
        bar.console.print(outcome.trace, markup=False)

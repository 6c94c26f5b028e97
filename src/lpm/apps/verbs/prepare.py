"""`lpm prepare`: from chest CTs or label maps to a cohort."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lpm.apps.configuration import build_config
from lpm.apps.terminal import parse_labels, plain, progress, screen
from lpm.apps.verbs.segment import SeriesOption
from lpm.errors import CasesFailedError
from lpm.preparation.config import PreparationConfig
from lpm.structures import SegmenterName

if TYPE_CHECKING:
    from rich.progress import Progress

    from lpm.preparation.cohort import Manifest
    from lpm.preparation.prepare import CaseOutcome


def prepare(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Chest CTs or label maps (.nii.gz .nii .nrrd .mha, DICOM folder or .zip), folders of them, patterns, "
            "or a .csv with columns subject, path and any others",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the cohort.")],
    split: Annotated[
        Path | None,
        typer.Option(
            help='{"train": [...], "test": [...]}; default: split.json beside the inputs, else 75/25 by --seed.'
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Label values: left_lung=1,right_lung=2 (default); totalsegmentator, lungmask; a dataset.json."
        ),
    ] = None,
    scale: Annotated[
        Literal["cohort", "subject"] | None,
        typer.Option(help="One scale for all (size stays in the shape), or one a subject (the paper's)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of samples and split.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML with the keys of PreparationConfig: [sampling] n_surface = 250000 ...")
    ] = None,
    segmenter: Annotated[
        SegmenterName | None, typer.Option(help="Finds the lungs of a CT; default thresholds, as in `lpm segment`.")
    ] = None,
    series: SeriesOption = None,
    keep_rejected: Annotated[
        bool, typer.Option("--keep-rejected", help="Cases that the quality gate rejects enter the split all the same.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    dask: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that takes the cases, instead of --jobs.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep cases that are finished with the same input and parameters.")
    ] = False,
) -> None:
    """Turn chest CTs or label maps into a cohort: clean meshes, surface and signed-distance samples, a manifest.

    Any axis order, flip, spacing or oblique affine. Lungs of a CT are found as by `lpm segment --no-fill`. Every
    case gets a verdict (good, doubtful, rejected); OUT/sheet.html shows all, worst first. One bad case never stops
    the others: it is named at the end and the exit code is 1.

    Example: lpm prepare masks/ --out cohort
    """
    named: dict[str, Any] = {"scale": scale, "seed": seed, "segmenter": segmenter, "series": series}
    named |= {"structures": parse_labels(labels) if labels else None}
    chosen = build_config(PreparationConfig, config, {key: value for key, value in named.items() if value is not None})
    run = PreparationRun(tuple(inputs), out, chosen, split or _split_beside(inputs), keep_rejected, jobs, dask, resume)
    with progress() as bar:
        manifest = prepare_to_folder(run, bar)
    _print_cohort(manifest, out)
    if manifest.failed:
        n_cases, names = len(manifest.subjects) + len(manifest.failed), ", ".join(sorted(manifest.failed))
        raise CasesFailedError("prepare", f"{len(manifest.failed)} of {n_cases} cases failed: {names}")


@dataclass(frozen=True)
class PreparationRun:
    """What `lpm prepare` was asked for; see its options."""

    inputs: tuple[Path, ...]
    out: Path
    config: PreparationConfig
    split: Path | None = None
    keep_rejected: bool = False
    jobs: int = 2
    dask: str | None = None
    resume: bool = False


def prepare_to_folder(run: PreparationRun, bar: Progress) -> Manifest:
    """Prepare all cases, then look at them together: split, scale, manifest and contact sheet."""
    from lpm.batch.cases import find_cases
    from lpm.batch.workers import cluster_workers
    from lpm.files.outputs.inputs import refuse_inputs_in
    from lpm.files.outputs.locks import locked
    from lpm.files.outputs.temporary import remove_stale
    from lpm.preparation.prepare import finish_cohort, prepare_cases

    out = run.out.resolve()  # workers elsewhere may stand in another folder
    cases, outcomes = find_cases([path.absolute() for path in run.inputs]), []
    task = bar.add_task("prepare", total=len(cases))
    folders = {case.subject: out / "subjects" / case.subject for case in cases}
    refuse_inputs_in(folders, {case.subject: [case.path] for case in cases})
    with locked(out), cluster_workers(run.dask) if run.dask else nullcontext(run.jobs) as jobs:
        remove_stale(out / "subjects")
        for outcome in prepare_cases(cases, out, run.config, jobs=jobs, resume=run.resume):
            outcomes.append(outcome)
            bar.advance(task)
            _print_outcome(outcome, bar)
        return finish_cohort(outcomes, out, run.config, run.split, keep_rejected=run.keep_rejected)


def _split_beside(inputs: list[Path]) -> Path | None:
    """A `split.json` in the one input folder is that folder's split."""
    candidate = inputs[0] / "split.json"
    return candidate if len(inputs) == 1 and candidate.is_file() else None


def _print_outcome(outcome: CaseOutcome, bar: Progress) -> None:
    quality = outcome.quality
    flags = "; ".join((*quality.flags, *(f"note: {note}" for note in quality.notes))) if quality else outcome.message
    bar.console.print(f"{outcome.subject}: {outcome.status}, {outcome.seconds:.1f} s {plain(flags)}", soft_wrap=True)
    if outcome.trace:
        bar.console.print(outcome.trace, markup=False)


def _print_cohort(manifest: Manifest, out: Path) -> None:
    n_train = sum(part == "train" for part in manifest.split.values())
    screen.print(
        f"{len(manifest.split)} subjects in {out} ({n_train} train, {len(manifest.split) - n_train} test, split: "
        f"{manifest.split_source}), scale {manifest.scale_mm:.1f} mm; contact sheet {out / 'sheet.html'}",
        soft_wrap=True,
    )
    if rejected := sorted(set(manifest.subjects) - set(manifest.split)):
        screen.print(f"rejected by the quality gate, in no split: {', '.join(rejected)}", soft_wrap=True)

"""The command line: each verb parses, reads, calls one library function and writes. `--help` is the manual."""

from __future__ import annotations

import sys
import tomllib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from pydantic import ValidationError

from lpm.apps.download_verb import download
from lpm.apps.fit_verbs import fit_app
from lpm.apps.segment_verb import SeriesOption
from lpm.apps.segment_verb import segment as segment_verb
from lpm.apps.terminal import OutOption, PriorOnlyOption, fit_config, parse_labels, plain, progress, screen
from lpm.errors import CasesFailedError, FileError, InputError, LpmError
from lpm.preparation.cohort import Manifest
from lpm.preparation.config import PreparationConfig, StrictModel
from lpm.preparation.segmenters import SegmenterName

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="lpm",
    help="LPM: a parametric model of human lungs. Everything is in RAS millimetres of the patient.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(download)
app.command(name="segment")(segment_verb)
app.add_typer(fit_app, name="fit")
T = TypeVar("T", bound=StrictModel)

DeviceOption = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU if there is one.")]


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 misuse; a traceback only with --debug."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    sys.exit(run(arguments, debug=debug))


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run a verb in this process and return its exit code."""
    try:
        app(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except LpmError as error:
        if debug:
            traceback.print_exc()
        screen.print(f"[bold red]error[/]: {plain(str(error))}", soft_wrap=True)
        return 2 if isinstance(error, InputError) and error.subject.startswith("--") else 1
    return 0


def _version(*, value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(version("lungs-parametric-model"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=lambda value: _version(value=value), is_eager=True)
    ] = False,
) -> None:
    """LPM: a parametric model of human lungs. Everything is in RAS millimetres of the patient.

    Add --debug anywhere to see the traceback of an error.
    """


def _read_config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise FileError(str(path), f"cannot be read ({error.strerror})", "a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise FileError(
            str(path), f"not TOML ({error})", "lines such as  seed = 1  and tables such as  [sampling]"
        ) from error


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _build(kind: type[T], values: dict[str, Any], source: str) -> T:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"--config {source}", problems, f"the keys of {kind.__name__}") from error


def _resolve_device(device: str) -> str:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device", "cuda, but torch finds no GPU", "a CUDA build of torch and a GPU", "--device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


@app.command()
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
        typer.Option(help="Label values: left_lung=1,right_lung=2 (default); lobes: left_lung=1+2,right_lung=3+4+5."),
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

    Any axis order, flip, spacing or oblique affine. Lungs are found in a CT as by `lpm segment`. Every case gets a
    verdict (good, doubtful, rejected); OUT/sheet.html shows all, worst first. One bad case never stops the others: it
    is named at the end and the exit code is 1.

    Example: lpm prepare masks/ --out cohort
    """
    from lpm.preparation.cases import find_cases
    from lpm.preparation.prepare import finish_cohort, prepare_cases
    from lpm.preparation.workers import workers

    given: dict[str, Any] = {"structures": parse_labels(labels)} if labels else {}
    named = {"scale": scale, "seed": seed, "segmenter": segmenter, "series": series}
    given |= {key: value for key, value in named.items() if value is not None}
    chosen = _build(PreparationConfig, _merge(_read_config(config), given), str(config))
    out = out.resolve()  # workers elsewhere may stand in another folder
    cases, split_file = find_cases([path.absolute() for path in inputs]), split or _split_beside(inputs)
    outcomes = []
    with progress() as bar, workers(dask):
        task = bar.add_task("prepare", total=len(cases))
        for outcome in prepare_cases(cases, out, chosen, jobs=-1 if dask else jobs, resume=resume):
            outcomes.append(outcome)
            bar.advance(task)
            flags = "; ".join(outcome.quality.flags) if outcome.quality else outcome.message
            bar.console.print(
                f"{outcome.subject}: {outcome.status}, {outcome.seconds:.1f} s {plain(flags)}", soft_wrap=True
            )
            if outcome.trace:
                bar.console.print(outcome.trace, markup=False)
    manifest = finish_cohort(outcomes, out, chosen, split_file, keep_rejected=keep_rejected)
    _print_cohort(manifest, out)
    if rejected := sorted(set(manifest.subjects) - set(manifest.split)):
        screen.print(f"rejected by the quality gate, in no split: {', '.join(rejected)}", soft_wrap=True)
    if manifest.failed:
        names = ", ".join(sorted(manifest.failed))
        raise CasesFailedError("prepare", f"{len(manifest.failed)} of {len(outcomes)} cases failed: {names}")


def _split_beside(inputs: list[Path]) -> Path | None:
    """A `split.json` in the one input folder is that folder's split."""
    candidate = inputs[0] / "split.json"
    return candidate if len(inputs) == 1 and candidate.is_file() else None


def _print_cohort(manifest: Manifest, out: Path) -> None:
    n_train = sum(part == "train" for part in manifest.split.values())
    screen.print(
        f"{len(manifest.split)} subjects in {out} ({n_train} train, {len(manifest.split) - n_train} test, split: "
        f"{manifest.split_source}), scale {manifest.scale_mm:.1f} mm; contact sheet {out / 'sheet.html'}",
        soft_wrap=True,
    )


@app.command()
def train(
    cohort: Annotated[Path, typer.Argument(help="Folder that `lpm prepare` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model.")],
    preset: Annotated[
        Literal["lite", "paper", "paper-initial", "atlas"],
        typer.Option(
            help="lite: a network for 2 CPU cores; paper: 256, 8 x 1024; paper-initial: 64, 4 x 512; atlas: no network "
            "(principal components and a warp), a minute, the most accurate."
        ),
    ] = "lite",
    config: Annotated[Path | None, typer.Option(help="TOML over the preset: [training] epochs = 500 ...")] = None,
    structures: Annotated[
        Literal["separate", "union"] | None, typer.Option(help="One output a lung, or the paper's single union.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the preset's.")] = None,
    device: DeviceOption = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes that sample the deformed copies.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in OUT.")] = False,
    data: Annotated[str, typer.Option(help="Provenance and licence of the data, kept in the bundle.")] = "not stated",
    all_subjects: Annotated[
        bool,
        typer.Option("--all-subjects", help="Atlas only: learn from the test subjects as well, for a model to ship."),
    ] = False,
) -> None:
    """Train the auto-decoder on a cohort's training subjects; writes the model, the epoch log and the loss curves.

    Interrupted and resumed with --resume, it gives the same result as in one go.

    Example: lpm train cohort --out model
    """
    from lpm.apps.stages import TrainingRun, train_atlas, train_model
    from lpm.model.config import AtlasConfig, ModelConfig
    from lpm.model.config import preset as find_preset

    if preset == "atlas":
        if structures == "union" or epochs or resume:
            raise InputError("train", "the atlas with --structures union, --epochs or --resume", "none of them")
        atlas = _build(AtlasConfig, _read_config(config), str(config))
        with progress() as bar:
            train_atlas(cohort, out, atlas, bar, split="all" if all_subjects else "train", data=data, jobs=jobs)
        return
    if all_subjects:
        raise InputError("train", f"--all-subjects with the preset {preset}", "the preset atlas")
    given: dict[str, Any] = {"training": {"epochs": epochs}} if epochs else {}
    given |= {"structures": structures} if structures else {}
    values = _merge(_merge(find_preset(preset).model_dump(), _read_config(config)), given)
    chosen = _build(ModelConfig, values, str(config))
    run = TrainingRun(cohort, out, chosen, _resolve_device(device), jobs=jobs, resume=resume, data=data)
    with progress() as bar:
        train_model(run, bar)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder that `lpm train` wrote.")],
    cohort: Annotated[Path, typer.Argument(help="Folder that `lpm prepare` wrote.")],
    out: OutOption,
    split: Annotated[Literal["train", "test", "all"], typer.Option(help="Which subjects.")] = "test",
    points: Annotated[int, typer.Option(min=10, help="Surface points observed of each lung pair.")] = 5000,
    baselines: Annotated[
        str,
        typer.Option(help="Of mean, nearest, pca, and with the extra benchmarks poisson, poisson-normals; or none."),
    ] = "mean,nearest,pca",
    prior_only: PriorOnlyOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the observed points and of the metrics.")] = 0,
) -> None:
    """Reconstruct unseen lungs from a partial point cloud and score them beside baselines.

    Writes scores.csv, summary.json, tables.md, figures and report.html.

    Example: lpm evaluate model cohort --split test --points 5000 --out evaluation
    """
    from lpm.apps.stages import EvaluationRun, evaluate_to_folder
    from lpm.evaluation.evaluate import EvaluationConfig

    names = tuple(name.strip() for name in baselines.split(",") if name.strip() not in ("", "none"))
    chosen = EvaluationConfig(points=points, seed=seed, fit=fit_config(prior_only=prior_only))
    with progress() as bar:
        run = EvaluationRun(model, cohort, out, split, names, chosen)
        n_failed = evaluate_to_folder(run, bar)
    if n_failed:
        raise CasesFailedError("evaluate", f"{n_failed} reconstructions failed", hint=f"see {out / 'scores.csv'}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of everything that the demo makes.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated lungs.")] = 0,
) -> None:
    """See it all without data: generate lung-like scans, prepare, train, evaluate, reconstruct; ends in report.html."""
    from lpm.apps.demo import run_demo

    with progress() as bar:
        report = run_demo(out, seed, bar)
    screen.print(f"open {report}", soft_wrap=True)


if __name__ == "__main__":
    main()

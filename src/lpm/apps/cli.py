"""The command line: each verb parses, reads, calls one library function and writes. `--help` is the manual."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from lpm.apps import fit_xray_verb  # noqa: F401  (adds `lpm fit xray`)
from lpm.apps.download_verb import download
from lpm.apps.evaluate_xray_verb import evaluate_xray
from lpm.apps.fit_verbs import fit_app
from lpm.apps.generate_verb import generate
from lpm.apps.measure_verb import measure
from lpm.apps.partition_verb import partition
from lpm.apps.prepare_verb import prepare
from lpm.apps.segment_verb import segment
from lpm.apps.terminal import OutOption, PriorOnlyOption, fit_config, plain, progress, screen
from lpm.apps.train_verb import train
from lpm.apps.view_verb import view
from lpm.apps.xray_verb import xray
from lpm.errors import CasesFailedError, InputError, LpmError

app = typer.Typer(
    name="lpm",
    help="LPM: a parametric model of human lungs. Everything is in RAS millimetres of the patient.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for verb in (download, segment, prepare, train, partition, measure, generate, view, xray):
    app.command()(verb)
app.command("evaluate-xray")(evaluate_xray)
app.add_typer(fit_app, name="fit")


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

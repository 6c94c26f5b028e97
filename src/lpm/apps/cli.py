"""The command line: each verb parses, reads, calls one library function and writes. `--help` is the manual."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Annotated

import typer

import lpm
from lpm.apps.kept_inputs import keeping_inputs
from lpm.apps.start import main
from lpm.apps.terminal import plain, screen
from lpm.apps.verbs.cohorts.population import population
from lpm.apps.verbs.cohorts.study import study
from lpm.apps.verbs.demo import demo
from lpm.apps.verbs.download import download
from lpm.apps.verbs.evaluate import evaluate
from lpm.apps.verbs.evaluate_xray import evaluate_xray
from lpm.apps.verbs.export import export
from lpm.apps.verbs.fit.ct import fit_ct
from lpm.apps.verbs.fit.joint import fit_joint
from lpm.apps.verbs.fit.mask import fit_mask
from lpm.apps.verbs.fit.points import fit_points
from lpm.apps.verbs.fit.xray import fit_xray
from lpm.apps.verbs.generate import generate
from lpm.apps.verbs.measure import measure
from lpm.apps.verbs.motion.breathe import breathe
from lpm.apps.verbs.motion.map_points import map_points
from lpm.apps.verbs.motion.train_breath import train_breath
from lpm.apps.verbs.partition import partition
from lpm.apps.verbs.prepare import prepare
from lpm.apps.verbs.publish import publish
from lpm.apps.verbs.segment import segment
from lpm.apps.verbs.train import train
from lpm.apps.verbs.view import view
from lpm.apps.verbs.xray import xray
from lpm.batch.attempt import is_want_of_memory, out_of_memory
from lpm.errors import LpmError, MisuseError
from lpm.files.outputs.temporary import remove_stale_folders

app = typer.Typer(
    name="lpm",
    help="LPM: a parametric model of human lungs. Everything is in RAS millimetres of the patient.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
fit_app = typer.Typer(
    help="Reconstruct unseen lungs: the model is frozen, shape and pose follow what was seen.", no_args_is_help=True
)
VERBS: dict[str, Callable[..., None]] = {
    "download": download,
    "segment": segment,
    "prepare": prepare,
    "train": train,
    "partition": partition,
    "measure": measure,
    "population": population,
    "map-points": map_points,
    "breathe": breathe,
    "study": study,
    "train-breath": train_breath,
    "generate": generate,
    "view": view,
    "export": export,
    "publish": publish,
    "xray": xray,
    "evaluate-xray": evaluate_xray,
    "evaluate": evaluate,
    "demo": demo,
}
FIT_VERBS: dict[str, Callable[..., None]] = {
    "ct": fit_ct,
    "points": fit_points,
    "mask": fit_mask,
    "xray": fit_xray,
    "joint": fit_joint,
}
for name, verb in VERBS.items():
    app.command(name)(keeping_inputs(verb))
for name, verb in FIT_VERBS.items():
    fit_app.command(name)(keeping_inputs(verb))
app.add_typer(fit_app, name="fit")


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run a verb in this process and return its exit code."""
    remove_stale_folders()
    try:
        app(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except LpmError as error:
        if debug:
            traceback.print_exc()
        screen.print(f"[bold red]error[/]: {plain(str(error))}", soft_wrap=True)
        return 2 if isinstance(error, MisuseError) else 1
    except (MemoryError, RuntimeError) as error:
        if debug or not is_want_of_memory(error):
            raise
        screen.print(f"[bold red]error[/]: {plain(str(out_of_memory('lpm', error)))}", soft_wrap=True)
        return 1
    return 0


def _version(*, value: bool) -> None:
    if value:
        print(lpm.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _version(value=value), is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """LPM: a parametric model of human lungs. Everything is in RAS millimetres of the patient.

    Add --debug anywhere to see the traceback of an error.
    """


if __name__ == "__main__":
    main()

"""What the verbs share: the screen, progress bars, options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lpm.apart.reading import expect_files
from lpm.errors import MisuseError
from lpm.records import is_plain_name
from lpm.structures import DEFAULT_STRUCTURES, PRESETS

if TYPE_CHECKING:
    from lpm.fitting.config import FitConfig
    from lpm.model.bundle import ModelBundle

screen = Console(stderr=True)

OutOption = Annotated[Path, typer.Option("--out", help="Output folder.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Folder that `lpm train` wrote, hf:owner/repository, or lungs-v1; default: lungs-v2."),
]
PriorOnlyOption = Annotated[
    bool, typer.Option("--prior-only", help="Only shape and pose: nothing follows the points beyond the model.")
]


def plain(text: str) -> str:
    """Text whose brackets are not taken for colours."""
    return text.replace("[", r"\[")


def say(text: str) -> None:
    """Say what is being done now: some seconds, on a busy machine minutes."""
    screen.print(f"{plain(text)} ...", style="dim", soft_wrap=True)


def progress(*, shown: bool = True) -> Progress:
    """A bar with what is done, how long it took and how long it will take."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=screen, disable=not shown)


def parse_labels(text: str | None) -> dict[str, tuple[int, ...]]:
    """Read ``left_lung=1+2,right_lung=3+4+5``, the name of a tool, or the dataset.json of nnU-Net."""
    if text is None:
        return dict(DEFAULT_STRUCTURES)
    if preset := PRESETS.get(text.strip().lower()):
        return dict(preset)
    if text.lower().endswith(".json"):
        from lpm.files.segments.nnunet import read_dataset_labels

        return read_dataset_labels(Path(text))
    try:
        pairs = (part.split("=") for part in text.split(","))
        found = {name.strip(): tuple(int(value) for value in values.split("+")) for name, values in pairs}
    except ValueError as error:
        is_nnunet = text.strip().lower().startswith("nnu")
        hint = "nnU-Net's data set says it: --labels dataset.json" if is_nnunet else "left_lung=1,right_lung=2"
        expected = f"name=value+value,name=value, or one of {', '.join(PRESETS)}"
        raise MisuseError("--labels", repr(text), expected, hint) from error
    if odd := [name for name in found if not is_plain_name(name)]:
        raise MisuseError("--labels", f"a structure named {odd[0]!r}", "plain names: files are named after them")
    return found


def load_bundle(source: str | None) -> ModelBundle:
    """The model that `--model` names."""
    expect_files()  # it starts while torch does
    import lpm

    return (lpm.load(source) if source else lpm.load()).bundle


def fit_config(*, prior_only: bool) -> FitConfig | None:
    """Settings that the command line asks for; None for the default of the evidence."""
    from lpm.fitting.config import FitConfig
    from lpm.fitting.discrepancy.residual import ResidualConfig

    return FitConfig(residual=ResidualConfig(sd_mm=0.0)) if prior_only else None

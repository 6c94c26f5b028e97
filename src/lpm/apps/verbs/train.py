"""`lpm train`: from a cohort to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lpm.apps.configuration import build_config
from lpm.apps.terminal import progress
from lpm.errors import MisuseError


def train(
    cohort: Annotated[Path, typer.Argument(help="Folder that `lpm prepare` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model.")],
    preset: Annotated[
        Literal["lite", "paper", "paper-initial", "atlas"],
        typer.Option(
            help="atlas: no network (principal components and a warp), the most accurate, 6.6 minutes for 29 lungs on "
            "2 cores; lite: a network for 2 cores, 30 minutes; paper: 256, 8 x 1024; paper-initial: 64, 4 x 512."
        ),
    ] = "atlas",
    config: Annotated[Path | None, typer.Option(help="TOML over the preset: [training] epochs = 500 ...")] = None,
    structures: Annotated[
        Literal["separate", "union"] | None, typer.Option(help="One output a lung, or the paper's single union.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the preset's.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU if there is one.")] = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes that sample the deformed copies.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in OUT.")] = False,
    data: Annotated[str, typer.Option(help="Provenance and licence of the data, kept in the bundle.")] = "not stated",
    all_subjects: Annotated[
        bool,
        typer.Option("--all-subjects", help="Atlas only: learn from the test subjects as well, for a model to ship."),
    ] = False,
) -> None:
    """Make a model of a cohort's training subjects: an atlas, or with another --preset the paper's auto-decoder.

    A network writes its epoch log and loss curves, too; interrupted and resumed with --resume, it gives the same result
    as in one go.

    Example: lpm train cohort --out model
    """
    from lpm.apps.stages import AtlasRun, TrainingRun, train_atlas, train_model
    from lpm.model.config import AtlasConfig, ModelConfig
    from lpm.model.config import preset as find_preset

    if preset == "atlas":
        if structures == "union" or epochs or resume or device == "cuda":
            given = "an atlas with --structures union, --epochs, --resume or --device cuda"
            raise MisuseError("--preset atlas", given, "none of them", "--preset lite trains a network")
        split: Literal["train", "all"] = "all" if all_subjects else "train"
        atlas = AtlasRun(cohort, out, build_config(AtlasConfig, config), split, jobs, data)
        with progress() as bar:
            train_atlas(atlas, bar)
        return
    if all_subjects:
        raise MisuseError("--all-subjects", f"--preset {preset}", "--preset atlas")
    options: dict[str, Any] = {"training": {"epochs": epochs}} if epochs else {}
    options |= {"structures": structures} if structures else {}
    chosen = build_config(ModelConfig, config, options, find_preset(preset).model_dump())
    run = TrainingRun(cohort, out, chosen, _resolve_device(device), jobs=jobs, resume=resume, data=data)
    with progress() as bar:
        train_model(run, bar)


def _resolve_device(device: str) -> str:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise MisuseError("--device", "cuda, but torch finds no GPU", "a CUDA build of torch and a GPU", "--device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device

"""`lpm train`: from a cohort to a model."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lpm.apps.configuration import build_config
from lpm.apps.terminal import progress
from lpm.errors import FileError, MisuseError
from lpm.files.outputs.locks import locked
from lpm.processes import in_step

REGISTRATION = "registration"  # folder of an atlas in which its lungs' registrations are kept

if TYPE_CHECKING:
    from rich.progress import Progress

    from lpm.model.bundle import ModelBundle
    from lpm.model.config import AtlasConfig, ModelConfig
    from lpm.model.network.group import Group


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
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs of this machine, or with --device cpu processes, that train together.")
    ] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines that train together; run the same command on each.")] = 1,
    node_rank: Annotated[int, typer.Option(min=0, help="Which of them this is, from 0.")] = 0,
    rendezvous: Annotated[
        str | None, typer.Option(help="HOST:PORT on the first machine, where they meet; needed for --nodes.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Worker processes that register lungs, or sample deformed copies.")
    ] = 2,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in OUT: checkpoint, or registered lungs.")
    ] = False,
    data: Annotated[str, typer.Option(help="Provenance and licence of the data, kept in the bundle.")] = "not stated",
    all_subjects: Annotated[
        bool,
        typer.Option("--all-subjects", help="Atlas only: learn from the test subjects as well, for a model to ship."),
    ] = False,
    dask: Annotated[
        str | None,
        typer.Option(help="Atlas only: address of a Dask scheduler that takes the lungs, instead of --jobs."),
    ] = None,
    add_to: Annotated[
        Path | None,
        typer.Option(
            help="Atlas only: an atlas whose averages stay. Lungs of COHORT that it knows are not registered again."
        ),
    ] = None,
) -> None:
    """Make a model of a cohort's training subjects: an atlas, or with another --preset the paper's auto-decoder.

    A network writes its epoch log and loss curves, too. Interrupted and gone on with by --resume, both give the same
    result as in one go.

    Example: lpm train cohort --out model
    """
    from lpm.model.config import AtlasConfig, ModelConfig
    from lpm.model.config import preset as find_preset

    if preset == "atlas":
        if structures == "union" or epochs or device == "cuda" or devices * nodes > 1:
            given = "an atlas with --structures union, --epochs, --device cuda, --devices or --nodes"
            raise MisuseError("--preset atlas", given, "none of them", "--preset lite trains a network")
        split: Literal["train", "all"] = "all" if all_subjects else "train"
        atlas = AtlasRun(cohort, out, build_config(AtlasConfig, config), split, jobs, data, dask, resume, add_to)
        with locked(out), progress() as bar:
            train_atlas(atlas, bar)
        return
    for option, value in (("--all-subjects", all_subjects), ("--dask", dask), ("--add-to", add_to)):
        if value:
            raise MisuseError(option, f"--preset {preset}", "--preset atlas")
    options: dict[str, Any] = {"training": {"epochs": epochs}} if epochs else {}
    options |= {"structures": structures} if structures else {}
    chosen = build_config(ModelConfig, config, options, find_preset(preset).model_dump())
    run = TrainingRun(cohort, out, chosen, _resolve_device(device, devices), jobs=jobs, resume=resume, data=data)
    if devices * nodes == 1:
        with locked(out), progress() as bar:
            train_model(run, bar)
        return
    if node_rank >= nodes:
        raise MisuseError("--node-rank", f"{node_rank} of {nodes} machines", f"0 to {nodes - 1}")
    if nodes > 1 and rendezvous is None:
        raise MisuseError("--rendezvous", f"none for {nodes} machines", "HOST:PORT of the first", "head-node:29400")
    with locked(out) if node_rank == 0 else nullcontext():  # the first machine writes
        train_together(run, Machines(devices, nodes, node_rank, rendezvous or free_meeting()))


def _resolve_device(device: str, n: int) -> str:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise MisuseError("--device", "cuda, but torch finds no GPU", "a CUDA build of torch and a GPU", "--device cpu")
    found = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    most = torch.cuda.device_count() if found == "cuda" else os.cpu_count() or 1
    if n > most:
        has = f"{most} GPUs" if found == "cuda" else f"no GPU and {most} CPU cores"
        raise MisuseError("--devices", f"{n}, but this machine has {has}", f"at most {most}", f"--devices {most}")
    return found


@dataclass(frozen=True)
class TrainingRun:
    """What `lpm train` was asked for."""

    cohort: Path
    out: Path
    config: ModelConfig
    device: str
    jobs: int = 1
    resume: bool = False
    data: str = "not stated"


@dataclass(frozen=True)
class Machines:
    """Where a network is trained by several processes.

    Args:
        devices: Processes on each machine, each with its own GPU if there are GPUs.
        nodes: Machines.
        node_rank: Which of them this is.
        meeting: HOST:PORT of the first, where processes meet.
    """

    devices: int
    nodes: int
    node_rank: int
    meeting: str


def free_meeting() -> str:
    """HOST:PORT of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return f"localhost:{found.getsockname()[1]}"


def train_together(run: TrainingRun, machines: Machines) -> None:
    """Train by several processes, those of this machine; the first of all writes the model.

    Raises:
        InputError: Processes have other versions, cohorts or configurations.
        WorkerDiedError: One ended.
    """
    in_step(machines.devices, _train_with_others, (run, machines))


def _train_with_others(number: int, run: TrainingRun, machines: Machines) -> None:
    import torch

    from lpm.batch.digests import digest_inputs
    from lpm.batch.workers import PACKAGES
    from lpm.model.network.group import joined
    from lpm.records import versions

    rank, size = machines.node_rank * machines.devices + number, machines.nodes * machines.devices
    if run.device == "cuda":
        torch.cuda.set_device(number)
    else:
        torch.set_num_threads(max((os.cpu_count() or 1) // machines.devices, 1))
    with joined(rank, size, machines.meeting, run.device) as group, progress(shown=rank == 0) as bar:
        files = {"cohort": run.cohort / "cohort.json", "checkpoint": run.out / "checkpoint.safetensors"}
        known = {name: digest_inputs([path], name, "") for name, path in files.items() if path.exists()}
        known |= {name: "missing" for name in files if name not in known}
        group.check_same(versions(*PACKAGES) | {"configuration": run.config.model_dump_json()} | known)
        train_model(run, bar, group)


def train_model(run: TrainingRun, bar: Progress, group: Group | None = None) -> ModelBundle:
    """Train, checkpoint, and write the model with its epoch log and loss curves.

    Args:
        run: What was asked for.
        bar: Shows how far it is.
        group: Processes that train together; the first writes.

    Raises:
        FileError: The folder holds a run and `resume` was not asked for.
    """
    from lpm.files.atomic import write_text
    from lpm.model.bundle import bundle_of, structure_names, write_bundle
    from lpm.model.network.group import ALONE
    from lpm.model.network.samples import load_samples
    from lpm.model.network.training import Training, dump_log
    from lpm.preparation.cohort import Cohort
    from lpm.reports.plots import plot_losses

    group = group or ALONE
    cohort, checkpoint = Cohort(run.cohort), run.out / "checkpoint.safetensors"
    begun = checkpoint.exists()
    if begun and not run.resume:
        raise FileError(str(run.out), "holds a training run", "a new folder", "--resume to go on, or another --out")
    sampling = bar.add_task("read and deform", total=None)
    jobs = run.jobs if group.size == 1 else 1  # processes that train together sample their own shapes
    samples = load_samples(cohort, run.config, jobs=jobs, group=group)
    bar.remove_task(sampling)
    training = Training(samples, len(structure_names(cohort, run.config)), run.config, run.device, group)
    if begun:
        training.resume(checkpoint)
    n_epochs = run.config.training.epochs
    task = bar.add_task("train", total=n_epochs, completed=len(training.log))
    for report in training.epochs():
        bar.update(task, advance=1, description=f"train, loss {report.losses['total']:.4f}")
        if report.epoch % run.config.training.checkpoint_every == 0 or report.epoch == n_epochs:
            training.save(checkpoint)
            if group.rank == 0:
                write_text(run.out / "epochs.csv", dump_log(training.log))
    bundle = bundle_of(training, cohort, run.data)
    if group.rank == 0:
        write_bundle(run.out, bundle)
        plot_losses(training.log, run.out)
    return bundle


@dataclass(frozen=True)
class AtlasRun:
    """What `lpm train --preset atlas` was asked for."""

    cohort: Path
    out: Path
    config: AtlasConfig
    split: Literal["train", "all"] = "train"
    jobs: int = 1
    data: str = "not stated"
    dask: str | None = None
    resume: bool = False
    add_to: Path | None = None


def train_atlas(run: AtlasRun, bar: Progress) -> ModelBundle:
    """Make an atlas and write it.

    Raises:
        FileError: The folder holds a model, or a registration and `resume` was not asked for; no atlas to add to.
    """
    from lpm.batch.workers import workers_of
    from lpm.model.atlas_build import AtlasBuild
    from lpm.model.bundle import bundle_of_atlas, read_bundle, write_bundle
    from lpm.model.registration.folder import RegistrationFolder
    from lpm.preparation.cohort import Cohort

    kept = RegistrationFolder(run.out / REGISTRATION)
    if (run.out / "bundle.json").exists():
        if not run.resume or kept.is_tidy:
            raise FileError(str(run.out), "holds a model", "a new folder", "another --out")
        kept.tidy()  # all that a killed run left to do
        return read_bundle(run.out)
    if kept.path.exists() and not run.resume:
        raise FileError(str(run.out), "holds a registration", "a new folder", "--resume to go on, or another --out")
    earlier = None if run.add_to is None else run.add_to / REGISTRATION
    if earlier is not None and not RegistrationFolder(earlier).is_begun:
        raise FileError(str(run.add_to), f"no {REGISTRATION}/ in it", "an atlas that `lpm train` made", "train it anew")
    cohort = Cohort(run.cohort)
    build = AtlasBuild(cohort, cohort.subjects(run.split), run.config, kept.path, earlier=earlier)
    task = bar.add_task("measure the training shapes", total=build.n_steps)
    with workers_of(run.jobs, run.dask) as workers:
        for done in build.steps(workers):
            bar.update(task, advance=1, description=done)
    for row in build.history:
        errors = ", ".join(f"{name} {row[f'{name}_error_mm']:.2f} mm" for name in cohort.structures)
        what = f"round {row['round']:.0f}: training shapes and displaced average differ by {errors}"
        bar.console.print(what, soft_wrap=True)
    bundle = bundle_of_atlas(build, run.data)
    write_bundle(run.out, bundle)
    kept.tidy()
    return bundle

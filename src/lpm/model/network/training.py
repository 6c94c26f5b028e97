"""The stage `train`: an iterator over epochs. Interrupted and resumed, it gives the same result as in one go.

Several processes share the training shapes: each has the points and the latents of its own, evaluates its part of every
step, and adds up the weights' gradients with the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lpm.errors import FileError, InputError
from lpm.model.config import ModelConfig, TrainingConfig
from lpm.model.network.decoder import AutoDecoder
from lpm.model.network.group import ALONE, Group
from lpm.model.network.losses import LOSSES, Step, compute_losses
from lpm.model.network.samples import TrainingSamples, steps_of
from lpm.model.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class EpochReport:
    """Losses and duration of one epoch.

    Args:
        epoch: Number of the epoch, from 1.
        losses: Weighted ``total`` and unweighted parts, means over the epoch's steps.
        learning_rate: The weights'.
        seconds: Wall time of the epoch.
    """

    epoch: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float


class Training:
    """One training run: model, optimiser, and the log so far.

    Args:
        samples: Training shapes in the model frame, those that this process has.
        n_structures: Outputs of the network.
        config: Everything that changes content.
        device: ``cpu`` or ``cuda``.
        group: Processes that train together; all of them call every method.
    """

    def __init__(
        self, samples: TrainingSamples, n_structures: int, config: ModelConfig, device: str, group: Group = ALONE
    ) -> None:
        self.samples, self.config, self.group = samples, config, group
        self.n_shapes = len(samples.shapes)
        self.device = torch.device(device)
        generator = torch.Generator().manual_seed(config.training.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.training.seed)
            model = AutoDecoder(
                config.decoder, n_structures, self.n_shapes, config.training.latent_spread, generator=generator
            )
        model.codes = nn.Parameter(model.codes.detach()[samples.own].clone())
        self.model = model.to(self.device)
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(model.decoder.parameters()), "base": config.training.learning_rate},
                {"params": [model.codes], "base": config.training.latent_learning_rate},
            ]
        )
        self.log: list[EpochReport] = []

    def epochs(self) -> Iterator[EpochReport]:
        """Train to the last epoch and yield after each."""
        for epoch in range(len(self.log) + 1, self.config.training.epochs + 1):
            report = self._epoch(epoch)
            self.log.append(report)
            yield report

    def _epoch(self, epoch: int) -> EpochReport:
        """Randomness is keyed by the epoch, so that a resumed run draws what an uninterrupted one would."""
        started = time.perf_counter()
        training = self.config.training
        steps = steps_of(self.n_shapes, training, epoch)
        sums = torch.zeros(len(LOSSES), dtype=torch.float64, device=self.device)
        for step, shapes in enumerate(steps):
            self._set_rates(learning_rate_factor(training, epoch - 1 + step / len(steps)))
            sums += self._step(shapes, epoch) / len(steps)
        losses = dict(zip(LOSSES, self.group.add_up(sums).tolist(), strict=True))
        if not math.isfinite(losses["total"]):
            raise InputError(
                "train", f"the loss is {losses['total']} in epoch {epoch}", "a finite loss", "lower the rate"
            )
        return EpochReport(epoch, losses, self.optimizer.param_groups[0]["lr"], time.perf_counter() - started)

    def _step(self, shapes: Tensor, epoch: int) -> Tensor:
        """One step of the optimiser; the own part of the losses, which add up to the step's."""
        training, members = self.config.training, torch.nonzero(torch.isin(self.samples.own, shapes))[:, 0]
        batch = self.samples.draw(members, training, epoch).to(self.device)
        step = Step(len(shapes), self.group.add_up(batch.nearness(self.config.loss).sum()))
        self.optimizer.zero_grad(set_to_none=False)
        own = torch.zeros(len(LOSSES), dtype=torch.float64, device=self.device)
        if len(members):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=training.precision == "bf16-mixed"):
                losses = compute_losses(self.model, batch, self.config.loss, training.gradient_share, step)
            losses.total.backward()
            own = losses.stacked()
        self._add_up_gradients()
        self.optimizer.step()
        return own

    def _add_up_gradients(self) -> None:
        """The weights' gradients over all processes; a latent's is whole where its shape is."""
        if self.group.size == 1:
            return
        weights = list(self.model.decoder.parameters())
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in weights]
        summed = self.group.add_up(torch.cat([each.flatten() for each in gradients]))
        for each, part in zip(weights, summed.split([each.numel() for each in weights]), strict=True):
            each.grad = part.view_as(each)
        if self.model.codes.grad is None:
            self.model.codes.grad = torch.zeros_like(self.model.codes)

    def _set_rates(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor

    def codes(self) -> Tensor:
        """(n, latent_size) latents of all training shapes."""
        return self.group.whole(self.model.codes.detach().clone(), self.n_shapes).cpu()

    def box(self) -> tuple[list[float], list[float]]:
        """Lower and upper corner of all training shapes' surfaces, model units."""
        surface = self.samples.surface
        lower, upper = surface.amin(dim=(0, 1)), -surface.amax(dim=(0, 1))
        found = self.group.least(torch.cat([lower, upper]).to(self.device)).cpu()
        return found[:3].tolist(), (-found[3:]).tolist()

    def centers(self) -> list[list[float]]:
        """The mean place of the surface points of each structure, over all training shapes, model units."""
        points, structure = self.samples.surface.flatten(0, 1), self.samples.structure.flatten()
        n_structures, found = self.model.decoder.n_structures, []
        for index in range(n_structures):
            chosen = points[structure == index].double()
            found.append(torch.cat([chosen.sum(dim=0), torch.tensor([float(len(chosen))])]))
        sums = self.group.add_up(torch.stack(found).to(self.device)).cpu()
        centers: list[list[float]] = (sums[:, :3] / sums[:, 3:]).tolist()
        return centers

    def save(self, path: Path) -> None:
        """Write a checkpoint whole or not at all; it does not tell how many processes wrote it."""
        tensors = {f"model.{name}": value for name, value in self.model.decoder.state_dict(prefix="decoder.").items()}
        tensors["model.codes"] = self.codes()
        states = self.optimizer.state_dict()["state"]
        last = len(states) - 1  # the latents'
        for index, state in states.items():
            for name, value in state.items():
                whole = index == last and value.ndim > 0
                tensors[f"optimizer.{index}.{name}"] = self.group.whole(value, self.n_shapes) if whole else value
        if self.group.rank == 0:
            write_tensors(path, tensors, {"config": self.config.model_dump_json(), "log": dump_log(self.log)})

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same configuration, written by any number of processes.

        Raises:
            FileError: Damaged or truncated.
            InputError: It was written with another configuration or cohort.
        """
        tensors, notes = read_tensors(path)
        if notes.get("config") != self.config.model_dump_json():
            raise InputError(str(path), "a checkpoint of another configuration", "the same", "train into a new folder")
        weights = {name[len("model.") :]: value for name, value in tensors.items() if name.startswith("model.")}
        codes = weights.get("codes", torch.empty(0))
        if codes.shape != (self.n_shapes, self.config.decoder.latent_size):
            raise InputError(str(path), "a checkpoint of other training shapes", "the same cohort", "train anew")
        try:
            self.model.load_state_dict(weights | {"codes": codes[self.samples.own]})
            state = self.optimizer.state_dict()
            state["state"] = _optimizer_state(tensors, self.samples.own)
            self.optimizer.load_state_dict(state)
            self.log = parse_log(notes["log"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise FileError(str(path), f"not a whole checkpoint ({error})", hint="delete it and train again") from error


def learning_rate_factor(training: TrainingConfig, epoch: float) -> float:
    """A short warm-up, then a cosine down to the final rate."""
    progress = epoch / training.epochs
    warm_up = min((progress + 1e-3) / 0.02, 1.0)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return warm_up * (training.final_rate + (1.0 - training.final_rate) * cosine)


def _optimizer_state(tensors: dict[str, Tensor], own: Tensor) -> dict[int, dict[str, Tensor]]:
    """What Adam remembers of each parameter; of the latents, which are the last, only the own rows."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    latents = state[max(state)]
    state[max(state)] = {name: value[own] if value.ndim > 0 else value for name, value in latents.items()}
    return state


def dump_log(log: list[EpochReport]) -> str:
    """Write the epoch log as csv; numbers are exact."""
    header = ",".join(("epoch", *LOSSES, "learning_rate", "seconds"))
    rows = [
        ",".join(map(repr, (r.epoch, *(r.losses[c] for c in LOSSES), r.learning_rate, round(r.seconds, 3))))
        for r in log
    ]
    return "\n".join([header, *rows]) + "\n"


def parse_log(text: str) -> list[EpochReport]:
    """Read what `dump_log` wrote."""
    rows = [line.split(",") for line in text.strip().splitlines()[1:]]
    return [
        EpochReport(
            epoch=int(row[0]),
            losses={name: float(value) for name, value in zip(LOSSES, row[1:-2], strict=True)},
            learning_rate=float(row[-2]),
            seconds=float(row[-1]),
        )
        for row in rows
    ]

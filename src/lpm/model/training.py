"""The stage `train`: an iterator over epochs. Interrupted and resumed, it gives the same result as in one go."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lpm.errors import FileError, InputError
from lpm.model.config import ModelConfig, TrainingConfig
from lpm.model.decoder import AutoDecoder
from lpm.model.losses import compute_losses
from lpm.model.samples import TrainingSamples
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
        samples: Training shapes in the model frame.
        n_structures: Outputs of the network.
        config: Everything that changes content.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, samples: TrainingSamples, n_structures: int, config: ModelConfig, device: str) -> None:
        self.samples, self.config = samples, config
        self.device = torch.device(device)
        generator = torch.Generator().manual_seed(config.training.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.training.seed)
            model = AutoDecoder(
                config.decoder, n_structures, len(samples.shapes), config.training.latent_spread, generator=generator
            )
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
        generator = torch.Generator().manual_seed(training.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.samples.shapes), generator=generator)
        parts = order.split(training.shapes_per_step)
        sums: dict[str, float] = {}
        for step, shapes in enumerate(parts):
            self._set_rates(learning_rate_factor(training, epoch - 1 + step / len(parts)))
            for name, value in self._step(shapes, generator).items():
                sums[name] = sums.get(name, 0.0) + value / len(parts)
        if not math.isfinite(sums["total"]):
            raise InputError(
                "train", f"the loss is {sums['total']} in epoch {epoch}", "a finite loss", "lower the rate"
            )
        return EpochReport(epoch, sums, self.optimizer.param_groups[0]["lr"], time.perf_counter() - started)

    def _step(self, shapes: Tensor, generator: torch.Generator) -> dict[str, float]:
        training = self.config.training
        batch = self.samples.draw(shapes, training.surface_points, training.off_surface_points, generator=generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=training.precision == "bf16-mixed"):
            losses = compute_losses(self.model, batch.to(self.device), self.config.loss, training.gradient_share)
        self.optimizer.zero_grad()
        losses.total.backward()
        self.optimizer.step()
        return losses.numbers()

    def _set_rates(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor

    def save(self, path: Path) -> None:
        """Write a checkpoint whole or not at all."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        write_tensors(path, tensors, {"config": self.config.model_dump_json(), "log": dump_log(self.log)})

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same configuration.

        Raises:
            FileError: Damaged or truncated.
            InputError: It was written with another configuration or cohort.
        """
        tensors, notes = read_tensors(path)
        if notes.get("config") != self.config.model_dump_json():
            raise InputError(str(path), "a checkpoint of another configuration", "the same", "train into a new folder")
        weights = {name[len("model.") :]: value for name, value in tensors.items() if name.startswith("model.")}
        if weights.get("codes", torch.empty(0)).shape != self.model.codes.shape:
            raise InputError(str(path), "a checkpoint of other training shapes", "the same cohort", "train anew")
        try:
            self.model.load_state_dict(weights)
            state = self.optimizer.state_dict()
            state["state"] = _optimizer_state(tensors)
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


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    return state


LOG_COLUMNS = ("total", "surface", "off_surface", "eikonal", "latent", "normal")


def dump_log(log: list[EpochReport]) -> str:
    """Write the epoch log as csv; numbers are exact."""
    header = ",".join(("epoch", *LOG_COLUMNS, "learning_rate", "seconds"))
    rows = [
        ",".join(map(repr, (r.epoch, *(r.losses[c] for c in LOG_COLUMNS), r.learning_rate, round(r.seconds, 3))))
        for r in log
    ]
    return "\n".join([header, *rows]) + "\n"


def parse_log(text: str) -> list[EpochReport]:
    """Read what `dump_log` wrote."""
    rows = [line.split(",") for line in text.strip().splitlines()[1:]]
    return [
        EpochReport(
            epoch=int(row[0]),
            losses={name: float(value) for name, value in zip(LOG_COLUMNS, row[1:-2], strict=True)},
            learning_rate=float(row[-2]),
            seconds=float(row[-1]),
        )
        for row in rows
    ]

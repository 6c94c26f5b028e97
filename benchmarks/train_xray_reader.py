r"""Train the network that reads radiographs, and write its bundle; 40 minutes of one core.

First with the validation subjects held out, which gives the errors that the bundle states; then on with all:

python benchmarks/train_xray_reader.py --data ../shared/data --work runs/xray-held-out --hold-out --steps 2100
python benchmarks/train_xray_reader.py --data ../shared/data --work runs/xray --start runs/xray-held-out \
    --steps 1600 --learning-rate 2e-3 --errors runs/xray-held-out/bundle
cp runs/xray/bundle/* src/lpm/bundled/xray-v1/

With `lpm generate --n 160 --model runs/benchmarks/both_states/atlas --xray --seed 5 --out runs/drawn`, and then
`--generated runs/drawn` in both lines, it learns from generated lungs, too; docs/xray.md says what that brings.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lpm.model.tensors import read_tensors, write_tensors
from lpm.records import versions
from lpm.xray.bundle import (
    XRAY_SCHEMA,
    PathErrors,
    XrayBundle,
    XrayManifest,
    read_xray_bundle,
    write_xray_bundle,
)
from lpm.xray.network import XrayNetwork, XrayNetworkConfig
from lpm.xray.novelty import field_figures
from lpm.xray.reader import XrayReader
from xray_augmentation import Augmentation, AugmentationConfig, Batch
from xray_data import STORED_PX, VIEWS, Pictures, load_generated, load_real, load_simulated, split_real

DATA = (
    "484 frontal chest X-rays with lung-field masks: Montgomery County and Shenzhen sets of the US National Library of "
    "Medicine (Jaeger et al. 2014, public for research with attribution), masks of Shenzhen by Stirenko et al.; "
    "parallel-projection radiographs of 25 LUNA16 / LIDC-IDRI scans (CC BY) with lungs from landmarks of Williams et "
    "al. 2024"
)
LENGTHS = (0.0, 0.003, 0.01, 0.03, 0.07, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 2.0)
VALIDATION_SUBJECTS = ("luna16_0645", "luna16_5216", "luna16_6262", "luna16_7422", "luna16_8684")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the result, with the data."""

    network: XrayNetworkConfig = field(default_factory=XrayNetworkConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    counts: tuple[int, int, int, int] = (8, 5, 4, 1)  # real, simulated frontal, simulated lateral, none of these
    steps: int = 2100
    told_every: int = 50
    repeats: int = 5  # of radiographs of real CTs, beside generated ones: two of five simulated ones are real then
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    averaging: float = 0.997
    volume_weight: float = 0.3
    path_weight: float = 8.0
    answer_weight: float = 0.2
    test_share: float = 0.2
    seed: int = 0


def losses(network: XrayNetwork, batch: Batch, config: TrainingConfig) -> dict[str, Tensor]:
    """Of the field, the path length, the volume (its sum) and the answers."""
    fields, paths, answers = (out.float() for out in network(batch.pictures, batch.lateral))
    lateral = batch.lateral[:, None, None, None] > 0.5
    # of a lateral view both lungs together, twice, so that all pictures have the same channels
    logits = torch.where(lateral, fields[:, 2:], fields[:, :2])
    lengths = torch.where(lateral, paths[:, 2:], paths[:, :2])
    true_lengths = torch.where(lateral, batch.paths.sum(dim=1, keepdim=True), batch.paths)
    seen, measured = batch.known[:, 0], batch.known[:, 1]
    error = (lengths - true_lengths).abs()[measured].mean()
    sums, true_sums = lengths[measured].mean(dim=(2, 3)), true_lengths[measured].mean(dim=(2, 3))
    volume = ((sums - true_sums).abs() / true_sums.clamp_min(1e-3)).mean()
    usable = batch.usable > 0.5
    said = functional.binary_cross_entropy_with_logits
    answered = (
        said(answers[:, 0], batch.usable)
        + (said(answers[:, 1], batch.mirrored, reduction="none") * batch.usable * (1 - batch.lateral)).mean()
        + said(answers[:, 2][usable], batch.inverted[usable])
        + functional.cross_entropy(answers[:, 3:], batch.turns)
    )
    return {
        "field": _field_loss(logits[seen], batch.fields[seen]),
        "path": config.path_weight * error,
        "volume": config.volume_weight * volume,
        "answers": config.answer_weight * answered,
    }


def _field_loss(logits: Tensor, true: Tensor) -> Tensor:
    entropy = functional.binary_cross_entropy_with_logits(logits, true)
    found = torch.sigmoid(logits)
    shared = (found * true).sum(dim=(2, 3))
    dice = (2 * shared + 1) / (found.sum(dim=(2, 3)) + true.sum(dim=(2, 3)) + 1)
    return entropy + (1 - dice).mean()


def train(
    augmentation: Augmentation, network: XrayNetwork, config: TrainingConfig, work: Path
) -> tuple[XrayNetwork, list[dict[str, float]]]:
    """The average of the last steps' networks, and the mean losses of every 50 steps."""
    rng = np.random.default_rng(config.seed)
    network = network.to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.1
    )
    history: list[dict[str, float]] = []
    log: list[dict[str, float]] = []
    started = time.process_time()
    for step in range(config.steps):
        batch = augmentation.batch(config.counts, rng)
        with torch.autocast("cpu", torch.bfloat16):
            parts = losses(network, batch, config)
        optimizer.zero_grad(set_to_none=True)
        sum(parts.values()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        _follow(average, network, min(config.averaging, (step + 1) / (step + 20)))
        log.append({name: float(value.detach()) for name, value in parts.items()})
        if len(log) == config.told_every or step + 1 == config.steps:
            history.append({name: round(float(np.mean([entry[name] for entry in log])), 4) for name in parts})
            print(step + 1, history[-1], f"{time.process_time() - started:.0f} s", flush=True)
            write_tensors(work / "average.safetensors", average.state_dict(), {})
            log.clear()
    return average, history


def _follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1.0 - keep)
            else:
                mean.copy_(now)


def bundle_of(network: XrayNetwork, real: Pictures, config: TrainingConfig, facts: dict[str, Any]) -> XrayBundle:
    """With the usual figures of a field over real radiographs, and errors to be replaced."""
    unknown = PathErrors(lengths=(0.0, 0.5), sds=(0.02, 0.05), volume=0.15)
    manifest = XrayManifest(
        schema_version=XRAY_SCHEMA,
        network=config.network,
        frontal_errors=unknown,
        lateral_errors=unknown,
        typical={},
        spread={},
        data=DATA,
        versions=versions("torch", "numpy"),
        **facts,
    )
    reader = XrayReader(XrayBundle(manifest, network))
    figures = [field_figures(reader.frontal(image / 255.0).field, (1.0, 1.0)) for image in real.images[::2]]
    table = {name: np.array([entry[name] for entry in figures if entry]) for name in next(filter(None, figures))}
    typical = {name: float(np.median(values)) for name, values in table.items()}
    # a spread that few far ones do not widen
    spread = {name: float(np.diff(np.percentile(values, [15.87, 84.13]))[0] / 2) for name, values in table.items()}
    return XrayBundle(manifest.model_copy(update={"typical": typical, "spread": spread}), network)


def path_errors(bundle: XrayBundle, unseen: Pictures) -> PathErrors:
    """Of radiographs of one view that the network has not seen."""
    reader, found, true = XrayReader(bundle), [], []
    for index in range(len(unseen)):
        sides, lateral = unseen.sides_mm[index], bool(unseen.lateral[index])
        spacing = (float(sides[0]) / STORED_PX, float(sides[1]) / STORED_PX)
        reading = (reader.lateral if lateral else reader.frontal)(unseen.images[index] / 255.0, spacing)
        paths = unseen.paths_mm[index].astype(np.float32)
        found.append(reading.path_length / sides.max())
        true.append((paths.sum(axis=0, keepdims=True) if lateral else paths) / sides.max())
    lengths, errors = np.stack(found), np.stack(found) - np.stack(true)
    bins = [(errors[(lengths >= low) & (lengths < high)], low) for low, high in pairwise(LENGTHS)]
    sums = lengths.sum(axis=(1, 2, 3)) / np.stack(true).sum(axis=(1, 2, 3))
    known = [(low, float(np.sqrt(np.mean(part**2)))) for part, low in bins if len(part) > 1000]
    return PathErrors(
        lengths=tuple(low for low, _ in known),
        sds=tuple(round(sd, 5) for _, sd in known),
        volume=float(np.sqrt(np.mean(np.log(sums) ** 2))),
    )


def plot(history: list[dict[str, float]], out: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 5))
    for name in history[0]:
        axes.plot([entry[name] for entry in history], label=name)
    axes.set(xlabel=f"{TrainingConfig.told_every} steps", ylabel="loss", yscale="log")
    axes.legend()
    figure.savefig(out, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--generated", type=Path, help="folder that `lpm generate --xray` wrote, to learn from, too")
    parser.add_argument("--steps", type=int, default=TrainingConfig.steps)
    parser.add_argument("--hold-out", action="store_true", help="keep the validation subjects out, for choices")
    parser.add_argument("--errors", type=Path, help="bundle whose errors, of held-out subjects, this one states")
    parser.add_argument("--start", type=Path, help="--work of an earlier run to go on from")
    parser.add_argument("--learning-rate", type=float, default=TrainingConfig.learning_rate)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = TrainingConfig(steps=given.steps, learning_rate=given.learning_rate)
    given.work.mkdir(parents=True, exist_ok=True)
    real, simulated = load_real(given.data / "xrays"), load_simulated(given.data / "lungs")
    names, test_names = split_real(list(real.names), config.test_share, config.seed)
    subjects = set(json.loads((given.data / "lungs/split.json").read_text())["train"]) & set(simulated.names)
    if given.hold_out:
        names, _ = split_real(names, 0.1, config.seed + 1)
        subjects -= set(VALIDATION_SUBJECTS)
    known = real.only(set(names))
    torch.manual_seed(config.seed)
    network, history = XrayNetwork(config.network), []
    if given.start:
        network.load_state_dict(read_tensors(given.start / "average.safetensors")[0])
        history = json.loads((given.start / "history.json").read_text())
    if config.steps:
        learnt = simulated.only(subjects)
        if given.generated:
            learnt = sum([learnt] * (config.repeats - 1), learnt) + load_generated(given.generated)
        augmentation = Augmentation(known, learnt, config.augmentation, config.network.size_px)
        network, recent = train(augmentation, network, config, given.work)
        history += recent
        (given.work / "history.json").write_text(json.dumps(history))
        plot(history, given.work / "losses.png")
    network.eval().requires_grad_(requires_grad=False)
    facts = {
        "training_names": (*names, *sorted(subjects)),
        "test_names": tuple(test_names),
        "loss_history": tuple(history),
    }
    bundle = bundle_of(network, known, config, facts)
    if given.errors:
        stated = read_xray_bundle(given.errors).manifest
        errors = {"frontal_errors": stated.frontal_errors, "lateral_errors": stated.lateral_errors}
    else:
        unseen = simulated.only(set(VALIDATION_SUBJECTS))
        errors = {f"{view}_errors": path_errors(bundle, unseen.of_view(lateral=view == "lateral")) for view in VIEWS}
    bundle = XrayBundle(bundle.manifest.model_copy(update=errors), network)
    write_xray_bundle(bundle, given.work / "bundle")
    print(errors)


if __name__ == "__main__":
    main()

"""Training by several processes: the same losses as by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lpm.errors import InputError
from lpm.model.config import ModelConfig
from lpm.model.network.group import ALONE, Group, joined
from lpm.model.network.samples import load_samples, steps_of
from lpm.model.network.training import Training, parse_log
from lpm.preparation.cohort import Cohort
from lpm.processes import in_step

PORT = 29_517


def train(rank: int, size: int, cohort: Path, config: ModelConfig, checkpoint: Path, port: int) -> None:
    """A process's part of a training that goes on from a checkpoint, if there is one, and writes it at its end."""
    torch.set_num_threads(1)
    with joined(rank, size, f"localhost:{port}", "cpu") as group:
        samples = load_samples(Cohort(cohort), config, jobs=1, group=group)
        training = Training(samples, 2, config, "cpu", group)
        if checkpoint.exists():
            training.resume(checkpoint)
        for _ in training.epochs():
            pass
        training.save(checkpoint)


def differ(rank: int, port: int) -> None:
    with joined(rank, 2, f"localhost:{port}", "cpu") as group:
        group.check_same({"torch": f"2.{rank}"})


def config_of(config: ModelConfig, epochs: int) -> ModelConfig:
    return config.model_copy(
        update={"training": config.training.model_copy(update={"epochs": epochs, "shapes_per_step": 5})}
    )


def log_of(path: Path) -> list[dict[str, float]]:
    from lpm.model.tensors import read_tensors

    return [report.losses for report in parse_log(read_tensors(path)[1]["log"])]


def test_every_shape_has_its_turn_whatever_the_number_of_processes(tiny_config: ModelConfig) -> None:
    training = config_of(tiny_config, 1).training.model_copy(update={"shapes_per_step": 16})
    first, second = steps_of(464, training, 1), steps_of(464, training, 2)
    assert sorted(torch.cat(first).tolist()) == list(range(464))
    assert not torch.equal(torch.cat(first), torch.cat(second))
    for size in (2, 4, 8):
        own = [len(set(step.tolist()) & set(Group(1, size).own(464).tolist())) for step in first[:-1]]
        assert min(own) == max(own) == 16 // size


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_losses_are_those_of_one_process(
    size: int, tiny_cohort: Path, tiny_config: ModelConfig, tmp_path: Path
) -> None:
    config = config_of(tiny_config, 20)
    in_step(size, train, (size, tiny_cohort, config, tmp_path / "many.safetensors", PORT + size))
    alone = Training(load_samples(Cohort(tiny_cohort), config, jobs=1), 2, config, "cpu", ALONE)
    expected = [report.losses for report in alone.epochs()]
    found = log_of(tmp_path / "many.safetensors")
    assert len(found) == 20
    for one, other in zip(expected, found, strict=True):
        assert other == pytest.approx(one, abs=1e-4)


def test_checkpoints_move_between_numbers_of_processes(
    tiny_cohort: Path, tiny_config: ModelConfig, tmp_path: Path
) -> None:
    config, path = config_of(tiny_config, 6), tmp_path / "checkpoint.safetensors"
    samples = load_samples(Cohort(tiny_cohort), config, jobs=1)
    first = Training(samples, 2, config, "cpu")
    for report in first.epochs():
        if report.epoch == 3:
            first.save(path)
    in_step(2, train, (2, tiny_cohort, config, path, PORT + 10))
    again = Training(samples, 2, config, "cpu")
    again.resume(path)
    assert [r.losses for r in again.log[:3]] == [r.losses for r in first.log[:3]]
    for one, other in zip(first.log, again.log, strict=True):
        assert other.losses == pytest.approx(one.losses, abs=1e-4)
    torch.testing.assert_close(again.codes(), first.codes(), atol=1e-4, rtol=0)


def test_processes_that_differ_are_named() -> None:
    with pytest.raises(InputError, match=r"torch is 2\.\d in process \d, 2\.\d in process \d"):
        in_step(2, differ, (PORT + 20,))


def test_more_processes_than_shapes_are_refused(tiny_cohort: Path, tiny_config: ModelConfig) -> None:
    with pytest.raises(InputError, match="13 processes for 12 training shapes"):
        load_samples(Cohort(tiny_cohort), tiny_config, jobs=1, group=Group(0, 13))

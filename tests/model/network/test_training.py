from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lpm.errors import FileError, InputError
from lpm.model.config import ModelConfig
from lpm.model.network.samples import TrainingSamples, load_samples
from lpm.model.network.training import Training, dump_log, learning_rate_factor, parse_log
from lpm.preparation.cohort import Cohort


@pytest.fixture(scope="module")
def samples(tiny_cohort: Path, tiny_config: ModelConfig) -> TrainingSamples:
    return load_samples(Cohort(tiny_cohort), tiny_config, jobs=1)


def short(config: ModelConfig, epochs: int = 6, **training: object) -> ModelConfig:
    return config.model_copy(update={"training": config.training.model_copy(update={"epochs": epochs, **training})})


def run(training: Training, until: int) -> Training:
    for report in training.epochs():
        if report.epoch == until:
            break
    return training


def test_every_training_subject_and_copy_has_points_in_the_unit_ball(samples: TrainingSamples) -> None:
    assert [shape.copy for shape in samples.shapes] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({shape.subject for shape in samples.shapes}) == 4
    assert samples.surface.shape == (12, 4000, 3)
    assert samples.distance.shape == (12, 4000, 2)
    assert samples.surface[:4].norm(dim=-1).max() <= 1.0


def test_samples_do_not_depend_on_the_number_of_workers(
    tiny_cohort: Path, tiny_config: ModelConfig, samples: TrainingSamples
) -> None:
    other = load_samples(Cohort(tiny_cohort), tiny_config, jobs=2)
    torch.testing.assert_close(other.off_surface, samples.off_surface, rtol=0, atol=0)
    assert not torch.equal(samples.off_surface[0], samples.off_surface[4])


def test_union_has_the_least_distance(tiny_cohort: Path, tiny_config: ModelConfig, samples: TrainingSamples) -> None:
    union = load_samples(Cohort(tiny_cohort), tiny_config.model_copy(update={"structures": "union"}), jobs=1)
    torch.testing.assert_close(union.distance[..., 0], samples.distance.amin(dim=-1))
    assert union.structure.max() == 0


def test_loss_falls(tiny_config: ModelConfig, samples: TrainingSamples) -> None:
    log = run(Training(samples, 2, short(tiny_config, 40), "cpu"), 40).log
    assert [report.epoch for report in log] == list(range(1, 41))
    assert log[-1].losses["total"] < 0.5 * log[0].losses["total"]


def test_resumed_equals_uninterrupted(tiny_config: ModelConfig, samples: TrainingSamples, tmp_path: Path) -> None:
    config = short(tiny_config)
    whole = run(Training(samples, 2, config, "cpu"), 6)
    first = run(Training(samples, 2, config, "cpu"), 3)
    first.save(tmp_path / "checkpoint.safetensors")
    second = Training(samples, 2, config, "cpu")
    second.resume(tmp_path / "checkpoint.safetensors")
    run(second, 6)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value, rtol=0, atol=0)
    assert [r.losses for r in second.log] == [r.losses for r in whole.log]
    assert not torch.equal(first.model.codes, whole.model.codes)


def test_another_seed_gives_another_model(tiny_config: ModelConfig, samples: TrainingSamples) -> None:
    one, two = (run(Training(samples, 2, short(tiny_config, 1, seed=seed), "cpu"), 1) for seed in (0, 1))
    assert not torch.equal(one.model.codes, two.model.codes)


def test_the_global_random_state_is_left_alone(tiny_config: ModelConfig, samples: TrainingSamples) -> None:
    before = torch.random.get_rng_state()
    run(Training(samples, 2, short(tiny_config, 1), "cpu"), 1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_bf16_trains(tiny_config: ModelConfig, samples: TrainingSamples) -> None:
    log = run(Training(samples, 2, short(tiny_config, 15, precision="bf16-mixed"), "cpu"), 15).log
    assert log[-1].losses["total"] < log[0].losses["total"]


def test_checkpoint_of_another_configuration_is_refused(
    tiny_config: ModelConfig, samples: TrainingSamples, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    run(Training(samples, 2, short(tiny_config), "cpu"), 1).save(path)
    with pytest.raises(InputError, match="a checkpoint of another configuration"):
        Training(samples, 2, short(tiny_config, 7), "cpu").resume(path)


def test_checkpoint_of_other_shapes_is_refused(
    tiny_config: ModelConfig, samples: TrainingSamples, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    run(Training(samples, 2, short(tiny_config), "cpu"), 1).save(path)
    fields = (samples.own, samples.surface, samples.normals, samples.structure, samples.off_surface, samples.distance)
    fewer = TrainingSamples(samples.shapes[:8], *(tensor[:8] for tensor in fields))
    with pytest.raises(InputError, match="a checkpoint of other training shapes"):
        Training(fewer, 2, short(tiny_config), "cpu").resume(path)


def test_truncated_checkpoint_is_refused(tiny_config: ModelConfig, samples: TrainingSamples, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    run(Training(samples, 2, short(tiny_config), "cpu"), 1).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="damaged"):
        Training(samples, 2, short(tiny_config), "cpu").resume(path)
    with pytest.raises(FileError, match="no such file"):
        Training(samples, 2, short(tiny_config), "cpu").resume(tmp_path / "none.safetensors")


def test_diverged_training_is_refused(tiny_config: ModelConfig, samples: TrainingSamples) -> None:
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in epoch"):
        run(Training(samples, 2, short(tiny_config, 50, learning_rate=1e30), "cpu"), 50)


def test_log_survives_csv(tiny_config: ModelConfig, samples: TrainingSamples) -> None:
    log = run(Training(samples, 2, short(tiny_config), "cpu"), 2).log
    again = parse_log(dump_log(log))
    assert [r.losses for r in again] == [r.losses for r in log]
    assert dump_log(again) == dump_log(log)


def test_learning_rate_warms_up_and_falls_to_its_end(tiny_config: ModelConfig) -> None:
    training = short(tiny_config, 1000).training
    factors = np.array([learning_rate_factor(training, epoch) for epoch in (0, 20, 500, 1000)])
    assert factors[0] < 0.1
    assert factors[1] > 0.95
    assert factors[3] == pytest.approx(training.final_rate)
    assert factors[1] > factors[2] > factors[3]

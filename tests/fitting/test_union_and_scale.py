"""The paper's own choices: one output for both lungs, and one scale a subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lpm.evaluation.evaluate import Contest, EvaluationConfig
from lpm.evaluation.metrics import MetricsConfig
from lpm.model.bundle import bundle_of
from lpm.model.config import ModelConfig
from lpm.model.network.samples import load_samples
from lpm.model.network.training import Training
from lpm.preparation.cohort import Cohort, write_manifest


@pytest.mark.slow
def test_a_union_is_trained_fitted_and_scored(tiny_cohort: Path, tiny_config: ModelConfig) -> None:
    cohort, config = Cohort(tiny_cohort), tiny_config.model_copy(update={"structures": "union"})
    training = Training(load_samples(cohort, config, jobs=1), 1, config, "cpu")
    for _ in training.epochs():
        pass
    model = bundle_of(training, cohort, "generated")
    assert model.structures == ("lungs",)
    metrics = MetricsConfig(n_points=500, n_surface=2000, voxel_mm=6.0)
    evaluation = EvaluationConfig(points=500, spacing_mm=4.0, metrics=metrics, paper_points=(500,))
    result = next(iter(Contest(model, cohort, evaluation).run("test")))
    assert set(result.meshes) == {"lungs"}
    assert result.meshes["lungs"].is_closed
    assert result.scores is not None
    assert result.scores.assd_mm < 8.0


@pytest.fixture
def scaled(tiny_cohort: Path, tmp_path: Path) -> Cohort:
    """The same cohort, with one scale a subject."""
    cohort = Cohort(tiny_cohort)
    (tmp_path / "subjects").symlink_to(tiny_cohort / "subjects")
    write_manifest(tmp_path, cohort.manifest.model_copy(update={"scale": "subject"}))
    return Cohort(tmp_path)


def test_a_scale_a_subject_fills_the_unit_ball_each_time(
    scaled: Cohort, tiny_cohort: Path, tiny_config: ModelConfig
) -> None:
    own = load_samples(scaled, tiny_config, jobs=1).surface[:4].norm(dim=-1).amax(dim=1)
    torch.testing.assert_close(own, torch.full((4,), 1 / 1.05), atol=0.01, rtol=0)
    common = load_samples(Cohort(tiny_cohort), tiny_config, jobs=1).surface[:4].norm(dim=-1).amax(dim=1)
    assert common.max() <= 1 / 1.05 + 1e-3
    assert common.min() < 0.94
    scales = {round(scaled.world_from_model(subject).scale_mm, 3) for subject in scaled.subjects("train")}
    assert len(scales) == 4
    assert np.isclose(
        Cohort(tiny_cohort).world_from_model(scaled.subjects("train")[0]).scale_mm, scaled.manifest.scale_mm
    )

"""Shared fixtures: small phantoms with known geometry, and the real lungs where they are present.

Tests may run in several processes (`pytest -n`, pytest-xdist). What takes seconds to make is then made by the first
process that asks for it, and read by the others.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import joblib
import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from lpm.batch.cases import find_cases
from lpm.files.volumes import write_volume
from lpm.geometry.phantoms import PhantomLungs, random_lungs, to_labels
from lpm.geometry.volumes import Volume
from lpm.model.atlas_build import AtlasBuild
from lpm.model.bundle import ModelBundle, bundle_of, bundle_of_atlas
from lpm.model.config import DecoderConfig, ModelConfig, TrainingConfig
from lpm.model.network.samples import load_samples
from lpm.model.network.training import Training
from lpm.preparation.augmentation import AugmentationConfig
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import PreparationConfig, SamplingConfig
from lpm.preparation.prepare import finish_cohort, prepare_cases
from quick_atlas import QUICK_ATLAS

settings.register_profile("lpm", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("lpm")

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IS_WORKER:
    torch.set_num_threads(1)  # processes that each take all cores wait for one another

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in jobs in the background: programs that tests start would too
    signal.signal(signal.SIGINT, signal.default_int_handler)

Made = TypeVar("Made")


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """Give every process the same object, made by the first that asks, in a folder that all of them can read.

    Args:
        tmp_path_factory: Of this process.
        name: Of the object, unique in a run.
        make: Called with the folder, which is empty.
    """
    if not IS_WORKER:
        return make(tmp_path_factory.mktemp(name))
    common = tmp_path_factory.getbasetemp().parent
    kept = common / f"{name}.joblib"
    with FileLock(common / f"{name}.lock"):
        if not kept.exists():
            folder = common / name
            folder.mkdir()
            joblib.dump(make(folder), folder.with_suffix(".part"))
            folder.with_suffix(".part").rename(kept)
        made: Made = joblib.load(kept)
    return made


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of a sixteenth of the pixels: they take most of the time of whatever writes a report."""
    monkeypatch.setattr("lpm.reports.scenes._DPI", 38)
    monkeypatch.setattr("lpm.reports.scenes._RENDER_PX", 225)
    monkeypatch.setattr("lpm.reports.xray_pictures._DPI", 38)


@pytest.fixture(scope="session")
def phantom() -> PhantomLungs:
    return PhantomLungs(center_mm=(5.0, -10.0, 20.0))


@pytest.fixture(scope="session")
def phantom_labels(phantom: PhantomLungs) -> Volume:
    """Labels 1 (left) and 2 (right) at 5 mm."""
    return to_labels(phantom, 5.0)


@pytest.fixture(scope="session")
def coarse_labels(phantom: PhantomLungs) -> Volume:
    """The same at 8 mm, for tests that prepare many times."""
    return to_labels(phantom, 8.0)


@pytest.fixture(scope="session")
def quick_config() -> PreparationConfig:
    return PreparationConfig(sampling=SamplingConfig(n_surface=2000, n_off_surface=2000))


@pytest.fixture(scope="session")
def real_lungs() -> Path:
    folder = Path(__file__).resolve().parents[1] / "../shared/data/lungs"
    if not folder.is_dir():
        pytest.skip(f"no real lungs at {folder}")
    return folder.resolve()


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six generated pairs of lungs, four to train on, prepared at 6 mm."""
    return made_once(tmp_path_factory, "tiny_cohort", prepare_tiny_cohort)


def prepare_tiny_cohort(folder: Path) -> Path:
    for index in range(6):
        labels = to_labels(random_lungs(rng=np.random.default_rng(index)), 6.0)
        write_volume(folder / "scans" / f"case{index}.nii.gz", labels)
    config = PreparationConfig(sampling=SamplingConfig(n_surface=4000, n_off_surface=4000))
    out = folder / "cohort"
    outcomes = list(prepare_cases(find_cases([folder / "scans"]), out, config, jobs=1, resume=False))
    finish_cohort(outcomes, out, config, None)
    return out


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """A network that learns generated lungs in seconds."""
    return ModelConfig(
        preset="tiny",
        decoder=DecoderConfig(latent_size=8, width=64, layers=4, skip_at=2, output="linear", frequencies=2),
        augmentation=AugmentationConfig(copies=2, faces=3000),
        training=TrainingConfig(
            epochs=400,
            shapes_per_step=4,
            surface_points=256,
            off_surface_points=256,
            gradient_share=0.1,
            points_kept=4000,
            learning_rate=3e-3,
            latent_learning_rate=1e-2,
            latent_spread=0.01,
        ),
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_cohort: Path, tiny_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A trained model of generated lungs: rough, but a model of lungs."""

    def train(folder: Path) -> ModelBundle:
        cohort = Cohort(tiny_cohort)
        training = Training(load_samples(cohort, tiny_config, jobs=1), 2, tiny_config, "cpu")
        for _ in training.epochs():
            pass
        return bundle_of(training, cohort, "generated")

    return made_once(tmp_path_factory, "tiny_model", train)


@pytest.fixture(scope="session")
def tiny_atlas(
    tiny_cohort: Path, make_atlas: Callable[[list[str]], ModelBundle], tmp_path_factory: pytest.TempPathFactory
) -> ModelBundle:
    """An atlas of generated lungs, on a coarse grid."""
    subjects = Cohort(tiny_cohort).subjects("train")
    return made_once(tmp_path_factory, "tiny_atlas", lambda _: make_atlas(subjects))


@pytest.fixture(scope="session")
def make_atlas(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], ModelBundle]:
    """Atlases of some of the generated lungs in seconds: a coarse grid, few functions, the average made once."""

    def make(subjects: list[str]) -> ModelBundle:
        build = AtlasBuild(Cohort(tiny_cohort), subjects, QUICK_ATLAS, tmp_path_factory.mktemp("registration"))
        assert len(list(build.steps())) == build.n_steps
        return bundle_of_atlas(build, "generated")

    return make

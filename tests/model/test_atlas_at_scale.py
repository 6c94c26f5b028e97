"""An atlas made by workers of which one dies, and one that grows."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from lpm.batch.workers import Workers, cluster_workers
from lpm.errors import InputError
from lpm.model.atlas_build import AtlasBuild
from lpm.model.config import AtlasConfig, RegistrationConfig
from lpm.model.warp import WarpScale
from lpm.preparation.cohort import Cohort

CONFIG = AtlasConfig(
    spacing_mm=8.0,
    registration=RegistrationConfig(
        rounds=1, spacing_mm=25.0, scales=(WarpScale(12.0, 60.0, 20), WarpScale(5.0, 28.0, 20))
    ),
    warp_scales=(WarpScale(10.0, 70.0, 10),),
)


def made(cohort: Cohort, subjects: list[str], folder: Path, workers: Workers | None = None) -> AtlasBuild:
    build = AtlasBuild(cohort, subjects, CONFIG, folder)
    assert len(list(build.steps(workers))) == build.n_steps
    return build


@pytest.fixture(scope="module")
def alone(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> AtlasBuild:
    cohort = Cohort(tiny_cohort)
    return made(cohort, cohort.subjects("train"), tmp_path_factory.mktemp("alone"))


def same(one: AtlasBuild, other: AtlasBuild) -> bool:
    tensors = one.decoder.to_tensors()
    return all(torch.equal(value, other.decoder.to_tensors()[name]) for name, value in tensors.items())


@pytest.mark.slow
def test_a_cluster_of_which_a_worker_dies_makes_the_same(alone: AtlasBuild, tiny_cohort: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="extra cluster")
    cohort = Cohort(tiny_cohort)
    build = AtlasBuild(cohort, cohort.subjects("train"), CONFIG, tmp_path)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        cluster_workers(cluster.scheduler_address) as workers,
    ):
        for number, _ in enumerate(build.steps(workers)):
            if number == 9:  # in the first round
                os.kill(next(iter(workers.client.run(os.getpid).values())), signal.SIGKILL)
    assert same(build, alone)


def test_an_atlas_grows(alone: AtlasBuild, tiny_cohort: Path, tmp_path: Path) -> None:
    """Two more lungs: the averages and what was found of the others stay."""
    cohort = Cohort(tiny_cohort)
    everybody = [*cohort.subjects("train"), *cohort.subjects("test")]
    build = AtlasBuild(cohort, everybody, CONFIG, tmp_path / "larger", earlier=alone.folder.path)
    assert len(list(build.steps())) == build.n_steps == 18
    assert torch.equal(build.decoder.template, alone.decoder.template)
    assert len(build.codes) == 6
    assert list(build.history[0]) == ["round", "left_lung_error_mm", "right_lung_error_mm"]
    other = CONFIG.model_copy(update={"registration": CONFIG.registration.model_copy(update={"rounds": 2})})
    with pytest.raises(InputError, match="an atlas of other settings"):
        list(AtlasBuild(cohort, everybody, other, tmp_path / "other", earlier=alone.folder.path).steps())


def test_a_registration_that_was_stopped_before_its_atlas_was_written_goes_on(
    alone: AtlasBuild, tiny_cohort: Path, tmp_path: Path
) -> None:
    cohort = Cohort(tiny_cohort)
    for _ in range(2):
        build = made(cohort, cohort.subjects("train"), tmp_path)
    assert same(build, alone)


def test_what_a_removed_folder_got_back_of_a_later_round_is_no_end(
    alone: AtlasBuild, tiny_cohort: Path, tmp_path: Path
) -> None:
    cohort = Cohort(tiny_cohort)
    subjects = cohort.subjects("train")
    for name in ("plan.json", "basis.safetensors", f"subjects/{subjects[0]}/round-2.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(alone.folder.path / name, tmp_path / name)
    assert same(made(cohort, subjects, tmp_path), alone)


def test_only_what_grows_is_kept(alone: AtlasBuild) -> None:
    alone.folder.tidy()
    assert alone.folder.is_tidy
    kept = sorted(path.name for path in alone.folder.path.rglob("*.safetensors"))
    assert kept == ["basis.safetensors", *["round-2.safetensors"] * 4, "template-2.safetensors"]

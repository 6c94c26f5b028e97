"""Cohorts of whole scans whose making is interrupted: the whole run is killed, or one worker of a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dicom_writing import write_scan
from lpm.batch.cases import find_cases
from lpm.batch.workers import cluster_workers
from lpm.files.volumes import write_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.geometry.volumes import Volume
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import PreparationConfig
from lpm.preparation.prepare import CaseOutcome, finish_cohort, prepare_cases

QUICK_TOML = "[sampling]\nn_surface = 2000\nn_off_surface = 2000\n"
PATIENCE_S = 240


def scan(seed: int) -> Volume:
    rng = np.random.default_rng(seed)
    return render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(5.0, 5.0, 5.0)), rng=rng)[0]


def done_in(out: Path) -> set[str]:
    """Subjects whose folders are there."""
    return {path.name for path in (out / "subjects").glob("[!.]*")}


def statuses(outcomes: list[CaseOutcome]) -> dict[str, str]:
    assert len({outcome.subject for outcome in outcomes}) == len(outcomes), "a case ended twice"
    return {outcome.subject: outcome.status for outcome in outcomes}


def start(folder: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    """`lpm prepare` on all DICOM folders by two workers, in a process group of its own."""
    config = folder.parent / "quick.toml"
    config.write_text(QUICK_TOML)
    given = ["prepare", str(folder), "--out", str(out), "--config", str(config), "--jobs", "2", *more]
    return subprocess.Popen([sys.executable, "-m", "lpm.apps.cli", *given], start_new_session=True)


@pytest.mark.slow
def test_a_killed_run_on_dicom_is_resumed(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "cohort"
    for number in range(3):
        write_scan(folder / f"patient{number}", scan(number), rng=np.random.default_rng(number))
    with start(folder, out) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not done_in(out) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    kept = done_in(out)
    assert kept, "nothing was finished before the kill"
    assert not (out / "cohort.json").exists()
    written = {name: (out / "subjects" / name / "quality.json").stat().st_mtime_ns for name in kept}
    with start(folder, out, "--resume") as process:
        assert process.wait(PATIENCE_S) == 0
    assert set(Cohort(out).manifest.subjects) == done_in(out) == {f"patient{number}" for number in range(3)}
    assert {name: (out / "subjects" / name / "quality.json").stat().st_mtime_ns for name in kept} == written
    assert not list((out / "subjects").glob(".*")), "what the kill left half done is gone"


def test_one_changed_slice_redoes_its_case(tmp_path: Path) -> None:
    config = PreparationConfig.model_validate({"sampling": {"n_surface": 2000, "n_off_surface": 2000}})
    for number in range(2):
        write_scan(tmp_path / "in" / f"patient{number}", scan(number), rng=np.random.default_rng(number))
    cases = find_cases([tmp_path / "in"])
    assert statuses(list(prepare_cases(cases, tmp_path / "out", config, jobs=1, resume=False))) == {
        "patient0": "done",
        "patient1": "done",
    }
    slice_ = sorted((tmp_path / "in" / "patient1").iterdir())[5]
    content = bytearray(slice_.read_bytes())
    content[-1000] ^= 1
    slice_.write_bytes(bytes(content))
    again = list(prepare_cases(cases, tmp_path / "out", config, jobs=1, resume=True))
    assert statuses(again) == {"patient0": "kept", "patient1": "done"}


@pytest.mark.slow
def test_whole_cases_of_a_killed_dask_worker_are_done_by_another(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="extra cluster")
    config = PreparationConfig.model_validate({"sampling": {"n_surface": 2000, "n_off_surface": 2000}})
    (tmp_path / "in").mkdir()
    for number in range(4):
        write_volume(tmp_path / "in" / f"patient{number}.nii.gz", scan(number))
    cases, outcomes, out = find_cases([tmp_path / "in"]), [], tmp_path / "out"
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        cluster_workers(cluster.scheduler_address) as jobs,
    ):
        for outcome in prepare_cases(cases, out, config, jobs=jobs, resume=False):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    assert statuses(outcomes) == {f"patient{number}": "done" for number in range(4)}
    assert set(finish_cohort(outcomes, out, config, None).subjects) == done_in(out)

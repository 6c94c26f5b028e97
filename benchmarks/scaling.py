"""Atlases of more and more generated lungs, training by two processes beside one, and what 100,000 lungs would take.

    python benchmarks/scaling.py --work runs/scaling [--lungs 39 100] [--cohort runs/benchmarks/cohort]

What WORK holds already is not made again; a run that was killed goes on. Writes a section of docs/large-cohorts.md.
Seconds are processor seconds, so that what else the machine does counts for little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cells import Json, stamp
from lpm.files.atomic import write_text
from marked import write_section
from processes import machine, run_lpm
from scaling_tables import section

PAGE = Path(__file__).resolve().parents[1] / "docs" / "large-cohorts.md"
N_FITS = 3
VOXELS_MM = 4.0
ONE, TWO = "one process", "two processes"
SHORT = """
[training]
epochs = 20
shapes_per_step = 8
surface_points = 128
off_surface_points = 128
gradient_share = 0.25
points_kept = 20000
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--lungs", type=int, nargs="+", default=[39, 100], help="numbers of generated lungs")
    parser.add_argument("--cohort", type=Path, help="real lungs, for the training of `paper` by two processes")
    parser.add_argument("--steps", nargs="*", choices=["cohort", "atlas", "fit", "processes", "page"])
    parser.add_argument("--atlas-of", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    steps = asked.steps or ["cohort", "atlas", "fit", "processes", "page"]
    if asked.atlas_of:
        make_atlas(asked.work, asked.atlas_of)
        return
    if "cohort" in steps:
        make_cohort(asked.work, max(asked.lungs))
    for n in asked.lungs if "atlas" in steps else ():
        if not (asked.work / f"atlas_{n}.json").exists():
            subprocess.run([sys.executable, __file__, "--work", asked.work, "--atlas-of", str(n)], check=True)
    if "fit" in steps:
        fit_some(asked.work)
    if "processes" in steps and asked.cohort:
        by_two(asked.work, asked.cohort)
    if "page" in steps:
        write_section(PAGE, "scaling", section(asked.work))


def keep(path: Path, found: Json) -> None:
    write_text(path, json.dumps(found | {"machine": machine(), "stamp": stamp()}, indent=1) + "\n")


def size(folder: Path) -> int:
    """Bytes of a file or a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def children_seconds(into: Json) -> Iterator[None]:
    """Processor seconds of the processes that are started and end meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    into["cpu_seconds"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_cohort(work: Path, n: int) -> None:
    """Generated lungs, and the cohort that `lpm prepare` makes of them."""
    done = work / f"cohort_{n}.json"
    if done.exists():
        return
    found: Json = {"n": n}
    stages = {
        "generate": ("--n", str(n), "--labels-mm", str(VOXELS_MM), "--no-report", "--out", work / "lungs"),
        "prepare": (work / "lungs" / "subjects.csv", "--out", work / "cohort", "--jobs", "1"),
    }
    for stage, given in stages.items():
        more = ("--resume",) if stage == "prepare" and (work / "cohort").exists() else ()
        own: Json = {}
        with children_seconds(own):
            own |= run_lpm(stage, *given, *more)
        own.pop("printed")
        found[stage] = own | {"bytes": size(work / ("lungs" if stage == "generate" else "cohort"))}
    keep(done, found)


def make_atlas(work: Path, n: int) -> None:
    """An atlas of some of the lungs, in this process; seconds by stage, the largest memory, bytes before tidying."""
    from lpm.batch.workers import LocalWorkers
    from lpm.model.atlas_build import AtlasBuild
    from lpm.model.bundle import bundle_of_atlas, write_bundle
    from lpm.model.config import AtlasConfig
    from lpm.model.registration.group import GroupRegistration
    from lpm.preparation.cohort import Cohort

    cohort, folder = Cohort(work / "cohort"), work / f"atlas_{n}"
    subjects = sorted(cohort.subjects("all"))[:n]
    clock = Clock()
    clock.wrap(GroupRegistration, "_average", "averages")
    clock.wrap(GroupRegistration, "_most_typical", "averages")
    build = AtlasBuild(cohort, subjects, AtlasConfig(), folder / "registration")
    started, most = time.perf_counter(), 0
    for index, done in enumerate(build.steps(LocalWorkers(1))):
        clock.lap(done.partition(", round")[0])
        if index % 10 == 0 or index >= build.n_steps - 1:
            most = max(most, size(folder / "registration"))
    clock.lap("components")
    write_bundle(folder, bundle_of_atlas(build, "generated lungs"))
    build.folder.tidy()
    clock.lap("write")
    keep(
        work / f"atlas_{n}.json",
        {
            "n": n,
            "seconds": clock.seconds,
            "wall_seconds": time.perf_counter() - started,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "bytes_meanwhile": most,
            "bytes_kept": size(folder / "registration"),
            "bytes_model": size(folder) - size(folder / "registration"),
            "components": build.decoder.n_components,
            "history": list(build.history),
        },
    )


class Clock:
    """Processor seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._last = time.process_time()

    def lap(self, stage: str) -> None:
        """What went by since the last lap belongs to a stage."""
        now = time.process_time()
        self.seconds[stage] += now - self._last
        self._last = now

    def wrap(self, owner: type, name: str, stage: str) -> None:
        """Time a method apart from the stage in which it is called."""
        method = getattr(owner, name)

        def timed(*given: object) -> object:
            self.lap("between")
            result = method(*given)
            self.lap(stage)
            return result

        setattr(owner, name, timed)


def fit_some(work: Path) -> None:
    """Fits of generated lungs by the bundled model, as a batch of one process makes them."""
    done = work / "fits.json"
    if done.exists():
        return
    cases = sorted((work / "lungs").glob("*/labels.nii.gz"))[:N_FITS]
    own: Json = {}
    with children_seconds(own):
        own |= run_lpm("fit", "mask", *(case.parent for case in cases), "--out", work / "fits", "--no-report")
    own.pop("printed")
    keep(done, own | {"n": len(cases), "bytes": size(work / "fits")})


def by_two(work: Path, cohort: Path) -> None:
    """`paper`, twenty short epochs, by one process and by two of one thread each."""
    done = work / "processes.json"
    if done.exists():
        return
    write_text(work / "short.toml", SHORT)
    runs = {}
    for name, devices, threads in ((ONE, 1, 1), (f"{ONE}, two threads", 1, 2), (TWO, 2, 1)):
        out = work / f"train_{devices}_{threads}"
        if not (out / "epochs.csv").exists():
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            given = ["--preset", "paper", "--config", work / "short.toml", "--device", "cpu", "--devices", str(devices)]
            command = [sys.executable, "-m", "lpm.apps.cli", "train", cohort, "--out", out, *given]
            load = os.getloadavg()[0]
            subprocess.run(list(map(str, command)), env=environment, check=True, capture_output=True)
            write_text(out / "load.json", json.dumps({"load": load}))
        rows = np.genfromtxt(out / "epochs.csv", delimiter=",", names=True)
        load = json.loads((out / "load.json").read_text())["load"]
        runs[name] = {"load": load, "seconds": rows["seconds"].tolist(), "total": rows["total"].tolist()}
    keep(done, {"runs": runs})


if __name__ == "__main__":
    main()

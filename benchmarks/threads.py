"""A fit beside two busy loops, and with 1, 2 and 4 threads: `python benchmarks/threads.py --cohort WORK/cohort`.

A fit of 5,000 points of a lung with meshes at 1.5 mm, in a process of its own. Writes a section of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import lpm
from cells import Json, bars, stamp, stamped
from cells import machine as in_words
from lpm.evaluation.evaluate import EvaluationConfig, observed_points
from lpm.geometry.distances import closest_points
from lpm.geometry.meshes import WorldMesh
from lpm.preparation.cohort import Cohort
from marked import write_section
from processes import machine
from reliability import PAGE

N_POINTS, SPACING_MM = 5000, 1.5
N_BUSY, REPEATS = 2, 3
SLOWER, APART_MM = 2.5, 0.01  # the bars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, help="a prepared cohort")
    parser.add_argument("--subject", default="luna16_0645")
    parser.add_argument("--fit", type=Path, help="fit the points of this folder")
    given = parser.parse_args()
    if given.fit:
        fit(given.fit)
        return
    with tempfile.TemporaryDirectory() as name:
        points, _ = observed_points(Cohort(given.cohort), given.subject, EvaluationConfig(points=N_POINTS))
        np.save(Path(name) / "points.npy", points)
        found = compare(Path(name))
    write_section(PAGE, "threads", section(found | {"machine": machine(), "stamp": stamp()}))


def compare(folder: Path) -> Json:
    """Seconds idle and beside busy loops, and how far apart the lungs of other numbers of threads lie."""
    idle = float(np.median([fitted(folder)[0] for _ in range(REPEATS)]))
    with busy():
        beside = float(np.median([fitted(folder)[0] for _ in range(REPEATS)]))
    one, *others = (fitted(folder, n_threads=n)[1] for n in (1, 2, 4))
    apart_mm = max(apart(lungs, one) for lungs in others)
    return {"idle_s": idle, "beside_s": beside, "apart_mm": apart_mm}


def apart(lungs: dict[str, WorldMesh], others: dict[str, WorldMesh]) -> float:
    """Farthest that vertices lie from the others' surfaces, mm."""
    return max(float(closest_points(others[name], mesh.vertices).distance.max()) for name, mesh in lungs.items())


def fitted(folder: Path, n_threads: int | None = None) -> tuple[float, dict[str, WorldMesh]]:
    """Seconds and lungs of a fit in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": str(n_threads)} if n_threads else {}
    subprocess.run([sys.executable, __file__, "--fit", str(folder)], check=True, env=environment)
    seconds = float((folder / "seconds").read_text())
    return seconds, {path.stem: lpm.read_mesh(path) for path in sorted(folder.glob("*.ply"))}


def fit(folder: Path) -> None:
    model = lpm.load()
    started = time.perf_counter()
    lungs = model.fit_points(np.load(folder / "points.npy"), spacing_mm=SPACING_MM).lungs
    (folder / "seconds").write_text(str(time.perf_counter() - started))
    for name, mesh in lungs.items():
        lpm.write_mesh(folder / f"{name}.ply", mesh)


@contextmanager
def busy() -> Iterator[None]:
    """As many loops that never rest as there are cores."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(N_BUSY)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def section(data: Json) -> str:
    slower = data["beside_s"] / data["idle_s"]
    rows = [
        (
            f"a fit beside {N_BUSY} busy loops: times as long",
            f"<= {SLOWER}",
            f"{slower:.2f} ({data['idle_s']:.1f} s, {data['beside_s']:.1f} s)",
            slower <= SLOWER,
        ),
        (
            "lungs by 1, 2 and 4 threads: farthest that their surfaces lie apart",
            f"<= {APART_MM} mm",
            f"{data['apart_mm']:.4f} mm",
            data["apart_mm"] <= APART_MM,
        ),
    ]
    return f"{bars(rows)}\n{in_words(data)} {stamped(data)}"


if __name__ == "__main__":
    main()

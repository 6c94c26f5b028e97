"""Many label maps in one run: two worker processes beside one, and what a fit leaves on disk.

python benchmarks/batch_speed.py --lungs DATA/lungs --work WORK/batch [--page docs/batch.md]

An idle machine, please. PAGE gets a table.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

from cells import Json, bars, stamp, stamped
from cells import machine as in_words
from marked import write_section
from processes import machine, run_lpm

FASTER = 1.6  # the bar
TABLES = ("cases.csv", "shapes.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lungs", type=Path, required=True, help="folder of subjects with labels.nii.gz")
    parser.add_argument("--work", type=Path, required=True, help="must hold no earlier fits")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)  # as a user has it
    runs = [run(given.lungs, given.work / f"jobs{jobs}", jobs) for jobs in (1, 2)]
    seconds = [each["seconds"] for each in runs]
    folders = [given.work / f"jobs{jobs}" for jobs in (1, 2)]
    same = all(rows(folders[0] / name) == rows(folders[1] / name) for name in TABLES)
    cases = rows(folders[0] / "cases.csv")
    failed = sum(row["status"] != "done" for row in cases)
    ratio = seconds[0] / seconds[1]
    found = [
        ("`--jobs 2`: times as fast as `--jobs 1`", f">= {FASTER}", f"{ratio:.2f}", ratio >= FASTER),
        ("tables but for seconds", "equal", "equal" if same else "different", same),
        ("label maps that failed", "0", str(failed), failed == 0),
    ]
    measured = {"machine": machine(), "stamp": stamp()}
    text = (
        f"{len(cases)} label maps, 2,000 points and a lattice of 3 mm, reports included: {seconds[0]:.0f} s with one "
        f"process,\n{seconds[1]:.0f} s with two; {size_mb(folders[0]) / len(cases):.1f} MB a fit on disk.\n\n"
        f"{bars(found)}\n{in_words(measured)} {stamped(measured)}"
    )
    print(text)
    if given.page:
        write_section(given.page, "speed", text)


def run(lungs: Path, out: Path, jobs: int) -> Json:
    options = ("--points", "2000", "--spacing-mm", "3", "--jobs", str(jobs))
    return run_lpm("fit", "mask", lungs, "--out", out, *options)


def rows(path: Path) -> list[dict[str, str]]:
    """Of a table, without the time that each took."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()

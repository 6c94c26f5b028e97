"""The seven breath pairs as a study: where lungs move from expiration to inspiration, by how many mm.

python benchmarks/study_pairs.py --breath DATA/breath --work WORK/study_pairs [--page docs/study.md]

PAGE gets a table. Each mask is fitted by the bundled model (2,000 points, meshes at 3 mm); fits that are there stay.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import lpm
from cells import machine as in_words
from cells import stamp, stamped
from marked import write_section
from processes import machine, run_lpm

STATES = ("exp", "insp")
REGIONS = ("base", "lower third", "middle third", "upper third", "top")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--breath", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    cases, table = given.work / "masks.csv", given.work / "pairs.csv"
    patients = sorted(path.name for path in given.breath.glob("dirlabcopd_*"))
    scans = [(f"{name}_{state}", name, state) for name in patients for state in STATES]
    paths = [(case, given.breath.resolve() / name / state / "labels.nii.gz") for case, name, state in scans]
    write_rows(cases, [("case", "path"), *paths])
    write_rows(table, [("case", "patient", "state"), *scans])
    fits = given.work / "fits"
    options = ("--points", "2000", "--spacing-mm", "3", "--no-report", "--resume")
    run_lpm("fit", "mask", cases, "--out", fits, *options)
    study = lpm.study(fits, table, group="state", pairs="patient", config=lpm.StudyConfig())
    answer, regions = study.answers[0], study.regions()
    lines = ["| region | left lung mm | significant % | right lung mm | significant % |", "|---|---|---|---|---|"]
    for region in REGIONS:
        cells = []
        for lung in ("left_lung", "right_lung"):
            inside = regions[lung, region]
            found = 100.0 * float((answer.place.p_corrected[inside] < 0.05).mean())
            cells += [f"{answer.place.estimate[inside].mean():.1f}", f"{found:.0f}"]
        lines.append(f"| {region} | {' | '.join(cells)} |")
    print("\n".join(lines))
    if given.page:
        measured = {"machine": machine(), "stamp": stamp()}
        write_section(given.page, "pairs", "\n".join([*lines, "", f"{in_words(measured)} {stamped(measured)}"]))


def write_rows(path: Path, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()

"""An atlas that is taught expiration, too, beside the atlas without: on the ten test lungs and on both breath states.

python benchmarks/both_states.py --lungs ../shared/data/lungs --breath ../shared/data/breath --work WORK --out OUT.json

WORK holds `cohort`, `atlas` and `evidence.raw.json` of the same test lungs (the step `evidence` of run.py).
`split-2.json` adds the patients of BREATH: both states of one are on one side, and the ten test lungs stay what they
were. What was made or measured before is kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from lpm.files.atomic import write_text
from processes import FOLDER, run_lpm

SPLIT = FOLDER / "split-2.json"
COMPONENTS = 20  # as lungs-v2 has: held-out lungs would have 28, for 7.6 MB in place of 6.1
KINDS = (
    "5,000 points",
    "500 points",
    "100 points",
    "5,000 points, 2 mm noise and 5 % outliers",
    "full mask",
    "mask without the lowest quarter",
    "three orthogonal slices",
    "left lung's 1,000 points",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--lungs", "--breath", "--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    given = parser.parse_args()
    own = given.work / "both_states"
    own.mkdir(parents=True, exist_ok=True)
    states = write_cases(own / "cases.csv", given.lungs, given.breath)
    if not (own / "cohort" / "cohort.json").exists():
        run_lpm("prepare", own / "cases.csv", "--out", own / "cohort", "--split", SPLIT, "--resume")
    if not (own / "atlas" / "bundle.json").exists():
        write_text(own / "train.toml", f"components = {COMPONENTS}\n")
        run_lpm("train", own / "cohort", "--out", own / "atlas", "--config", own / "train.toml", "--resume")
    test = [name for name in json.loads(SPLIT.read_text())["test"] if name in states]
    taught = measured(own / "cohort", own / "atlas", own / "taught.raw.json")
    before = measured(own / "cohort", given.work / "atlas", own / "before.raw.json", *test)
    known = json.loads((given.work / "evidence.raw.json").read_text())
    result = {"taught": taught, "before": before | known, "states": test}
    write_text(given.out, json.dumps(result, indent=1) + "\n")


def write_cases(path: Path, lungs: Path, breath: Path) -> list[str]:
    """The table of all label maps; names of those that are a state of a breath."""
    rows = {folder.parent.name: folder for folder in sorted(lungs.resolve().glob("*/labels.nii.gz"))}
    states = {f"{file.parts[-3]}_{file.parts[-2]}": file for file in sorted(breath.resolve().glob("*/*/labels.nii.gz"))}
    write_text(path, "\n".join(["subject,path", *(f"{name},{file}" for name, file in (rows | states).items())]) + "\n")
    return list(states)


def measured(cohort: Path, model: Path, out: Path, *subjects: str) -> dict[str, dict[str, dict[str, float]]]:
    """What benchmarks/evidence.py says of a model, by subject and kind of evidence."""
    command = [sys.executable, FOLDER / "evidence.py", "--cohort", cohort, "--model", model, "--out", out]
    subprocess.run([*command, "--only", *KINDS, *(["--subjects", *subjects] if subjects else [])], check=True)
    return dict(json.loads(out.read_text()))


if __name__ == "__main__":
    main()

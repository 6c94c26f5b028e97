"""Fault drills of every verb that writes: `make drills`; a part of them in `make test-slow`.

python tests/drills/campaign.py --kills 200 --jobs 2
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from folders import dead_worker, read_only, two_runs, vanishing
from kills import HOWS, Outcome, Reference, killed, undisturbed
from verbs import VERBS, Verb
from world import make_world

REPOSITORY = Path(__file__).resolve().parents[2]
Drill = Callable[[Path], Outcome | None]


def drills_of(verb: Verb, reference: Reference, world: Path, n_kills: int, seed: int) -> list[Drill]:
    """All drills of a verb; each takes a folder of its own."""
    made: list[Drill] = []
    for number in range(n_kills):
        how = HOWS[number % len(HOWS)]
        made.append(partial(_killed, verb, how, reference, world, [seed, number]))
    for place, drill in enumerate((vanishing, two_runs, *([dead_worker] if verb.workers > 1 else []))):
        made.append(partial(_drilled, drill, verb, reference, world, [seed, 10_000 + place]))
    return [*made, partial(read_only, verb, world)]


def _killed(verb: Verb, how: str, reference: Reference, world: Path, key: Sequence[int], folder: Path) -> Outcome:
    return killed(verb, how, reference, world, folder, rng=np.random.default_rng(key))


def _drilled(
    drill: Callable[..., Outcome], verb: Verb, reference: Reference, world: Path, key: Sequence[int], folder: Path
) -> Outcome:
    return drill(verb, reference, world, folder, rng=np.random.default_rng(key))


def drill_all(work: Path, n_kills: int, *, jobs: int, seed: int, names: Sequence[str] = ()) -> list[Outcome]:
    """Drill verbs, several drills at a time; those that an earlier run drilled are kept.

    Args:
        work: Folder for everything.
        n_kills: Kills over all verbs, shared out evenly.
        jobs: Drills at a time.
        seed: Seed of the moments.
        names: Verbs that are drilled; all if empty.

    Returns:
        What came of all that were drilled, now or earlier.
    """
    world = make_world(work / "world")
    outcomes: list[Outcome] = []
    wanted = [verb.name for verb in VERBS if not names or verb.name in names]
    for verb in VERBS:
        kept = work / "outcomes" / f"{verb.name.replace(', ', '-').replace(' ', '-')}.json"
        if not kept.exists() and verb.name in wanted:
            share = n_kills // len(wanted) + (wanted.index(verb.name) < n_kills % len(wanted))
            found = _drill_one(verb, world, work, share, jobs=jobs, seed=seed)
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps([asdict(one) for one in found], indent=1))
        if kept.exists():
            outcomes += [Outcome(**(one | {"faults": tuple(one["faults"])})) for one in json.loads(kept.read_text())]
    return outcomes


def _drill_one(verb: Verb, world: Path, work: Path, n_kills: int, *, jobs: int, seed: int) -> list[Outcome]:
    started = time.monotonic()
    try:
        reference = undisturbed(verb, world, work / "reference")
    except RuntimeError as error:
        return [Outcome(verb.name, "kill -9", (f"fails undisturbed: {error}",))]
    drills = drills_of(verb, reference, world, n_kills, seed)
    with ThreadPoolExecutor(jobs) as threads:
        folders = [work / "drills" / str(number) for number in range(len(drills))]
        found = list(threads.map(lambda drill, folder: drill(folder), drills, folders))
    outcomes = [one for one in found if one is not None]
    bad = [one for one in outcomes if one.faults]
    sys.stderr.write(f"{verb.name}: {len(outcomes)} drills, {len(bad)} bad, {time.monotonic() - started:.0f} s\n")
    for one in bad:
        sys.stderr.write(f"  {one.drill} at {one.share:.2f}: {'; '.join(one.faults)}\n")
    return outcomes


def full_disks(work: Path) -> dict[str, list[str]]:
    """What is wrong with each writer where the disk is full, at 20 sizes."""
    command = [sys.executable, str(Path(__file__).with_name("disks.py")), str(work / "world"), str(work / "disks")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Drill, and write the results and docs/reliability.md."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it, and so would commands
    sys.path.insert(0, str(REPOSITORY / "benchmarks"))
    from cells import stamp
    from processes import machine
    from reliability import write_drills

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=207, help="over all verbs")
    parser.add_argument("--jobs", type=int, default=max((os.cpu_count() or 2) // 2, 1), help="drills at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "drills")
    parser.add_argument("--verbs", nargs="*", default=[], help="only these")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    outcomes = drill_all(given.work, given.kills, jobs=given.jobs, seed=given.seed, names=given.verbs)
    data = {"outcomes": [asdict(one) for one in outcomes], "disks": full_disks(given.work)}
    data |= {"stamp": stamp(), "machine": machine(), "n_verbs": len(VERBS)}
    (given.work / "drills.json").write_text(json.dumps(data, indent=1))
    write_drills(data)
    bad = sum(bool(one.faults) for one in outcomes) + sum(bool(faults) for faults in data["disks"].values())
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

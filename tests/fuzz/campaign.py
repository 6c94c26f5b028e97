"""Mutated files, read by a child that may die or hang: `make fuzz`, and a part of it in `make test-slow`.

python tests/fuzz/campaign.py --files 10000 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from corpus import Seed, write_corpus
from mutators import mutated

_START_S, _MOST_S = 120, 20  # until a child is ready, and for one file


class Child:
    """A process that reads files, one after the other."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("child.py"))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        if self._answer(_START_S) != "ready\n":
            raise RuntimeError("the child did not start")

    def read(self, kind: str, path: Path) -> str:
        """What came of a file; ``hung`` and ``died`` end the child."""
        try:
            print(json.dumps([kind, str(path)]), file=self._pipe(self._process.stdin), flush=True)
        except BrokenPipeError:
            return "died"
        answer = self._answer(_MOST_S)
        if answer is None:
            self.stop()
            return "hung"
        return str(json.loads(answer)) if answer else "died"

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        if pipe is None:
            raise RuntimeError("a child without a pipe")
        return pipe

    def _answer(self, seconds: float) -> str | None:
        """A line; empty when the child has ended, None when it says nothing in time."""
        pipe = self._pipe(self._process.stdout)
        with selectors.DefaultSelector() as ready:
            ready.register(pipe, selectors.EVENT_READ)
            return pipe.readline() if ready.select(seconds) else None


@dataclass
class Campaign:
    """What came of many files.

    Args:
        counts: How many were read, refused, and so on.
        found: What must not happen, with the name of the file that is kept.
    """

    counts: Counter[str] = field(default_factory=Counter)
    found: list[dict[str, Any]] = field(default_factory=list)


def run(n_files: int, seed: int, folder: Path, kept: Path | None = None) -> Campaign:
    """Mutate and read files.

    Args:
        n_files: How many, the kinds in turn.
        seed: Of the mutations.
        folder: For the corpus and the mutated files.
        kept: Where files are kept that ended badly.
    """
    rng, seeds, campaign = np.random.default_rng(seed), write_corpus(folder / "corpus"), Campaign()
    child = Child()
    intact = _read_intact(child, seeds)
    campaign.found += intact
    for number in range(n_files):
        path = _written(seeds[number % len(seeds)], folder / "mutated", rng)
        outcome = child.read(seeds[number % len(seeds)].kind, path)
        campaign.counts[outcome if outcome in ("read", "refused", "hung", "died") else "traceback"] += 1
        if outcome not in ("read", "refused"):
            campaign.found.append({"kind": seeds[number % len(seeds)].kind, "file": path.name, "outcome": outcome})
            if kept is not None:
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, kept / f"{number}_{path.name}")
        if outcome in ("hung", "died"):
            child.stop()
            child = Child()
    child.stop()
    return campaign


def _read_intact(child: Child, seeds: Sequence[Seed]) -> list[dict[str, Any]]:
    """Corpus files that are not read: the campaign would mean nothing."""
    outcomes = [(seed, child.read(seed.kind, seed.path)) for seed in seeds]
    return [
        {"kind": seed.kind, "file": f"intact {seed.path.name}", "outcome": outcome}
        for seed, outcome in outcomes
        if outcome != "read"
    ]


def _written(seed: Seed, folder: Path, rng: np.random.Generator) -> Path:
    """The mutated file, with what stands beside it as it was where it needs that."""
    shutil.rmtree(folder, ignore_errors=True)
    if len(list(seed.path.parent.iterdir())) <= 30 and seed.path.parent.name in ("e", "f", "series"):
        shutil.copytree(seed.path.parent, folder)
    else:
        folder.mkdir(parents=True)
    path = folder / seed.path.name
    path.write_bytes(mutated(seed.path.read_bytes(), rng))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path("runs/fuzz"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaign = run(given.files, given.seed, Path(folder), given.kept)
    print(json.dumps({"files": given.files, "seed": given.seed, **campaign.counts}, indent=1))
    for found in campaign.found:
        print(found["kind"], found["file"], found["outcome"].strip().splitlines()[-1], sep=": ")
    sys.exit(bool(campaign.found))


if __name__ == "__main__":
    main()

"""Mutated files, read by a child that may die or hang: `make fuzz`, and a part of it in `make test-slow`.

python tests/fuzz/campaign.py --files 10000 --seed 0
python tests/fuzz/campaign.py --table docs/reliability.md runs/fuzz/*.json
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from corpus import Seed, write_corpus
from mutators import mutated

_START_S, _MOST_S = 600, 20  # until a child is ready, and for one file
_GOOD = ("read", "refused", "stopped")
_ENDS = (*_GOOD, "traceback", "hung", "died", "outside")
_WORDS = {"stopped": "reader stopped", "died": "program died", "outside": "opened others"}
_IN_ANY = 0x100 | 0x20 | 0x200 | 0x2 | 0x40 | 0x80  # created, opened, deleted, written, moved (sys/inotify.h)


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


class Outside:
    """A folder that no file may lead to, with a file that mutated ones name; watched by the kernel, where it can."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "secret.raw").write_bytes(bytes(720))
        self.names = [str(folder / "secret.raw").encode(), b"../outside/secret.raw"]
        self._handle = -1
        if sys.platform == "linux":
            libc = ctypes.CDLL(None)
            self._handle = libc.inotify_init1(os.O_NONBLOCK)
            libc.inotify_add_watch(self._handle, os.fsencode(folder), _IN_ANY)

    def was_touched(self) -> bool:
        """Whether anything was opened, made or removed there since this was last asked."""
        with suppress(OSError):
            return self._handle >= 0 and bool(os.read(self._handle, 65_536))
        return False


@dataclass
class Campaign:
    """What came of many files.

    Args:
        counts: How many were read, refused, and so on, by kind of file.
        found: What must not happen, with the name of the file that is kept.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    found: list[dict[str, Any]] = field(default_factory=list)

    def count(self, seed: Seed, outcome: str, name: str) -> bool:
        """Note what came of a file; whether it may."""
        end = outcome if outcome in _ENDS else "traceback"
        self.counts.setdefault(kind_of(seed), Counter())[end] += 1
        if end not in _GOOD:
            self.found.append({"kind": seed.kind, "file": name, "outcome": outcome})
        return end in _GOOD

    @property
    def totals(self) -> Counter[str]:
        """How many of each outcome, over all kinds."""
        return sum(self.counts.values(), Counter())


def kind_of(seed: Seed) -> str:
    """A kind of file, in words: what it is read as, and its ending."""
    ending = "".join(seed.path.suffixes[-2:] if seed.path.name.endswith((".gz", ".seg.nrrd")) else seed.path.suffixes)
    return f"{seed.kind} {ending or 'DICOM'}"


def run(n_files: int, seed: int, folder: Path, kept: Path | None = None) -> Campaign:
    """Mutate and read files.

    Args:
        n_files: How many, the kinds in turn.
        seed: Of the mutations.
        folder: For the corpus and the mutated files.
        kept: Where files are kept that ended badly.
    """
    rng, seeds, campaign = np.random.default_rng(seed), write_corpus(folder / "corpus"), Campaign()
    child, outside = Child(), Outside(folder / "outside")
    campaign.found += _read_intact(child, seeds)
    for number in range(n_files):
        one = seeds[number % len(seeds)]
        path = _written(one, folder / "mutated", outside.names, rng)
        outcome = child.read(one.kind, path)
        if outcome == "hung":  # on a busy machine any file may take that long: one that hangs does so again
            child = Child()
            outcome = child.read(one.kind, path)
        outcome = "outside" if outside.was_touched() else outcome
        if not campaign.count(one, outcome, f"{number}_{path.name}") and kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kept / f"{seed}_{number}_{path.name}")
        if outcome not in ("read", "refused"):
            print(number, kind_of(one), outcome.strip().splitlines()[-1], flush=True)
        if outcome in ("hung", "died"):
            child.stop()
            child = Child()
    child.stop()
    return campaign


def _read_intact(child: Child, seeds: Sequence[Seed]) -> list[dict[str, Any]]:
    """Corpus files that are not read: the campaign would mean nothing."""
    outcomes = [(seed, child.read(seed.kind, seed.path)) for seed in seeds]  # none of them ends the child
    return [
        {"kind": seed.kind, "file": f"intact {seed.path.name}", "outcome": outcome}
        for seed, outcome in outcomes
        if outcome != "read"
    ]


def _written(seed: Seed, folder: Path, names: Sequence[bytes], rng: np.random.Generator) -> Path:
    """The mutated file, with what stands beside it as it was where it needs that."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for other in seed.path.parent.iterdir() if seed.has_others else ():
        os.link(other, folder / other.name)
    path = folder / seed.path.name
    path.unlink(missing_ok=True)
    path.write_bytes(mutated(seed.path.read_bytes(), rng, names))
    return path


def table(summaries: Iterable[dict[str, Any]]) -> str:
    """What came of campaigns, by kind of file, in Markdown."""
    counts: dict[str, Counter[str]] = {}
    for summary in summaries:
        for kind, found in summary["counts"].items():
            counts[kind] = counts.get(kind, Counter()) + Counter(found)
    counts["**all**"] = sum(counts.values(), Counter())
    rows = [["read as", "files", *(_WORDS.get(end, end) for end in _ENDS)], ["---", *["---:"] * (len(_ENDS) + 1)]]
    rows += [[kind, f"{of.total():,}", *(f"{of[end]:,}" for end in _ENDS)] for kind, of in counts.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_table(page: Path, summaries: Sequence[Path]) -> None:
    """Put the table into a page, between its marks."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    from marked import write_section

    write_section(page, "fuzz", table(json.loads(path.read_text(encoding="utf-8")) for path in summaries))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--table", type=Path, help="page that gets the table of the summaries")
    parser.add_argument("summaries", type=Path, nargs="*")
    given = parser.parse_args()
    if given.table:
        write_table(given.table, given.summaries)
        return
    with tempfile.TemporaryDirectory() as folder:
        campaign = run(given.files, given.seed, Path(folder), given.kept)
    summary = {"files": given.files, "seed": given.seed, "counts": campaign.counts, "found": campaign.found}
    given.kept.mkdir(parents=True, exist_ok=True)
    (given.kept / f"{given.seed}.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    print(json.dumps(campaign.totals))
    for found in campaign.found:
        print(found["kind"], found["file"], found["outcome"].strip().splitlines()[-1], sep=": ")
    sys.exit(bool(campaign.found))


if __name__ == "__main__":
    main()

"""Folders that others meddle with, and workers that die: the outcome is that of an undisturbed run, or an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from fingerprints import differing, fingerprints
from kills import Outcome, Reference, fresh, gone_on
from runs import Ended, Started
from verbs import Verb

_UNDER_WAY = (0.3, 0.7)  # share of the undisturbed time at which a drill begins
Disturb = Callable[[Started, Path], None]


def vanishing(verb: Verb, reference: Reference, world: Path, folder: Path, *, rng: np.random.Generator) -> Outcome:
    """The output folder is removed under way."""
    return _disturbed(verb, "OUT vanishes", reference, world, folder, lambda _, out: shutil.rmtree(out), rng=rng)


def dead_worker(verb: Verb, reference: Reference, world: Path, folder: Path, *, rng: np.random.Generator) -> Outcome:
    """One worker is killed under way."""

    def kill_one(started: Started, _: Path) -> None:
        workers = started.workers()
        if workers:
            workers[int(rng.integers(len(workers)))].kill()

    return _disturbed(verb, "a dead worker", reference, world, folder, kill_one, rng=rng)


def _disturbed(
    verb: Verb,
    drill: str,
    reference: Reference,
    world: Path,
    folder: Path,
    disturb: Disturb,
    *,
    rng: np.random.Generator,
) -> Outcome:
    out = fresh(folder)
    started = Started(verb.arguments(str(out)), world, folder / "tmp", folder / "said.txt")
    share = float(rng.uniform(*_UNDER_WAY))
    time.sleep(share * reference.seconds)
    if started.process.poll() is None:
        disturb(started, out)
    ended = started.end()
    out.mkdir(exist_ok=True)
    faults = [*_bad_words(ended), *gone_on(verb, world, folder, reference)]
    return Outcome(verb.name, drill, tuple(faults), ended.orphans, share, ended.said if faults else "")


def _bad_words(ended: Ended) -> list[str]:
    """An exit code that says nothing, a traceback, an error without words."""
    faults = ["a traceback"] if "Traceback" in ended.said else []
    if ended.code not in (0, 1):
        faults.append(f"exit code {ended.code}")
    if ended.code == 1 and "error" not in ended.said:
        faults.append("no word of an error")
    return [*faults, *([f"{ended.orphans} orphans ({ended.who})"] if ended.orphans else [])]


def two_runs(verb: Verb, reference: Reference, world: Path, folder: Path, *, rng: np.random.Generator) -> Outcome:
    """Two runs write into one folder: both as undisturbed, or one is refused."""
    out = fresh(folder)
    runs = []
    for number in range(2):
        runs.append(Started(verb.arguments(str(out)), world, folder / "tmp", folder / f"said{number}.txt"))
        time.sleep(float(rng.uniform(0.0, 0.5)))
    ends = [run.end() for run in runs]
    faults = [fault for ended in ends for fault in _bad_words(ended)]
    if all(ended.code for ended in ends):
        faults.append("neither ended well")
    found = fingerprints(out)
    faults += [f"other: {name}" for name in differing(found, reference.files)]
    faults += [f"missing: {name}" for name in sorted(reference.files.keys() - found.keys())]
    said = "\n".join(ended.said for ended in ends) if faults else ""
    return Outcome(verb.name, "two runs into one OUT", tuple(faults), sum(ended.orphans for ended in ends), said=said)


def read_only(verb: Verb, world: Path, folder: Path) -> Outcome | None:
    """The output folder may not be written to; None where that cannot be arranged."""
    out = fresh(folder)
    try:
        with _read_only(out):
            ended = Started(verb.arguments(str(out)), world, folder / "tmp", folder / "said.txt").end()
            left = sorted(fingerprints(out))
    except (OSError, subprocess.CalledProcessError):
        return None
    faults = [*_bad_words(ended), *([] if ended.code else ["no error"]), *(f"left: {name}" for name in left)]
    return Outcome(verb.name, "read-only OUT", tuple(faults), ended.orphans, said=ended.said if faults else "")


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """By permissions; root, whom they do not bind, mounts it."""
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "lpm-drill", folder]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: S607

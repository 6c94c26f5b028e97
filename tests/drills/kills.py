"""Verbs that are stopped at some moment: nothing half-written, nothing lost, nobody left; the rest is done again."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fingerprints import differing, fingerprints
from runs import Ended, Started, lpm
from verbs import Verb

HOWS = ("kill -9", "SIGTERM", "Ctrl-C")
_CODES = {"kill -9": (-9,), "SIGTERM": (143,), "Ctrl-C": (130,)}
_LATEST = 0.97  # share of the undisturbed time
_TRIES = 4  # until a kill meets a process that still runs


@dataclass(frozen=True)
class Reference:
    """An undisturbed run.

    Args:
        files: Fingerprints of what it wrote.
        seconds: How long it took.
        folder: Where it wrote.
    """

    files: dict[str, str]
    seconds: float
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What came of a drill.

    Args:
        verb: Name of the verb.
        drill: What was done to it.
        faults: What must not be; empty if all is well.
        orphans: Processes that ran on after 2 s.
        share: When it was stopped, as a share of the undisturbed time.
        said: What it said, if something was wrong.
    """

    verb: str
    drill: str
    faults: tuple[str, ...] = ()
    orphans: int = 0
    share: float = float("nan")
    said: str = ""


def undisturbed(verb: Verb, world: Path, folder: Path) -> Reference:
    """Run a verb as it is meant.

    Raises:
        RuntimeError: It failed.
    """
    out = fresh(folder)
    ended = Started(verb.arguments(str(out)), world, folder / "tmp", folder / "said.txt").end()
    if ended.code:
        raise RuntimeError(f"{verb.name}: {ended.said}")
    return Reference(fingerprints(out), ended.seconds, out)


def fresh(folder: Path) -> Path:
    """An empty output folder, beside a folder of temporary files."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    (folder / "tmp").mkdir()
    return folder / "out"


def killed(
    verb: Verb, how: str, reference: Reference, world: Path, folder: Path, *, rng: np.random.Generator
) -> Outcome:
    """Stop a verb at some moment, look at what is left, and let it go on."""
    for attempt in range(_TRIES):
        share = float(rng.uniform(0.0, _LATEST)) / 2**attempt  # the undisturbed run may have been a slow one
        out = fresh(folder)
        if verb.replaces and rng.random() < 0.5:
            shutil.copytree(reference.folder, out, dirs_exist_ok=True)
        before = fingerprints(out)
        started = Started(verb.arguments(str(out)), world, folder / "tmp", folder / "said.txt")
        started.wait_until_heard()
        _sleep(started, share * reference.seconds)
        if started.process.poll() is None:
            started.stop(how)
            break
        started.end()
    else:
        raise RuntimeError(f"{verb.name} ends before it can be stopped")
    ended = started.end()
    faults = [*_bad_end(ended, how), *_bad_files(verb, out, before, reference)]
    faults += gone_on(verb, world, folder, reference)
    drill = how + (", over an earlier result" if before else "")
    return Outcome(verb.name, drill, tuple(faults), ended.orphans, share, ended.said if faults else "")


def _sleep(started: Started, seconds: float) -> None:
    until = time.monotonic() + seconds
    while started.process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


def _bad_end(ended: Ended, how: str) -> list[str]:
    faults = ["a traceback"] if "Traceback" in ended.said else []
    if ended.code not in (0, *_CODES[how]):
        faults.append(f"exit code {ended.code}")
    if ended.orphans:
        faults.append(f"{ended.orphans} orphans ({ended.who})")
    return faults


def _bad_files(verb: Verb, out: Path, before: dict[str, str], reference: Reference) -> list[str]:
    """Half-written files under a final name, and lost ones."""
    found = fingerprints(out)
    seen = {name: value for name, value in found.items() if not _is_hidden(name)}
    half = differing(seen, reference.files, verb.growing)
    lost = sorted(before.keys() - found.keys())
    return [f"half-written: {name}" for name in half] + [f"lost: {name}" for name in lost]


def gone_on(verb: Verb, world: Path, folder: Path, reference: Reference) -> list[str]:
    """Run a verb again over what is left of it; what is not as if undisturbed."""
    out = folder / "out"
    if fingerprints(out) != reference.files:
        again = lpm(verb.arguments(str(out), again=True), world, folder / "tmp")
        if again.returncode:
            return [f"again: exit code {again.returncode}: {again.stderr[-300:]}"]
    found = fingerprints(out)
    faults = [f"again, other: {name}" for name in differing(found, reference.files)]
    faults += [f"again, missing: {name}" for name in sorted(reference.files.keys() - found.keys())]
    left = [path.name for path in (folder / "tmp").iterdir() if path.name.startswith("lpm-")]
    return faults + [f"again, left in the temporary folder: {name}" for name in left]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)

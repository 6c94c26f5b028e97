"""A viewer under many clients, who move sliders, fit, mean harm and leave; or one fit beside hostile uploads.

    python benchmarks/viewer_soak.py soak --clients 30 --minutes 10 --out soak.json
    python benchmarks/viewer_soak.py hostile --out hostile.json

`soak` samples the memory of the server and its helpers every five seconds: its last fifth must lie within 10 % of its
second, and no temporary file may be left. `hostile` compares the time of a fit beside each hostile upload, sent again
and again, with that of a fit alone. Each writes a section of docs/reliability.md, and OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import lpm
from cells import Json, bars, stamp, stamped
from cells import machine as in_words
from lpm.files.atomic import write_text
from lpm.geometry.meshes import sample_surface
from marked import write_section
from processes import machine
from reliability import PAGE

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "apps" / "viewer"))
from hostile import hostile_uploads  # noqa: E402
from visitor import Visitor  # noqa: E402

SAMPLED_S = 5.0
N_ALONE = 3  # fits
GROWN, SLOWER = 0.10, 1.3  # the bars
_KEPT_MESSAGES = 3000  # of a client of ours: older ones are forgotten


@dataclass
class Load:
    """What clients send, what they did, and the memory that it took.

    Args:
        good: Points to fit.
        bad: Hostile uploads.
        counts: Moves, fits, uploads, visits, errors.
        memory_mb: Of the server and its helpers, over time.
        server_mb: Of the server alone.
        processes: How many these were.
    """

    good: bytes
    bad: list[Any]
    counts: Counter[str] = field(default_factory=Counter)
    memory_mb: list[float] = field(default_factory=list)
    server_mb: list[float] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)


@contextmanager
def served(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """`lpm view`, whose temporary files lie in a folder: its process and port."""
    command = [sys.executable, "-m", "lpm.apps.cli", "view", "--no-browser", "--no-token", "--port", "0"]
    command += ["--max-upload-mb", "20"]
    environment = os.environ | {"COLUMNS": "500", "TMPDIR": str(folder)}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    said: Any = server.stderr
    found = next(match for line in said if (match := re.search(r"http://[^:]+:(\d+)", line)))
    threading.Thread(target=said.read, daemon=True).start()
    try:
        yield psutil.Process(server.pid), int(found[1])
    finally:
        server.terminate()
        server.wait(60)


def points_csv() -> bytes:
    """Points on lungs that the model knows."""
    rng = np.random.default_rng(1)
    lungs = lpm.load().shape([1.0, -0.5], spacing_mm=8.0)
    points = np.concatenate([sample_surface(mesh, 500, rng=rng).points for mesh in lungs.values()])
    return ("x,y,z\n" + "\n".join(f"{x:.2f},{y:.2f},{z:.2f}" for x, y, z in points)).encode()


# --- Many clients ----------------------------------------------------------------------------------------------------


def soak(n_clients: int, minutes: float) -> dict[str, Any]:
    """Let clients come, move, send and go for a while; see the module."""
    load = Load(points_csv(), list(hostile_uploads().values()))
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as (server, port):
        until = time.monotonic() + 60.0 * minutes
        clients = [
            threading.Thread(target=_visits, args=(port, np.random.default_rng(n), until, load), daemon=True)
            for n in range(n_clients)
        ]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients) and time.monotonic() < until + 180.0:
            _sample(server, load)
            time.sleep(SAMPLED_S)
        left = _left_after(Path(name))
    return _summary(load, left)


def _visits(port: int, rng: np.random.Generator, until: float, load: Load) -> None:
    while time.monotonic() < until:
        load.counts["visits"] += 1
        try:
            with Visitor(port) as visitor:
                for _ in range(rng.integers(5, 60)):
                    if time.monotonic() > until:
                        break
                    _act(visitor, rng, load)
                    time.sleep(rng.exponential(1.0))
        except Exception as error:  # the soak goes on, and tells
            load.counts[f"error: {type(error).__name__}: {str(error)[:80]}"] += 1


def _act(visitor: Visitor, rng: np.random.Generator, load: Load) -> None:
    drawn, good, bad = rng.random(), load.good, load.bad
    if drawn < 0.85:
        visitor.set(f"beta {rng.integers(1, 5)}", float(rng.uniform(-2.0, 2.0)))
        load.counts["moves"] += 1
    elif drawn < 0.92:
        visitor.upload("Surface points", "points.csv", good)
        load.counts["fits asked for"] += 1
    elif drawn < 0.97:
        each = bad[rng.integers(len(bad))]
        visitor.upload(each.button, each.name, each.content)
        load.counts["hostile uploads"] += 1
    elif drawn < 0.985:
        visitor.set("Stop", value=True)
        load.counts["stops"] += 1
    else:
        visitor.upload("Surface points", "cut.csv", good, claimed=10 * len(good))  # the rest never comes
        load.counts["uploads cut off"] += 1
    with visitor._news:
        visitor.told = [each for each in visitor.told if "uuid" in each][-_KEPT_MESSAGES:]


def _sample(server: psutil.Process, load: Load) -> None:
    own = [server, *server.children(recursive=True)]
    sizes = []
    for each in own:
        with suppress(psutil.Error):
            sizes.append(each.memory_full_info().uss / 1024**2)
    load.memory_mb.append(sum(sizes))
    load.server_mb.append(sizes[0])
    load.processes.append(len(own))


def _left_after(folder: Path, patience_s: float = 60.0) -> list[str]:
    """Temporary files, once those who left are noticed."""
    until = time.monotonic() + patience_s
    while (left := sorted(path.name for path in folder.iterdir())) and time.monotonic() < until:
        time.sleep(0.5)
    return left


def _summary(load: Load, left: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"counts": dict(load.counts), "most_processes": max(load.processes), "left": left}
    for name, series in (("all", load.memory_mb), ("server", load.server_mb)):
        fifths = [float(np.median(part)) for part in np.array_split(series, 5)]
        found[name] = {"fifths_mb": fifths, "most_mb": max(series), "growth": fifths[-1] / fifths[1] - 1.0}
    return found


# --- One fit beside hostile uploads ----------------------------------------------------------------------------------


def hostile() -> dict[str, Any]:
    """Times of a fit alone and beside each hostile upload, s."""
    good = points_csv()
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as (_, port):
        alone = float(np.median([_seconds_of_fit(port, good) for _ in range(N_ALONE + 1)][1:]))
        beside = {}
        for what, each in hostile_uploads().items():
            with _again_and_again(port, each):
                beside[what] = float(np.median([_seconds_of_fit(port, good) for _ in range(N_ALONE)]))
        alone = min(alone, float(np.median([_seconds_of_fit(port, good) for _ in range(N_ALONE)])))
        left = _left_after(Path(name))
    return {"alone_s": alone, "beside_s": beside, "most": max(beside.values()) / alone, "left": left}


def _seconds_of_fit(port: int, points: bytes) -> float:
    with Visitor(port) as visitor:
        visitor.heard("total volume")
        started = time.perf_counter()
        visitor.upload("Surface points", "points.csv", points)
        visitor.heard("1000 surface points: done")
        return time.perf_counter() - started


@contextmanager
def _again_and_again(port: int, each: Any) -> Iterator[None]:
    over = threading.Event()

    def send() -> None:
        with Visitor(port) as visitor:
            n = 0
            while not over.is_set():
                n += 1
                name = f"{n}_{each.name}"
                visitor.upload(each.button, name, each.content)
                with suppress(TimeoutError):
                    visitor.wait_for(lambda name=name: _ended(visitor, name))  # type: ignore[misc]

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    yield
    over.set()
    sender.join()


def _ended(visitor: Visitor, name: str) -> bool:
    """Whether the client was told what came of a file."""
    return any(name in said and ('class="bad"' in said or "<" not in said) for said in visitor.texts())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("soak", "hostile"))
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result = hostile() if given.what == "hostile" else soak(given.clients, given.minutes)
    result |= {"machine": machine(), "stamp": stamp(), "clients": given.clients, "minutes": given.minutes}
    write_text(given.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    told = hostile_section(result) if given.what == "hostile" else soak_section(result)
    write_section(PAGE, given.what, f"{told}\n{in_words(result)} {stamped(result)}")


def soak_section(found: Json) -> str:
    counts = found["counts"]
    errors = sum(n for what, n in counts.items() if what.startswith("error"))
    rows = [
        (
            f"memory of {what}: last fifth of the time against the second",
            f"within {GROWN:.0%}",
            f"{one['growth']:+.1%} ({one['fifths_mb'][1]:.0f} MB, {one['fifths_mb'][-1]:.0f} MB)",
            abs(one["growth"]) <= GROWN,
        )
        for what, one in (("the server and its helpers", found["all"]), ("the server alone", found["server"]))
    ]
    rows += [
        ("temporary files left", "0", str(len(found["left"])), not found["left"]),
        ("visits that ended in an error", "0", str(errors), errors == 0),
    ]
    did = ", ".join(f"{n:,} {what}" for what, n in counts.items() if not what.startswith("error"))
    return f"{found['clients']} clients for {found['minutes']:g} minutes: {did}.\n\n{bars(rows)}"


def hostile_section(found: Json) -> str:
    most, slowest = found["most"], max(found["beside_s"], key=found["beside_s"].get)
    rows = [
        (
            f"a fit beside {len(found['beside_s'])} kinds of hostile uploads, each again and again: times as long",
            f"<= {SLOWER}",
            f"{most:.2f} at most ({found['alone_s']:.1f} s alone; {found['beside_s'][slowest]:.1f} s beside {slowest})",
            most <= SLOWER,
        ),
        ("temporary files left", "0", str(len(found["left"])), not found["left"]),
    ]
    return bars(rows)


if __name__ == "__main__":
    main()

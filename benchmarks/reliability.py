"""docs/reliability.md: sections that commands write, each between its marks, with the commit and the date."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from textwrap import fill
from typing import Any

from cells import Json, bars, machine, stamped
from lpm.evaluation.tables import markdown
from marked import write_section

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
_DRILLS = ("kill -9", "SIGTERM", "Ctrl-C", "OUT vanishes", "read-only OUT", "two runs into one OUT", "a dead worker")
_ENDS = {  # what faults are called, and in words
    "half-written": "half-written under a final name",
    "lost": "an earlier result lost",
    "orphans": "orphans after 2 s",
    "again": "not as undisturbed when run again",
}


def write_drills(data: Json) -> None:
    """The sections of the fault drills."""
    outcomes, disks = data["outcomes"], data["disks"]
    kills = [one for one in outcomes if _kind(one) in _DRILLS[:3]]
    drilled = len({one["verb"] for one in outcomes})
    verbs = f"{drilled} commands" if drilled == data["n_verbs"] else f"{drilled} of {data['n_verbs']} commands"
    rows = [(f"{len(kills)} kills over {verbs}: {words}", "0", *_met(kills, what)) for what, words in _ENDS.items()]
    others = [one for one in outcomes if one not in kills]
    rows.append((f"{len(others)} other drills: neither as undisturbed nor an error in words", "0", *_met(others, "")))
    bad = sum(bool(faults) for faults in disks.values())
    rows.append((f"disk full at 20 sizes, {len(disks)} writers: no error, or a file", "0", str(bad), bad == 0))
    parts = [bars(rows), _by_verb(outcomes), fill(f"Writers: {', '.join(disks)}.", 118), *_failures(outcomes, disks)]
    write_section(PAGE, "drills", "\n\n".join([*parts, f"{machine(data)} {stamped(data)}"]))


def _met(outcomes: list[Json], what: str) -> tuple[str, bool]:
    n = sum(any(what in fault for fault in one["faults"]) for one in outcomes)
    return str(n), n == 0


def _kind(one: Json) -> str:
    return str(one["drill"]).partition(",")[0]


def _by_verb(outcomes: list[Json]) -> str:
    """How many drills of each kind a verb passed, of how many."""
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for one in outcomes:
        found[one["verb"]][_kind(one)].append(not one["faults"])
    rows: list[list[Any]] = [
        [verb, *(f"{sum(kinds[kind])} of {len(kinds[kind])}" if kinds[kind] else "" for kind in _DRILLS)]
        for verb, kinds in found.items()
    ]
    return markdown(["command", *_DRILLS], rows)


def _failures(outcomes: list[Json], disks: dict[str, list[str]]) -> list[str]:
    lines = [f"- {one['verb']}, {one['drill']}: {'; '.join(one['faults'])[:300]}" for one in outcomes if one["faults"]]
    lines += [f"- full disk, {name}: {faults[0]}" for name, faults in disks.items() if faults]
    return ["What failed:\n\n" + "\n".join(lines)] if lines else []

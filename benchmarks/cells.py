"""What the sections of docs/benchmarks.md share: the table of aims, intervals, the machine, the stamp."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lpm.evaluation.tables import markdown

Json = dict[str, Any]


def bars(rows: Sequence[tuple[str, str, str, bool | None]]) -> str:
    """What was aimed at, what was measured; None is neither met nor missed, for nothing was measured."""
    words = {True: "met", False: "missed", None: ""}
    return markdown(["aim", "bar", "measured", ""], [[a, b, c, words[met]] for a, b, c, met in rows])


def machine(data: Json) -> str:
    """The machine that a step ran on, in words."""
    m = data["machine"]
    return f"{m['cores']} cores, {m['memory_gib']} GiB, Python {m['python']}."


def mean_interval(values: Sequence[float], digits: int = 2) -> str:
    """Mean and its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (2000, len(values))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{np.mean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def stamp() -> Json:
    """Commit of the code that measures, marked if files differ from it, and the date."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    commit = subprocess.check_output([*git, "rev-parse", "--short=10", "HEAD"], text=True).strip()
    changed = subprocess.check_output([*git, "status", "--porcelain", "--untracked-files=no"], text=True).strip()
    return {"commit": commit + (" with changes" if changed else ""), "date": f"{datetime.now(UTC):%Y-%m-%d}"}


def stamped(data: Json) -> str:
    """When and from which code a step was measured, as the last line of its section."""
    if "stamp" not in data:
        return "Measured before stamps were kept."
    return f"Measured on {data['stamp']['date']} at commit {data['stamp']['commit']}."

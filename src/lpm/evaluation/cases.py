"""Results of an evaluation, one for each method and subject: their summary over subjects, and their files."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from lpm.evaluation.metrics import summarise_rows
from lpm.evaluation.tables import NamedTable, Summaries, markdown
from lpm.files.atomic import atomic_file, write_text
from lpm.geometry.meshes import WorldMesh

Meshes = Mapping[str, WorldMesh]
MODEL = "LPM"


class CaseScores(Protocol):
    """Numbers of one reconstruction beside the true lungs."""

    @property
    def assd_mm(self) -> float | None:
        """Average symmetric surface distance; None of a method that gives no surface."""
        ...

    def flat(self) -> dict[str, float | None]:
        """Every number by name, as means are taken of them; None where there is none."""
        ...


S = TypeVar("S", bound=CaseScores)


@dataclass(frozen=True)
class CaseResult(Generic[S]):
    """Result of one method on one subject.

    Args:
        subject: Its name.
        method: ``LPM`` or a baseline's name.
        scores: None if the method failed.
        seconds: Seconds from the evidence to meshes.
        meshes: The reconstruction, RAS mm; empty if the method failed or gives none.
        notes: Notes: how the fit ended and what it doubts, or why the method failed.
    """

    subject: str
    method: str
    scores: S | None
    seconds: float
    meshes: Meshes
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name of the method in tables."""
        return self.method

    def row(self) -> dict[str, Any]:
        """A line of ``scores.csv``."""
        head = {"subject": self.subject, "method": self.method, "seconds": round(self.seconds, 3)}
        return head | {"note": "; ".join(self.notes)} | (self.scores.flat() if self.scores else {})


R = TypeVar("R", bound=CaseResult[Any])


def summaries(results: Sequence[CaseResult[Any]], *, rng: np.random.Generator, p95: Collection[str] = ()) -> Summaries:
    """Mean, median and interval of the mean of every number, by method; methods that always failed are left out.

    Args:
        results: Results of all methods and subjects.
        rng: Source of the bootstrap's resampling.
        p95: Numbers of which the 95th percentile is wanted as well, as ``p95``.
    """
    found = {}
    for label in dict.fromkeys(result.label for result in results):
        rows = [result.scores.flat() for result in results if result.label == label and result.scores]
        if rows:
            found[label] = summarise_rows(rows, rng=rng)
            for name in p95:
                found[label][name]["p95"] = float(np.percentile([row[name] or 0.0 for row in rows], 95))
    return found


def best_median_worst(results: Sequence[R]) -> dict[str, R]:
    """Three of the results by their average surface distance; none where all failed."""
    done = sorted((result for result in results if result.scores), key=_assd_mm)
    return {"best": done[0], "median": done[len(done) // 2], "worst": done[-1]} if done else {}


def _assd_mm(result: CaseResult[Any]) -> float:
    return (result.scores and result.scores.assd_mm) or 0.0


def write_results(
    out: Path, results: Sequence[CaseResult[Any]], summary: Mapping[str, Any], tables: Sequence[NamedTable]
) -> None:
    """Write ``scores.csv``, ``summary.json`` and ``tables.md``.

    Args:
        out: Folder.
        results: A line of ``scores.csv`` each.
        summary: Summary: what was evaluated and how, and the summary of each method.
        tables: Tables in reading order.

    Raises:
        FileError: The disk refuses.
    """
    _write_csv(out / "scores.csv", [result.row() for result in results])
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "tables.md", "\n".join(f"{caption}\n\n{markdown(*table)}" for caption, table in tables))


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)

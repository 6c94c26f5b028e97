"""Lungs from radiographs as tables: methods side by side, each subject."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lpm.evaluation.metrics import summarise_rows
from lpm.evaluation.tables import Summaries, TableRows
from lpm.evaluation.xrays import MODEL, XrayResult

METHOD_CAPTION = (
    "Methods side by side: mean [95 % interval of the mean] over subjects, after a translation and no more; errors of "
    "volume and size are relative and without sign"
)
_COLUMNS = {
    "Dice": ("dice", "{:.3f}"),
    "ASSD mm": ("assd_mm", "{:.1f}"),
    "HD95 mm": ("hd95_mm", "{:.1f}"),
    "volume error": ("volume", "{:.1%}"),
    "width": ("width", "{:.1%}"),
    "depth": ("depth", "{:.1%}"),
    "height": ("height", "{:.1%}"),
}


def summaries(results: Sequence[XrayResult], *, rng: np.random.Generator) -> Summaries:
    """Mean, median, interval of the mean of every number, by method; of the volume's error also its 95th percentile."""
    found = {}
    for label in dict.fromkeys(result.label for result in results):
        rows = [result.scores.flat() for result in results if result.label == label and result.scores]
        if rows:
            found[label] = summarise_rows(rows, rng=rng)
            found[label]["volume"]["p95"] = float(np.percentile([row["volume"] or 0.0 for row in rows], 95))
    return found


def method_table(results: Sequence[XrayResult], by_method: Summaries) -> TableRows:
    """One row a method."""
    header = ["method", "cases", *_COLUMNS, "95 % of volume errors below", "interval's width", "holds", "seconds"]
    rows = []
    for label, summary in by_method.items():
        own = [result for result in results if result.label == label]
        n_done = sum(result.scores is not None for result in own)
        cells = [_interval(summary.get(key), form) for key, form in _COLUMNS.values()]
        holds = f"{summary['holds']['mean']:.0%}" if "holds" in summary else "-"
        width = f"{summary['interval']['mean']:.0%}" if "interval" in summary else "-"
        seconds = f"{np.median([result.seconds for result in own]):.1f}"
        rows.append([label, f"{n_done}/{len(own)}", *cells, f"{summary['volume']['p95']:.1%}", width, holds, seconds])
    return header, rows


def _interval(summary: dict[str, float] | None, form: str) -> str:
    if summary is None:
        return "-"
    low, high = form.format(summary["low"]), form.format(summary["high"])
    return f"{form.format(summary['mean'])} [{low}, {high}]"


def case_table(results: Sequence[XrayResult]) -> TableRows:
    """One row a subject and view count: what the model scored."""
    header = ["subject", "views", "Dice", "ASSD mm", "HD95 mm", "volume", "depth", "interval ml", "holds", "notes"]
    own = [result for result in results if result.method == MODEL]
    rows = [[each.subject, each.views, *_case_cells(each), "; ".join(each.notes) or "-"] for each in own]
    return header, rows


def _case_cells(result: XrayResult) -> list[str]:
    scores = result.scores
    if scores is None or scores.interval_ml is None:
        return ["-"] * 7
    low, high = scores.interval_ml
    numbers = [f"{scores.dice:.3f}", f"{scores.assd_mm:.1f}", f"{scores.hd95_mm:.1f}"]
    signed = [f"{scores.volume:+.1%}", f"{scores.depth:+.1%}"]
    return [*numbers, *signed, f"{low:.0f} to {high:.0f}", "yes" if scores.holds else "no"]

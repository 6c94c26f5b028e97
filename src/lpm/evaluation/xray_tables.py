"""Tables of `lpm evaluate-xray`: methods side by side, each subject."""

from __future__ import annotations

from collections.abc import Sequence

from lpm.evaluation.cases import MODEL
from lpm.evaluation.tables import MethodTable, NamedTable, Summaries, TableRows
from lpm.evaluation.xrays import XrayResult

METHODS = MethodTable(
    "Methods side by side: mean [95 % interval of the mean] over subjects, after a translation and no more; errors of "
    "volume and size are relative and without sign",
    {
        "Dice": ("dice", "{:.3f}"),
        "ASSD mm": ("assd_mm", "{:.1f}"),
        "HD95 mm": ("hd95_mm", "{:.1f}"),
        "volume error": ("volume", "{:.1%}"),
        "width": ("width", "{:.1%}"),
        "depth": ("depth", "{:.1%}"),
        "height": ("height", "{:.1%}"),
    },
    {
        "95 % of volume errors below": lambda _, summary: f"{summary['volume']['p95']:.1%}",
        "interval's width": lambda _, summary: f"{summary['interval']['mean']:.0%}" if "interval" in summary else "-",
        "holds": lambda _, summary: f"{summary['holds']['mean']:.0%}" if "holds" in summary else "-",
    },
)


def tables_of(results: Sequence[XrayResult], by_method: Summaries) -> list[NamedTable]:
    """All tables, each with its caption, in reading order."""
    methods = (METHODS.caption, METHODS.rows(results, by_method))
    return [methods, ("Each subject", case_table(results))]


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

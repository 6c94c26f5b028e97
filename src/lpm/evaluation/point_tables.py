"""Tables of `lpm evaluate`: methods side by side, the paper's numbers beside their floor, each subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lpm.evaluation.cases import MODEL, CaseResult
from lpm.evaluation.evaluate import PointsResult
from lpm.evaluation.tables import MethodTable, NamedTable, Summaries, Summary, TableRows

PAPER_NUMBERS = (("0.7047", "not given", "0.016"), ("0.8235", "not given", "0.015"))
PAPER_CAPTION = (
    "The paper's numbers: F-score at 0.02 and unsquared Chamfer distance in a [-1, 1] cube that holds both lungs, "
    "beside the sampling floor (two samplings of the true surface against each other)"
)


def _whole(results: Sequence[CaseResult[Any]], _: Summary) -> str:
    """How many reconstructions are closed, each structure in one piece."""
    parts = [result.scores.structures.values() if result.scores else [] for result in results]
    whole = [bool(each) and all(part.is_closed and part.n_pieces == 1 for part in each) for each in parts]
    return f"{sum(whole)}/{len(results)}"


METHODS = MethodTable(
    "Methods side by side: mean [95 % interval] over subjects, point to triangle, mm",
    {
        "ASSD mm": ("assd_mm", "{:.2f}"),
        "HD95 mm": ("hd95_mm", "{:.2f}"),
        "within 2 mm %": ("within_2mm", "{:.1%}"),
        "Dice": ("dice", "{:.3f}"),
        "volume error %": ("volume_error_percent", "{:+.1f}"),
        "normals": ("normal_consistency", "{:.3f}"),
        "overlap ml": ("overlap_ml", "{:.2f}"),
    },
    {"closed, one piece each": _whole},
)


def tables_of(results: Sequence[PointsResult], by_method: Summaries) -> list[NamedTable]:
    """All tables, each with its caption, in reading order."""
    methods = (METHODS.caption, METHODS.rows(results, by_method))
    return [methods, (PAPER_CAPTION, paper_table(results)), ("Each subject", case_table(results))]


def paper_table(results: Sequence[PointsResult]) -> TableRows:
    """F-score and Chamfer distance as in the paper, each beside its sampling floor."""
    header = ["points a side", "F-score", "floor", "Chamfer", "floor", "Chamfer squared (eq. 7)", "floor"]
    own = [result for result in results if result.method == MODEL and result.paper]
    rows = []
    for n_points in own[0].paper if own else ():
        pairs = [result.paper[n_points] for result in own]
        cells = [
            f"{np.mean([getattr(pair[side], key) for pair in pairs]):{form}}"
            for key, form in (("unit_f_score", ".4f"), ("unit_chamfer", ".4f"), ("unit_chamfer_squared", ".6f"))
            for side in (0, 1)
        ]
        rows.append([f"{n_points:,}", *cells])
    rows += [["the paper", *numbers, "not given", "-", "-"] for numbers in PAPER_NUMBERS]
    return header, rows


def case_table(results: Sequence[PointsResult]) -> TableRows:
    """One row a subject: what the model scored, and how its fit ended."""
    header = ["subject", "ASSD mm", "HD95 mm", "Dice", "volume error %", "pieces", "evaluated", "seconds", "fit"]
    rows = []
    for result in (r for r in results if r.method == MODEL):
        note = "; ".join(result.notes)
        if result.scores is None:
            rows.append([result.subject, *["-"] * 7, note])
            continue
        s, share = result.scores, result.evaluated_share or 0.0
        dice = "-" if s.dice is None else f"{s.dice:.3f}"
        error = "-" if s.volume_error_percent is None else f"{s.volume_error_percent:+.1f}"
        numbers = [f"{s.assd_mm:.2f}", f"{s.hd95_mm:.2f}", dice, error, str(s.n_pieces), f"{share:.1%}"]
        rows.append([result.subject, *numbers, f"{result.seconds:.1f}", note])
    return header, rows

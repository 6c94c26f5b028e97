"""Results as tables: methods side by side, the paper's numbers beside their floor, each case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lpm.evaluation.evaluate import MODEL, CaseResult
from lpm.evaluation.metrics import summarise

TableRows = tuple[list[str], list[list[str]]]
Summaries = dict[str, dict[str, dict[str, float]]]

PAPER_NUMBERS = (("0.7047", "not given", "0.016"), ("0.8235", "not given", "0.015"))
METHOD_CAPTION = "Methods side by side: mean [95 % interval] over subjects, point to triangle, mm"
PAPER_CAPTION = (
    "The paper's numbers: F-score at 0.02 and unsquared Chamfer distance in a [-1, 1] cube that holds both lungs, "
    "beside the sampling floor (two samplings of the true surface against each other)"
)
_COLUMNS = {
    "ASSD mm": ("assd_mm", "{:.2f}"),
    "HD95 mm": ("hd95_mm", "{:.2f}"),
    "within 2 mm %": ("within_2mm", "{:.1%}"),
    "Dice": ("dice", "{:.3f}"),
    "volume error %": ("volume_error_percent", "{:+.1f}"),
    "normals": ("normal_consistency", "{:.3f}"),
    "overlap ml": ("overlap_ml", "{:.2f}"),
}


def summaries(results: Sequence[CaseResult], *, rng: np.random.Generator) -> Summaries:
    """Mean, median and bootstrap interval of every number, by method; methods that always failed are left out."""
    methods = list(dict.fromkeys(result.method for result in results))
    scores = {name: [r.scores for r in results if r.method == name and r.scores] for name in methods}
    return {name: summarise(records, rng=rng) for name, records in scores.items() if records}


def method_table(results: Sequence[CaseResult], by_method: Summaries) -> TableRows:
    """One row a method."""
    header = ["method", "cases", *_COLUMNS, "closed, one piece each", "seconds"]
    rows = []
    for name, summary in by_method.items():
        own = [r for r in results if r.method == name]
        whole = sum(_is_whole(result) for result in own)
        cells = [_interval(summary.get(key), form) for key, form in _COLUMNS.values()]
        seconds = float(np.median([result.seconds for result in own]))
        n_done = sum(result.scores is not None for result in own)
        rows.append([name, f"{n_done}/{len(own)}", *cells, f"{whole}/{len(own)}", f"{seconds:.1f}"])
    return header, rows


def _is_whole(result: CaseResult) -> bool:
    parts = result.scores.structures.values() if result.scores else []
    return bool(parts) and all(part.is_closed and part.n_pieces == 1 for part in parts)


def _interval(summary: dict[str, float] | None, form: str) -> str:
    if summary is None:
        return "-"
    return f"{form.format(summary['mean'])} [{form.format(summary['low'])}, {form.format(summary['high'])}]"


def paper_table(results: Sequence[CaseResult]) -> TableRows:
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


def case_table(results: Sequence[CaseResult]) -> TableRows:
    """One row a subject: what the model scored, and how its fit ended."""
    header = ["subject", "ASSD mm", "HD95 mm", "Dice", "volume error %", "pieces", "evaluated", "seconds", "fit"]
    rows = []
    for result in (r for r in results if r.method == MODEL):
        if result.scores is None:
            rows.append([result.subject, *["-"] * 7, result.note])
            continue
        s, share = result.scores, result.evaluated_share or 0.0
        dice = "-" if s.dice is None else f"{s.dice:.3f}"
        error = "-" if s.volume_error_percent is None else f"{s.volume_error_percent:+.1f}"
        numbers = [f"{s.assd_mm:.2f}", f"{s.hd95_mm:.2f}", dice, error, str(s.n_pieces), f"{share:.1%}"]
        rows.append([result.subject, *numbers, f"{result.seconds:.1f}", result.note])
    return header, rows


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

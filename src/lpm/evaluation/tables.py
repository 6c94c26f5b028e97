"""Tables of an evaluation: how methods are laid side by side, and markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lpm.evaluation.cases import CaseResult

TableRows = tuple[list[str], list[list[str]]]
NamedTable = tuple[str, TableRows]
Summary = dict[str, dict[str, float]]
Summaries = dict[str, Summary]
Cell = Callable[[Sequence["CaseResult[Any]"], Summary], str]


@dataclass(frozen=True)
class MethodTable:
    """Layout of a table with one row a method.

    Args:
        caption: Caption of the table.
        numbers: Numbers by column with a mean and its interval: the number's name, and its format.
        further: Content of each column after those: a cell, from the method's results and their summary.
    """

    caption: str
    numbers: Mapping[str, tuple[str, str]]
    further: Mapping[str, Cell] = field(default_factory=dict)

    def rows(self, results: Sequence[CaseResult[Any]], by_method: Summaries) -> TableRows:
        """One row a method that is in the summaries; the last column is the median of its seconds."""
        header = ["method", "cases", *self.numbers, *self.further, "seconds"]
        return header, [self._row(label, results, summary) for label, summary in by_method.items()]

    def _row(self, label: str, results: Sequence[CaseResult[Any]], summary: Summary) -> list[str]:
        own = [result for result in results if result.label == label]
        n_done = sum(result.scores is not None for result in own)
        cells = [mean_and_interval(summary.get(name), form) for name, form in self.numbers.values()]
        further = [cell(own, summary) for cell in self.further.values()]
        seconds = float(np.median([result.seconds for result in own]))
        return [label, f"{n_done}/{len(own)}", *cells, *further, f"{seconds:.1f}"]


def mean_and_interval(summary: Mapping[str, float] | None, form: str) -> str:
    """A number's mean and its 95 % interval; a dash where no subject has it."""
    if summary is None:
        return "-"
    low, high = form.format(summary["low"]), form.format(summary["high"])
    return f"{form.format(summary['mean'])} [{low}, {high}]"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

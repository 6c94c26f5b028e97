"""The one-page summary of docs/benchmarks.md: what was missed, what was met, LPM beside others, each with its stamp.

``python benchmarks/results.py`` writes the tables of docs/results.md; every number is taken from a section of the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marked import write_section

DOCS = Path(__file__).resolve().parents[1] / "docs"
AIMS = ["aim", "bar", "measured", ""]
OTHERS = "Unseen lungs: the atlas, as bundled"
N_POINTS = ("5,000", "500", "100")
_MEASURED = re.compile(r"^Measured on (\S+) at commit (.+)\.$", re.MULTILINE)
_MACHINE = re.compile(r"\d+ cores, \d+ GiB, Python [\d.]*\d")

Row = list[str]


@dataclass(frozen=True)
class Table:
    """A table of a page: its header, and its rows."""

    header: Row
    rows: list[Row]


@dataclass(frozen=True)
class Section:
    """A section of a page: its title, and its text."""

    title: str
    text: str

    @property
    def stamp(self) -> str:
        """When it was measured; a section that does not say it is older."""
        found = _MEASURED.search(self.text)
        return f"{found[1]}, {found[2]}" if found else "earlier (stale)"

    @property
    def link(self) -> str:
        """Its title, leading to it."""
        anchor = re.sub(r"[^\w\- ]", "", self.title.lower()).strip().replace(" ", "-")
        return f"[{self.title.replace('`', '')}](benchmarks.md#{anchor})"

    @property
    def tables(self) -> list[Table]:
        """Its tables, in order."""
        found = re.findall(r"(?:^\|.*\|$\n?)+", self.text, re.MULTILINE)
        split = [[cells_of(line) for line in each.strip().splitlines()] for each in found]
        return [Table(rows[0], rows[2:]) for rows in split]

    def below(self, heading: str) -> Section:
        """What stands below a heading of the third rank."""
        return Section(self.title, self.text.partition(f"### {heading}\n")[2].partition("\n### ")[0])


def cells_of(line: str) -> Row:
    """Cells of a row."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def sections_of(text: str) -> list[Section]:
    """Sections of a page."""
    return [Section(*part.partition("\n")[::2]) for part in text.split("\n## ")[1:]]


def aims(sections: list[Section]) -> Iterator[tuple[Section, Row]]:
    """Every aim that has a bar: aim, bar, measured, met or missed."""
    for section in sections:
        for table in section.tables:
            if table.header == AIMS:
                yield from ((section, row) for row in table.rows)


def summary(text: str) -> str:
    """The tables of the summary.

    Args:
        text: The page of benchmarks.
    """
    sections = sections_of(text)
    every = list(aims(sections))
    missed = [(section, row) for section, row in every if row[3] == "missed"]
    machines = sorted({re.sub(r"(Python \d+\.\d+)\.\d+", r"\1", each) for each in _MACHINE.findall(text)})
    lead = f"{len(missed)} of {len(every)} bars are missed. Machine: {'; '.join(machines)}; no GPU."
    parts = [lead, "## Missed", _missed(missed), "## Beside other methods", _beside(sections), "## All bars"]
    return "\n\n".join([*parts, _counts(sections)])


def _missed(found: list[tuple[Section, Row]]) -> str:
    rows = [[row[0], row[1], row[2], section.link, section.stamp] for section, row in found]
    return written(["missed", "bar", "measured", "section", "when, commit"], rows)


def _counts(sections: list[Section]) -> str:
    rows = []
    for section in sections:
        own = [row for _, row in aims([section])]
        if own:
            rows.append([section.link, f"{sum(row[3] == 'met' for row in own)} of {len(own)}", section.stamp])
    return written(["section", "bars met", "when, commit"], rows)


def _beside(sections: list[Section]) -> str:
    named = {section.title: section for section in sections}
    tables = [_points(named), _rays(named)]
    return "\n\n".join(table for table in tables if table)


def _points(named: dict[str, Section]) -> str:
    """Mean ASSD of the test lungs by method and number of points."""
    if OTHERS not in named:
        return ""
    by_method: dict[str, dict[str, str]] = {}
    for n in N_POINTS:
        for table in named[OTHERS].below(f"From {n} points").tables[:1]:
            for row in table.rows:
                by_method.setdefault(row[0], {})[n] = row[table.header.index("ASSD mm")]
    stamps = dict.fromkeys(by_method, named[OTHERS].stamp)
    for method, values, stamp in (*_pyssam(named), *_deepsdf(named)):
        by_method[method], stamps[method] = values, stamp
    ours = by_method.pop("LPM", {})
    rows = [["**LPM**", *(f"**{ours.get(n, '-')}**" for n in N_POINTS), stamps.get("LPM", "-")]]
    rows += [[name, *(values.get(n, "-") for n in N_POINTS), stamps[name]] for name, values in by_method.items()]
    head = ["method, ASSD in mm", *(f"{n} points" for n in N_POINTS), "when, commit"]
    return "Ten unseen pairs of lungs from surface points, sides unknown:\n\n" + written(head, rows)


def _pyssam(named: dict[str, Section]) -> Iterator[tuple[str, dict[str, str], str]]:
    section = named.get("Beside a statistical shape model, as pyssam packages it")
    for table in section.tables[:1] if section else []:
        yield "statistical shape model (pyssam)", {row[0]: row[1] for row in table.rows}, section.stamp  # type: ignore[union-attr]


def _deepsdf(named: dict[str, Section]) -> Iterator[tuple[str, dict[str, str], str]]:
    section = named.get("Beside DeepSDF, as DeepSDFStruct packages it")
    for table in section.tables if section else []:
        if "DeepSDF, mm" in table.header:
            values = [float(row[table.header.index("DeepSDF, mm")]) for row in table.rows]
            mean = f"{sum(values) / len(values):.2f}"
            yield "DeepSDF (DeepSDFStruct), lungs as one", {"5,000": mean}, section.stamp  # type: ignore[union-attr]


def _rays(named: dict[str, Section]) -> str:
    section = named.get("Lungs from radiographs")
    for table in section.tables if section else []:
        if {"method", "Dice", "ASSD mm"} <= set(table.header):
            at = [table.header.index(name) for name in ("method", "Dice", "ASSD mm", "volume")]
            rows = [[row[i] for i in at] for row in table.rows]
            head = ["method, computed radiographs of 7 unseen subjects", "Dice", "ASSD mm", "volume error"]
            return f"From radiographs ({section.stamp}):\n\n" + written(head, rows)  # type: ignore[union-attr]
    return ""


def written(header: Row, rows: list[Row]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Write the tables of docs/results.md."""
    write_section(DOCS / "results.md", "results", summary((DOCS / "benchmarks.md").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()

"""A report as one HTML file that needs nothing outside itself: pictures are inside, nothing is fetched.

Nothing runs but the script of its 3D views, where it has any: the page's policy names that script by its digest.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from pathlib import Path

from lpm.errors import FileError, InputError
from lpm.files.atomic import write_text
from lpm.reports.view3d import View3D, digest_of, script_of_views, style_of_views, write_view

Cell = str | float | int | None
MISSING = "\N{EN DASH}"
_PNG = b"\x89PNG\r\n\x1a\n"
_LEADING_NUMBER = re.compile("[-+\N{MINUS SIGN}±<>≤≥≈~]?\\s?\\.?\\d")


@dataclass(frozen=True)
class Figure:
    """A picture.

    Args:
        path: A .png; it is copied into the report.
        caption: Caption: what it shows; also read out by screen readers.
    """

    path: Path
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header.

    Args:
        header: Column names, with their units.
        rows: As many cells each as the header has. Text is taken as it is; the numbers of a column get the same
            number of decimals; None and NaN become a dash.
        caption: Caption: what it shows.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str


@dataclass(frozen=True)
class Text:
    """Paragraphs of plain text."""

    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Notes:
    """List of doubts; an empty list is stated as well."""

    notes: Sequence[str]


Block = Notes | Figure | Table | Text | View3D


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


def write_report(path: Path, title: str, lead: str, sections: Sequence[Section], provenance: Mapping[str, str]) -> None:
    """Write a report whole or not at all. Every text is escaped: a name cannot become markup.

    Args:
        path: A .html.
        title: Heading and title of the window.
        lead: One paragraph: what was done and what came out.
        sections: Sections in reading order; figures and tables are numbered through.
        provenance: Provenance of the numbers: data, versions, seeds, date.

    Raises:
        InputError: A table has no columns, or a row of another length than its header.
        FileError: Not a .html, a picture is missing or no PNG, or the disk refuses.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise FileError(str(path), f"unknown kind {path.suffix!r}", ".html")
    numbers = {"Figure": count(1), "Table": count(1)}
    body = [_section(index, section, numbers) for index, section in enumerate(sections, start=1)]
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>', _contents(sections), *body]
    if provenance:
        parts.append(_provenance(provenance))
    has_views = any(isinstance(block, View3D) for section in sections for block in section.blocks)
    write_text(path, _page(title, "\n".join(parts), script_of_views() if has_views else ""))


def _page(title: str, body: str, script: str) -> str:
    policy = f"{_POLICY}; script-src '{digest_of(script)}'" if script else _POLICY
    style = _STYLE + style_of_views() if script else _STYLE
    head = _HEAD.replace("@STYLE", style).replace("@TITLE", escape(title)).replace("@POLICY", policy)
    return head + body + (f"\n<script>{script}</script>" if script else "") + _END


def _contents(sections: Sequence[Section]) -> str:
    if len(sections) < 3:
        return ""
    items = [f'<li><a href="#section-{i}">{escape(section.title)}</a></li>' for i, section in enumerate(sections, 1)]
    return f'<nav aria-label="Contents"><ol>{"".join(items)}</ol></nav>'


def _section(index: int, section: Section, numbers: Mapping[str, count[int]]) -> str:
    blocks = "\n".join(_block(block, numbers) for block in section.blocks)
    return f'<section id="section-{index}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block, numbers: Mapping[str, count[int]]) -> str:
    match block:
        case Figure():
            return _figure(block, next(numbers["Figure"]))
        case Table():
            return _table(block, next(numbers["Table"]))
        case View3D():
            still = _data_url(block.still) if block.still else ""
            return write_view(block, next(numbers["Figure"]), still)
        case Notes():
            return _notes(block)
        case Text():
            return "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in block.paragraphs)


def _notes(block: Notes) -> str:
    if not block.notes:
        return '<p class="fine">No doubt was raised.</p>'
    return '<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in block.notes) + "</ul>"


def _figure(figure: Figure, number: int) -> str:
    width, height = struct.unpack(">2I", _read_png(figure.path)[16:24])
    source = _data_url(figure.path)
    caption = escape(figure.caption)
    image = f'<img src="{source}" alt="{caption}" width="{width}" height="{height}">'
    return f"<figure>{image}<figcaption><b>Figure {number}.</b> {caption}</figcaption></figure>"


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(_read_png(path)).decode("ascii")


def _read_png(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(str(path), f"cannot be read ({error.strerror})", "a picture", "draw it first") from error
    if not data.startswith(_PNG) or len(data) < 24:
        raise FileError(str(path), "not a PNG", "a PNG picture", "draw it with lpm.reports.plots")
    return data


def _table(table: Table, number: int) -> str:
    _check_table(table)
    columns = [[row[index] for row in table.rows] for index in range(len(table.header))]
    kinds = [' class="number"' if _is_numeric(column) else "" for column in columns]
    cells = [_written(column) for column in columns]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(table.header, kinds, strict=True))
    rows = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in zip(*cells, strict=True)
    )
    caption = f"<figcaption><b>Table {number}.</b> {escape(table.caption)}</figcaption>"
    body = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return f'<figure class="table">{caption}<div class="scroll" tabindex="0">{body}</div></figure>'


def _check_table(table: Table) -> None:
    if not table.header:
        raise InputError(f"table {table.caption!r}", "no columns", "a header")
    for number, row in enumerate(table.rows, start=1):
        if len(row) != len(table.header):
            given = f"row {number} has {len(row)} cells"
            raise InputError(f"table {table.caption!r}", given, f"{len(table.header)}, as the header")


def _is_missing(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _is_numeric(column: Sequence[Cell]) -> bool:
    """Whether all that is there is a number, or text that begins with one ("0.51 [0.44, 0.60]")."""
    known = [cell for cell in column if not _is_missing(cell) and cell not in ("", MISSING)]
    return bool(known) and all(_LEADING_NUMBER.match(str(cell)) for cell in known)


def _written(column: Sequence[Cell]) -> list[str]:
    decimals = _decimals(column)
    return [_write_cell(cell, decimals) for cell in column]


def _write_cell(cell: Cell, decimals: int) -> str:
    if _is_missing(cell):
        return MISSING
    return f"{cell:.{decimals}f}" if isinstance(cell, float) else str(cell)


def _decimals(column: Sequence[Cell]) -> int:
    """Three digits for the column's largest number, at most five decimals."""
    sizes = [abs(cell) for cell in column if isinstance(cell, float) and math.isfinite(cell)]
    largest = max(sizes, default=0.0)
    return 2 if largest == 0 else min(max(2 - math.floor(math.log10(largest)), 0), 5)


def _provenance(provenance: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in provenance.items())
    return f'<section class="provenance">\n<h2>Provenance</h2>\n<dl>{rows}</dl>\n</section>'


_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; color: #1c1e21; background: #fff;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .8rem; padding-top: .8rem; border-top: 1px solid #d8dbe0; }
p, .lead, dd { max-width: 46rem; }
.lead { font-size: 1.12rem; color: #3a3f47; }
nav { font-size: .95rem; } nav ol { padding-left: 1.4rem; }
a { color: #1f5a94; }
figure { margin: 1.4rem 0 2rem; }
figcaption { font-size: .9rem; color: #4a4f57; margin: .5rem 0; max-width: 46rem; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.notes { list-style: none; padding: 0; } .fine, .notes li { max-width: 46rem; padding: .5rem .9rem; margin: .5rem 0; }
.notes li { border-left: 5px solid #b4540a; background: #fdf3e7; }
.fine { border-left: 5px solid #2b7a4b; background: #eef7f1; }
.scroll { overflow-x: auto; background-repeat: no-repeat; background-attachment: local, local, scroll, scroll;
  background-size: 2rem 100%, 2rem 100%, .7rem 100%, .7rem 100%;
  background-image: linear-gradient(90deg, #fff 1rem, transparent), linear-gradient(-90deg, #fff 1rem, transparent),
    linear-gradient(90deg, #b9bec6, transparent), linear-gradient(-90deg, #b9bec6, transparent);
  background-position: left, right, left, right; }
table { border-collapse: collapse; font-size: .82rem; overflow-wrap: normal; }
th, td { padding: .35rem .42rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #e6e8ec; }
thead th { border-bottom: 2px solid #9aa0a8; vertical-align: bottom; white-space: normal; min-width: 3rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
tbody tr:hover { background: #f5f7fa; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .25rem 1.2rem; font-size: .9rem; }
dt { color: #4a4f57; } dd { margin: 0; }
@media (max-width: 34rem) {
  th, td { padding: .3rem .5rem; } td:first-child { white-space: normal; min-width: 7rem; }
  dl { display: block; } dd { margin: 0 0 .5rem; } body { padding: 1.2rem .9rem 3rem; }
}
@page { margin: 16mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; } figure.table { break-inside: auto; }
  figure.table figcaption { break-after: avoid; }
  img { max-height: 150mm; width: auto; }
  .scroll { overflow: visible; } table { font-size: 8pt; }
  th, td { white-space: normal; padding: .15rem .35rem; } thead th { min-width: 0; }
}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="@POLICY">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@TITLE</title>
<style>@STYLE</style>
</head>
<body>
"""
_END = "\n</body>\n</html>\n"

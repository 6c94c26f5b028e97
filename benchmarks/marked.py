"""Sections of documentation pages that commands write, each between its marks."""

from __future__ import annotations

from pathlib import Path

from lpm.files.atomic import write_text


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of a section.

    Args:
        page: A page of the documentation.
        name: Name in the marks, as in ``<!-- NAME:begin -->``.
        text: Markdown.

    Raises:
        ValueError: The page has no such marks.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    whole = page.read_text(encoding="utf-8")
    if begin not in whole or end not in whole:
        raise ValueError(f"{page.name} has no {begin} ... {end}")
    before, _, rest = whole.partition(begin)
    write_text(page, f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.partition(end)[2]}")

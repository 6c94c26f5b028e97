"""Text of tables as spreadsheets and programs write it: encodings, comments, separators, decimal commas."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Sequence

from lpm.errors import InputError

Rows = list[list[str]]
BLANK = " "
_COMMENT = re.compile(r"\s*(#|//|%)")
_SEP = re.compile(r'"?sep=(.)"?\s*')  # Excel's own first line
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
_GROUPED = re.compile(r"[-+]?\d{1,3}([.,'\u2019\u00a0\u202f ]\d{3})+([.,]\d+)?")
_MINUS = "\u2212"  # of typeset text, and of Excel in some languages
_BLANK_BETWEEN_NUMBERS = re.compile(r'\d"?\s+"?[-+]?[.,]?\d')
_COMMA_AND_BLANK = re.compile(r"\s*,\s+")


def decoded(content: bytes) -> str:
    """Text of UTF-8, of UTF-16 as Excel writes it, or else of Windows' Western code page; minus signs are hyphens.

    Raises:
        UnicodeError: None of them: no text.
    """
    return _text(content).replace(_MINUS, "-")


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if content[1:2] == b"\0" != content[:1]:
        return content.decode("utf-16-le")
    if content[:8:2] == bytes(4) and b"\0" not in content[1:8:2]:
        return content.decode("utf-16-be")
    if b"\0" in content:
        raise UnicodeError("it holds zero bytes, which no text does")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # of other code pages the numbers are the same


def comments_and_lines(text: str) -> tuple[list[str], list[str]]:
    """Comments (#, // or %) without their mark, and the other lines that are not empty."""
    comments, lines = [], []
    for line in text.splitlines():
        mark = _COMMENT.match(line)
        if mark:
            comments.append(line[mark.end() :].strip())
        elif line.strip():
            lines.append(line.rstrip("\r\n"))
    return comments, lines


def rows_of(lines: Sequence[str]) -> tuple[Rows, str]:
    """Cells of lines, and what separates them: ``;``, tab, comma or blanks.

    A comma between digits is a decimal comma where something else separates the numbers.
    """
    given = _SEP.fullmatch(lines[0]) if lines else None
    if given:
        return split(lines[1:], given[1]), given[1]
    separator = _separator(lines[1:] or lines)
    if separator == "," and _has_commas_of_both_kinds(lines[1:]):
        lines, separator = [_COMMA_AND_BLANK.sub(";", line) for line in lines], ";"
    rows = split(lines, separator)
    if len(rows) > 1 and len(rows[0]) == 1 < len(rows[1]):
        rows[0] = split([lines[0]], BLANK)[0]  # names with blanks between them above tabs
    return rows, separator


def _separator(lines: Sequence[str]) -> str:
    for separator in (";", "\t"):
        if all(separator in line for line in lines):
            return separator
    if not any("," in line for line in lines) or any(_BLANK_BETWEEN_NUMBERS.search(line) for line in lines):
        return BLANK
    return ","


def _has_commas_of_both_kinds(lines: Sequence[str]) -> bool:
    """Whether lines read ``1,5, 2,5, 3,5``."""
    return (
        bool(lines)
        and all(re.search(r"\d,\d", line) and re.search(r"\d,\s", line) for line in lines)
        and not any(re.search(r"\d\.\d", line) for line in lines)
    )


def split(lines: Iterable[str], separator: str) -> Rows:
    """Cells of each line, without quotes, blanks around them and empty cells at the end."""
    if separator == BLANK:
        lines = (" ".join(line.split()) for line in lines)
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
    for row in rows:
        while row and not row[-1]:
            row.pop()
    return [row for row in rows if row]


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, with a decimal point or a decimal comma."""
    return bool(_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell))


def is_grouped(cell: str) -> bool:
    """Whether a cell holds a number with marks between thousands."""
    return bool(_GROUPED.fullmatch(cell))


def is_whole(cell: str) -> bool:
    """Whether a cell holds a number without decimals."""
    return cell.lstrip("+-").isdecimal()


def with_points(subject: str, rows: Rows) -> tuple[Rows, list[str]]:
    """Numbers with decimal points in place of decimal commas, and a note if there were any.

    Args:
        subject: Name of the file in an error.
        rows: Cells that are numbers (`is_number`).

    Raises:
        InputError: Decimal commas beside decimal points, or commas that may be between thousands.
    """
    cells = [cell for row in rows for cell in row]
    commas = [cell for cell in cells if "," in cell]
    if not commas:
        return rows, []
    expected, hint = "one decimal mark", "save it with decimal points"
    pointed = next((cell for cell in cells if "." in cell), None)
    if pointed:
        raise InputError(subject, f"decimal commas ({commas[0]}) beside decimal points ({pointed})", expected, hint)
    if len(commas) < len(cells) and all(_THOUSANDS.fullmatch(cell) for cell in commas):
        given = f"{commas[0]} beside numbers without a comma: decimal commas, or commas between thousands?"
        raise InputError(subject, given, expected, hint)
    return [[cell.replace(",", ".") for cell in row] for row in rows], ["decimal commas were read"]

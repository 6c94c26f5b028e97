from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpm.errors import FileError, InputError
from lpm.reports.document import Figure, Section, Table, Text, write_report

EVIL = "<script>alert('&\"')</script>"


class _Tags(HTMLParser):
    """Collects tags, and checks that they are closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


def _tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(html)
    assert not parser.opened
    return parser.found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 30)).save(path)
    return path


def _write(tmp_path: Path, *sections: Section) -> str:
    path = tmp_path / "report.html"
    write_report(path, "Title", "Lead.", sections, {"seed": "7"})
    return path.read_text(encoding="utf-8")


def _table(*rows: tuple[object, ...]) -> Section:
    return Section("S", [Table(["method", "ASSD, mm"], rows, "Errors")])  # type: ignore[arg-type]


def test_report_is_one_file_without_outside_references(tmp_path: Path, picture: Path) -> None:
    html = _write(tmp_path, Section("Pictures", [Text(["One.", "Two."]), Figure(picture, "Both lungs")]))
    assert not re.search(r"https?://|//[a-z]|url\(|@import|<link|<script", re.sub(r"base64,[^\"]*", "", html))
    (image,) = [attributes for tag, attributes in _tags(html) if tag == "img"]
    assert base64.b64decode((image["src"] or "").removeprefix("data:image/png;base64,")) == picture.read_bytes()
    assert (image["width"], image["height"], image["alt"]) == ("30", "10", "Both lungs")


def test_a_browser_is_told_to_fetch_and_run_nothing(tmp_path: Path) -> None:
    policy = [attributes for _, attributes in _tags(_write(tmp_path)) if "http-equiv" in attributes]
    assert policy[0]["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_text_is_escaped(tmp_path: Path, picture: Path) -> None:
    path = tmp_path / "report.html"
    blocks = [Text([EVIL]), Figure(picture, EVIL), Table([EVIL, "x"], [[EVIL, 1.0]], EVIL)]
    write_report(path, EVIL, EVIL, [Section(EVIL, blocks)] * 3, {EVIL: EVIL})
    html = path.read_text(encoding="utf-8")
    assert EVIL not in html
    assert "script" not in {tag for tag, _ in _tags(html)}
    assert html.count("&lt;script&gt;") == 1 + 2 + 3 + 3 * (1 + 1 + 2 + 3) + 2


def test_text_that_looks_like_a_placeholder_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, "@STYLE \\1 {}", "@TITLE", [], {})
    html = path.read_text(encoding="utf-8")
    assert "<h1>@STYLE \\1 {}</h1>" in html
    assert "<title>@STYLE \\1 {}</title>" in html
    assert '<p class="lead">@TITLE</p>' in html


def test_figures_and_tables_are_numbered_through(tmp_path: Path, picture: Path) -> None:
    section = Section("S", [Figure(picture, "f"), Table(["a"], [["b"]], "t")])
    html = _write(tmp_path, section, section)
    assert re.findall(r"(Figure|Table) (\d)\.", html) == [
        ("Figure", "1"),
        ("Table", "1"),
        ("Figure", "2"),
        ("Table", "2"),
    ]


def test_numbers_are_right_aligned_and_share_their_decimals(tmp_path: Path) -> None:
    html = _write(tmp_path, _table(("LPM", 0.512), ("mean shape", 8.2), ("failed", None), ("gone", float("nan"))))
    assert re.findall(r'<td class="number">(.*?)</td>', html) == ["0.51", "8.20", "–", "–"]  # noqa: RUF001
    assert "<td>LPM</td>" in html
    assert '<th scope="col" class="number">ASSD, mm</th>' in html


def test_numbers_written_as_text_are_right_aligned_and_names_are_not(tmp_path: Path) -> None:
    assert 'class="number">0.51 [0.44, 0.60]<' in _write(tmp_path, _table(("LPM", "0.51 [0.44, 0.60]")))
    assert '<td class="number">' not in _write(tmp_path, _table(("luna16_0596", "right")))


@pytest.mark.parametrize(
    ("value", "written"),
    [(5432.1, "5432"), (54.321, "54.3"), (0.0123, "0.0123"), (0.0, "0.00"), (12, "12"), (-2.5, "-2.50")],
)
def test_three_digits(tmp_path: Path, value: float, written: str) -> None:
    assert f'<td class="number">{written}</td>' in _write(tmp_path, _table(("LPM", value)))


def test_wide_tables_scroll_by_themselves(tmp_path: Path) -> None:
    html = _write(tmp_path, _table(("LPM", 1.0)))
    assert '<div class="scroll" tabindex="0"><table>' in html
    assert ".scroll { overflow-x: auto;" in html
    assert "@media print" in html


def test_contents_only_of_three_sections_or_more(tmp_path: Path) -> None:
    sections = [Section(name, []) for name in "ABC"]
    assert "<nav" not in _write(tmp_path, *sections[:2])
    assert '<a href="#section-3">C</a>' in _write(tmp_path, *sections)


def test_provenance_is_shown(tmp_path: Path) -> None:
    assert "<dt>seed</dt><dd>7</dd>" in _write(tmp_path)
    write_report(tmp_path / "bare.html", "T", "L", [], {})
    assert "<dl>" not in (tmp_path / "bare.html").read_text(encoding="utf-8")


# Refusals


def test_a_row_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="table 'Errors': row 2 has 1 cells; expected 2, as the header"):
        _write(tmp_path, _table(("LPM", 1.0), ("mean shape",)))
    assert not (tmp_path / "report.html").exists()


def test_a_table_without_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="table 'Empty': no columns"):
        _write(tmp_path, Section("S", [Table([], [], "Empty")]))


def test_a_missing_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone\.png: cannot be read \(No such file"):
        _write(tmp_path, Section("S", [Figure(tmp_path / "gone.png", "gone")]))


def test_what_is_no_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("<svg onload='alert(1)'/>")
    with pytest.raises(FileError, match=r"x\.png: not a PNG"):
        _write(tmp_path, Section("S", [Figure(tmp_path / "x.png", "x")]))


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"unknown kind '\.pdf'; expected \.html"):
        write_report(tmp_path / "report.pdf", "T", "L", [], {})

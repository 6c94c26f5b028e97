"""The writer of docs/benchmarks.md: stamps, stale sections, no circle of imports."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SPEED = {
    "machine": {"cores": 2, "memory_gib": 24, "python": "3.11"},
    "first": {"fit": 1.0, "mesh": 1.0},
    "fit": [2.0],
    "mesh": [2.0],
    "load": [0.5],
}


@pytest.fixture
def write_page(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("tables", "cells"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import tables

    return tables.write_page


def section(page: Path, title: str) -> str:
    return page.read_text().partition(f"## {title}\n\n")[2].partition("\n## ")[0]


def test_every_section_says_when_it_was_measured(write_page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page, stamp = tmp_path / "page.md", {"commit": "0123456789", "date": "2030-01-02"}
    (tmp_path / "speed.json").write_text(json.dumps(SPEED))
    write_page(tmp_path, page)
    assert section(page, "Speed").rstrip().endswith("Measured before stamps were kept.")
    (tmp_path / "speed.json").write_text(json.dumps(SPEED | {"stamp": stamp}))
    write_page(tmp_path, page)
    assert section(page, "Speed").rstrip().endswith("Measured on 2030-01-02 at commit 0123456789.")


def test_a_section_that_says_when_it_was_measured_is_kept_as_it_is(write_page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page, stamp = tmp_path / "page.md", {"commit": "0123456789", "date": "2030-01-02"}
    (tmp_path / "speed.json").write_text(json.dumps(SPEED | {"stamp": stamp}))
    write_page(tmp_path, page)
    measured = page.read_text()
    (tmp_path / "speed.json").unlink()
    write_page(tmp_path, page)
    assert page.read_text() == measured


def test_a_section_without_a_date_that_was_not_measured_again_is_marked(write_page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / "page.md"
    (tmp_path / "speed.json").write_text(json.dumps(SPEED))
    write_page(tmp_path, page)
    measured = section(page, "Speed")
    (tmp_path / "speed.json").unlink()
    for _ in range(2):  # the mark is not repeated
        write_page(tmp_path, page)
        assert section(page, "Speed").count("**STALE:**") == 1
        assert section(page, "Speed").rstrip().endswith(measured.rstrip())
    assert section(page, "Training").strip() == "Not measured yet."


def test_the_writer_imports_in_one_direction() -> None:
    names = {path.stem for path in BENCHMARKS.glob("*.py")}
    imports = {
        path.stem: {
            node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module in names
        }
        for path in BENCHMARKS.glob("*.py")
    }
    assert not any("tables" in imports[name] for name in names if name.endswith("_tables"))
    assert not imports["cells"]

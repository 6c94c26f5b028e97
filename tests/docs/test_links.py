"""Links lead somewhere, every page can be found, and words are those of the glossary."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from doc_blocks import ROOT, pages

_FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`|\$\$.*?\$\$|<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")

# Words that docs must not use, and the one of the glossary (or British spelling) in their place.
INSTEAD = {
    r"latent (code|vector)s?": "latent",
    r"embeddings?": "latent",
    r"ground.truth": "truth",
    r"x-rays?|X-Rays?|Xrays?": "X-ray, radiograph",
    r"DICE": "Dice",
    r"patients? space|scanner space": "world",
    r"colou?rmap": "colours",
    r"colors?|colored|gray|centers?|centered|millimeters?|normalize[ds]?|initialization": "British spelling",
}
EXEMPT = {"docs/benchmarks.md", "docs/glossary.md", "CHANGELOG.md"}  # a program's; other words on purpose; many hands


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose_of(page: Path) -> str:
    return re.sub(r"\]\([^)\s]+\)", " ", _CODE.sub(" ", _FENCED.sub(" ", page.read_text(encoding="utf-8"))))


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them, and its own labels."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in anchors_of(there), f"{name_of(page)}: {target}"


def test_the_checklist_links_what_it_ticks() -> None:
    """A row that is ticked links a file, here or in what checks it; one that is not there has none to link."""
    text = (ROOT / "docs" / "checklist.md").read_text(encoding="utf-8")
    rows = [
        tuple(cell.strip() for cell in row.split("|")[1:5]) for row in re.findall(r"^\| [^\w-].*$", text, re.MULTILINE)
    ]
    marked = [row for row in rows if row[0]]
    assert len(marked) > 40
    assert {row[0] for row in marked} == {"✓", "◐", "✗"}
    assert [row for row in marked if row[0] == "✓" and not _LINK.search(row[2] + row[3])] == []
    assert [row for row in marked if row[0] == "✗" and _LINK.search(row[2] + row[3])] == []


def test_every_page_is_in_the_contents() -> None:
    listed = set()
    for page in (ROOT / "docs").rglob("*.md"):
        for entries in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            names = [line for line in entries.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / f"{name}.md").resolve() for name in names}
    every = {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - {(ROOT / "docs" / "index.md").resolve()}
    assert listed == every


def test_readme_links_the_pages() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    included = {"changelog", "contributing", "index"}
    missing = [page.stem for page in (ROOT / "docs").glob("*.md") if f"docs/{page.stem}.md" not in text]
    assert sorted(set(missing) - included) == []


@pytest.mark.parametrize("page", [page for page in pages() if name_of(page) not in EXEMPT], ids=name_of)
def test_words_are_those_of_the_glossary(page: Path) -> None:
    text = prose_of(page)
    found = {
        match.group(0): better for wrong, better in INSTEAD.items() for match in re.finditer(rf"\b(?:{wrong})\b", text)
    }
    assert found == {}


@pytest.mark.parametrize("page", [page for page in pages() if name_of(page) not in EXEMPT], ids=name_of)
def test_lines_are_not_overlong(page: Path) -> None:
    """A table's row cannot be broken, nor an image's line."""
    lines = _FENCED.sub("", page.read_text(encoding="utf-8")).splitlines()
    long = [line for line in lines if len(line) > 165 and not line.startswith(("|", "!", "["))]
    assert long == []


def test_wrong_words_are_found() -> None:
    text = "the latent code of a lung, x-ray and X-ray, centre and center"
    found = [m.group(0) for wrong in INSTEAD for m in re.finditer(rf"\b(?:{wrong})\b", text)]
    assert found == ["latent code", "x-ray", "center"]


def test_every_floor_has_a_page() -> None:
    floors = {path.parent.name for path in (ROOT / "src" / "lpm").glob("*/__init__.py")} - {"apps"}
    assert floors == {page.stem for page in (ROOT / "docs" / "api").glob("*.md")} - {"index"}


def test_every_extra_is_on_the_page_of_installing() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "docs" / "install.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`([\w-]+)`", row)) == sorted(declared)

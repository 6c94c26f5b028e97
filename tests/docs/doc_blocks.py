"""The code blocks of the documentation: found, told apart by their marks, run page by page.

``python tests/docs/doc_blocks.py --out runs/code-blocks.md`` runs them all, slow ones too, and lists them. A comment on
the line above a block marks it: ``<!-- slow: why -->`` is left to that program, ``<!-- not run: why -->`` to nobody.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^( *)```(\S*)\s*$")
_MARK = re.compile(r"<!-- (slow|not run): (.+?) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        page: Path from the repository's root.
        line: Of its first line of code, from 1.
        language: After the fence.
        text: Code.
        mark: ``slow``, ``not run`` or nothing.
        why: What the mark says.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    why: str = ""


@dataclass(frozen=True)
class Ran:
    """What became of a block."""

    block: Block
    outcome: str
    seconds: float = 0.0


def pages() -> list[Path]:
    """README, what stands beside it, and every page."""
    beside = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*beside, *sorted((ROOT / "docs").rglob("*.md"))]


def notebooks() -> list[Path]:
    """Every notebook of the examples."""
    return sorted((ROOT / "examples").glob("*.ipynb"))


def cells_of(notebook: Path) -> Iterator[Block]:
    """Code of a notebook, in order; a cell's number stands for its line. All of it is slow."""
    name = notebook.relative_to(ROOT).as_posix()
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"], start=1):
        if cell["cell_type"] == "code":
            yield Block(name, number, "python", "".join(cell["source"]) + "\n", "slow", "a notebook")


def blocks_of(page: Path) -> Iterator[Block]:
    """Fenced blocks of a page, in order."""
    lines, name = page.read_text(encoding="utf-8").splitlines(), page.relative_to(ROOT).as_posix()
    start, language, mark = 0, "", ("", "")
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if start == 0:
            above = _MARK.fullmatch(lines[number - 2].strip()) if number > 1 else None
            start, language, mark = number, fence[2], (above[1], above[2]) if above else ("", "")
        else:
            indent = len(fence[1])
            text = "\n".join(each[indent:] for each in lines[start : number - 1])
            yield Block(name, start + 1, language, text + "\n", *mark)
            start = 0


def python_of(page: Path, *, slow: bool) -> list[Block]:
    """A page's Python that is to run."""
    wanted = ("", "slow") if slow else ("",)
    return [block for block in blocks_of(page) if block.language == "python" and block.mark in wanted]


def run_python(blocks: Sequence[Block], folder: Path) -> Iterator[Ran]:
    """Run a page's blocks one after the other, in a folder, with the files they read put there first."""
    from doc_inputs import make_inputs

    make_inputs(folder, "".join(block.text for block in blocks))
    names: dict[str, object] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        for block in blocks:
            started = time.process_time()
            code = compile("\n" * (block.line - 1) + block.text, str(ROOT / block.page), "exec")
            exec(code, names)  # noqa: S102 (our own pages)
            yield Ran(block, "run", time.process_time() - started)


def commands_of(block: Block) -> list[list[str]]:
    """Commands of a shell block, in words."""
    joined = block.text.replace("\\\n", " ").splitlines()
    words = (shlex.split(line, comments=True) for line in joined)
    return [each for each in words if each]


def check_command(words: Sequence[str]) -> None:
    """Let the program itself parse a command; nothing is run.

    Raises:
        Exception: There is no such verb or option, or something required is missing.
    """
    import typer

    from lpm.apps.cli import app

    command, rest = typer.main.get_command(app), list(words[1:])
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        command = command.commands[rest.pop(0)]
    if not {"--help", "--version"} & set(rest):
        command.make_context(words[0], rest)


def check_block(block: Block) -> str:
    """What can be said of a block without running it."""
    if block.language == "sh":
        for words in commands_of(block):
            if words[0] == "lpm":
                check_command(words)
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return "commands parsed"
    if block.language == "toml":
        tomllib.loads(block.text)
        return "parsed"
    return "no code" if block.language in ("text", "") or block.language.startswith("{") else "not checked"


def run_page(page: Path) -> Iterator[Ran]:
    """Everything of a page, slow blocks too."""
    for block in blocks_of(page):
        if block.mark == "not run" and block.language == "python":
            yield Ran(block, f"not run: {block.why}")
        elif block.language != "python":
            yield Ran(block, check_block(block))
    yield from run_apart(python_of(page, slow=True))


def run_apart(blocks: Sequence[Block]) -> Iterator[Ran]:
    """Run blocks in a folder of their own, and keep what they print to themselves."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        yield from run_python(blocks, Path(folder))


def table(ran: Sequence[Ran]) -> str:
    """Markdown: a count for each outcome, and each block."""
    counted = [each for each in ran if each.outcome != "no code"]
    outcomes = sorted({each.outcome.partition(":")[0] for each in counted})
    lines = [f"- {sum(each.outcome.startswith(outcome) for each in counted)} {outcome}" for outcome in outcomes]
    lines += ["", "| page, line | language | outcome | CPU seconds |", "|---|---|---|---|"]
    for each in sorted(counted, key=lambda each: (each.block.page, each.block.line)):
        slow = f" ({each.block.mark}: {each.block.why})" if each.block.mark == "slow" else ""
        seconds = f"{each.seconds:.1f}" if each.seconds else ""
        lines.append(
            f"| {each.block.page}:{each.block.line} | {each.block.language} | {each.outcome}{slow} | {seconds} |"
        )
    return "# Code blocks of the documentation\n\n" + "\n".join(lines) + "\n"


def main() -> int:
    """Run everything; 1 if a page fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "code-blocks.md")
    out, ran, failed = parser.parse_args().out, list[Ran](), 0
    os.environ["MPLBACKEND"] = "agg"
    for page in [*pages(), *notebooks()]:
        try:
            ran.extend(run_page(page) if page.suffix == ".md" else run_apart(list(cells_of(page))))
        except Exception:
            failed += 1
            print(f"{page.relative_to(ROOT)}\n{traceback.format_exc()}", file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(table(ran), encoding="utf-8")
    print(table(ran) + f"\n{failed} pages failed; written to {os.path.relpath(out)}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

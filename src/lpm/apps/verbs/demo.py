"""`lpm demo`: the whole story on generated scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import progress, screen


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of everything that the demo makes.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated lungs.")] = 0,
) -> None:
    """See it all without data: generate lung-like scans, prepare, train, evaluate, reconstruct; ends in report.html."""
    from lpm.apps.demo import run_demo

    with progress() as bar:
        report = run_demo(out, seed, bar)
    screen.print(f"open {report}", soft_wrap=True)

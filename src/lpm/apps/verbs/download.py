"""`lpm download`: public data sets."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from lpm.apps.terminal import plain, screen
from lpm.files.download import DATA_SETS, fetch, find_data_set, remote_files
from lpm.files.outputs.locks import locked


def download(
    name: Annotated[str, typer.Argument(help=f"Data set: {', '.join(DATA_SETS)} (the paper's).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for its files.")],
) -> None:
    """Fetch a public data set: checked by its checksums, and resumed where it stopped (extra `download`).

    Example: lpm download covid19-ct --out covid19-ct
    """
    data_set = find_data_set(name)
    screen.print(plain(f"{data_set.citation}\nLicence: {data_set.licence}"), soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with locked(out), Progress(*columns, console=screen) as bar:
        for file in remote_files(data_set):
            task = bar.add_task(file.name, total=None)
            path = fetch(file, out, partial(_show, bar, task))
            bar.console.print(plain(f"{path}: {file.checksum}"), soft_wrap=True)


def _show(bar: Progress, task: TaskID, _: str, done: int, total: int | None) -> None:
    bar.update(task, completed=done, total=total)

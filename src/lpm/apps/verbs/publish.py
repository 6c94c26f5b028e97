"""`lpm publish`: a model as a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import OutOption, screen


def publish(
    model: Annotated[Path, typer.Argument(help="Folder that `lpm train` wrote.")],
    out: OutOption,
    license_name: Annotated[
        str, typer.Option("--license", help="Of the weights, as the Hub names it: cc-by-4.0, mit, other ...")
    ],
    title: Annotated[
        str | None, typer.Option("--title", help="Heading of the model card; default the name of MODEL.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option("--push", help="owner/repository: also upload it there, private (extra `hub`; HF_TOKEN)."),
    ] = None,
) -> None:
    """Write a model as a Hugging Face repository: its files, a model card, checksums.

    Nothing is uploaded without --push.

    Example: lpm publish model --out repository --license cc-by-4.0
    """
    from lpm.files.hub import HubName, push_repository
    from lpm.workflows.publishing import Publication
    from lpm.workflows.publishing import publish as write

    named = Publication(title or model.resolve().name, license_name)
    if push is not None:
        named = Publication(named.title, license_name, HubName.parse(f"hf:{push}").repository)
    digest = write(model, out, named)
    screen.print(f"written to {out}; digest {digest}", soft_wrap=True)
    if push is not None:
        commit = push_repository(out, push)
        screen.print(f'pushed: lpm.load("hf:{push}@{commit}#{digest[:16]}")', soft_wrap=True)

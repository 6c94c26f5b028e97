"""`lpm view`: the viewer in the browser."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpm.apps.terminal import ModelOption, screen
from lpm.errors import MisuseError

if TYPE_CHECKING:
    from lpm.fitting.fitted_field import FittedField
    from lpm.model.bundle import ModelBundle


def view(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL | FIT [FIT]]",
            help="One or two folders of `lpm fit`, two side by side; or a model: a folder of `lpm train`, "
            "hf:owner/repository, or lungs-v1; default: lungs-v2.",
        ),
    ] = None,
    model: ModelOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any.")] = 8080,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest file that a client may send.")] = 500,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page here.")] = True,
    token: Annotated[
        bool, typer.Option("--token/--no-token", help="Let in only who opens the address with its token.")
    ] = True,
) -> None:
    """Open the viewer: lungs that sliders move, and that are fitted to what you upload.

    Two fits stand side by side, with colours by how far one reaches beyond the other. Only this machine reaches it
    unless --host says otherwise. The address that is printed holds a token, and nobody comes in without it, also not
    other users of this machine.

    Example: lpm view
    """
    from lpm.apps.terminal import load_bundle
    from lpm.apps.viewer.server import ViewConfig, ViewServer

    source, folders = _told_apart(inputs or [], model)
    bundle = load_bundle(source)
    server = ViewServer(bundle, ViewConfig(host, port, source, max_upload_mb, token), _read(folders, bundle))
    screen.print(f"open {server.address}  (Ctrl-C ends it)", soft_wrap=True)
    if browser:
        webbrowser.open(server.address)
    try:
        threading.Event().wait()  # until a signal (lpm.apps.start)
    finally:
        server.stop()


def _told_apart(inputs: list[str], model: str | None) -> tuple[str | None, list[Path]]:
    """The model's source, and folders of fits."""
    fits = [Path(each) for each in inputs if (Path(each) / "fit.json").is_file()]
    if len(fits) == len(inputs) <= 2:
        return model, fits
    if fits or len(inputs) > 1:
        given = f"{len(fits)} fits among {len(inputs)} arguments"
        hint = "name the model by --model, and fits by their folders"
        raise MisuseError("lpm view", given, "one model, or one or two folders of lpm fit", hint)
    if model is not None:
        raise MisuseError("--model", f"beside {inputs[0]}, which is no fit", "one model", "leave one of them out")
    return inputs[0], []


def _read(folders: list[Path], model: ModelBundle) -> dict[str, FittedField]:
    """Fits by name: that of the folder, as far as it tells them apart."""
    from lpm.fitting.written import read_fit

    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return {name: read_fit(folder, model) for name, folder in zip(names, folders, strict=True)}

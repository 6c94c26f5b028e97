"""`lpm view`: the viewer in the browser."""

from __future__ import annotations

import threading
import webbrowser
from typing import Annotated

import typer

from lpm.apps.terminal import screen


def view(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder that `lpm train` wrote, hf:owner/repository, or lungs-v1; default: lungs-v2."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any.")] = 8080,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest file that a client may send.")] = 500,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page here.")] = True,
    token: Annotated[
        bool, typer.Option("--token/--no-token", help="Let in only who opens the address with its token.")
    ] = True,
) -> None:
    """Open the viewer: lungs that sliders move, and that are fitted to what you upload.

    Only this machine reaches it unless --host says otherwise. The address that is printed holds a token, and nobody
    comes in without it, also not other users of this machine.

    Example: lpm view
    """
    from lpm.apps.terminal import load_bundle
    from lpm.apps.viewer.server import ViewConfig, ViewServer

    server = ViewServer(load_bundle(model), ViewConfig(host, port, model, max_upload_mb, token))
    screen.print(f"open {server.address}  (Ctrl-C ends it)", soft_wrap=True)
    if browser:
        webbrowser.open(server.address)
    try:
        threading.Event().wait()  # until a signal (lpm.apps.start)
    finally:
        server.stop()

"""`lpm view`: the viewer in the browser."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from lpm.apps.terminal import screen


def view(
    model: Annotated[
        str | None, typer.Argument(help="Folder that `lpm train` wrote, or hf:owner/repository; default: lungs-v1.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any.")] = 8080,
) -> None:
    """Open the viewer: lungs that sliders move.

    Example: lpm view
    """
    from lpm.apps.fit_verbs import load_bundle
    from lpm.apps.viewer.server import ViewServer

    server = ViewServer(load_bundle(model), host, port)
    screen.print(f"open http://{host}:{server.port}  (Ctrl-C ends it)", soft_wrap=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()

"""A real, headless Chromium that opens the page of a real `lpm view`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_MS = 180_000  # a fit on a busy machine
_ARGUMENTS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]

# Notes what the page draws: every buffer of vertices or normals, and when the frame after it began.
_WATCH = """
window.meshes = [];
for (const name of ["bufferData", "bufferSubData"]) {
  const original = WebGL2RenderingContext.prototype[name];
  WebGL2RenderingContext.prototype[name] = function (...given) {
    const data = given.find(each => ArrayBuffer.isView(each));
    if (data instanceof Float32Array && data.length > 2000) {
      const sum = data.reduce((a, b) => a + Math.abs(b), 0);
      const mesh = { length: data.length, sum, shown: null };
      window.meshes.push(mesh);
      requestAnimationFrame(() => { mesh.shown = performance.now(); });
    }
    return original.apply(this, given);
  };
}
"""


def executable() -> str | None:
    """The system's Chromium, or the one that Playwright installed; None if there is neither."""
    from playwright.sync_api import sync_playwright

    if found := next((path for name in NAMES if (path := shutil.which(name))), None):
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@contextmanager
def browser() -> Iterator[Any]:
    """Playwright's browser, which is the system's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable(), args=_ARGUMENTS)
        yield opened
        opened.close()


class Server:
    """`lpm view` in a process of its own.

    Args:
        arguments: Of the verb.
    """

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "lpm.apps.cli", "view", "--no-browser", *arguments]
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "500"}
        )
        assert self._process.stderr is not None
        line = next((line for line in self._process.stderr if line.startswith("open ")), "")
        found = re.search(r"http://\S+", line)
        assert found, line
        self.address = found.group()

    @property
    def port(self) -> int:
        found = re.search(r":(\d+)/", self.address)
        assert found
        return int(found.group(1))

    def stop(self) -> None:
        """As a system does that shuts down."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)


class Viewer:
    """A page of the viewer, used as a person does.

    Args:
        browser: Its own profile is opened in it.
        address: Of the server.
        size: Of the window, pixels across and down.
        touched: On a phone or tablet, by fingers.
    """

    def __init__(
        self, browser: Any, address: str, size: tuple[int, int] = (900, 600), *, touched: bool = False
    ) -> None:
        width, height = size
        kind = {"has_touch": True, "is_mobile": True} if touched else {}
        self.context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **kind)
        self.context.set_default_timeout(WAIT_MS)
        self.context.add_init_script(_WATCH)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.goto(address)
        self.page.get_by_role("tab").first.wait_for()
        self.wait_for_lungs()

    def close(self) -> None:
        self.context.close()

    def drag(self, *fingers: tuple[tuple[float, float], tuple[float, float]]) -> None:
        """Move fingers over the glass, each from a place to another, in ten steps."""
        session = self.context.new_cdp_session(self.page)
        for step in range(11):
            places = [[a + (b - a) * step / 10 for a, b in zip(*finger, strict=True)] for finger in fingers]
            points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
            session.send(
                "Input.dispatchTouchEvent", {"type": "touchMove" if step else "touchStart", "touchPoints": points}
            )
            self.page.wait_for_timeout(40)
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def wait_for_lungs(self, after: int = 0) -> list[dict[str, float]]:
        """Wait until more meshes were drawn than there were; the new ones."""
        self.page.wait_for_function(f"window.meshes.length > {after}")
        return list(self.page.evaluate("window.meshes"))[after:]

    def n_meshes(self) -> int:
        return int(self.page.evaluate("window.meshes.length"))

    def settle(self) -> None:
        """Wait until nothing new was drawn for a while."""
        n, quiet = -1, 0
        while quiet < 4:
            self.page.wait_for_timeout(500)
            quiet = quiet + 1 if self.n_meshes() == n else 0
            n = self.n_meshes()

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def pick(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).first.click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def upload(self, button: str, name: str, content: bytes) -> str:
        """Send a file; what the page says of it in the end."""
        before = self.page.locator(".lpm[role]")
        old = before.first.inner_text() if before.count() else ""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name=button, exact=True).click()
        chooser.value.set_files([{"name": name, "mimeType": "application/octet-stream", "buffer": content}])
        ended = self.page.locator(".lpm[role=alert], .lpm[role=status]:has-text(': done')")
        ended.filter(has_not_text=old or "\N{SNOWMAN}").first.wait_for()
        return str(ended.first.inner_text())

    def add(self, files: dict[str, bytes]) -> None:
        """Choose several files of a patient at once."""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Add files", exact=True).click()
        kind = "application/octet-stream"
        chooser.value.set_files([{"name": name, "mimeType": kind, "buffer": each} for name, each in files.items()])

    def saved(self, button: str) -> tuple[str, bytes]:
        """Name and content of what a button saves."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=button, exact=True).click()
        return str(download.value.suggested_filename), download.value.path().read_bytes()

    def picture(self) -> bytes:
        """A screenshot, PNG."""
        return bytes(self.page.screenshot(timeout=WAIT_MS))

"""README's commands, copied from the file and run as printed, in an empty folder: ``make readme``.

``lpm view`` serves until it is stopped: it is started, asked for its page, and stopped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from doc_blocks import ROOT, Block, blocks_of

_PATIENCE_S = 900.0


def printed() -> Iterator[Block]:
    """Blocks of README that are to run: all that are not marked, but for what sets the machine up."""
    for block in blocks_of(ROOT / "README.md"):
        if not block.mark and block.language in ("sh", "python") and not block.text.startswith("make"):
            yield block


def environment() -> dict[str, str]:
    """The shell's, with this Python's programs first; no browser is opened."""
    programs = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "BROWSER": "true"}


def run_block(block: Block, folder: Path) -> None:
    """Run a block as printed.

    Raises:
        CalledProcessError: A command failed.
    """
    if block.language == "python":
        subprocess.run([sys.executable, "-c", block.text], cwd=folder, env=environment(), check=True)
        return
    for line in block.text.splitlines():
        started = time.monotonic()
        run = serve if line.startswith("lpm view") else run_line
        run(line, folder)
        print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)


def run_line(line: str, folder: Path) -> None:
    """Run a line of shell."""
    subprocess.run(["bash", "-euc", line], cwd=folder, env=environment(), check=True, timeout=_PATIENCE_S)


def serve(line: str, folder: Path) -> None:
    """Start a server, get its page, stop it.

    Raises:
        RuntimeError: It ended, or its page is none.
    """
    command = ["bash", "-euc", f"exec {line}"]
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())  # the token becomes a cookie
    with subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as server:
        try:
            address = next(found[0] for said in server.stderr or () if (found := re.search(r"http://\S+", said)))
            with browser.open(address, timeout=60) as page:
                if b"<html" not in page.read().lower():
                    raise RuntimeError(f"{line}: {address} is no page")
        except StopIteration:
            raise RuntimeError(f"{line}: ended without an address") from None
        finally:
            server.terminate()  # a background job would ignore Ctrl-C, and so would what it starts


def main() -> int:
    """Run all of it."""
    blocks = list(printed())
    with tempfile.TemporaryDirectory() as folder:
        for block in blocks:
            print(f"{block.page}:{block.line} ({block.language})", flush=True)
            run_block(block, Path(folder))
    print(f"{len(blocks)} blocks of README ran as printed")
    return 0 if blocks else 1


if __name__ == "__main__":
    sys.exit(main())

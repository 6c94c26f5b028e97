"""The viewer in a real Chromium: from the command to the first lungs, and from a slider's key to new lungs.

    python benchmarks/viewer.py --out viewer.json

Times are the browser's own: from the key that it hears to the frame after both lungs' new vertices reached the graphics
library. Chromium draws in software here, on the cores that also make the meshes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from lpm.files.atomic import write_text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from chromium import Server, Viewer, browser  # noqa: E402

COARSE = 12_000  # numbers of a mesh's vertices; fine ones have more
N_KEYS = 20
_KEYS = """
window.keys = [];
document.addEventListener("keydown", () => window.keys.push(performance.now()), true);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with browser() as chromium:
        chromium.new_context().new_page().goto("about:blank")  # a person's browser runs already
        result = first_picture(chromium)
    write_text(arguments.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def first_picture(chromium: Any) -> dict[str, Any]:
    """A cold start, and what follows it."""
    server = Server("--port", "0")
    listens = time.perf_counter() - server.started
    viewer = Viewer(chromium, server.address, size=(1280, 800))
    seen = time.perf_counter() - server.started
    viewer.tab("Knobs")
    viewer.page.get_by_role("slider", name="height, mm", exact=True).wait_for()  # the server is idle from then on
    viewer.tab("Shape")
    viewer.settle()
    viewer.page.evaluate(_KEYS)
    timings = [one_key(viewer) for _ in range(N_KEYS)]
    viewer.close()
    server.stop()
    return {
        "listens_s": listens,
        "first_picture_s": seen,
        "drag_ms": [drag for drag, _ in timings],
        "final_ms": [final for _, final in timings],
    }


def one_key(viewer: Viewer) -> tuple[float, float]:
    """Milliseconds from a key on the first slider to coarse lungs, and to fine ones."""
    n = viewer.n_meshes()
    viewer.page.get_by_role("slider", name="beta 1").first.press("ArrowRight")
    both = 4  # vertices and normals of two lungs
    viewer.page.wait_for_function(f"window.meshes.slice({n}).filter(m => m.length > {COARSE}).length >= {both}")
    viewer.settle()
    key = float(viewer.page.evaluate("window.keys.at(-1)"))
    meshes = list(viewer.page.evaluate("window.meshes"))[n:]
    coarse = [mesh["shown"] for mesh in meshes if mesh["length"] < COARSE][:both]
    fine = [mesh["shown"] for mesh in meshes if mesh["length"] > COARSE][:both]
    return max(coarse) - key, max(fine) - key


if __name__ == "__main__":
    main()

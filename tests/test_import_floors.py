"""The floors of the design: a file imports only from its own room or from lower ones.

`lung_model` is the front door (`lpm.load`) over model and fitting.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "lpm"
FLOORS = (
    "errors",
    "extras",
    "processes",
    "apart",
    "records",
    "calibration",
    "structures",
    "geometry",
    "files",
    "batch",
    "segmentation",
    "preparation",
    "measurement",
    "model",
    "fitting",
    "xray",
    "population",
    "lung_model",
    "motion",
    "studies",
    "evaluation",
    "reports",
    "workflows",
    "apps",
)
WITHOUT_TORCH = FLOORS[: FLOORS.index("model")]
TORCH = {"torch", "lightning", "lightning_fabric", "safetensors.torch"}


def room_of(path: Path) -> str:
    """The room of a source file; the package's own `__init__` stands above all."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(tree: ast.AST) -> set[str]:
    """Full names of everything that is imported, anywhere in a file."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module if node.level == 0 else f"{'.' * node.level}{node.module or ''}"
            found |= {module or ""} | ({f"lpm.{alias.name}" for alias in node.names} if module == "lpm" else set())
    return found


def violations(room: str, source: str, *, reads_files: bool = False) -> list[str]:
    """What a file of a room may not do; only those that read files may know SimpleITK."""
    tree = ast.parse(source)
    found = []
    for name in sorted(imports(tree)):
        top, _, rest = name.partition(".")
        if name.startswith("."):
            found.append(f"relative import {name}")
        imported = rest.partition(".")[0] if top == "lpm" else ""
        if room and imported in FLOORS and FLOORS.index(imported) > FLOORS.index(room):
            found.append(f"{room} imports {name} of a higher floor")
        if top in TORCH and room in WITHOUT_TORCH:
            found.append(f"{room} imports {name}")
        if top == "SimpleITK" and not reads_files:
            found.append(f"{room} imports SimpleITK")
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    if room != "apps" and any(isinstance(func, ast.Name) and func.id == "print" for func in calls):
        found.append(f"{room} prints")
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_floors(path: Path) -> None:
    room = room_of(path)
    assert room in ("", *FLOORS)
    assert violations(room, path.read_text(encoding="utf-8"), reads_files="files" in path.parts) == []


def test_the_table_in_contributing_is_that_of_the_floors() -> None:
    text = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| floor | holds |")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == FLOORS


@pytest.mark.parametrize(
    ("room", "source", "violation"),
    [
        ("geometry", "from lpm.files.volumes import read_volume", "geometry imports lpm.files.volumes of a higher"),
        ("model", "import lpm.fitting.evidence.points", "model imports lpm.fitting.evidence.points of a higher"),
        ("fitting", "from lpm import evaluation", "fitting imports lpm.evaluation of a higher"),
        ("errors", "from lpm.geometry import frames", "errors imports lpm.geometry of a higher"),
        ("preparation", "def f():\n    import torch.nn", "preparation imports torch.nn"),
        ("files", "from torch import Tensor", "files imports torch"),
        ("geometry", "import SimpleITK as sitk", "geometry imports SimpleITK"),
        ("model", "print('loss')", "model prints"),
        ("files", "from . import volumes", "relative import"),
    ],
)
def test_violations_are_caught(room: str, source: str, violation: str) -> None:
    assert any(violation in found for found in violations(room, source))


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("apps", "import torch\nfrom lpm.evaluation import metrics\nprint(1)"),
        ("geometry", "from lpm.errors import InputError\nfrom lpm.geometry.frames import as_points"),
        ("files", "import SimpleITK as sitk"),
        ("model", "import torch\nself.print('x')"),
    ],
)
def test_what_is_allowed_is_not_caught(room: str, source: str) -> None:
    assert violations(room, source, reads_files=room == "files") == []


def test_torch_is_not_loaded_at_run_time() -> None:
    modules = ("lpm.preparation.prepare", "lpm.geometry.phantoms", "lpm.files.points", "lpm.measurement.measure")
    check = "import {0}\nif 'torch' in sys.modules: sys.exit('{0}')\n"
    code = "import sys\n" + "".join(check.format(module) for module in modules)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

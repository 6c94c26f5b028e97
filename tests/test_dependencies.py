"""What is imported is declared, and what is declared is used: in the package, the tests, the benchmarks, the docs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CALLED = {  # what the package is called where its module is called otherwise
    "PIL": "pillow",
    "SimpleITK": "simpleitk",
    "igl": "libigl",
    "open3d": "open3d-cpu",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "mpl_toolkits": "matplotlib",
    "vtk": "pyvista",
    "vtkmodules": "pyvista",
    "yaml": "pyyaml",
}
NOT_IMPORTED = {  # used in another way
    "codespell": "make lint",
    "furo": "the theme that docs/conf.py names",
    "lungmask": "by the segmenter, its modules in a loop",
    "mypy": "make lint",
    "myst-parser": "an extension that docs/conf.py names",
    "pytest-xdist": "make test",
    "ruff": "make lint",
}
WITH_OTHERS = {  # parts of what is declared, that it cannot be used without
    "dask": "distributed",
    "docutils": "sphinx",
    "msgspec": "viser",
    "zstandard": "viser",
}
NOWHERE = {  # never installed beside LPM
    "dynamic-network-architectures": "a stand-in in a test",
    "half-installed": "a stand-in in a test",
    "no-such-wings": "is to be missing",
    "pyssam": "in an environment of its own",
}


def name_of(requirement: str) -> str:
    return re.split(r"[<>=;\[ ]", requirement)[0].lower().replace("_", "-")


CORE = {name_of(each) for each in PROJECT["dependencies"]}
EXTRAS = {extra: {name_of(each) for each in needs} for extra, needs in PROJECT["optional-dependencies"].items()}


def own_modules() -> set[str]:
    ours = {path.stem for folder in ("tests", "benchmarks", "slicer") for path in (ROOT / folder).rglob("*.py")}
    return {"lpm", "lpmlib", "slicer", "qt", "ctk"} | {name.lower().replace("_", "-") for name in ours}


def imported(folder: Path) -> Iterator[tuple[str, Path]]:
    """Packages of others that a folder's files import, also by name: `import_extra`, `importorskip`."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for module in _modules(node):
                top = module.partition(".")[0]
                if top and top not in sys.stdlib_module_names:
                    yield CALLED.get(top, top.lower().replace("_", "-")), path


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module or ""]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if called in ("import_extra", "import_module", "importorskip"):
            return [str(node.args[0].value)]
    return []


@cache
def others(folder: Path) -> dict[str, Path]:
    """Packages by name, each with a file that imports it."""
    ours = own_modules() | set(NOWHERE)
    return {WITH_OTHERS.get(name, name): path for name, path in imported(folder) if name not in ours}


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("src", set(EXTRAS) - {"dev", "docs", "browser"}),
        ("tests", set(EXTRAS)),
        ("benchmarks", set(EXTRAS)),
        ("docs", {"docs"}),
        ("examples", {"pictures"}),
    ],
)
def test_what_is_imported_is_declared(folder: str, extras: set[str]) -> None:
    declared = CORE.union(*(EXTRAS[extra] for extra in extras))
    missing = {name: str(path) for name, path in others(ROOT / folder).items() if name not in declared}
    assert missing == {}


@pytest.mark.parametrize("name", sorted(CORE))
def test_what_everyone_installs_is_imported_by_the_package(name: str) -> None:
    assert name in others(ROOT / "src")


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_what_an_extra_installs_is_used(extra: str) -> None:
    more = {"docs": ["docs"], "benchmarks": ["benchmarks"], "browser": ["tests"], "dev": ["tests", "benchmarks"]}
    used = {name for folder in ["src", *more.get(extra, [])] for name in others(ROOT / folder)}
    assert EXTRAS[extra] - used - set(NOT_IMPORTED) == set()


def test_what_is_not_imported_is_still_declared() -> None:
    assert set(NOT_IMPORTED) <= CORE.union(*EXTRAS.values())

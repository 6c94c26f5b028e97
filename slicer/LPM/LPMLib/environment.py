"""A virtual environment for `lpm` outside of Slicer, whose own Python stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

PYTHONS = ("python3.13", "python3.12", "python3.11", "python3", "python", "py")
LEAST, BELOW = (3, 11), (3, 14)
PACKAGE = "lungs-parametric-model"
# Slicer's launcher sets these for its own Python and libraries
_OF_SLICER = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONNOUSERSITE",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "VIRTUAL_ENV",
)


class SetupError(RuntimeError):
    """What keeps `lpm` from being installed or run, in words for the user."""


def outside_slicer(environment: Mapping[str, str]) -> dict:
    """Return the variables of an environment without those that would lead another Python to Slicer's modules."""
    kept = {name: value for name, value in environment.items() if name not in _OF_SLICER}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "NO_COLOR": "1", "COLUMNS": "200"}


def script_of(venv: Path, name: str = "lpm") -> Path:
    """Where a virtual environment keeps a command."""
    return venv / "Scripts" / (name + ".exe") if os.name == "nt" else venv / "bin" / name


def version_of(python: str, environment: Mapping[str, str]) -> tuple | None:
    """(major, minor) of an interpreter; None if it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", code], env=dict(environment), capture_output=True, text=True, timeout=30, check=True
        )
        major, minor = done.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python(environment: Mapping[str, str], which: Callable[..., str | None] = shutil.which) -> str | None:
    """Find a Python on the PATH that `lpm` runs on; None without one."""
    found = (which(name, path=environment.get("PATH")) for name in PYTHONS)
    inside_slicer = Path(sys.prefix).resolve()
    for python in found:
        if python is None or inside_slicer in Path(python).resolve().parents:
            continue
        version = version_of(python, environment)
        if version is not None and LEAST <= version < BELOW:
            return python
    return None


def setup_commands(
    venv: Path,
    package: str,
    environment: Mapping[str, str],
    which: Callable[..., str | None] = shutil.which,
) -> list[list[str]]:
    """Commands that make a virtual environment and install `lpm` into it.

    Args:
        venv: Folder of the environment.
        package: What pip installs: a folder with `pyproject.toml`, a wheel, an address, or a name.
        environment: Variables of `outside_slicer`.
        which: Finds programs.

    Raises:
        SetupError: Neither a Python from 3.11 to 3.13 nor uv is there.
    """
    python, uv = find_python(environment, which), which("uv", path=environment.get("PATH"))
    of_venv = str(script_of(venv, "python"))
    if python is not None:
        return [
            [python, "-m", "venv", "--clear", str(venv)],
            [of_venv, "-m", "pip", "install", "--upgrade", "pip"],
            [of_venv, "-m", "pip", "install", package],
        ]
    if uv is not None:
        return [
            [uv, "venv", "--clear", "--python", "3.12", str(venv)],
            [uv, "pip", "install", "--python", of_venv, package],
        ]
    raise SetupError(
        "No Python from 3.11 to 3.13 was found on the PATH, nor uv. Install one of them, or name the lpm command of an "
        "environment that has it."
    )


def package_beside(module: Path) -> str:
    """What to install: the clone that holds the module, else the package of the index."""
    clone = module.resolve().parents[2]
    project = clone / "pyproject.toml"
    if project.is_file() and PACKAGE in project.read_text(encoding="utf-8"):
        return str(clone)
    return PACKAGE

"""What the module does apart from Slicer: environments, command lines, running, reading."""

from __future__ import annotations

import ast
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from slicer_folder import MODULE

from lpm.apps.cli import app
from lpm.fitting.written import Sureness
from LPMLib.commands import (
    FitOptions,
    Radiographs,
    export_command,
    fit_command,
    fit_xray_command,
    measure_command,
    segment_command,
)
from LPMLib.environment import SetupError, find_python, outside_slicer, package_beside, script_of, setup_commands
from LPMLib.results import measures_of, shown_range, sigma_at
from LPMLib.running import Running

PATHS = sorted(MODULE.rglob("*.py"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_the_python_of_older_slicers_reads_it(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("path", [path for path in PATHS if path.parent.name == "LPMLib"], ids=lambda path: path.name)
def test_the_library_imports_nothing_that_slicer_lacks(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names) | {"numpy", "LPMLib"}


def test_slicers_own_variables_stay_behind() -> None:
    slicer = {"PATH": "/usr/bin", "PYTHONHOME": "/slicer", "LD_LIBRARY_PATH": "/slicer/lib", "HOME": "/home/x"}
    found = outside_slicer(slicer)
    assert not {"PYTHONHOME", "LD_LIBRARY_PATH"} & set(found)
    assert (found["PATH"], found["HOME"], found["NO_COLOR"]) == ("/usr/bin", "/home/x", "1")


def test_an_environment_is_made_by_the_first_python_that_lpm_runs_on(tmp_path: Path) -> None:
    there = {"python3.11": sys.executable} if sys.version_info[:2] < (3, 14) else {}
    found = find_python(os.environ, lambda name, path=None: there.get(name))
    assert found == sys.executable or Path(sys.prefix).resolve() in Path(sys.executable).resolve().parents
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 3 9\n")
    old.chmod(0o755)
    new = tmp_path / "python"
    new.write_text("#!/bin/sh\necho 3 12\n")
    new.chmod(0o755)
    names = {"python3": str(old), "python": str(new)}
    commands = setup_commands(tmp_path / "venv", "PACKAGE", os.environ, lambda name, path=None: names.get(name))
    assert commands[0] == [str(new), "-m", "venv", "--clear", str(tmp_path / "venv")]
    assert commands[-1][-2:] == ["install", "PACKAGE"]
    assert commands[-1][0] == str(script_of(tmp_path / "venv", "python"))


def test_uv_brings_a_python_of_its_own(tmp_path: Path) -> None:
    commands = setup_commands(tmp_path, "P", {}, lambda name, path=None: "/bin/uv" if name == "uv" else None)
    assert commands[0][:3] == ["/bin/uv", "venv", "--clear"]
    with pytest.raises(SetupError, match=r"No Python from 3\.11 to 3\.13 .* nor uv"):
        setup_commands(tmp_path, "P", {}, lambda name, path=None: None)


def test_a_module_in_a_clone_installs_the_clone(tmp_path: Path) -> None:
    assert package_beside(MODULE / "LPM.py") == str(MODULE.parents[1])
    assert package_beside(tmp_path / "a" / "b" / "LPM.py") == "lungs-parametric-model"


OUT = Path("out")
COMMANDS = [
    segment_command([], Path("ct.nrrd"), Path("lungs.seg.nrrd")),
    *(fit_command([], kind, Path("x"), OUT, FitOptions(complete=True, model="m")) for kind in ("volume", "markups")),
    fit_command([], "segmentation", Path("x.seg.nrrd"), OUT, FitOptions(report=False)),
    fit_xray_command([], Radiographs(Path("pa.png"), Path("lat.png"), 0.4, ap=True), OUT, FitOptions()),
    export_command([], OUT, Path("sliders.glb"), "model"),
    measure_command([], OUT, Path("measures.json")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_lpm_understands_the_commands(command: list[str]) -> None:
    import typer

    verb: object = typer.main.get_command(app)
    rest = list(command)
    while hasattr(verb, "commands"):
        verb = verb.commands[rest.pop(0)]
    verb.make_context("lpm", rest, resilient_parsing=False)  # type: ignore[attr-defined]


def test_lines_come_while_it_runs_and_errors_are_found() -> None:
    code = "print('\\x1b[1mone\\x1b[0m', flush=True); print('error: x is 3; expected 4'); raise SystemExit(2)"
    running = Running([sys.executable, "-c", code], os.environ)
    assert running.wait() == 2
    assert running.new_lines() == ["one", "error: x is 3; expected 4"]
    assert running.trouble == "x is 3; expected 4"


def test_a_run_that_is_stopped_ends() -> None:
    running = Running([sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
    assert running.exit_code is None
    start = time.monotonic()
    running.stop()
    assert running.exit_code not in (None, 0)
    assert time.monotonic() - start < 10


def test_uncertainty_is_that_of_the_package(tmp_path: Path, rng: np.random.Generator) -> None:
    places, sigma = rng.normal(size=(300, 3)) * 80.0, rng.uniform(0.2, 3.0, 300)
    np.savez(tmp_path / "residual.npz", **{"left_lung.sure_points_mm": places, "left_lung.sigma_mm": sigma})
    points = rng.normal(size=(2500, 3)) * 80.0
    found = sigma_at(tmp_path, "left_lung", points)
    np.testing.assert_allclose(found, Sureness(places, sigma).at(points), rtol=1e-6)
    assert sigma_at(tmp_path, "right_lung", points) is None
    low, high = shown_range([found])
    assert low == 0.0
    assert np.median(found) < high <= found.max()


def test_measures_are_rows_of_a_table(tmp_path: Path) -> None:
    values = {"height_mm": {"value": 2.0, "percentile": 5.0}, "v_ml": {"value": 1.0, "interval_95": [0.5, 2.0]}}
    (tmp_path / "m.json").write_text(json.dumps([{"subject": "x", "values": values}]))
    height, volume = measures_of(tmp_path / "m.json")
    assert height == ("height_mm", 2.0, None, None, 5.0)
    assert volume == ("v_ml", 1.0, 0.5, 2.0, None)

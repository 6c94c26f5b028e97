"""What a release carries: one version everywhere, a changelog as people know it, licences, recipes that fit."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import lpm
from lpm.reports.view3d import script_of_views

ROOT = Path(__file__).resolve().parents[2]
PAGE_FILES = ROOT / "src" / "lpm" / "reports" / "page_files"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
ON_CONDA = {"libigl": "igl", "matplotlib": "matplotlib-base", "torch": "pytorch"}


def releases() -> list[tuple[str, str]]:
    """(version, date) of every release in the changelog, the newest first; dates may be missing."""
    return re.findall(r"^## (\d+\.\d+\.\d+)(?: - (\d{4}-\d{2}-\d{2}))?$", CHANGELOG, re.MULTILINE)


def citation() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")))


def recipe() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8")))


def test_one_version_everywhere() -> None:
    version, date = releases()[0]
    assert PROJECT["version"] == version == citation()["version"] == recipe()["context"]["version"]
    assert str(citation()["date-released"]) == date


def test_the_package_knows_its_version_and_asks_for_it_only_then() -> None:
    assert lpm.__version__ == importlib.metadata.version("lungs-parametric-model")
    code = "import sys, lpm; early = 'importlib.metadata' in sys.modules; sys.exit(early or not lpm.__version__)"
    assert subprocess.run([sys.executable, "-S", "-c", code], env=paths(), check=False).returncode == 0


def paths() -> dict[str, str]:
    """Where this Python finds modules, for one that starts without looking: what `site` imports would be no one's."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}


def test_the_promise_is_of_this_minor_version() -> None:
    minor = ".".join(PROJECT["version"].split(".")[:2])
    assert f"({minor}.x)" in (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")


def test_the_changelog_is_kept_as_people_know_it() -> None:
    versions = [tuple(map(int, version.split("."))) for version, _ in releases()]
    assert versions == sorted(set(versions), reverse=True)
    assert CHANGELOG.index("## Unreleased") < CHANGELOG.index(f"## {releases()[0][0]}")
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= kinds
    unlike = [line for line in CHANGELOG.splitlines() if re.match(r"## (?!Unreleased$|\d)", line)]
    assert unlike == []


def test_licences_of_what_is_carried_ship() -> None:
    licences = set(PROJECT["license-files"])
    assert licences == set(recipe()["about"]["license_file"]) == {"LICENSE", "src/lpm/reports/page_files/three.LICENSE"}
    text = (PAGE_FILES / "three.LICENSE").read_text(encoding="utf-8")
    assert text.strip() in script_of_views()
    assert "Permission is hereby granted" in text


def test_what_is_carried_is_in_the_bill_of_materials() -> None:
    bill = json.loads((ROOT / "packaging" / "vendored.cdx.json").read_text(encoding="utf-8"))
    (three,) = bill["components"]
    assert f"three.js {three['version']} (MIT" in (PAGE_FILES / "README.md").read_text(encoding="utf-8")
    assert three["purl"] == three["bom-ref"] == f"pkg:npm/three@{three['version']}"
    assert [path.name for path in PAGE_FILES.glob("*.min.js")] == ["three.min.js"]


def test_the_conda_recipe_asks_for_what_pip_asks_for() -> None:
    runs = recipe()["requirements"]["run"]
    needs = {re.sub(r"([a-z\d-]+)", _on_conda, each.lower(), count=1) for each in PROJECT["dependencies"]}
    assert {each.replace(" ", "") for each in runs if not each.startswith("python ")} == needs
    lowest, highest = re.fullmatch(r">=([\d.]+),<([\d.]+)", PROJECT["requires-python"]).groups()
    assert recipe()["context"]["python_min"] == lowest
    assert f"python >=${{{{ python_min }}}},<{highest}" in runs
    hatchling = PYPROJECT["build-system"]["requires"][0]
    assert hatchling.replace(">=", " >=") in recipe()["requirements"]["host"]
    (entry,) = recipe()["build"]["python"]["entry_points"]
    assert entry.split(" = ") == ["lpm", PROJECT["scripts"]["lpm"]]


def _on_conda(match: re.Match[str]) -> str:
    return ON_CONDA.get(match[1], match[1])


SETTINGS = [ROOT / ".pre-commit-config.yaml", ROOT / ".readthedocs.yaml"]


@pytest.mark.parametrize("path", [*SETTINGS, *sorted((ROOT / ".github").rglob("*.yml"))], ids=lambda path: path.stem)
def test_forms_and_workflows_are_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_every_extra_is_installed_alone_somewhere() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    alone = {row["extra"]: row["tests"].split() for row in jobs["extras"]["strategy"]["matrix"]["include"]}
    assert set(alone) == set(PROJECT["optional-dependencies"]) - {"dev"}
    assert [name for names in alone.values() for name in names if not (ROOT / name).exists()] == []
    pythons = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert jobs["wheel"]["strategy"]["matrix"]["python"] == pythons


def test_the_sdist_holds_what_its_tests_read() -> None:
    there = set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    assert {"src", "tests", "docs", "slicer", "examples", "benchmarks", "packaging", ".github"} <= there
    assert {each for each in there if not (ROOT / each).exists()} == set()

"""The public interface: what `import lpm` gives, and what is promised of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lpm

DOCS = Path(__file__).resolve().parents[1] / "docs"
CORNERS = np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


@pytest.mark.parametrize("name", lpm.__all__)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(lpm, name)
    assert found.__name__ == name
    assert found.__doc__


def test_names_are_in_order_each_with_one_home_and_few_enough_to_promise() -> None:
    homes = [name for names in lpm._HOMES.values() for name in names]
    assert sorted(homes) == sorted(lpm.__all__) == list(dict.fromkeys(sorted(lpm.__all__)))
    assert dir(lpm) == sorted(lpm.__all__)
    assert 20 <= len(lpm.__all__) <= 35


def test_the_promise_lists_every_name() -> None:
    text = (DOCS / "stability.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    assert listed == set(lpm.__all__)


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'lpm' has no attribute 'lungs'"):
        _ = lpm.lungs


@pytest.mark.parametrize("name", [name for name in lpm.__all__ if name.startswith(("read_", "write_"))])
def test_files_may_be_named_by_text(name: str, tmp_path: Path) -> None:
    written = {
        "write_mesh": [lpm.WorldMesh(CORNERS, FACES)],
        "write_volume": [lpm.Volume(np.ones((3, 3, 3)), np.eye(4))],
    }
    suffix = {"write_mesh": ".ply", "write_volume": ".nii.gz", "read_mesh": ".ply", "read_points": ".csv"}
    path = f"{tmp_path}/x{suffix.get(name, '.json' if name == 'read_views' else '.nii.gz')}"
    if name in written:
        getattr(lpm, name)(path, *written[name])
        assert Path(path).is_file()
        return
    with pytest.raises(lpm.FileError, match="no such file"):
        getattr(lpm, name)(path)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, lpm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The public interface: what `import lpm` gives, and what is promised of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lpm

DOCS = Path(__file__).resolve().parents[1] / "docs"


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


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, lpm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

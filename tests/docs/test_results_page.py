"""The writer of docs/results.md: misses first, each with the stamp of its section."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PAGE = """# Benchmarks

## Fast `things`, and slow

Of lungs. 2 cores, 24 GiB, Python 3.11.7.

| aim | bar | measured |  |
| --- | --- | --- | --- |
| size | <= 2 mm | 1 mm | met |
| speed | <= 2 s | 3 s | missed |

Measured on 2030-01-02 at commit 0123456.

## Beside DeepSDF, as DeepSDFStruct packages it

**STALE:** old.

| aim | bar | measured |  |
| --- | --- | --- | --- |
| ratio | < 1 | 2 | missed |

| subject | LPM, mm | DeepSDF, mm |
| --- | --- | --- |
| a | 0.1 | 2.0 |
| b | 0.3 | 5.0 |

## Unseen lungs: the atlas, as bundled

### From 5,000 points

| method | cases | ASSD mm |
| --- | --- | --- |
| Poisson | 2 | 5.52 |
| LPM | 2 | 0.27 [0.24, 0.31] |

### From 100 points

| method | cases | ASSD mm |
| --- | --- | --- |
| LPM | 2 | 2.05 |
"""


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "results", raising=False)
    import results

    return results


def test_misses_come_first_with_their_stamps(results: ModuleType) -> None:
    text = results.summary(PAGE)
    assert text.startswith("2 of 3 bars are missed. Machine: 2 cores, 24 GiB, Python 3.11; no GPU.")
    link = "[Fast things, and slow](benchmarks.md#fast-things-and-slow)"
    assert f"| speed | <= 2 s | 3 s | {link} | 2030-01-02, 0123456 |" in text
    assert "| ratio | < 1 | 2 | [Beside DeepSDF" in text
    assert "earlier (stale) |" in text
    assert text.index("## Missed") < text.index("## Beside other methods") < text.index("## All bars")
    assert f"| {link} | 1 of 2 | 2030-01-02, 0123456 |" in text


def test_methods_stand_beside_each_other(results: ModuleType) -> None:
    text = results.summary(PAGE)
    assert "| **LPM** | **0.27 [0.24, 0.31]** | **-** | **2.05** | earlier (stale) |" in text
    assert "| Poisson | 5.52 | - | - | earlier (stale) |" in text
    assert "| DeepSDF (DeepSDFStruct), lungs as one | 3.50 | - | - | earlier (stale) |" in text


def test_the_page_tells_of_every_bar_of_the_benchmarks(results: ModuleType) -> None:
    text = (BENCHMARKS.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    found = list(results.aims(results.sections_of(text)))
    assert len(found) == text.count("| met |") + text.count("| missed |")
    assert "LPM" in results.summary(text)

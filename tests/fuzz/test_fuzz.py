"""Files that came to harm end as files or as errors in words: no crash, no hang, no traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from campaign import run


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    campaign = run(300, seed=1, folder=tmp_path)
    assert campaign.found == []
    assert campaign.totals["refused"] > 100

"""The Python of docs/xray.md, as printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "xray.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)  # noqa: S102 (our own page)
    lengths = names["lengths"]
    assert isinstance(lengths, np.ndarray)
    assert lengths.shape == (2, 160, 200)
    assert lengths[0].argmax() != lengths[1].argmax()
    assert (tmp_path / "chest.png").exists()

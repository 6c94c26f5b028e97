from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lpm.errors import MissingExtraError
from lpm.extras import import_extra


def test_what_is_there_is_imported() -> None:
    assert import_extra("json.decoder", "hub", "model") is sys.modules["json.decoder"]


def test_what_is_missing_is_named_with_its_extra() -> None:
    expected = (
        r"^lpm fly: needs no_such_wings \(No module named 'no_such_wings'\); expected the extra wings\. "
        r"Try: pip install 'lungs-parametric-model\[wings\]', or walk$"
    )
    with pytest.raises(MissingExtraError, match=expected):
        import_extra("no_such_wings", "wings", "lpm fly", ", or walk")


def test_a_missing_system_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("raise OSError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"needs half_installed \(libGL\.so\.1: cannot open"):
        import_extra("half_installed", "pictures", "3D pictures")

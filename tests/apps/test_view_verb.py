"""What `lpm view` takes: a model, or fits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lpm.apps.verbs.view import _read, _told_apart
from lpm.errors import FileError, InputError, MisuseError


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    found = []
    for name in ("a/fit", "b/fit", "c/other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "fit.json").write_text("{}")
        found.append(str(tmp_path / name))
    return found


def test_models_and_fits_are_told_apart(folders: list[str]) -> None:
    assert _told_apart([], None) == (None, [])
    assert _told_apart([], "lungs-v1") == ("lungs-v1", [])
    assert _told_apart(["lungs-v1"], None) == ("lungs-v1", [])
    assert _told_apart(folders[:1], None) == (None, [Path(folders[0])])
    assert _told_apart(folders[:2], "m") == ("m", [Path(each) for each in folders[:2]])


def test_what_cannot_be_shown_together_is_refused(folders: list[str]) -> None:
    for inputs in (folders, [folders[0], "lungs-v1"], ["lungs-v1", "lungs-v2"]):
        with pytest.raises(MisuseError, match=r"expected one model, or one or two folders of lpm fit.*--model"):
            _told_apart(inputs, None)
    with pytest.raises(MisuseError, match="--model: beside nowhere, which is no fit; expected one model"):
        _told_apart(["nowhere"], "lungs-v1")


def test_fits_are_called_by_what_tells_them_apart(folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match=r"fit\.json: lacks or damages"):
        _read([Path(folders[0])], SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setattr("lpm.fitting.written.read_fit", lambda folder, _: folder)
    model: Any = SimpleNamespace()
    assert list(_read([Path(folders[0]), Path(folders[2])], model)) == ["fit", "other"]
    assert list(_read([Path(each) for each in folders[:2]], model)) == folders[:2]


def test_fits_of_a_network_are_refused() -> None:
    pytest.importorskip("viser")
    from lpm.apps.viewer.server import ViewConfig, ViewServer

    network: Any = SimpleNamespace(decoder=None)
    with pytest.raises(InputError, match="lpm view: fits of a network; expected fits of an atlas"):
        ViewServer(network, ViewConfig(port=0), {"a": SimpleNamespace()})  # type: ignore[dict-item]

"""Models from the Hugging Face Hub, by its own client, from its cache: no network is needed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import lpm
from lpm.errors import FileError, InputError, MissingExtraError
from lpm.files.hub import fetch_repository
from lpm.lung_model import BUNDLED

pytest.importorskip("huggingface_hub", reason="needs the extra 'hub'")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as the hub's client lays it out, with the bundled model as `someone/lungs`."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--lungs"
    shutil.copytree(BUNDLED, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return tmp_path


def test_a_repository_is_a_model(cache: Path) -> None:
    model = lpm.load("hf:someone/lungs")
    assert model.structures == lpm.load().structures
    assert cache in fetch_repository("hf:someone/lungs@main").parents


@pytest.mark.parametrize(
    "name", ["hf:lungs", "hf:a/b/c", "hf:/lungs", "hf:someone/", "hf:a/b@", "hf:a/b#12", "hf:a/b@x#" + 16 * "g"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="hf:owner/repository"):
        lpm.load(name)


def test_what_is_not_there_is_told(cache: Path) -> None:
    with pytest.raises(FileError, match=r"hf:someone/else.*cannot be fetched"):
        lpm.load("hf:someone/else")


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match="extra hub"):
        lpm.load("hf:someone/lungs")

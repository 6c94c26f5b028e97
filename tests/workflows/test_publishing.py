"""A published model is a repository of the Hub that loads again, and is known by its digest."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

import lpm
from lpm.apps.cli import run
from lpm.errors import FileError, MisuseError
from lpm.files.hub import digest_of, push_repository
from lpm.lung_model import BUNDLED
from lpm.workflows.publishing import Publication, publish

hub = pytest.importorskip("huggingface_hub", reason="needs the extra 'hub'")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "repository"
    publish(BUNDLED, folder, Publication("Lungs <v1>", "cc-by-4.0", "someone/lungs"))
    return folder


@pytest.fixture
def cache(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as the hub's client lays it out, with the repository as `someone/lungs`."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    kept = tmp_path / "models--someone--lungs"
    shutil.copytree(repository, kept / "snapshots" / COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    return kept / "snapshots" / COMMIT


def test_the_folder_is_a_model_with_a_card(repository: Path) -> None:
    assert lpm.load(repository).bundle.digest == lpm.load().bundle.digest
    card = hub.ModelCard.load(repository / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "lungs-parametric-model"
    assert "statistical-shape-model" in card.data.tags
    for said in ("Lungs <v1>", "53", "320", "Not for clinical use", lpm.load().bundle.digest, "total_volume_ml"):
        assert said in card.text
    assert f'"hf:someone/lungs@main#{digest_of(repository)[:16]}"' in card.text


def test_checksums_are_those_of_the_usual_tool(repository: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=repository, capture_output=True, check=False)  # noqa: S607
    assert done.returncode == 0
    assert digest_of(repository) == hashlib.sha256((repository / "SHA256SUMS").read_bytes()).hexdigest()


def test_a_model_is_loaded_by_revision_and_digest(cache: Path) -> None:
    digest = digest_of(cache)
    for name in (f"hf:someone/lungs@{COMMIT}#{digest}", f"hf:someone/lungs#{digest[:16].upper()}"):
        assert lpm.load(name).structures == ("left_lung", "right_lung")


def test_files_that_were_changed_are_refused(cache: Path) -> None:
    digest = digest_of(cache)
    bundle = cache / "bundle.json"
    bundle.write_text(bundle.read_text().replace("3694.37", "3694.38"))
    lpm.load("hf:someone/lungs")  # nobody asked
    with pytest.raises(FileError, match=rf"files of digest [0-9a-f]{{16}}; expected {digest}"):
        lpm.load(f"hf:someone/lungs@main#{digest}")


def test_a_publication_gives_way_and_other_things_do_not(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    shutil.copytree(repository, out)
    publish(BUNDLED, out, Publication("again", "mit"))
    assert "# again" in (out / "README.md").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(FileError, match=r"thesis\.txt"):
        publish(BUNDLED, tmp_path / "mine", Publication("x", "mit"))
    with pytest.raises(FileError, match=r"bundle\.json"):
        publish(tmp_path / "mine", tmp_path / "new", Publication("x", "mit"))
    with pytest.raises(MisuseError, match=r"expected an identifier such as cc-by-4\.0"):
        Publication("x", "my licence")


class Recorder:
    """Takes the place of the hub's client: what it is asked for is kept."""

    asked: ClassVar[list[tuple[str, object]]] = []

    def __init__(self, token: str) -> None:
        self.asked.append(("token", token))

    def create_repo(self, repository: str, **given: object) -> None:
        self.asked.append((repository, given["private"]))

    def upload_folder(self, repo_id: str, folder_path: str) -> SimpleNamespace:
        if repo_id == "others/lungs":
            raise PermissionError("403 Forbidden")
        self.asked.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))
        return SimpleNamespace(oid=COMMIT)


def test_nothing_is_pushed_unasked_or_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HfApi", Recorder)
    monkeypatch.setattr(hub, "get_token", lambda: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(Recorder, "asked", [])
    out = ["publish", str(BUNDLED), "--out", str(tmp_path / "r"), "--license", "mit"]
    assert run(out) == 0
    assert run([*out, "--push", "someone/lungs"]) == 2
    assert Recorder.asked == []
    with pytest.raises(MisuseError, match="no token; expected one with leave to write"):
        push_repository(tmp_path / "r", "someone/lungs")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run([*out, "--push", "someone/lungs"]) == 0
    files = [".gitattributes", "README.md", "SHA256SUMS", "bundle.json", "weights.safetensors"]
    assert Recorder.asked == [("token", "secret"), ("someone/lungs", True), ("someone/lungs", files)]
    with pytest.raises(FileError, match=r"cannot be pushed .403 Forbidden.; expected a repository that you may write"):
        push_repository(tmp_path / "r", "others/lungs")

"""Models from and for the Hugging Face Hub: two files of a repository, pinned by revision, checked by digest."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lpm.errors import FileError, InputError, MisuseError
from lpm.extras import import_extra

PREFIX = "hf:"
MODEL_FILES = ("bundle.json", "weights.safetensors")
_NAME = re.compile(
    r"hf:(?P<repository>[^/@#\s]+/[^/@#\s]+)(?:@(?P<revision>[^@#\s]+))?(?:#(?P<digest>[0-9a-fA-F]{16,64}))?"
)
_EXPECTED = "hf:owner/repository, with @revision and #digest (16 to 64 hexadecimal digits) where it is pinned"


@dataclass(frozen=True)
class HubName:
    """Name of a model on the Hub.

    Args:
        repository: ``owner/repository``.
        revision: Branch, tag or commit; None for the newest.
        digest: First digits of `digest_of`, lower case; None for no check.
    """

    repository: str
    revision: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, name: str) -> HubName:
        """Read ``hf:owner/repository@revision#digest``; the last two may be left out.

        Raises:
            InputError: Not of that form.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise InputError("model", repr(name), _EXPECTED)
        digest = found["digest"]
        return cls(found["repository"], found["revision"], digest and digest.lower())


def digest_of(folder: Path) -> str:
    """SHA-256 of a model's files, by which a copy of it is known: of the lines that `sha256sum` writes of them.

    Raises:
        FileError: One is missing.
    """
    return hashlib.sha256(checksums_of(folder).encode()).hexdigest()


def checksums_of(folder: Path) -> str:
    """A line for each of a model's files, as `sha256sum` writes it.

    Raises:
        FileError: One is missing.
    """
    lines = []
    for name in MODEL_FILES:
        try:
            with (folder / name).open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
        except OSError as error:
            raise FileError(str(folder / name), f"cannot be read ({error.strerror})", "a model's file") from error
    return "".join(lines)


def fetch_repository(name: str) -> Path:
    """Fetch a model's files, or find them in the cache, and return their folder.

    Args:
        name: As `HubName.parse` takes it.

    Raises:
        InputError: Not of that form.
        MissingExtraError: huggingface_hub is not installed.
        FileError: The repository or one of its files cannot be had, or the files have another digest.
    """
    wanted = HubName.parse(name)
    hub = import_extra("huggingface_hub", "hub", "model")
    try:
        paths = [Path(hub.hf_hub_download(wanted.repository, file, revision=wanted.revision)) for file in MODEL_FILES]
    except Exception as error:  # the hub raises many kinds, all of which mean that the files are not to be had
        given = f"cannot be fetched ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
        raise FileError(name, given, " and ".join(MODEL_FILES), "check name and network") from error
    folder = paths[0].parent
    if wanted.digest and not (found := digest_of(folder)).startswith(wanted.digest):
        hint = "ask its owner what changed; pin the commit that you know"
        raise FileError(name, f"files of digest {found[:16]}", wanted.digest, hint)
    return folder


def push_repository(folder: Path, repository: str) -> str:
    """Upload a folder as a model of the Hub, and return its commit.

    Args:
        folder: What `lpm publish` wrote.
        repository: ``owner/repository``; made, private, if it is not there.

    Raises:
        InputError: The repository's name is not of that form.
        MissingExtraError: huggingface_hub is not installed.
        MisuseError: There is no token.
        FileError: The Hub refuses.
    """
    wanted = HubName.parse(PREFIX + repository.removeprefix(PREFIX))
    hub = import_extra("huggingface_hub", "hub", "lpm publish --push")
    token = os.environ.get("HF_TOKEN") or hub.get_token()
    if not token:
        raise MisuseError(
            "--push", "no token", "one with leave to write", "set HF_TOKEN, or log in with `hf auth login`"
        )
    try:
        api = hub.HfApi(token=token)
        api.create_repo(wanted.repository, repo_type="model", private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=wanted.repository, folder_path=str(folder)).oid)
    except Exception as error:  # the hub raises many kinds
        given = f"cannot be pushed ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
        raise FileError(
            repository, given, "a repository that you may write to", "check name, token, network"
        ) from error

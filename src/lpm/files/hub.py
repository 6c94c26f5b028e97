"""Models from the Hugging Face Hub: two files of a repository, kept in its cache."""

from __future__ import annotations

from pathlib import Path

from lpm.errors import FileError, InputError
from lpm.extras import import_extra

PREFIX = "hf:"
_FILES = ("bundle.json", "weights.safetensors")


def fetch_repository(name: str) -> Path:
    """Fetch a model's files, or find them in the cache, and return their folder.

    Args:
        name: ``hf:owner/repository``, with ``@revision`` for a branch, tag or commit.

    Raises:
        InputError: Not of that form.
        MissingExtraError: huggingface_hub is not installed.
        FileError: The repository or one of its files cannot be had.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise InputError("model", repr(name), "hf:owner/repository or hf:owner/repository@revision")
    hub = import_extra("huggingface_hub", "hub", "model")
    try:
        paths = [Path(hub.hf_hub_download(repository, file, revision=revision or None)) for file in _FILES]
    except Exception as error:  # the hub raises many kinds, all of which mean that the files are not to be had
        given = f"cannot be fetched ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
        raise FileError(name, given, " and ".join(_FILES), "check name and network") from error
    return paths[0].parent

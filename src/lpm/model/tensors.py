"""Tensors on disk: safetensors, never pickle, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lpm.errors import FileError
from lpm.files.atomic import atomic_file


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    """Write named tensors and text notes."""
    with atomic_file(path) as temporary:
        kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        temporary.write_bytes(save(kept, dict(notes)))  # save_file would keep the file from other users


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read named tensors and text notes, on the CPU.

    Raises:
        FileError: Missing, truncated or of another kind.
    """
    if not path.is_file():
        raise FileError(str(path), "no such file", "a safetensors file")
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileError(str(path), f"damaged ({error})", "an intact safetensors file", "write it again") from error

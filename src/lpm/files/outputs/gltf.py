"""Binary glTF 2.0 (.glb): arrays and the scene that names them, in one file."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT = 5126, 5125
VERTICES, INDICES = 34962, 34963
"""What an array is used for, by the format's numbers."""


class GlbArrays:
    """Arrays of a .glb, each known by its number."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._accessors: list[dict[str, Any]] = []
        self._views: list[dict[str, int]] = []
        self._size = 0

    def add(self, array: NDArray[Any], target: int | None = None) -> int:
        """Take an array and return its number.

        Args:
            array: (n,) or (n, 3); of whole numbers, or of others, which are rounded to single precision.
            target: `VERTICES`, `INDICES`, or None for what is neither.
        """
        is_whole = np.issubdtype(array.dtype, np.integer)
        stored = np.ascontiguousarray(array, dtype="<u4" if is_whole else "<f4")
        view = {"buffer": 0, "byteOffset": self._size, "byteLength": stored.nbytes}
        self._views.append(view if target is None else view | {"target": target})
        accessor = {
            "bufferView": len(self._accessors),
            "componentType": _UINT if is_whole else _FLOAT,
            "count": len(stored),
            "type": "VEC3" if stored.ndim == 2 else "SCALAR",
        }
        if not is_whole:
            ends = {"min": stored.min(axis=0), "max": stored.max(axis=0)}
            accessor |= {name: np.atleast_1d(end).tolist() for name, end in ends.items()}
        self._accessors.append(accessor)
        self._chunks.append(stored.tobytes())
        self._size += stored.nbytes
        return len(self._accessors) - 1

    def packed(self, scene: dict[str, Any]) -> bytes:
        """Return the file of a scene whose parts name arrays by their numbers."""
        tables = {"accessors": self._accessors, "bufferViews": self._views, "buffers": [{"byteLength": self._size}]}
        whole = {"asset": {"version": "2.0", "generator": "lungs-parametric-model"}, **scene, **tables}
        text = json.dumps(whole, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        data = b"".join(self._chunks)  # of four bytes a number
        parts = struct.pack("<2I", len(text), _JSON) + text + struct.pack("<2I", len(data), _BIN) + data
        return struct.pack("<3I", _MAGIC, 2, 12 + len(parts)) + parts


def matt(color: tuple[float, float, float] | None = None) -> dict[str, Any]:
    """A material that does not shine; its colour in light, not sRGB (None: as vertices say)."""
    look: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    if color is not None:
        look["baseColorFactor"] = [*color, 1.0]
    return {"pbrMetallicRoughness": look}

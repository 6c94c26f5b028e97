"""A coloured surface for the browser: binary glTF 2.0, with normals and a matt material."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Mesh
from lpm.geometry.thickness import vertex_normals

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT = 5126, 5125
_VERTICES, _INDICES = 34962, 34963


def colored_glb(mesh: Mesh, colors: NDArray[np.uint8], places: Floats) -> bytes:
    """Write a surface.

    Args:
        mesh: Its triangles and normals.
        colors: (v, 3) sRGB of each vertex.
        places: (v, 3) of its vertices in the scene's unit.
    """
    arrays: dict[str, NDArray[Any]] = {
        "POSITION": places.astype("<f4"),
        "NORMAL": vertex_normals(mesh).astype("<f4"),
        "COLOR_0": linear(colors).astype("<f4"),
        "indices": mesh.faces.astype("<u4").ravel(),
    }
    accessors, views, start = [], [], 0
    for index, (name, array) in enumerate(arrays.items()):
        is_index = name == "indices"
        target = _INDICES if is_index else _VERTICES
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": target})
        accessor = {
            "bufferView": index,
            "componentType": _UINT if is_index else _FLOAT,
            "count": len(array),
            "type": "SCALAR" if is_index else "VEC3",
        }
        if name == "POSITION":
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        accessors.append(accessor)
        start += array.nbytes
    matt = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.8}}
    primitive = {"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}
    scene = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [matt],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
    return _packed(scene, b"".join(array.tobytes() for array in arrays.values()))


def linear(colors: NDArray[np.uint8]) -> Floats:
    """Light of sRGB colours, 0 to 1: glTF's vertex colours are that."""
    share = colors / 255.0
    return np.asarray(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4))


def _packed(scene: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    parts = struct.pack("<2I", len(text), _JSON) + text + struct.pack("<2I", len(data), _BIN) + data
    return struct.pack("<3I", _MAGIC, 2, 12 + len(parts)) + parts

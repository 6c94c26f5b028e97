from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
import trimesh

from lpm.apps.viewer.scene.glb import colored_glb, linear
from lpm.geometry.meshes import WorldMesh


def values_of(data: bytes, attribute: str) -> np.ndarray:
    """(n, 3) floats of a vertex attribute, found as the format's specification says."""
    (length,) = struct.unpack_from("<I", data, 12)
    scene = json.loads(data[20 : 20 + length])
    accessor = scene["accessors"][scene["meshes"][0]["primitives"][0]["attributes"][attribute]]
    view = scene["bufferViews"][accessor["bufferView"]]
    start = 20 + length + 8 + view["byteOffset"]
    return np.frombuffer(data[start : start + view["byteLength"]], dtype="<f4").reshape(accessor["count"], 3)


def test_what_is_written_is_read_by_another() -> None:
    box = trimesh.creation.box((1.0, 2.0, 3.0))
    mesh = WorldMesh(np.asarray(box.vertices), np.asarray(box.faces))
    colors = np.linspace(0, 255, 24).astype(np.uint8).reshape(8, 3)
    data = colored_glb(mesh, colors, mesh.vertices / 10.0)
    read = trimesh.load_mesh(io.BytesIO(data), file_type="glb", process=False)
    assert read.vertices == pytest.approx(mesh.vertices / 10.0)
    assert np.array_equal(read.faces, mesh.faces)
    assert values_of(data, "COLOR_0") == pytest.approx(linear(colors), abs=1e-6)
    outward = np.einsum("ij,ij->i", read.vertex_normals, read.vertices)
    assert (outward > 0).all()


def test_light_of_known_colours() -> None:
    assert linear(np.array([0, 255, 188], dtype=np.uint8)) == pytest.approx([0.0, 1.0, 0.5], abs=0.005)

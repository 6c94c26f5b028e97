"""A coloured surface for the browser: binary glTF 2.0, with normals and a matt material."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lpm.files.outputs.gltf import INDICES, VERTICES, GlbArrays, matt
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Mesh
from lpm.geometry.thickness import vertex_normals


def colored_glb(mesh: Mesh, colors: NDArray[np.uint8], places: Floats) -> bytes:
    """Write a surface.

    Args:
        mesh: Its triangles and normals.
        colors: (v, 3) sRGB of each vertex.
        places: (v, 3) of its vertices in the scene's unit.
    """
    arrays = GlbArrays()
    attributes = {
        "POSITION": arrays.add(places, VERTICES),
        "NORMAL": arrays.add(vertex_normals(mesh), VERTICES),
        "COLOR_0": arrays.add(linear(colors), VERTICES),
    }
    indices = arrays.add(mesh.faces.ravel(), INDICES)
    primitive = {"attributes": attributes, "indices": indices, "material": 0}
    scene = {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [matt()],
    }
    return arrays.packed(scene)


def linear(colors: NDArray[np.uint8]) -> Floats:
    """Light of sRGB colours, 0 to 1: glTF's vertex colours are that."""
    share = colors / 255.0
    return np.asarray(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4))

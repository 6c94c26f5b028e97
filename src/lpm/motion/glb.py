"""Lungs with sliders as one .glb: each end of a slider is a morph target (shape key, blend shape)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpm.files.meshes import GLTF_FROM_RAS_MM
from lpm.files.outputs.gltf import INDICES, VERTICES, GlbArrays, matt
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.thickness import vertex_normals
from lpm.motion.sliders import End, SlidingLungs

_BREATH = "expiration"  # what the name of the end of a breath begins with
# fifteen breaths a minute, as an adult at rest has: in, out, in; held at first, so that Blender, which opens at frame 1
# (42 ms), shows the lungs at rest
_BREATH_S = (0.0, 0.1, 1.6, 4.0)
_BREATHED_OUT = (0.0, 0.0, 1.0, 0.0)  # out at the third key frame alone: an animation begins and ends at rest
_COLOURS = {"left_lung": (0.44, 0.20, 0.13), "right_lung": (0.69, 0.36, 0.27)}  # light, not sRGB
_OTHER = (0.26, 0.38, 0.52)  # of what is no lung


def sliding_glb(lungs: SlidingLungs) -> bytes:
    """Write lungs with sliders.

    Args:
        lungs: What to write. Vertices are RAS mm; the node that holds them stands them up and scales them to metres.

    Returns:
        A .glb with one mesh, a primitive each structure. Its morph targets are the ends of the sliders, by their names;
        all weights are 0 at rest, and 1 is the end itself. A breath is an animation, too.
    """
    arrays, ends = GlbArrays(), lungs.ends
    primitives = [_primitive(arrays, lungs, name, number) for number, name in enumerate(lungs.rest)]
    names = [end.name for end in ends]
    whole = {
        "primitives": primitives,
        "weights": [0.0] * len(ends),
        "extras": {"targetNames": names, "sliders": _sliders(lungs)},
    }
    node = {"mesh": 0, "name": "lungs", "matrix": GLTF_FROM_RAS_MM.T.ravel().tolist()}
    materials = [{**matt(_COLOURS.get(name, _OTHER)), "name": name} for name in lungs.rest]
    scene = {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{**whole, "name": "lungs"}],
        "materials": materials,
        "animations": [_animation(arrays, names, end) for end in ends if end.name.startswith(_BREATH)],
    }
    return arrays.packed({key: part for key, part in scene.items() if part != []})


def _sliders(lungs: SlidingLungs) -> list[dict[str, Any]]:
    """What each slider is called, and its values at rest and at its ends, for programs that show them."""
    return [
        {"name": each.name, "rest": each.rest, "ends": [{"target": end.name, "at": end.at} for end in each.ends]}
        for each in lungs.sliders
    ]


def _primitive(arrays: GlbArrays, lungs: SlidingLungs, name: str, number: int) -> dict[str, Any]:
    mesh = lungs.rest[name]
    normals = vertex_normals(mesh)
    attributes = {"POSITION": arrays.add(mesh.vertices, VERTICES), "NORMAL": arrays.add(normals, VERTICES)}
    targets = [_target(arrays, end, name, mesh) for end in lungs.ends]
    indices = arrays.add(mesh.faces.ravel(), INDICES)
    return {"attributes": attributes, "indices": indices, "material": number, "targets": targets}


def _target(arrays: GlbArrays, end: End, name: str, mesh: WorldMesh) -> dict[str, int]:
    moved = end.moved_mm[name]
    turned = vertex_normals(WorldMesh(mesh.vertices + moved, mesh.faces)) - vertex_normals(mesh)
    return {"POSITION": arrays.add(moved, VERTICES), "NORMAL": arrays.add(turned, VERTICES)}


def _animation(arrays: GlbArrays, names: list[str], end: End) -> dict[str, Any]:
    """Breathing out and in again, for ever where the player loops."""
    weights = np.zeros((len(_BREATH_S), len(names)))
    weights[:, names.index(end.name)] = _BREATHED_OUT
    sampler = {"input": arrays.add(np.array(_BREATH_S)), "output": arrays.add(weights.ravel())}
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    return {"name": "breathing", "samplers": [sampler], "channels": [channel]}

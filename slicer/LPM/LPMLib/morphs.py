"""Lungs with sliders as `lpm export --glb` writes them: read with NumPy alone, and moved at once."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_MAGIC = 0x46546C67
_KINDS = {5126: "<f4", 5125: "<u4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3}


class Slider(NamedTuple):
    """A slider.

    Args:
        name: With its unit.
        rest: Value of the resting lungs.
        ends: Value at each end, and the number of its morph target.
    """

    name: str
    rest: float
    ends: Sequence[tuple[float, int]]

    @property
    def low(self) -> float:
        """Lowest value."""
        return min(self.rest, *(at for at, _ in self.ends))

    @property
    def high(self) -> float:
        """Highest value."""
        return max(self.rest, *(at for at, _ in self.ends))


class Surface(NamedTuple):
    """A structure's surface.

    Args:
        points_mm: (v, 3) at rest, RAS.
        faces: (f, 3).
        targets_mm: (t, v, 3) how far each morph target moves them.
    """

    points_mm: np.ndarray
    faces: np.ndarray
    targets_mm: np.ndarray

    def moved(self, weights: np.ndarray) -> np.ndarray:
        """(v, 3) points with (t,) weights of the targets, RAS mm."""
        return self.points_mm + np.tensordot(weights, self.targets_mm, axes=1)


class Morphs(NamedTuple):
    """Lungs with sliders.

    Args:
        surfaces: By structure.
        sliders: That move them.
    """

    surfaces: Mapping[str, Surface]
    sliders: Sequence[Slider]

    def weights(self, values: Sequence[float]) -> np.ndarray:
        """(t,) weights of the morph targets for a value of each slider."""
        found = np.zeros(sum(len(slider.ends) for slider in self.sliders))
        for slider, value in zip(self.sliders, values):
            for at, number in slider.ends:
                found[number] = max(0.0, (value - slider.rest) / (at - slider.rest))
        return found


def read_morphs(path: Path) -> Morphs:
    """Read what `lpm export --glb` wrote.

    Raises:
        ValueError: Another file.
    """
    data = path.read_bytes()
    if len(data) < 20 or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise ValueError(f"{path} is no .glb")
    (size,) = struct.unpack_from("<I", data, 12)
    scene, binary = json.loads(data[20 : 20 + size].decode("utf-8")), data[28 + size :]
    mesh, names = scene["meshes"][0], [material["name"] for material in scene["materials"]]
    surfaces = {names[each["material"]]: _surface(scene, binary, each) for each in mesh["primitives"]}
    numbers = {name: number for number, name in enumerate(mesh["extras"]["targetNames"])}
    sliders = [
        Slider(each["name"], each["rest"], [(end["at"], numbers[end["target"]]) for end in each["ends"]])
        for each in mesh["extras"]["sliders"]
    ]
    return Morphs(surfaces, sliders)


def _surface(scene: dict[str, Any], binary: bytes, primitive: dict[str, Any]) -> Surface:
    points = _array(scene, binary, primitive["attributes"]["POSITION"])
    targets = [_array(scene, binary, target["POSITION"]) for target in primitive["targets"]]
    faces = _array(scene, binary, primitive["indices"]).reshape(-1, 3)
    return Surface(points.astype(float), faces, np.array(targets, dtype=float))


def _array(scene: dict[str, Any], binary: bytes, number: int) -> np.ndarray:
    accessor = scene["accessors"][number]
    view, width = scene["bufferViews"][accessor["bufferView"]], _WIDTHS[accessor["type"]]
    kind = _KINDS[accessor["componentType"]]
    return np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)

"""The radiographs that the reader learns from: real ones with field masks, simulated ones with path lengths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lpm.files.volumes import read_volume
from lpm.geometry.volumes import Volume
from lpm.xray.manual_field import sides_of

STORED_PX = 256
LATERAL_FIELD_MM = 30.0
"""More lung than this along a ray, both together, and the lateral picture shows it."""
USED_PERCENT = (1.0, 99.5)
"""Of the grey values of a drawn radiograph: what it is windowed to."""
VIEWS = ("frontal", "lateral")
HOSPITALS = {"CHNCXR": "Shenzhen", "MCUCXR": "Montgomery"}


@dataclass(frozen=True)
class Pictures:
    """Radiographs squashed to squares.

    Args:
        names: n of them.
        images: (n, 256, 256) uint8, bright = dense.
        fields: (n, 2, 256, 256) 0 or 1, left and right; of a lateral view both together, twice.
        paths_mm: (n, 2, 256, 256) path length through the left and the right lung.
        known: (n, 2) whether the fields are known, and the path lengths.
        sides_mm: (n, 2) height and width of the picture; 1, 1 where nobody knows.
        lateral: (n,) whether seen from the side.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    fields: NDArray[np.bool_]
    paths_mm: NDArray[np.float16]
    known: NDArray[np.bool_]
    sides_mm: NDArray[np.float32]
    lateral: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.names)

    def __add__(self, other: Pictures) -> Pictures:
        """Both, one after the other."""
        arrays = ("images", "fields", "paths_mm", "known", "sides_mm", "lateral")
        joined = (np.concatenate([getattr(self, name), getattr(other, name)]) for name in arrays)
        return Pictures((*self.names, *other.names), *joined)

    def only(self, names: set[str]) -> Pictures:
        """Those of some subjects."""
        return self._where(np.array([name in names for name in self.names]))

    def of_view(self, *, lateral: bool) -> Pictures:
        """Those of one view."""
        return self._where(self.lateral == lateral)

    def _where(self, kept: NDArray[np.bool_]) -> Pictures:
        chosen = tuple(name for name, keep in zip(self.names, kept, strict=True) if keep)
        arrays = (self.images, self.fields, self.paths_mm, self.known, self.sides_mm, self.lateral)
        return Pictures(chosen, *(array[kept] for array in arrays))


def split_real(names: list[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Train and test by image, the same share of each hospital."""
    rng = np.random.default_rng(seed)
    test: list[str] = []
    for prefix in HOSPITALS:
        ours = sorted(name for name in names if name.startswith(prefix))
        test += sorted(rng.permutation(ours)[: round(share * len(ours))].tolist())
    return [name for name in names if name not in set(test)], test


def load_real(folder: Path) -> Pictures:
    """`images/` and `masks/` of the same names."""
    files = sorted((folder / "images").glob("*.png"))
    images = np.stack([_grey(file) for file in files])
    masks = [_grey(folder / "masks" / file.name) > 127 for file in files]
    fields = np.stack([sides_of(mask) for mask in masks])
    known = np.tile([True, False], (len(files), 1))
    ones = np.ones((len(files), 2), np.float32)
    names, paths = tuple(file.stem for file in files), np.zeros(fields.shape, np.float16)
    return Pictures(names, images, fields, paths, known, ones, np.zeros(len(files), bool))


Simulated = tuple[str, NDArray[np.uint8], NDArray[np.float32], tuple[float, float], bool]
"""A name, picture and path lengths of (256, 256), the picture's height and width in mm, whether it is a lateral."""


def load_simulated(folder: Path) -> Pictures:
    """Of real CTs: `<subject>/{frontal,lateral}.png` with `views.json` and `labels.nii.gz`."""
    found = []
    for file in sorted(folder.glob("*/views.json")):
        views = json.loads(file.read_text())
        labels = read_volume(file.parent / "labels.nii.gz")
        found += [_simulated(file.parent, view, labels, views[view]) for view in VIEWS]
    return _pictures(found)


def load_generated(folder: Path) -> Pictures:
    """Of CTs that `lpm generate --xray` drew around generated lungs."""
    found = []
    for file in sorted(folder.glob("*/views.json")):
        views = json.loads(file.read_text())["views"]
        labels = read_volume(file.parent / "labels.nii.gz")
        found += [_simulated(file.parent, view, labels, _along_axes(views[view], view)) for view in VIEWS]
    return _pictures(found)


def _along_axes(record: dict[str, Any], view: str) -> dict[str, Any]:
    """The map from world coordinates to pixels of a view whose rows and columns run along axes of the world."""
    steps = {"column": (record["by_column_mm"], 0 if view == "frontal" else 1), "row": (record["by_row_mm"], 2)}
    return {
        name: {
            "sign": float(np.sign(step[axis])),
            "mm_per_px": abs(step[axis]),
            "offset_px": -record["origin_mm"][axis] / step[axis],
        }
        for name, (step, axis) in steps.items()
    }


def _simulated(folder: Path, view: str, labels: Volume, along: dict[str, Any]) -> Simulated:
    image = _grey_values(folder / f"{view}.png")
    paths = path_lengths(labels, along, image.shape, drop=1 if view == "frontal" else 0)
    sides = (image.shape[0] * along["row"]["mm_per_px"], image.shape[1] * along["column"]["mm_per_px"])
    smaller = np.stack([_squash(path) for path in paths])
    return folder.name, _squash(image).round().astype(np.uint8), smaller, sides, view == "lateral"


def _pictures(found: Sequence[Simulated]) -> Pictures:
    names, images, maps, sides, seen = zip(*found, strict=True)
    paths, lateral = np.stack(maps).astype(np.float16), np.array(seen)
    together = paths.astype(np.float32).sum(axis=1, keepdims=True) > LATERAL_FIELD_MM
    fields = np.repeat(together, 2, axis=1) & lateral[:, None, None, None]
    known = np.stack([lateral, np.ones_like(lateral)], axis=1)
    return Pictures(tuple(names), np.stack(images), fields, paths, known, np.float32(sides), lateral)


def path_lengths(labels: Volume, view: dict[str, Any], shape: tuple[int, int], drop: int) -> NDArray[np.float32]:
    """(2, rows, columns) mm through the left and the right lung along world axis `drop`, by a view's map to pixels."""
    order = np.argmax(np.abs(labels.world_from_voxel[:3, :3]), axis=0)
    voxels = np.moveaxis(labels.voxels, range(3), order)
    step, origin = np.zeros(3), np.zeros(3)
    for axis, world in enumerate(order):
        step[world] = labels.world_from_voxel[world, axis]
        origin[world] = labels.world_from_voxel[world, 3]
    rows, columns = np.indices(shape)
    across = 1 - drop
    places = [
        ((pixel - view[name]["offset_px"]) * view[name]["mm_per_px"] / view[name]["sign"] - origin[axis]) / step[axis]
        for pixel, name, axis in ((columns, "column", across), (rows, "row", 2))
    ]
    lengths = [(voxels == side).sum(axis=drop).astype(np.float32) * abs(step[drop]) for side in (1, 2)]
    return np.stack([ndimage.map_coordinates(length, places, order=1) for length in lengths])


def _grey(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        return np.asarray(image.convert("L"))


def _grey_values(file: Path) -> NDArray[np.float32]:
    """0 to 255; of 16 bits, which use little of their range, all but the darkest and the brightest."""
    with Image.open(file) as image:
        values = np.asarray(image, dtype=np.float32) if image.mode.startswith("I") else None
    if values is None:
        return _grey(file).astype(np.float32)
    low, high = np.percentile(values, USED_PERCENT)
    return 255.0 * ((values - low) / (high - low)).clip(0.0, 1.0)


def _squash(image: NDArray[Any]) -> NDArray[np.float32]:
    """To 256 x 256, averaging what falls together."""
    small = Image.fromarray(image.astype(np.float32)).resize((STORED_PX, STORED_PX), Image.Resampling.BOX)
    return np.asarray(small)

"""Generated chest CTs whose lungs are known: body, ribs, spine, heart, airway, stomach gas, disease, table, noise.

They serve tests, the demo and benchmarks where no patient's data can be shipped. Densities are those of a textbook.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.phantoms import PHANTOM_STRUCTURES, PhantomLungs
from lpm.geometry.volumes import Volume, canonical

_AIR = -1000.0  # HU by definition
_FAT = -90.0  # HU, textbook, as are the next four
_MUSCLE = 45.0  # HU
_BLOOD = 50.0  # HU
_BONE = 450.0  # HU
_LUNG = -850.0  # HU
_TABLE = -150.0  # HU, drawn by hand, as are the lengths below
_CHEST_WALL_MM = 9.0  # from lung to the middle of the ribs
_SKIN_MM = 24.0  # from the trunk's surface of muscle and ribs to the skin
_RIBS = 11  # over the height of the lungs
_RIB_MM = 5.5  # thickness
_BULGE_MM = 14.0  # of both lungs towards each other where they shall touch
_PLEURA_MM = 1.0  # thickness of what parts lungs that touch
_PLEURA = -450.0  # HU, blurred by the lungs on both sides


class LabelLungs:
    """The lungs of a label map in the place of a phantom's: `render_scan` puts a body around them.

    Args:
        labels: 1 left, 2 right.
    """

    def __init__(self, labels: Volume) -> None:
        self.labels = canonical(labels)
        self.fields = {name: self._distances(value) for value, name in enumerate(PHANTOM_STRUCTURES, start=1)}
        places = self.labels.to_world(np.argwhere(self.labels.voxels > 0).astype(np.float64))
        self.bounds_mm = places.min(axis=0), places.max(axis=0)
        self.center_mm = 0.5 * (self.bounds_mm[0] + self.bounds_mm[1])
        self.half_width_mm, self.half_depth_mm, half_height = (0.5 * (self.bounds_mm[1] - self.bounds_mm[0])).tolist()
        self.height_mm = 2.0 * half_height

    def _distances(self, value: int) -> NDArray[np.float32]:
        mask, step = self.labels.voxels == value, self.labels.spacing_mm
        outside, inside = (distance_transform_edt(each, sampling=step) for each in (~mask, mask))
        return np.asarray(outside - inside, dtype=np.float32)

    def implicit(self, structure: str, points_mm: Floats) -> Floats:
        """(n,) about the signed distance of (n, 3) points, mm."""
        voxels = self.labels.to_voxel(points_mm)
        within = np.clip(voxels, 0, np.array(self.labels.voxels.shape) - 1)
        beyond = np.linalg.norm((voxels - within) * self.labels.spacing_mm, axis=1)
        return np.asarray(map_coordinates(self.fields[structure], within.T, order=1) + beyond)


@dataclass(frozen=True)
class PhantomScan:
    """Settings of a generated CT.

    Args:
        lungs: Lungs to draw a body around.
        spacing_mm: Voxel size along R, A, S.
        noise_hu: Standard deviation of the noise.
        lung_hu: Mean density of aerated lung; emphysema is lower.
        with_arms: Arms beside the body.
        with_table: A scanner's table below.
        with_gas: Gas in the stomach, under the left dome.
        padding_hu: Value outside the scanner's circle; None for a full square.
        consolidated: Share of the right lung, from behind and below, that is as dense as tissue.
        touching: Whether the lungs meet in front of the heart's vessels.
        cropped_mm: Length missing from the image below the lungs' middle; 0 for whole lungs.
    """

    lungs: PhantomLungs | LabelLungs
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 2.0)
    noise_hu: float = 25.0
    lung_hu: float = _LUNG
    with_arms: bool = False
    with_table: bool = True
    with_gas: bool = True
    padding_hu: float | None = None
    consolidated: float = 0.0
    touching: bool = False
    cropped_mm: float = 0.0


def render_scan(phantom: PhantomScan, *, rng: np.random.Generator) -> tuple[Volume, Volume]:
    """Generate a CT and the labels of its lungs.

    Args:
        phantom: Phantom to render.
        rng: Noise, and the vessels of the lungs.

    Returns:
        float32 HU, and labels of the lungs as a radiologist would draw them: 1 left, 2 right, disease included.
    """
    lungs = phantom.lungs
    if phantom.touching and isinstance(lungs, PhantomLungs):
        lungs = replace(lungs, gap_mm=1.0, mediastinum=0.10)
    phantom = replace(phantom, lungs=lungs)
    grid = _grid(phantom)
    points = _points(grid)
    fields = {name: _over(grid, lungs.implicit(name, points)) for name in PHANTOM_STRUCTURES}
    if phantom.touching:
        fields = _met(fields, lungs, grid, points)
    either = np.minimum(*fields.values())
    tissue = _tissue(phantom, grid, points, either)
    labels = np.zeros(grid.voxels.shape, dtype=np.uint8)
    for value, name in enumerate(PHANTOM_STRUCTURES, start=1):
        labels[fields[name] < 0] = value
    sick = _consolidated(phantom, labels, points, grid)
    lung = _lung(phantom, grid, rng)
    image = np.where((labels > 0) & ~sick, lung, tissue)
    image[sick] = 35.0
    pleura = np.abs(fields[PHANTOM_STRUCTURES[0]] - fields[PHANTOM_STRUCTURES[1]]) < _PLEURA_MM
    image[pleura & (labels > 0)] = _PLEURA
    image = _with_airway(phantom, grid, points, image, labels > 0)
    image = gaussian_filter(image.astype(np.float32), 0.5 / np.array(phantom.spacing_mm))
    image += rng.normal(0.0, phantom.noise_hu, image.shape).astype(np.float32)
    if phantom.padding_hu is not None:
        image[_outside_circle(grid)] = phantom.padding_hu
    return grid.with_voxels(handed_over(np.round(image).astype(np.float32))), grid.with_voxels(labels)


def _met(
    fields: dict[str, NDArray[np.float32]], lungs: PhantomLungs | LabelLungs, grid: Volume, points: Floats
) -> dict[str, NDArray[np.float32]]:
    """Lungs that bulge towards each other in front, above the heart, until they share a face."""
    local = points - np.array(lungs.center_mm) - np.array([0.0, 0.6 * lungs.half_depth_mm, 0.15 * lungs.height_mm])
    away = np.linalg.norm(local / np.array([30.0, 0.3 * lungs.half_depth_mm, 0.2 * lungs.height_mm]), axis=1)
    bulge = _over(grid, _BULGE_MM * np.clip(1.5 - away, 0.0, 1.0))
    left, right = (fields[name] - bulge for name in PHANTOM_STRUCTURES)
    return dict(zip(PHANTOM_STRUCTURES, (np.maximum(left, left - right), np.maximum(right, right - left)), strict=True))


def _grid(phantom: PhantomScan) -> Volume:
    lower, upper = phantom.lungs.bounds_mm
    lower, upper = lower - np.array([60.0, 60.0, 25.0]), upper + np.array([60.0, 45.0, 40.0])
    lower[2] += phantom.cropped_mm
    shape = np.ceil((upper - lower) / phantom.spacing_mm).astype(int)
    affine = np.diag([*phantom.spacing_mm, 1.0])
    affine[:3, 3] = lower
    return Volume(np.zeros(shape, dtype=np.float32), affine)


def _points(grid: Volume) -> Floats:
    return grid.to_world(np.indices(grid.voxels.shape).reshape(3, -1).T.astype(np.float64))


def _over(grid: Volume, values: Floats) -> NDArray[np.float32]:
    return values.reshape(grid.voxels.shape).astype(np.float32)


def _trunk(phantom: PhantomScan, points: Floats) -> Floats:
    """(n,) about the distance to a superellipse that holds the lungs; negative inside."""
    lungs = phantom.lungs
    local = np.abs(points - np.array(lungs.center_mm))
    x, y = local[:, 0] / (1.12 * lungs.half_width_mm), local[:, 1] / (1.22 * lungs.half_depth_mm)
    return np.asarray(((x**2.6 + y**2.6) ** (1 / 2.6) - 1.0) * lungs.half_depth_mm)


def _tissue(phantom: PhantomScan, grid: Volume, points: Floats, either: NDArray[np.float32]) -> NDArray[np.float32]:
    """Everything but lung and airway."""
    lungs, center = phantom.lungs, np.array(phantom.lungs.center_mm)
    trunk = np.minimum(_over(grid, _trunk(phantom, points)), either - _CHEST_WALL_MM - 8.0)
    image = np.full(grid.voxels.shape, _AIR, dtype=np.float32)
    image[trunk < _SKIN_MM - 6.0] = _FAT
    image[trunk < _SKIN_MM - 14.0] = _MUSCLE
    local = (points - center).T.reshape(3, *grid.voxels.shape)
    ribs = (np.abs(either - _CHEST_WALL_MM) < _RIB_MM / 2.0) & (_rib_phase(lungs, local) < 0.45)
    image[ribs & (trunk < _SKIN_MM - 10.0) & (trunk > -25.0)] = _BONE
    back = 1.05 * lungs.half_depth_mm
    spine = np.hypot(local[0], local[1] + back) < 20.0
    image[spine & (either > 2.0)] = 220.0
    heart = (local[0] + 30.0) ** 2 / 65.0**2 + (local[1] - 30.0) ** 2 / 50.0**2
    heart = heart + (local[2] + 0.18 * lungs.height_mm) ** 2 / 50.0**2
    image[(heart < 1.0) & (trunk < 0)] = _BLOOD
    if phantom.with_gas:
        place = np.array([-0.5 * lungs.half_width_mm, 0.35 * lungs.half_depth_mm, -0.42 * lungs.height_mm])
        gas = sum(((local[a] - place[a]) / r) ** 2 for a, r in enumerate((38.0, 26.0, 16.0)))
        image[(np.asarray(gas) < 1.0) & (either > 7.0) & (trunk < 0)] = _AIR
    if phantom.with_arms:
        for side in (-1.0, 1.0):
            arm = np.hypot(local[0] - side * (1.12 * lungs.half_width_mm + 48.0), local[1] + 10.0)
            image[arm < 24.0] = _MUSCLE
            image[arm < 9.0] = _BONE
    if phantom.with_table:
        below = -1.22 * lungs.half_depth_mm - _SKIN_MM - 6.0
        image[(local[1] < below) & (local[1] > below - 4.0)] = _TABLE
    return image


def _rib_phase(lungs: PhantomLungs | LabelLungs, local: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ribs slope down from back to front."""
    along = (local[2] + 0.35 * local[1]) / (lungs.height_mm / _RIBS)
    return np.asarray(along - np.floor(along))


def _lung(phantom: PhantomScan, grid: Volume, rng: np.random.Generator) -> NDArray[np.float32]:
    """Aerated lung with vessels: ridges of smooth noise, a few millimetres wide."""
    coarse = gaussian_filter(
        rng.standard_normal(grid.voxels.shape).astype(np.float32), 5.0 / np.array(phantom.spacing_mm)
    )
    coarse /= coarse.std()
    other = gaussian_filter(
        rng.standard_normal(grid.voxels.shape).astype(np.float32), 5.0 / np.array(phantom.spacing_mm)
    )
    other /= other.std()
    is_vessel = np.hypot(coarse, other) < 0.22
    return np.where(is_vessel, 30.0, phantom.lung_hu).astype(np.float32)


def _consolidated(phantom: PhantomScan, labels: NDArray[np.uint8], points: Floats, grid: Volume) -> NDArray[np.bool_]:
    """The part of the right lung that lies lowest and farthest behind."""
    sick = np.zeros(labels.shape, dtype=bool)
    if phantom.consolidated > 0:
        right = labels == 2
        depth = _over(grid, points @ np.array([0.0, 0.75, 0.65]))
        sick = right & (depth < np.quantile(depth[right], phantom.consolidated))
    return sick


def _with_airway(
    phantom: PhantomScan, grid: Volume, points: Floats, image: NDArray[np.float32], lung: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Trachea from the top to the carina, and both main bronchi into the lungs, with a wall."""
    lungs = phantom.lungs
    local = (points - np.array(lungs.center_mm)).T.reshape(3, *grid.voxels.shape)
    carina = np.array([0.0, -0.12 * lungs.half_depth_mm, 0.12 * lungs.height_mm])
    ends = [np.array([carina[0], carina[1], 400.0])]
    down = np.array([0.30 * lungs.half_width_mm, 0.0, -0.13 * lungs.height_mm])
    ends += [carina + down, carina + down * [-1.0, 1.0, 1.0]]
    reach = np.min(
        [_to_segment(local, carina, end) - radius for end, radius in zip(ends, (8.0, 6.0, 6.0), strict=True)], axis=0
    )
    image = np.where((reach < 2.0) & ~lung, _MUSCLE, image)
    return np.where(reach < 0.0, _AIR, image).astype(np.float32)


def _to_segment(local: NDArray[np.float64], start: Floats, end: Floats) -> NDArray[np.float64]:
    along = end - start
    offset = local - start[:, None, None, None]
    share = np.clip(np.tensordot(along, offset, axes=1) / (along @ along), 0.0, 1.0)
    return np.asarray(np.linalg.norm(offset - along[:, None, None, None] * share, axis=0))


def _outside_circle(grid: Volume) -> NDArray[np.bool_]:
    shape, spacing = np.array(grid.voxels.shape), grid.spacing_mm
    x, y = ((np.arange(n) - 0.5 * n) * step for n, step in zip(shape[:2], spacing[:2], strict=True))
    outside = np.hypot(x[:, None], y) > 0.5 * float((shape[:2] * spacing[:2]).max())
    return np.broadcast_to(outside[:, :, None], grid.voxels.shape)

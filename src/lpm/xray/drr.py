"""Simulated radiographs: rays through a CT, through labels, or through a field of signed distances; world, RAS mm.

A ray is marched at equal steps between where it enters and leaves a box; all of it is torch, so what comes out can be
differentiated with respect to the voxels, or to whatever a field depends on (shape, pose). Memory is bounded: rays are
taken some at a time, and where gradients are wanted each part is computed again on the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample
from torch.utils.checkpoint import checkpoint

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.projection import View
from lpm.geometry.volumes import Volume
from lpm.records import StrictModel

Picture = NDArray[np.float32]
PointField = Callable[[Tensor], Tensor]
"""World points (n, 3) in mm to signed distances (n, s) in mm, negative inside."""

_PADDING_HU = number("xray.padding_hu")
# of the unit cube
_CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)


class MarchConfig(StrictModel):
    """Settings of ray marching, and of the attenuation of CT values.

    The attenuation of water, 0.0193 per mm, is that of a chest tube's mean energy (about 70 keV; Hubbell and Seltzer,
    NIST XCOM). Between voxels, ``linear`` is trilinear and fades to nothing over the outermost half voxel and the half
    beyond it; ``nearest`` holds each voxel's value to its faces. Both integrate to the same mass.
    """

    step_mm: float = Field(1.0, ge=0.001, le=50, description="longest step along a ray")
    interpolation: Literal["linear", "nearest"] = "linear"
    water_per_mm: float = Field(0.0193, gt=0, description="linear attenuation of water, 0 HU")
    bone_factor: float = Field(1.0, gt=0, description="attenuation in excess of water's, times this: softer beams")
    samples_at_once: int = Field(1 << 20, ge=1, description="places on rays that are held in memory together")


@dataclass(frozen=True, eq=False)
class Rays:
    """Lines and the part of each that lies in a box.

    Args:
        start: (n, 3) a world point of each line, mm.
        direction: (n, 3) unit vectors.
        near: (n,) mm along the direction at which each line enters the box.
        far: (n,) where it leaves; equal to ``near`` where it misses.
    """

    start: Tensor
    direction: Tensor
    near: Tensor
    far: Tensor

    def __len__(self) -> int:
        return len(self.start)

    def part(self, chosen: slice | Tensor) -> Rays:
        """Some of them."""
        return Rays(self.start[chosen], self.direction[chosen], self.near[chosen], self.far[chosen])

    def n_steps(self, step_mm: float) -> int:
        """Equal steps of at most ``step_mm`` that the longest needs."""
        longest = float((self.far - self.near).max()) if len(self) else 0.0
        return max(int(np.ceil(longest / step_mm - 1e-6)), 1)

    def places(self, shares: Tensor) -> Tensor:
        """(n, m, 3) world points at (m,) shares of the way through the box."""
        along = self.near[:, None] + shares * (self.far - self.near)[:, None]
        return self.start[:, None] + along[..., None] * self.direction[:, None]


# --- Rays ------------------------------------------------------------------------------------------------------------


def rays_of(view: View, bounds_mm: tuple[ArrayLike, ArrayLike], pixels: ArrayLike | None = None) -> Rays:
    """The rays of a view through a box along the world's axes.

    Args:
        view: Parallel or cone. Of a cone beam the whole line from the source on counts, also behind the detector.
        bounds_mm: Lower and upper corner, (3,) each.
        pixels: (n, 2) rows and columns, fractions allowed; None for all, row by row.

    Returns:
        Rays of float64 on the CPU.

    Raises:
        InputError: The corners are not a box, or the source lies in it.
    """
    lower, upper = (np.asarray(corner, dtype=np.float64) for corner in bounds_mm)
    if lower.shape != (3,) or upper.shape != (3,) or not (np.isfinite(lower) & (lower < upper)).all():
        raise InputError("rays", f"a box from {lower.tolist()} to {upper.tolist()}", "lower < upper along R, A, S")
    start, direction = _lines(view, pixels)
    near, far = _through(start, direction, lower, upper, is_cone=view.source_mm is not None)
    return Rays(*(torch.from_numpy(each) for each in (start, direction, near, far)))


def _lines(view: View, pixels: ArrayLike | None) -> tuple[Floats, Floats]:
    """(n, 3) starts, the source or places on the detector, and (n, 3) directions."""
    chosen = np.indices(view.shape).reshape(2, -1).T if pixels is None else np.asarray(pixels).reshape(-1, 2)
    places = view.places_mm(chosen)
    start = places if view.source_mm is None else np.broadcast_to(view.source_mm, places.shape)
    return np.array(start, dtype=np.float64), np.array(view.directions(chosen), dtype=np.float64)


def _through(start: Floats, along: Floats, lower: Floats, upper: Floats, *, is_cone: bool) -> tuple[Floats, Floats]:
    """(n,) where lines enter and leave a box, in units of their directions."""
    if is_cone and len(start) and ((start[0] > lower) & (start[0] < upper)).all():
        given = f"the source at {np.round(start[0], 1).tolist()} mm, inside the box of the patient"
        raise InputError("X-ray geometry", given, "a source outside", "lengthen the distances")
    parallel = np.abs(along) < 1e-12
    safe = np.where(parallel, 1.0, along)
    first, second = (lower - start) / safe, (upper - start) / safe
    beside = parallel & ((start < lower) | (start > upper))
    enter = np.where(parallel, -np.inf, np.minimum(first, second)).max(axis=1)
    leave = np.where(parallel, np.inf, np.maximum(first, second)).min(axis=1)
    enter = np.maximum(enter, 0.0) if is_cone else enter
    missed = beside.any(axis=1) | (leave <= enter)
    return np.where(missed, 0.0, enter), np.where(missed, 0.0, leave)


def box_of(volume: Volume) -> tuple[Floats, Floats]:
    """Lower and upper corner, RAS mm, of the smallest box that holds all of a volume's voxels."""
    corners = volume.to_world(_CORNERS * np.array(volume.voxels.shape) - 0.5)
    return corners.min(axis=0), corners.max(axis=0)


# --- Volumes ---------------------------------------------------------------------------------------------------------


def attenuation(ct: Volume, config: MarchConfig | None = None) -> Volume:
    """Hounsfield units to linear attenuation per mm; air, and padding below -1200 HU, attenuate nothing."""
    config = config or MarchConfig()
    hu = np.asarray(ct.voxels, dtype=np.float32)
    density = np.maximum(hu / 1000.0, -1.0) + 1.0
    density += (config.bone_factor - 1.0) * np.maximum(hu / 1000.0, 0.0)
    density[hu < _PADDING_HU] = 0.0
    return ct.with_voxels(handed_over(np.asarray(config.water_per_mm * density, dtype=np.float32)))


def line_integrals(values: Tensor, world_from_voxel: Floats, view: View, config: MarchConfig | None = None) -> Tensor:
    """Integrate volumes on one grid along the rays of a view; differentiable with respect to the values.

    Args:
        values: (c, i, j, k) per mm; nothing lies outside.
        world_from_voxel: (4, 4) to RAS mm.
        view: Geometry of the radiograph: where the rays run.
        config: Step and interpolation.

    Returns:
        (c, rows, columns), of the values' device and dtype.

    Raises:
        InputError: The values are not (c, i, j, k), or the source lies among them.
    """
    config = config or MarchConfig()
    if values.ndim != 4 or 0 in values.shape:
        raise InputError("line integrals", f"values of shape {tuple(values.shape)}", "(c, i, j, k)", "values[None]")
    rays, length = _voxel_rays(view, world_from_voxel, values, config)
    mode = "bilinear" if config.interpolation == "linear" else "nearest"

    def means(part: Rays, values: Tensor) -> Tensor:
        n = part.n_steps(config.step_mm)
        places = part.places((torch.arange(n, device=values.device) + 0.5) / n).to(values)
        found = grid_sample(values[None], places[None, :, :, None], mode=mode, align_corners=False)
        return found[0, :, :, :, 0].mean(dim=-1)

    parts = [_again(means, part, values) for part in _parts(rays, config)]
    integrals = torch.cat(parts, dim=1) * length.to(values)
    return integrals.reshape(len(values), *view.shape)


def _voxel_rays(view: View, world_from_voxel: Floats, values: Tensor, config: MarchConfig) -> tuple[Rays, Tensor]:
    """Rays in grid_sample's own coordinates, still measured in mm along them; and (n,) lengths within the volume."""
    shape = np.array(values.shape[1:])
    reach = 0.5 if config.interpolation == "linear" else 0.0
    voxel_from_world = np.linalg.inv(world_from_voxel)
    start, direction = _lines(view, None)
    first = start @ voxel_from_world[:3, :3].T + voxel_from_world[:3, 3]
    along = direction @ voxel_from_world[:3, :3].T
    near, far = _through(
        first, along, np.full(3, -0.5 - reach), shape - 0.5 + reach, is_cone=view.source_mm is not None
    )
    scaled = ((2.0 * first + 1.0) / shape - 1.0)[:, ::-1].copy(), (2.0 * along / shape)[:, ::-1].copy()
    tensors = (torch.from_numpy(each).to(values.device) for each in (*scaled, near, far))
    rays = Rays(*tensors)
    return rays, rays.far - rays.near


def _parts(rays: Rays, config: MarchConfig) -> list[Rays]:
    """Rays by as many as may be held in memory together."""
    size = max(config.samples_at_once // (rays.n_steps(config.step_mm) + 1), 1)
    return [rays.part(slice(first, first + size)) for first in range(0, len(rays), size)]


def _again(function: Callable[..., Tensor], *given: Rays | Tensor) -> Tensor:
    """A function's value; where a gradient is wanted, nothing but the value is kept and the rest computed again."""
    if not torch.is_grad_enabled():
        return function(*given)
    found: Tensor = checkpoint(function, *given, use_reentrant=False)
    return found


def radiograph(ct: Volume, view: View, config: MarchConfig | None = None) -> Picture:
    """Line integrals of a CT's attenuation: what a radiograph is a picture of.

    Args:
        ct: Hounsfield units.
        view: Geometry of the radiograph: where the rays run.
        config: Step, interpolation, energy.

    Returns:
        (rows, columns) without unit; `exposed` makes it a picture.
    """
    return np.asarray(_integrated([attenuation(ct, config).voxels], ct, view, config)[0])


def path_lengths_of_labels(
    labels: Volume, view: View, structures: Mapping[str, Sequence[int]], config: MarchConfig | None = None
) -> Picture:
    """Path lengths of a view's rays in each structure of a label map.

    Args:
        labels: Integer voxels.
        view: Geometry of the radiograph: where the rays run.
        structures: Label values of each.
        config: Step and interpolation.

    Returns:
        (s, rows, columns) mm.

    Raises:
        InputError: No structure is named, or none of the voxels belongs to any.
    """
    masks = [np.isin(labels.voxels, list(values)) for values in structures.values()]
    if not any(mask.any() for mask in masks):
        present = np.unique(labels.voxels)[:10].tolist()
        raise InputError("path lengths", f"no voxel of {dict(structures)}", f"labels among {present}", "name others")
    return _integrated(masks, labels, view, config)


def _integrated(
    values: Sequence[NDArray[np.bool_] | Picture], grid: Volume, view: View, config: MarchConfig | None
) -> Picture:
    with torch.inference_mode():
        tensor = torch.from_numpy(np.stack(values).astype(np.float32, order="C", copy=False))
        found = line_integrals(tensor.contiguous(), grid.world_from_voxel, view, config)
    return np.asarray(found.numpy(), dtype=np.float32)


# --- Fields ----------------------------------------------------------------------------------------------------------


def path_lengths(
    field: PointField, view: View, bounds_mm: tuple[ArrayLike, ArrayLike], config: MarchConfig | None = None
) -> Tensor:
    """Path lengths of a view's rays in each structure of a field of signed distances; differentiable.

    Args:
        field: World points (n, 3) mm to signed distances (n, s) mm, negative inside.
        view: Geometry of the radiograph: where the rays run.
        bounds_mm: Lower and upper corner of a box that holds the structures, RAS mm.
        config: ``step_mm`` apart the field is asked; a few mm do for a smooth one.

    Returns:
        (s, rows, columns) mm, of the field's device and dtype.

    Raises:
        InputError: As `rays_of` and `path_lengths_along`.
    """
    found = path_lengths_along(field, rays_of(view, bounds_mm), config)
    return found.T.reshape(-1, *view.shape)


def path_lengths_along(field: PointField, rays: Rays, config: MarchConfig | None = None) -> Tensor:
    """Path lengths of rays in each structure of a field of signed distances; differentiable.

    Between two places on a ray the distance is taken to be linear, so a crossing is found to a fraction of a step. A
    structure thinner than a step, or a ray that grazes one between two places, can be missed.

    Args:
        field: World points (n, 3) mm to signed distances (n, s) mm, negative inside; points come in the rays' dtype.
        rays: Rays of `rays_of`; those that miss the box cost nothing.
        config: Step, and how many points the field is given at once.

    Returns:
        (n, s) mm.

    Raises:
        InputError: No ray meets the box, or the field gives another number of values than points.
    """
    config = config or MarchConfig()
    hit = torch.nonzero(rays.far > rays.near)[:, 0]
    if not len(hit):
        raise InputError("path lengths", f"none of {len(rays)} rays meets the box", "rays through it", "check the view")

    def inside(part: Rays) -> Tensor:
        n = part.n_steps(config.step_mm)
        places = part.places(torch.linspace(0.0, 1.0, n + 1).to(part.near))
        values = field(places.reshape(-1, 3))
        if values.ndim != 2 or len(values) != places.shape[0] * (n + 1):
            given = f"{tuple(values.shape)} values for {places.shape[0] * (n + 1)} points"
            raise InputError(
                "path lengths", f"a field that gives {given}", "(n, s)", "values[:, None] for one structure"
            )
        values = values.reshape(len(part), n + 1, -1)
        return _inside_share(values) * ((part.far - part.near) / n)[:, None].to(values)

    parts = [_again(inside, part) for part in _parts(rays.part(hit), config)]
    found = torch.cat(parts)
    return torch.zeros(len(rays), found.shape[1]).to(found).index_copy(0, hit.to(found.device), found)


def _inside_share(values: Tensor) -> Tensor:
    """(r, s) how many steps' worth of each ray lie inside, of (r, n + 1, s) distances, linear between."""
    before, after = values[:, :-1], values[:, 1:]
    within = torch.relu(-before) + torch.relu(-after)
    return (within / (before.abs() + after.abs()).clamp_min(1e-6)).sum(dim=1)


# --- Exposure --------------------------------------------------------------------------------------------------------


class ExposureConfig(StrictModel):
    """Settings of the exposure: from line integrals to grey values."""

    response: Literal["log", "linear"] = Field("log", description="log: a digital detector; linear: Beer-Lambert")
    photons: float | None = Field(None, gt=0, description="quanta a pixel of the open beam; None for no noise")
    grid_period_px: float | None = Field(None, gt=0, description="columns from one grid line to the next")
    grid_depth: float = Field(0.05, ge=0, lt=1, description="share of the light that a grid line takes")
    window: tuple[float, float] = Field((0.0, 100.0), description="percentiles that become 0 and 1")
    gamma: float = Field(1.0, gt=0, description="power of the picture; above 1 is darker")


def exposed(integrals: Picture, config: ExposureConfig, *, rng: np.random.Generator) -> Picture:
    """Expose a detector: Beer-Lambert, quantum noise, grid lines, window, gamma.

    Args:
        integrals: (rows, columns) of `radiograph`.
        config: Exposure config.
        rng: Noise; untouched without.

    Returns:
        (rows, columns) from 0 to 1, bright = dense.

    Raises:
        InputError: The integrals are not a picture of finite numbers, or the window is empty.
    """
    if integrals.ndim != 2 or not np.isfinite(integrals).all():
        raise InputError("exposure", f"integrals of shape {integrals.shape}", "(rows, columns) of finite numbers")
    transmitted = np.exp(-integrals.astype(np.float64))
    if config.grid_period_px is not None:
        wave = np.sin(2.0 * np.pi * np.arange(integrals.shape[1]) / config.grid_period_px)
        transmitted = transmitted * (1.0 - config.grid_depth * (0.5 + 0.5 * wave))
    least = float(np.finfo(np.float64).tiny)
    if config.photons is not None:
        least = 0.5 / config.photons  # a pixel that no quantum reached
        transmitted = rng.poisson(config.photons * transmitted) / config.photons
    dense = -np.log(np.maximum(transmitted, least)) if config.response == "log" else 1.0 - transmitted
    low, high = np.percentile(dense, config.window)
    if not high > low:
        raise InputError("exposure", f"a window from {low:g} to {high:g}", "two different values", "aim at the patient")
    return np.asarray(np.clip((dense - low) / (high - low), 0.0, 1.0) ** config.gamma, dtype=np.float32)

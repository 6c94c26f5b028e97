"""A written fit, read again: shape, pose and residual, which is what carrying points and comparing lungs needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from lpm.errors import FileError, InputError
from lpm.files.arrays import write_arrays
from lpm.fitting.discrepancy.residual import ResidualConfig, ResidualField
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.pose import Pose
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle

RESIDUAL_FILE = "residual.npz"
_NEAREST = 3  # places that another one is interpolated between: a triangle
_SIZES, _LONG_RANGE = ("sd_mm", "length_mm"), ("long_range_share", "long_range_length_mm")  # of the residual's config
_TOUCHING_MM = 1e-3  # no place is nearer than that: its weight stays finite
_AGAIN = "fit again with this version, and keep fit.json and residual.npz together"


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Sureness:
    """How sure a fit is of a structure's surface, at some places of it.

    Args:
        points_mm: (n, 3) places, spread evenly over the surface, RAS mm.
        sigma_mm: (n,) standard deviation along the normal.
    """

    points_mm: Floats
    sigma_mm: Floats

    def at(self, points_mm: Floats) -> Floats:
        """(m,) sigma at other points (m, 3) of the surface, mm: between the nearest places."""
        distance, nearest = cKDTree(self.points_mm).query(points_mm, k=min(_NEAREST, len(self.points_mm)))
        weight = 1.0 / (distance.reshape(len(points_mm), -1) + _TOUCHING_MM)
        sigma = self.sigma_mm[nearest].reshape(weight.shape)
        return np.asarray((weight * sigma).sum(axis=1) / weight.sum(axis=1))


def write_residual(
    folder: Path, residual: ResidualField, structures: Sequence[str], sureness: Mapping[str, Sureness]
) -> None:
    """Write a residual's mean as `residual.npz`: about 100 kB, rounded by less than 0.01 mm.

    Args:
        folder: That of the fit.
        residual: Posterior mean.
        structures: The model's structures, in its order.
        sureness: How sure the fit is, by structure; empty where lengths are not known.
    """
    arrays: dict[str, Any] = {name: np.array(getattr(residual.config, name)) for name in (*_SIZES, *_LONG_RANGE)}
    for name, sure in sureness.items():
        arrays[f"{name}.sure_points_mm"] = sure.points_mm.astype(np.float32)
        arrays[f"{name}.sigma_mm"] = sure.sigma_mm.astype(np.float32)
    for name, points, weights in zip(structures, residual.points, residual.weights, strict=True):
        arrays[f"{name}.points_mm"] = points.float().numpy()
        arrays[f"{name}.weights"] = weights.float().numpy()
    write_arrays(folder / RESIDUAL_FILE, arrays)


def read_fit(folder: Path, model: ModelBundle) -> FittedField:
    """Read the folder of a fit again, as far as points and meshes need it.

    Args:
        folder: Written by `Fit.write` or `lpm fit`.
        model: The model that was fitted.

    Raises:
        FileError: The folder holds no fit, one of an older version, or a damaged one.
        InputError: Fitted by another model, or of unknown size.
    """
    summary = _summary(folder)
    try:
        digest, sized = summary["model"]["digest"], summary["total_volume_ml"] is not None
        pose = Pose(*(np.array(summary["pose"][key]) for key in ("translation_mm", "axis_scale", "rotation_rad")))
        beta, structures = torch.tensor(summary["beta"]).float(), tuple(summary["structures"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(str(folder / "fit.json"), f"lacks or damages {error}", "a whole fit", _AGAIN) from error
    if digest != model.digest:
        hint = "name the model that was fitted (--model), or fit again with this one"
        raise InputError(str(folder), "a fit of another model", "one of this model", hint)
    if not sized:
        raise InputError(str(folder), "lungs of unknown size", "lungs in mm", "give the pixel spacing and fit again")
    return FittedField(model, beta, pose, _residual(folder / RESIDUAL_FILE, model.structures), structures)


def read_sureness(folder: Path, structures: Sequence[str]) -> dict[str, Sureness]:
    """Read how sure a written fit is of its surface.

    Args:
        folder: That of the fit.
        structures: The fit's structures.

    Returns:
        By structure; empty for fits of versions that did not write it.

    Raises:
        FileError: No residual, or a damaged one.
    """
    with _opened(folder / RESIDUAL_FILE) as arrays:
        if not all(f"{name}.sigma_mm" in arrays for name in structures):
            return {}
        return {
            name: Sureness(
                arrays[f"{name}.sure_points_mm"].astype(np.float64), arrays[f"{name}.sigma_mm"].astype(np.float64)
            )
            for name in structures
        }


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The arrays of an archive.

    Raises:
        FileError: Missing, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except FileNotFoundError as error:
        raise FileError(str(path), "no such file", "the residual of the fit", _AGAIN) from error
    except Exception as error:  # an archive has exceptions of its own for damaged bytes
        raise FileError(str(path), f"cannot be read ({error})", "an intact file", _AGAIN) from error


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "fit.json"
    if not path.is_file():
        raise FileError(str(folder), "no fit.json in it", "a folder that lpm fit wrote", "name the folder of a fit")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileError(str(path), f"not JSON ({error})", "a whole fit", _AGAIN) from error
    if not isinstance(found, dict):
        raise FileError(str(path), f"a {type(found).__name__}", "an object of JSON", _AGAIN)
    return found


def _residual(path: Path, structures: Sequence[str]) -> ResidualField:
    with _opened(path) as arrays:
        has_it = _LONG_RANGE[0] in arrays  # fits of version 0.1 have none
        long_range = {name: float(arrays[name]) for name in _LONG_RANGE} if has_it else {_LONG_RANGE[0]: 0.0}
        config = ResidualConfig(**{name: float(arrays[name]) for name in _SIZES}, **long_range)
        points = tuple(torch.tensor(arrays[f"{name}.points_mm"]).double() for name in structures)
        weights = tuple(torch.tensor(arrays[f"{name}.weights"]).double() for name in structures)
    return ResidualField(config, points, (torch.zeros(0, 0, dtype=torch.float64),) * len(points), weights)

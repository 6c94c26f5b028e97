"""Points and transforms of the two frames that meet in LPM: the world (RAS, mm) and the model (dimensionless)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lpm.errors import FrameError, InputError
from lpm.geometry.arrays import ComparedByContent, handed_over, read_only_arrays

Floats = NDArray[np.float64]


class HasVertices(Protocol):
    """A mesh or cloud of trimesh or Open3D."""

    @property
    def vertices(self) -> Any:
        """(n, 3) RAS mm."""


class HasPoints(Protocol):
    """A cloud of Open3D, or what pyvista and VTK call a data set."""

    @property
    def points(self) -> Any:
        """(n, 3) RAS mm."""


PointsLike = ArrayLike | HasVertices | HasPoints


def _coordinates(given: Any) -> Any:
    for name in ("vertices", "points"):
        if hasattr(given, name):
            return getattr(given, name)
    return given.detach().cpu() if hasattr(given, "detach") else given


def as_points(array: PointsLike, subject: str = "points", *, at_least: int = 0) -> Floats:
    """Check an array of points.

    Args:
        array: (n, 3) finite numbers: an array or tensor, or what has ``vertices`` or ``points``.
        subject: Name of the array in an error.
        at_least: Least number of points.

    Returns:
        (n, 3) float64.

    Raises:
        InputError: The shape is not (n, 3), a value is NaN or infinite, or there are too few.
    """
    try:
        points = np.asarray(_coordinates(array), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(subject, f"not numbers ({error})", "an (n, 3) array") from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(subject, f"shape {points.shape}", "(n, 3)", _reshaped(points))
    bad = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
    if bad:
        raise InputError(
            subject, f"{bad} of {len(points)} points are NaN or infinite", "finite coordinates", "drop them"
        )
    if len(points) < at_least:
        raise InputError(subject, f"{len(points)} points", f"at least {at_least}", "give more of them")
    return points


def _reshaped(points: Floats) -> str:
    """The expression that makes (n, 3) of an array of another shape without mixing coordinates; none if unclear."""
    if points.ndim != 2:
        return "points.reshape(-1, 3)" if points.ndim > 2 and points.shape[-1] == 3 else ""
    rows, columns = points.shape
    if rows in (3, 4) and columns > rows:
        return "points.T" if rows == 3 else "points[:3].T"
    if columns < 4 or rows < columns:
        return ""
    first = points[:, 0]
    if (first == np.round(first)).all() and not (points == np.round(points)).all():
        return "points[:, 1:4], if the first column is a number or label of each point"
    if columns >= 6 and np.abs(points[:, :3]).max() <= 1.001 < np.abs(points[:, 3:6]).max():
        return "points[:, 3:6], if normals come first"
    return "points[:, :3], if x, y, z come first"


@read_only_arrays
@dataclass(frozen=True, eq=False)
class WorldPoints(ComparedByContent):
    """Points of the patient: (n, 3), RAS, mm."""

    xyz_mm: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyz_mm", as_points(self.xyz_mm, "world points"))

    def __len__(self) -> int:
        return len(self.xyz_mm)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class ModelPoints(ComparedByContent):
    """Points of the network's input frame: (n, 3), dimensionless, training shapes inside the unit ball."""

    xyz: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyz", as_points(self.xyz, "model points"))

    def __len__(self) -> int:
        return len(self.xyz)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class WorldFromModel(ComparedByContent):
    """Transform from model points to the world: ``world = rotation @ (axis_scale_mm * model) + center_mm``.

    One cohort has one scale, so size stays in the shape; a subject has its centre. A fit may stretch the three
    axes separately, and turn the result. Mirrors cannot be expressed: they would swap left and right.

    Args:
        axis_scale_mm: (3,) millimetres per model unit along R, A and S; a single number means all three.
        center_mm: (3,) the world position of the model's origin.
        rotation: (3, 3) proper rotation; default none.
    """

    axis_scale_mm: Floats
    center_mm: Floats
    rotation: Floats = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        scale = np.broadcast_to(np.asarray(self.axis_scale_mm, dtype=np.float64), (3,)).copy()
        center = np.asarray(self.center_mm, dtype=np.float64)
        if center.shape != (3,) or not np.isfinite(center).all():
            raise InputError("world_from_model", f"center {self.center_mm!r}", "three finite millimetres")
        if not np.isfinite(scale).all() or (scale <= 0).any():
            raise InputError(
                "world_from_model", f"axis scales {scale}", "positive", "mirrors are refused: they swap left and right"
            )
        rotation = np.asarray(self.rotation, dtype=np.float64)
        is_proper = rotation.shape == (3, 3) and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        if not is_proper or np.linalg.det(rotation) < 0:
            raise InputError("world_from_model", f"rotation {rotation.tolist()}", "a proper rotation, not a mirror")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "axis_scale_mm", scale)
        object.__setattr__(self, "center_mm", center)

    @property
    def scale_mm(self) -> float:
        """Geometric mean of the three axis scales, mm per model unit."""
        return float(np.prod(self.axis_scale_mm) ** (1.0 / 3.0))

    def __call__(self, points: ModelPoints) -> WorldPoints:
        """Take model points to the world; refuses world points."""
        if not isinstance(points, ModelPoints):
            raise FrameError("world_from_model", f"got {type(points).__name__}", "ModelPoints")
        return WorldPoints(handed_over((points.xyz * self.axis_scale_mm) @ self.rotation.T + self.center_mm))

    def inverse(self, points: WorldPoints) -> ModelPoints:
        """Take world points to the model; refuses model points."""
        if not isinstance(points, WorldPoints):
            raise FrameError("model_from_world", f"got {type(points).__name__}", "WorldPoints")
        return ModelPoints(handed_over((points.xyz_mm - self.center_mm) @ self.rotation / self.axis_scale_mm))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON."""
        return {
            "axis_scale_mm": self.axis_scale_mm.tolist(),
            "center_mm": self.center_mm.tolist(),
            "rotation": self.rotation.tolist(),
        }

"""The atlas: signed distances of the mean lungs, what varies about them, and a smooth warp of space.

    f(z, x) = m(x') + sum_k a_k phi_k(x'),    x' = x + sum_r w_r psi_r(x),    z = (a, w) ~ N(0, I)

m and phi_k are the mean and the principal components of the training lungs' signed distances on a grid; psi_r are the
leading eigenfunctions of a Gaussian process of smooth displacements (Luethi et al. 2018, Gaussian process morphable
models). The components carry what lungs have in common, the warp what few lungs cannot teach. Nothing is trained by
gradient descent: an atlas of 29 lungs takes a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lpm.errors import FileError, InputError
from lpm.geometry.distances import sdf_on_grid
from lpm.geometry.frames import Floats, WorldPoints
from lpm.geometry.grids import VoxelGrid, grid_around
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.model.config import AtlasConfig
from lpm.preparation.cohort import Cohort

_FACES = 20_000
_WARP_CENTERS = 200
_TENSORS = ("fields", "lower", "upper", "warp_centers", "warp_weights", "warp_length")


class AtlasDecoder(nn.Module):
    """Signed distance to every structure, in model units, negative inside.

    Args:
        tensors: All of the following.

    Attributes:
        fields: (s, 1 + k, i, j, l) mean and components of each structure on its own grid, model units.
        lower: (s, 3) first node of each structure's grid.
        upper: (s, 3) its last node.
        warp_centers: (c, 3) where the warp's kernels stand.
        warp_weights: (c, r) the eigenfunctions as sums of kernels.
        warp_length: Correlation length of the warp.
    """

    fields: Tensor
    lower: Tensor
    upper: Tensor
    warp_centers: Tensor
    warp_weights: Tensor
    warp_length: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in _TENSORS:
            self.register_buffer(name, tensors[name].float())

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> AtlasDecoder:
        """Rebuild from what `to_tensors` gave.

        Raises:
            FileError: A tensor is missing or of a shape that does not fit the others.
        """
        missing = [name for name in _TENSORS if name not in tensors]
        if missing:
            raise FileError("atlas", f"no {', '.join(missing)}", "all of an atlas's tensors", "copy the folder again")
        found = cls(tensors)
        n = len(found.fields)
        is_good = (
            found.fields.ndim == 5
            and min(found.fields.shape[2:]) >= 2
            and found.lower.shape == found.upper.shape == (n, 3)
            and found.warp_centers.ndim == found.warp_weights.ndim == 2
            and len(found.warp_centers) == len(found.warp_weights)
            and bool((found.upper > found.lower).all())
        )
        if not is_good:
            shapes = {name: tuple(tensors[name].shape) for name in _TENSORS}
            raise FileError("atlas", f"tensors of shapes {shapes}", "those of one atlas", "copy the folder again")
        return found

    def to_tensors(self) -> dict[str, Tensor]:
        """What is stored; the fields in half precision, whose rounding is below 0.02 mm near the surface."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return tensors | {"fields": self.fields.half()}

    @property
    def n_components(self) -> int:
        """Principal components of the signed distances."""
        return int(self.fields.shape[1]) - 1

    @property
    def latent_size(self) -> int:
        """Components, and three displacements for each eigenfunction of the warp."""
        return self.n_components + 3 * int(self.warp_weights.shape[1])

    def forward(self, latent: Tensor, points: Tensor) -> Tensor:
        """Evaluate the field.

        Args:
            latent: (1, latent_size) for all points, or (p, latent_size) for one a point.
            points: (p, 3) in the model frame.

        Returns:
            (p, s) signed distances in model units.
        """
        warped = points + self.displacement(latent[..., self.n_components :], points)
        weight = torch.cat([torch.ones_like(latent[..., :1]), latent[..., : self.n_components]], dim=-1)
        parts = [self._structure(index, weight, warped) for index in range(len(self.fields))]
        return torch.stack(parts, dim=-1)

    def displacement(self, warp: Tensor, points: Tensor) -> Tensor:
        """Where the warp takes points, (p, 3), less the points themselves; warp (1 or p, 3 r)."""
        basis = self.warp_basis(points)
        return torch.einsum("pr,prc->pc", basis, warp.unflatten(-1, (-1, 3)).expand(len(points), -1, -1))

    def warp_basis(self, points: Tensor) -> Tensor:
        """(p, r) eigenfunctions of the displacement at points."""
        squared = (
            points.square().sum(dim=-1, keepdim=True)
            - 2.0 * points @ self.warp_centers.T
            + self.warp_centers.square().sum(dim=-1)
        )
        return torch.exp(-0.5 / self.warp_length.square() * squared) @ self.warp_weights

    def _structure(self, index: int, weight: Tensor, points: Tensor) -> Tensor:
        """(p,) one structure's field: trilinear within its grid, growing with the distance outside."""
        lower, upper = self.lower[index], self.upper[index]
        inside = torch.minimum(torch.maximum(points, lower), upper)
        place = (2.0 * (inside - lower) / (upper - lower) - 1.0).flip(-1).reshape(1, -1, 1, 1, 3)
        fields = self.fields[index]
        if len(weight) == 1:
            fields = torch.tensordot(weight[0], fields, dims=1)[None]
        sampled = nn.functional.grid_sample(fields[None], place, align_corners=True)[0, :, :, 0, 0].T
        value = sampled[:, 0] if len(weight) == 1 else (sampled * weight).sum(dim=-1)
        distance: Tensor = value + (points - inside).norm(dim=-1)
        return distance


def build_atlas(
    cohort: Cohort, subjects: Sequence[str], config: AtlasConfig, *, jobs: int
) -> tuple[AtlasDecoder, Tensor]:
    """Make an atlas of subjects of a cohort.

    Args:
        cohort: Prepared.
        subjects: At least three.
        config: Grid, components, warp.
        jobs: Worker processes.

    Returns:
        The decoder, and the (n, latent_size) codes of the subjects (their warp is zero).

    Raises:
        InputError: Fewer than three subjects.
    """
    if len(subjects) < 3:
        raise InputError("atlas", f"{len(subjects)} training subjects", "at least 3", "prepare more lungs")
    scale_mm = cohort.manifest.scale_mm
    centred = [_centred_meshes(cohort, subject) for subject in subjects]
    grids = _structure_grids(centred, config)
    sampled = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_sample)(meshes, grids) for meshes in centred)
    n_modes = min(config.components, len(subjects) - 1)
    values = np.stack(sampled).astype(np.float32) / np.float32(scale_mm)
    components, scores = whitened_components((values - values.mean(axis=0)).reshape(len(values), -1), n_modes)
    mean, shape = values.mean(axis=0), values.shape[1:]
    fields = np.concatenate([mean[None], components.reshape(-1, *shape)]).swapaxes(0, 1)
    lower = np.array([grid.origin_mm for grid in grids]) / scale_mm
    extent = np.array([(np.array(grid.shape) - 1) * grid.spacing_mm for grid in grids]) / scale_mm
    centers, weights = _warp(centred, config)
    arrays = (fields, lower, lower + extent, centers / scale_mm, weights / scale_mm)
    tensors = dict(zip(_TENSORS, (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays), strict=False))
    decoder = AtlasDecoder(tensors | {"warp_length": torch.tensor(config.warp_length_mm / scale_mm)})
    codes = torch.zeros(len(subjects), decoder.latent_size)
    codes[:, : scores.shape[1]] = torch.from_numpy(scores)
    return decoder, codes


def whitened_components(
    centred: NDArray[np.float32], n_most: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Principal components, each scaled so that its coefficient has variance 1 over the training shapes.

    Args:
        centred: (n, m) shapes less their mean, with n far below m.
        n_most: Keep at most this many.

    Returns:
        (k, m) components by falling variance, those below a millionth of the first dropped, and the (n, k)
        coefficients of the shapes.
    """
    variance, mixture = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    kept = np.flatnonzero(variance > 1e-6 * max(variance[-1], 1e-12))[::-1][:n_most]
    spread = np.sqrt(max(len(centred) - 1, 1))
    components = mixture[:, kept].T.astype(np.float32) @ centred / np.float32(spread)
    return components, (mixture[:, kept] * spread).astype(np.float32)


def _centred_meshes(cohort: Cohort, subject: str) -> list[WorldMesh]:
    """Each structure about the subject's centre, at the cohort's scale, mm."""
    world_from_model = cohort.world_from_model(subject)
    meshes = []
    for mesh in cohort.meshes(subject).values():
        coarse = decimate(mesh, _FACES)
        vertices = world_from_model.inverse(WorldPoints(coarse.vertices)).xyz * cohort.manifest.scale_mm
        meshes.append(WorldMesh(vertices, coarse.faces))
    return meshes


def _structure_grids(centred: Sequence[Sequence[WorldMesh]], config: AtlasConfig) -> list[VoxelGrid]:
    """A grid for each structure that holds it in all subjects; all of one shape, with odd sides."""
    grids = [grid_around(meshes, config.spacing_mm) for meshes in zip(*centred, strict=True)]
    extra = int(np.ceil(config.margin_mm / config.spacing_mm))
    most = np.max([grid.shape for grid in grids], axis=0) + 2 * extra
    i, j, k = (int(n) // 2 * 2 + 1 for n in most)
    return [VoxelGrid(grid.origin_mm - extra * config.spacing_mm, config.spacing_mm, (i, j, k)) for grid in grids]


def _sample(meshes: Sequence[WorldMesh], grids: Sequence[VoxelGrid]) -> Floats:
    """(s, i, j, k) signed distances in mm."""
    return np.stack([sdf_on_grid(mesh, grid) for mesh, grid in zip(meshes, grids, strict=True)])


def _warp(centred: Sequence[Sequence[WorldMesh]], config: AtlasConfig) -> tuple[Floats, Floats]:
    """Kernel centres (c, 3) and leading eigenfunctions (c, r) of the displacement's Gaussian process, mm.

    The centres spread over the training surfaces, where the warp matters; the eigenfunctions are those of the
    process seen there (Nystroem).
    """
    vertices = np.concatenate([mesh.vertices[::10] for meshes in centred for mesh in meshes])
    centers = np.array(list(_spread(vertices, _WARP_CENTERS)))
    squared = ((centers[:, None] - centers) ** 2).sum(axis=-1)
    variance, vectors = np.linalg.eigh(np.exp(-0.5 * squared / config.warp_length_mm**2))
    first = np.argsort(variance)[::-1][: config.warp_functions]
    return centers, config.warp_sd_mm * vectors[:, first] / np.sqrt(variance[first])


def _spread(points: Floats, n: int) -> Iterator[Floats]:
    """Points as far apart as possible, one after the other, from the one farthest from the middle."""
    nearest = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
    for _ in range(min(n, len(points))):
        chosen = points[int(nearest.argmax())]
        yield chosen
        distance = ((points - chosen) ** 2).sum(axis=1)
        nearest = np.minimum(nearest, distance)

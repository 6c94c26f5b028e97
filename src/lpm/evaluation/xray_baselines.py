"""What lungs from radiographs have to beat: scaled mean lungs, a regression of the volume, PCA with the same fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lpm.evaluation.baselines import BaselinesConfig, SdfGrids, train_grids
from lpm.fitting.extraction import mean_shape
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.model.atlas import AtlasDecoder
from lpm.model.bundle import ModelBundle
from lpm.model.latents import LatentSpace
from lpm.model.registration.components import whitened_components
from lpm.model.warp import Box
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import Reading

Meshes = Mapping[str, WorldMesh]


def field_size_mm(reading: Reading, radiograph: Radiograph) -> Floats:
    """(3,) width, height and area of the visible field of a frontal picture: mm, mm, mm2."""
    spacing = radiograph.in_patient_mm or (1.0, 1.0)
    row_mm, column_mm = (step * mm for step, mm in zip(reading.step_px, spacing, strict=True))
    shown: NDArray[np.bool_] = np.any(reading.field > 0.5, axis=0)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    return np.array([np.ptp(columns) * column_mm, np.ptp(rows) * row_mm, shown.sum() * row_mm * column_mm])


@read_only_arrays
@dataclass(frozen=True, eq=False)
class XrayBaselines:
    """Learned from the training subjects' frontal pictures and lungs.

    Args:
        mean: Lungs of beta = 0, about the world's origin.
        mean_field_mm: (3,) as `field_size_mm`.
        coefficients: (3,) of the logarithm of the volume in ml: constant, log height, log area of the field.
        pca: A model whose shapes are principal components of signed distances on a grid, for the same fit.
    """

    mean: Meshes
    mean_field_mm: Floats
    coefficients: Floats
    pca: ModelBundle

    @classmethod
    def learn(cls, model: ModelBundle, sizes_mm: Sequence[Floats], lungs: Sequence[Meshes]) -> XrayBaselines:
        """From the fields' sizes (`field_size_mm`) and the true lungs of the same subjects."""
        volumes = [sum(mesh.volume_ml for mesh in meshes.values()) for meshes in lungs]
        logs = np.log(np.stack(sizes_mm))[:, 1:]
        rows = np.column_stack([np.ones(len(logs)), logs])
        coefficients = np.linalg.lstsq(rows, np.log(volumes), rcond=None)[0]
        mean = mean_shape(model, 2.0).meshes
        return cls(mean, np.mean(sizes_mm, axis=0), coefficients, pca_model(model, lungs))

    def scaled(self, size_mm: Floats) -> dict[str, WorldMesh]:
        """The mean shape with the field's width and height; its depth by the mean of the two factors."""
        width, height = size_mm[:2] / self.mean_field_mm[:2]
        factors = np.array([width, 0.5 * (width + height), height])
        return {name: WorldMesh(mesh.vertices * factors, mesh.faces) for name, mesh in self.mean.items()}

    def volume_ml(self, size_mm: Floats) -> float:
        """By regression on the field's height and area."""
        return float(np.exp(self.coefficients @ [1.0, *np.log(size_mm[1:])]))


def pca_model(model: ModelBundle, lungs: Sequence[Meshes]) -> ModelBundle:
    """PCA of the signed distances of lungs on a grid, in the place of a model's decoder.

    Args:
        model: Model whose frame, structures and pose prior are used.
        lungs: Lungs of the training subjects, in their own worlds.
    """
    centred = [_centred(meshes, model.structures) for meshes in lungs]
    grids = train_grids(centred, BaselinesConfig())
    decoder = GridsDecoder(grids, model.manifest.scale_mm)
    latents = LatentSpace(torch.zeros(decoder.n_modes), torch.eye(decoder.n_modes))
    # it has what fits ask of a decoder; bundles are written of the other kinds only
    return replace(model, decoder=cast("AtlasDecoder", decoder), latents=latents, codes=decoder.codes)


def _centred(meshes: Meshes, structures: Sequence[str]) -> dict[str, WorldMesh]:
    middle = np.concatenate([mesh.vertices for mesh in meshes.values()]).mean(axis=0)
    return {name: WorldMesh(meshes[name].vertices - middle, meshes[name].faces) for name in structures}


class GridsDecoder(nn.Module):
    """Signed distance to every structure in model units: the mean of grids and a mixture of their components.

    Args:
        grids: Grids of the training lungs.
        scale_mm: Scale of one model unit.
    """

    def __init__(self, grids: SdfGrids, scale_mm: float) -> None:
        super().__init__()
        mean = grids.values.mean(axis=0)
        components, codes = whitened_components((grids.values - mean).reshape(len(grids.values), -1))
        fields = np.concatenate([mean[None], components.reshape(-1, *mean.shape)]) / scale_mm
        lower = grids.grid.origin_mm / scale_mm
        upper = lower + (np.array(grids.grid.shape) - 1) * grids.grid.spacing_mm / scale_mm
        self.n_modes, self.codes = len(components), torch.from_numpy(codes)
        self.fields = torch.from_numpy(fields.astype(np.float32))
        self.box = Box(torch.from_numpy(lower).float(), torch.from_numpy(upper).float())

    def forward(self, latent: Tensor, points: Tensor) -> Tensor:
        """Evaluate (1 or p, k) latents at (p, 3) points: (p, s)."""
        weight = torch.cat([torch.ones_like(latent[..., :1]), latent], dim=-1)
        inside = torch.minimum(torch.maximum(points, self.box.lower), self.box.upper)
        beyond = (points - inside).norm(dim=-1, keepdim=True)
        if len(weight) == 1:
            mixed = self.box.sample(torch.tensordot(weight[0], self.fields, dims=1), inside)
        else:
            parts = self.box.sample(self.fields.flatten(0, 1), inside).unflatten(1, self.fields.shape[:2])
            mixed = (weight[:, :, None] * parts).sum(dim=1)
        value: Tensor = mixed + beyond
        return value

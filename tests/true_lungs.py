"""Lungs of the bundled model whose shape is known, and what exact radiographs say of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from lpm.fitting.extraction import shape_of
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.pose import world_from_model
from lpm.geometry.frames import Floats, ModelPoints
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.projection import PARALLEL, VIEW_DEGREES, Beam, View, turned_view
from lpm.model.bundle import ModelBundle
from lpm.xray.drr import MarchConfig, path_lengths
from lpm.xray.rays import SeenPaths

_FINE = 4


@dataclass(frozen=True)
class TrueLungs:
    """A shape of the model in its own frame: no two axes alike."""

    model: ModelBundle = field(repr=False)
    first: tuple[float, ...] = (1.0, -1.0, 0.5, 0.8, -0.6, 0.4)
    axis_scale: tuple[float, float, float] = (1.05, 0.95, 1.1)
    _known: dict[tuple[str, Beam], np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def beta(self) -> Tensor:
        beta = torch.zeros(self.model.latents.n_modes)
        beta[: len(self.first)] = torch.tensor(self.first)
        return beta

    @cached_property
    def bounds_mm(self) -> tuple[Floats, Floats]:
        pose = self.model.world_from_model(np.zeros(3), np.array(self.axis_scale))
        corners = pose(ModelPoints(np.array(list(itertools.product(*zip(*self.model.box, strict=True)))))).xyz_mm
        return corners.min(axis=0), corners.max(axis=0)

    @cached_property
    def meshes(self) -> dict[str, WorldMesh]:
        return shape_of(self.model, self.beta, 4.0, np.array(self.axis_scale)).meshes

    @property
    def middle_mm(self) -> Floats:
        return np.mean(self.bounds_mm, axis=0)

    @property
    def volume_ml(self) -> float:
        return sum(mesh.volume_ml for mesh in self.meshes.values())

    def distances_mm(self, points_mm: Floats) -> Floats:
        pose = self.model.world_from_model(np.zeros(3), np.array(self.axis_scale))
        return np.asarray(self.model.distances_mm(self.beta, pose, points_mm))

    def lengths_mm(self, view: View) -> np.ndarray:
        """(2, r, c) exact lengths in the left and the right lung, averaged over each pixel."""
        steps = [each / _FINE for each in (view.by_column_mm, view.by_row_mm)]
        origin = view.origin_mm - 0.5 * (_FINE - 1) * (steps[0] + steps[1])
        shape = (view.shape[0] * _FINE, view.shape[1] * _FINE)
        fine = View(shape, origin, steps[0], steps[1], view.beam, view.source_mm)

        def distances(points: Tensor) -> Tensor:
            return torch.from_numpy(self.distances_mm(points.double().numpy()))

        found = path_lengths(distances, fine, self.bounds_mm, MarchConfig(step_mm=5.0)).numpy()
        return found.reshape(2, view.shape[0], _FINE, view.shape[1], _FINE).mean(axis=(2, 4))

    def _lengths_of(self, side: str, beam: Beam) -> np.ndarray:
        if (side, beam) not in self._known:
            self._known[side, beam] = self.lengths_mm(self.view(side, beam))
        return self._known[side, beam]

    def view(self, side: str, beam: Beam = PARALLEL, cell_mm: float = 16.0, n: int = 22) -> View:
        far = beam.source_detector_mm
        size = cell_mm if far is None else cell_mm * far / (far - beam.patient_detector_mm)
        return turned_view((n, n), (size, size), VIEW_DEGREES[side], self.middle_mm, beam)

    def seen(self, side: str, beam: Beam = PARALLEL, *, times: float = 1.0, gain_sd: float = 0.05) -> SeenPaths:
        """What a reader without errors would say, if it took itself for an ordinary one."""
        view = self.view(side, beam)
        lengths = times * self._lengths_of(side, beam)
        channels = ((0,), (1,)) if side == "frontal" else ((0, 1),)
        paths = np.stack([lengths[list(channel)].sum(axis=0) for channel in channels])
        sds = np.stack([np.hypot(6.0, 4.0 * np.hypot(*np.gradient(each, 16.0))) for each in paths])
        near = binary_dilation(lengths.sum(axis=0) > 5.0)
        pixels = np.argwhere(near).astype(np.float64)
        patient = None if beam.source_detector_mm is None else beam.patient_detector_mm
        return SeenPaths(view, pixels, paths[:, near].T, channels, sds[:, near].T, 30.0, gain_sd, patient)

    def dice(self, shape: FittedShape) -> float:
        """Of a fit with these lungs, both together, on a grid of 8 mm."""
        axes = (np.arange(low, high, 8.0) for low, high in zip(*self.bounds_mm, strict=True))
        points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
        pose = world_from_model(self.model, shape.pose)
        found = np.asarray(self.model.distances_mm(shape.beta, pose, points)).min(axis=1) < 0
        true = self.distances_mm(points).min(axis=1) < 0
        return 2.0 * float((found & true).sum()) / float(found.sum() + true.sum())

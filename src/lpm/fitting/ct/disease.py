"""Lung that dense disease hides from a segmenter: where it ends, the ribs and a fit of the visible surface say.

Where consolidation or an effusion touches the chest wall, the aerated lung ends in a face that no lung has, far from
the ribs. There the pleura must lie before the ribs as it does elsewhere. The model, held stiff, is fitted to the lungs'
surface and that pleura; points that lie far inside its lungs are such a face, and are left out; the rest is fitted
again. What the fit then holds beyond the labels is added where the scan shows soft tissue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from lpm.calibration import count, number, several, span
from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig
from lpm.fitting.extraction import extract_fit
from lpm.fitting.fitted_shape import FittedShape, fit_shape
from lpm.fitting.posed import PosedModel
from lpm.fitting.state import State
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.grids import voxelise_on
from lpm.geometry.masks import Mask, grown, nearest_on, pieces_touching, refined, shrunk
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle
from lpm.preparation.cleaning import cleaned
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.preparation.sampling import sample_surfaces
from lpm.segmentation.chest_wall import LungBeforeRibs
from lpm.segmentation.dense_tissue import settled_border
from lpm.segmentation.hounsfield import Scan
from lpm.structures import DEFAULT_STRUCTURES

_POINTS = count("fitting.disease_points")
_DEEP_MM = several("fitting.disease_deep_mm")
_PLEURA_WITHIN_MM = several("fitting.disease_pleura_within_mm")
_BESIDE_MM = number("fitting.disease_beside_mm")
_TISSUE_HU = span("fitting.disease_tissue_hu")
# without a residual, so that the fit cannot follow a face that no lung has
_STIFF = FitConfig(
    residual=ResidualConfig(sd_mm=0.0),
    prior_noise_mm=number("fitting.disease_stiff_noise_mm"),
    prior_points=number("fitting.disease_stiff_points"),
)
_GRID_MM = number("fitting.disease_grid_mm")
_SLIVER_MM = number("fitting.disease_sliver_mm")
_LEAST_ML = number("fitting.disease_least_ml")
_STEP_MM = number("fitting.disease_step_mm")
_STEEP = number("fitting.disease_steep")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class _Surface:
    """What was seen of the lungs.

    Args:
        points_mm: (n, 3) on the labels' surface.
        structure: (n,) index in the model.
        pleura: Before the ribs, where dense tissue parts a lung from them.
        pleura_structure: (m,) index in the model.
    """

    points_mm: Floats
    structure: np.ndarray
    pleura: LungBeforeRibs
    pleura_structure: np.ndarray

    def fitted(self, model: ModelBundle, own: Mask, pleura: Mask, config: FitConfig) -> FittedShape:
        """The model's shape by some of both."""
        points = np.concatenate([self.points_mm[own], self.pleura.pleura_mm[pleura]])
        return fit_shape(model, points, np.concatenate([self.structure[own], self.pleura_structure[pleura]]), config)


def fill_disease(
    model: ModelBundle,
    scan: Scan,
    labels: Volume,
    hidden: Mapping[str, LungBeforeRibs],
    *,
    rng: np.random.Generator,
) -> Volume:
    """Add lung that dense disease hides; a `Filler` but for the model.

    Args:
        model: Model of the left and the right lung.
        scan: Scan in HU.
        labels: Labels of a segmenter, on the grid of the scan's upright volume: 1 left, 2 right.
        hidden: The lungs that dense tissue parts from their ribs, by structure; the others stay as they are.
        rng: Draws the points on the labels' surface.

    Returns:
        The labels with what was added.
    """
    seen = _surface(model, labels, hidden, rng)
    hu = scan.upright.voxels
    more = refined(_hidden_part(model, scan, labels, seen, list(hidden)), labels).voxels
    is_new = (labels.voxels == 0) & (hu >= _TISSUE_HU[0]) & (hu <= _TISSUE_HU[1])
    return labels.with_voxels(np.where(is_new, more, labels.voxels))


def _surface(
    model: ModelBundle, labels: Volume, sick: Mapping[str, LungBeforeRibs], rng: np.random.Generator
) -> _Surface:
    clean = cleaned(labels, DEFAULT_STRUCTURES, "labels")
    meshes = {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in clean.masks.items()}
    samples = sample_surfaces(meshes, _POINTS, rng=rng)
    order = np.array([model.structures.index(name) for name in meshes], dtype=np.int64)
    which = [np.full(len(each.pleura_mm), model.structures.index(name)) for name, each in sick.items()]
    pleura = _joined(list(sick.values()))
    return _Surface(samples.points_mm, order[samples.structure], pleura, np.concatenate(which))


def _joined(lungs: Sequence[LungBeforeRibs]) -> LungBeforeRibs:
    parts = ([each.pleura_mm, each.outwards, each.is_sure] for each in lungs)
    return LungBeforeRibs(max(each.hidden_share for each in lungs), *map(np.concatenate, zip(*parts, strict=True)))


def _fit_of_own(model: ModelBundle, seen: _Surface, sick: list[int]) -> tuple[FittedShape, Mask]:
    """The fit of the lungs' own surface, and (n,) which points lie on it and not on a face that disease made."""
    is_sick = np.isin(seen.structure, sick)
    own, pleura = np.ones(len(seen.points_mm), dtype=bool), seen.pleura.is_sure
    for deep_mm, within_mm in zip(_DEEP_MM, _PLEURA_WITHIN_MM, strict=True):
        shape = seen.fitted(model, own, pleura, _STIFF)
        is_face = is_sick & (_values(model, shape, seen.points_mm, seen.structure) < -deep_mm)
        if is_face.any():
            own = ~is_sick | (cKDTree(seen.points_mm[is_face]).query(seen.points_mm)[0] > _BESIDE_MM)
        pleura = _is_pleura(model, shape, seen, within_mm)
    return seen.fitted(model, own, pleura, FitConfig()), own


def _is_pleura(model: ModelBundle, shape: FittedShape, seen: _Surface, within_mm: float) -> Mask:
    """(m,) where the fit has the lung's outer side nearby; below its base, or beside the heart, it has none."""
    places, across = seen.pleura.pleura_mm, seen.pleura.outwards * _STEP_MM
    inner, outer = (
        _values(model, shape, points, seen.pleura_structure) for points in (places - across, places + across)
    )
    steep = (outer - inner) / (2.0 * _STEP_MM)
    return np.asarray((np.abs(inner + outer) < 2.0 * within_mm) & (steep > _STEEP))


def _hidden_part(model: ModelBundle, scan: Scan, labels: Volume, seen: _Surface, sick: list[str]) -> Volume:
    """Labels of what is hidden alone, on a coarse grid."""
    shape, own = _fit_of_own(model, seen, [model.structures.index(name) for name in sick])
    grid = scan.averaged(_GRID_MM)
    lungs = nearest_on(labels, grid)
    is_free = (lungs == 0) & (grid.voxels > _TISSUE_HU[0]) & (grid.voxels < _TISSUE_HU[1])
    hidden = np.zeros_like(lungs)
    for name, mesh in extract_fit(model, shape, sick, _GRID_MM).meshes.items():
        value, mine = DEFAULT_STRUCTURES[name][0], seen.structure == model.structures.index(name)
        more = voxelise_on(mesh, grid) & is_free & (hidden == 0)
        more[more] = _is_hidden(np.argwhere(more), grid, seen.points_mm[mine], own[mine])
        more = _beside(more, lungs == value, grid)
        if more.any():
            hidden[settled_border(grid, lungs > 0, lungs == value, more) & (hidden == 0)] = value
    return grid.with_voxels(hidden)


def _values(model: ModelBundle, shape: FittedShape, points_mm: Floats, structure: np.ndarray) -> Floats:
    """(n,) signed distance of points to the model's own lungs, mm."""
    state, points = State.of(shape.beta, shape.pose), torch.tensor(points_mm).float()
    return np.asarray(PosedModel(model).own_values(state, points, torch.tensor(structure)).numpy())


def _is_hidden(voxels: np.ndarray, grid: Volume, points_mm: Floats, own: Mask) -> Mask:
    """(n,) which voxels lie behind a face, or far from all surface that is the lung's own."""
    places = grid.to_world(voxels.astype(np.float64))
    distance, nearest = cKDTree(points_mm).query(places, workers=-1)
    return np.asarray(~own[nearest] | (distance > _BESIDE_MM))


def _beside(more: Mask, lung: Mask, grid: Volume) -> Mask:
    """Pieces that touch the lung and are large and thick enough to matter."""
    thick = grown(shrunk(more | lung, _SLIVER_MM, grid), _SLIVER_MM, grid) & more
    return pieces_touching(thick, lung, _LEAST_ML / grid.voxel_ml)

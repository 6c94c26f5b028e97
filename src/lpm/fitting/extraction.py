"""Meshes of a shape: surfaces of the decoder's field and the residual."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lpm.calibration import number
from lpm.fitting.discrepancy.lattice_residual import followed
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.pose import world_from_model
from lpm.geometry.extraction import Extraction, Field, extract_meshes, lattice_over
from lpm.geometry.frames import Floats, ModelPoints, WorldFromModel
from lpm.geometry.grids import VoxelGrid
from lpm.model.bundle import ModelBundle

BOX_MARGIN = 0.08  # model units around the training shapes in which surfaces are looked for
_WARP_NODES_MM = number("fitting.warp_nodes_mm")
_FINE_MM = 2.0  # lattices as fine as this ask at so many places that interpolating saves time
SEEN_MARGIN_MM = 10.0  # around what was seen, in which surfaces are looked for


def fitted_field(model: ModelBundle, shape: FittedShape, lattice: VoxelGrid | None = None) -> Field:
    """The signed distances of a fitted shape: the decoder's and the residual, on a lattice if it is given."""
    pose = world_from_model(model, shape.pose)
    if lattice is None:
        return followed(partial(model.distances_mm, shape.beta, pose), shape.residual)
    return followed(_over_lattice(model, shape.beta, pose, lattice), shape.residual, lattice)


def extract_fit(model: ModelBundle, shape: FittedShape, structures: Sequence[str], spacing_mm: float) -> Extraction:
    """Extract the surfaces of a fitted shape.

    Args:
        model: The model that was fitted.
        shape: Shape parameters and pose.
        structures: Structures of the model to keep.
        spacing_mm: Distance between lattice nodes.
    """
    seen_mm = None if shape.surface is None else shape.surface.box_mm
    lattice = model_lattice(model, world_from_model(model, shape.pose), spacing_mm, seen_mm)
    field = fitted_field(model, shape, lattice)
    extraction = extract_meshes(field, model.structures, lattice, pieces_each=model.pieces_each)
    kept = {name: extraction.meshes[name] for name in structures}
    return Extraction(kept, extraction.n_evaluated, extraction.n_nodes)


def model_lattice(
    model: ModelBundle, pose: WorldFromModel, spacing_mm: float, seen_mm: tuple[Floats, Floats] | None = None
) -> VoxelGrid:
    """Lay a lattice over all that training shapes reached, and over what was seen, with a margin.

    Args:
        model: Knows what training shapes reached.
        pose: Pose of the lungs.
        spacing_mm: Distance between nodes.
        seen_mm: Lower and upper corner of the observed points.
    """
    lower, upper = model.box
    corners = np.array(list(itertools.product(*zip(lower - BOX_MARGIN, upper + BOX_MARGIN, strict=True))))
    placed = pose(ModelPoints(corners)).xyz_mm
    if seen_mm is not None:
        placed = np.concatenate([placed, seen_mm[0][None] - SEEN_MARGIN_MM, seen_mm[1][None] + SEEN_MARGIN_MM])
    return lattice_over(placed.min(axis=0), placed.max(axis=0), spacing_mm)


def mean_shape(model: ModelBundle, spacing_mm: float) -> Extraction:
    """Extract the lungs of beta = 0, centred on the world's origin."""
    return shape_of(model, torch.zeros(model.latents.n_modes), spacing_mm)


def shape_of(model: ModelBundle, beta: Tensor, spacing_mm: float, axis_scale: Floats | None = None) -> Extraction:
    """Extract the lungs of shape parameters (k,), about the world's origin, with optional factors along R, A, S."""
    return placed_shape(model, beta, model.world_from_model(np.zeros(3), axis_scale), spacing_mm)


def placed_shape(model: ModelBundle, beta: Tensor, pose: WorldFromModel, spacing_mm: float) -> Extraction:
    """Extract the lungs of shape parameters (k,) where a pose puts them."""
    lattice = model_lattice(model, pose, spacing_mm)
    field = _over_lattice(model, beta, pose, lattice)
    return extract_meshes(field, model.structures, lattice, pieces_each=model.pieces_each)


def _over_lattice(model: ModelBundle, beta: Tensor, pose: WorldFromModel, lattice: VoxelGrid) -> Field:
    """The decoder's signed distances all over a lattice; for a fine one, smooth displacements are interpolated."""
    if lattice.spacing_mm > _FINE_MM:
        return partial(model.distances_mm, beta, pose)
    return model.interpolated_mm(beta, pose, lattice, _WARP_NODES_MM)

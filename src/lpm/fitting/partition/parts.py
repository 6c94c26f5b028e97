"""The parts of a fitted shape, such as the lobes of lungs, by the partition that its model was taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from lpm.errors import InputError
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.pose import Pose, world_from_model
from lpm.geometry.extraction import Field
from lpm.geometry.frames import Floats, WorldPoints
from lpm.model.atlas import AtlasDecoder
from lpm.model.bundle import ModelBundle
from lpm.model.partition import Partition


class Shaped(Protocol):
    """Shape parameters and pose: a `FittedShape`, or a `FittedField`."""

    @property
    def beta(self) -> torch.Tensor:
        """(k,) shape parameters."""

    @property
    def pose(self) -> Pose:
        """Pose."""


_CHUNK = 8192  # points at a time: bounds memory, changes nothing


def atlas_of(model: ModelBundle, subject: str) -> AtlasDecoder:
    """The model's atlas.

    Raises:
        InputError: It is a network, which has no template.
    """
    if not isinstance(model.decoder, AtlasDecoder):
        raise InputError(subject, f"a model of preset {model.manifest.config.preset}", "an atlas", "--preset atlas")
    return model.decoder


def partition_of(model: ModelBundle) -> Partition:
    """The model's partition.

    Raises:
        InputError: It has none.
    """
    if model.partition is None:
        raise InputError("parts", "a model that knows of no parts", "one with a partition", "lpm partition")
    return model.partition


def part_names(model: ModelBundle, structures: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Names of the parts of some structures, by structure; one that is not divided is its own only part."""
    known = partition_of(model).names
    return {structure: known.get(structure, (structure,)) for structure in structures}


def placed(model: ModelBundle, shape: Shaped, structure: str, points_mm: Floats) -> Floats:
    """(n, 3) where points of the world (n, 3) lie in a structure's template, model units."""
    decoder, pose = atlas_of(model, "parts"), world_from_model(model, shape.pose)
    latent, index = model.latents.to_latent(shape.beta)[None], model.structures.index(structure)
    points = torch.tensor(pose.inverse(WorldPoints(points_mm)).xyz).float()
    with torch.inference_mode():
        places = [decoder.places(latent, part)[index] for part in points.split(_CHUNK)]
    return torch.cat(places).double().numpy()


def beyond_parts_mm(model: ModelBundle, shape: Shaped, structure: str, points_mm: Floats) -> Floats:
    """How far points lie beyond the boundaries between a structure's parts.

    Where the structure itself ends does not count; a structure that is not divided has no boundary.

    Args:
        model: Model with a partition.
        shape: Fitted shape.
        structure: Its name.
        points_mm: (n, 3) RAS mm.

    Returns:
        (n, p) mm, negative within a part.

    Raises:
        InputError: The model has no partition.
    """
    parts = partition_of(model).structures.get(structure)
    if parts is None:
        return np.full((len(points_mm), 1), -np.inf)
    places = torch.tensor(placed(model, shape, structure, points_mm)).float()
    scale_mm = world_from_model(model, shape.pose).scale_mm
    return scale_mm * parts.beyond(places).double().numpy()


def field_of_parts(model: ModelBundle, shape: FittedShape, structures: Sequence[str], field: Field) -> Field:
    """The signed distances of all parts of some structures, as a field of world points.

    Args:
        model: Model with a partition.
        shape: Fitted shape.
        structures: Names.
        field: Distances to all structures of the model.
    """

    def of_parts(points_mm: Floats) -> Floats:
        distances = field(points_mm)
        columns = [
            np.maximum(
                distances[:, [model.structures.index(structure)]], beyond_parts_mm(model, shape, structure, points_mm)
            )
            for structure in structures
        ]
        return np.concatenate(columns, axis=1)

    return of_parts

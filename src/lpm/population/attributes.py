"""Attributes of the training subjects of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from lpm.geometry.frames import Floats
from lpm.measurement.shapes import measure_shapes
from lpm.measurement.table import AttributeTable
from lpm.model.bundle import ModelBundle
from lpm.population.decoding import ShapeDecoder

T = TypeVar("T")
_SHORT = {"volume_ml": "total_volume_ml"}


def attributes_of(model: ModelBundle) -> AttributeTable:
    """Attributes of the training subjects: as the bundle says, or measured on what its codes decode to.

    Args:
        model: `lpm train` measures the true meshes; older bundles hold codes only, whose shapes are a little smoother.
    """
    return AttributeTable.of(model.manifest.attributes or _decoded(model))


def in_full(attributes: Mapping[str, T]) -> dict[str, T]:
    """The same with full names: ``volume_ml`` is ``total_volume_ml``."""
    return {_SHORT.get(name, name): value for name, value in attributes.items()}


def training_betas(model: ModelBundle) -> Floats:
    """(n, k) shape parameters of the training subjects."""
    codes = model.codes[: len(model.manifest.training_subjects)]
    return np.asarray(model.latents.to_beta(codes).double().numpy())


def _decoded(model: ModelBundle) -> dict[str, dict[str, float]]:
    decode = ShapeDecoder(model)
    measured = (measure_shapes(decode(beta)) for beta in training_betas(model))
    return dict(zip(model.manifest.training_subjects, measured, strict=True))

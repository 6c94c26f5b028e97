"""Parts of structures, such as the lobes of lungs: taught to an atlas by a few label maps, and found in any fit.

A subject whose parts are known is fitted; its voxels, carried into the template, say how far each place there is from
each part (`lpm.model.partition`). Their median over subjects divides every structure that the model can make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.masks import MaskFitConfig, observe_mask
from lpm.fitting.fitted_shape import fit_shape
from lpm.fitting.partition.parts import atlas_of, placed
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume, canonical
from lpm.model.bundle import ModelBundle
from lpm.model.partition import Partition, StructureParts, distances_to_parts, template_box
from lpm.preparation.label_maps.values import integer_labels
from lpm.records import StrictModel


class PartitionConfig(StrictModel):
    """What label maps of parts mean, and how finely their boundaries are kept."""

    structures: dict[str, tuple[int, ...]] = Field(description="label values of each structure")
    parts: dict[str, tuple[int, ...]] = Field(description="label values of each part")
    spacing_mm: float = Field(6.0, gt=0, description="grid of the distances to parts, in the template's frame")
    voxel_mm: float = Field(3.0, gt=0, description="distance of the voxels that are carried into the template")
    n_points: int = Field(10_000, ge=10, description="points of the surface that a subject is fitted to")
    fit: FitConfig = FitConfig()

    @model_validator(mode="after")
    def _parts_divide_structures(self) -> PartitionConfig:
        claimed = [value for values in self.parts.values() for value in values]
        if len(claimed) != len(set(claimed)):
            raise ValueError("a label value belongs to one part")
        for part, values in self.parts.items():
            if not any(values and set(values) <= set(own) for own in self.structures.values()):
                raise ValueError(f"the values of {part} belong to no structure, or to several")
        for structure, values in self.structures.items():
            given = set(values) & set(claimed)
            if given and (given != set(values) or len(self.parts_of(structure)) < 2):
                raise ValueError(f"the parts of {structure} are two or more, and have all of its values")
        if not self.parts:
            raise ValueError("no parts")
        return self

    def parts_of(self, structure: str) -> dict[str, tuple[int, ...]]:
        """The parts of a structure with their label values; none for one that is not divided."""
        own = set(self.structures[structure])
        return {part: values for part, values in self.parts.items() if set(values) <= own}

    @property
    def divided(self) -> list[str]:
        """Structures that have parts."""
        return [structure for structure in self.structures if self.parts_of(structure)]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class CarriedParts:
    """A subject's parts, carried into the template of each structure that is divided.

    Args:
        places: Places by structure, (n, 3): where the subject's voxels lie in the template, model units.
        part: Parts by structure, (n,): the part of each, in the config's order.
    """

    places: dict[str, Floats]
    part: dict[str, NDArray[np.int64]]


def partition_model(
    model: ModelBundle, examples: Mapping[str, Volume], config: PartitionConfig, *, rng: np.random.Generator
) -> ModelBundle:
    """Teach an atlas how its structures divide into parts.

    Args:
        model: An atlas.
        examples: Label maps of parts by subject, one or more; any subjects, the model need not know them.
        config: Config: meaning of the values.
        rng: Draws the points that the subjects are fitted to.

    Returns:
        The model with a partition.

    Raises:
        InputError: No example, a network, a structure that the model does not have, or a label map that lacks a part.
    """
    atlas_of(model, "partition")
    if unknown := sorted(set(config.structures) - set(model.structures)):
        raise InputError("partition", f"structures {unknown}", f"of {', '.join(model.structures)}")
    carried = {name: carry_parts(model, name, labels, config, rng=rng) for name, labels in examples.items()}
    return with_parts(model, carried, config)


def with_parts(model: ModelBundle, carried: Mapping[str, CarriedParts], config: PartitionConfig) -> ModelBundle:
    """The model with the median partition of some subjects.

    Args:
        model: An atlas.
        carried: Parts by subject.
        config: The one that they were carried with.

    Raises:
        InputError: No subject.
    """
    if not carried:
        raise InputError("partition", "no label map of parts", "at least one")
    decoder, found = atlas_of(model, "partition"), {}
    for structure in config.divided:
        index = model.structures.index(structure)
        box, names = template_box(decoder, index), tuple(config.parts_of(structure))
        shape = box.shape_at(config.spacing_mm / model.manifest.scale_mm)
        nodes = box.nodes(shape).double().numpy()
        each = [distances_to_parts(one.places[structure], one.part[structure], nodes) for one in carried.values()]
        distances = torch.from_numpy(np.median(each, axis=0)).float().reshape(-1, *shape)
        found[structure] = StructureParts(names, index, distances, box)
    partition = Partition(found)
    said = {"parts": partition.names, "parts_from": tuple(carried)}
    return replace(model, manifest=model.manifest.model_copy(update=said), partition=partition)


def carry_parts(
    model: ModelBundle, subject: str, labels: Volume, config: PartitionConfig, *, rng: np.random.Generator
) -> CarriedParts:
    """Fit a model to a subject whose parts are known, and carry its voxels into the template.

    Arguments and errors are those of `partition_model`.
    """
    whole = canonical(integer_labels(labels, subject))
    missing = [part for part, values in config.parts.items() if not np.isin(values, whole.voxels).any()]
    if missing:
        raise InputError(subject, f"no {' and no '.join(missing)}", "all parts", "leave this subject out")
    masks = MaskFitConfig(structures=config.structures, n_points=config.n_points)
    seen = observe_mask(model, whole, rng=rng, config=masks)
    shape = fit_shape(model, seen.points_mm, seen.structure, config.fit)
    step = np.maximum(np.round(config.voxel_mm / whole.spacing_mm), 1).astype(int)
    coarse = whole.voxels[tuple(slice(None, None, n) for n in step)]
    places, part = {}, {}
    for structure in config.divided:
        number = np.full(coarse.shape, -1)
        for index, values in enumerate(config.parts_of(structure).values()):
            number[np.isin(coarse, values)] = index
        at = np.argwhere(number >= 0)
        places[structure] = placed(model, shape, structure, whole.to_world(at * step))
        part[structure] = number[tuple(at.T)]
    return CarriedParts(places, part)

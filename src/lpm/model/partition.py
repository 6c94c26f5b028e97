"""How structures divide into parts, such as lungs into lobes: known in the template's frame, and carried to any shape.

An atlas says where a point of the world lies in the template (`AtlasDecoder.places`). There, for every part, the
distance to it is kept, the median over the subjects whose parts were given. A point of a structure belongs to the
part that is nearest. So parts share their boundaries: they leave no gap, and do not overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from lpm.errors import FileError
from lpm.geometry.frames import Floats
from lpm.model.atlas import AtlasDecoder
from lpm.model.warp import Box

_PREFIX = "partition."


@dataclass(frozen=True, eq=False)
class StructureParts:
    """The parts of one structure.

    Args:
        names: Names of its parts, two or more.
        index: The structure's number among those of the model.
        distances: (p, i, j, k) distance to each part in the template's frame, model units; zero within it.
        box: Box of the grid.
    """

    names: tuple[str, ...]
    index: int
    distances: Tensor
    box: Box

    def beyond(self, places: Tensor) -> Tensor:
        """(n, p) how far (n, 3) places in the template lie beyond each part's boundary; negative within the part.

        What a part claims, no other does: for the nearest part this is minus the distance to the next one's side.
        """
        own = self.box.sample(self.distances, places)
        others = [torch.cat([own[:, :p], own[:, p + 1 :]], dim=1).amin(dim=1) for p in range(len(self.names))]
        return own - torch.stack(others, dim=1)


@dataclass(frozen=True)
class Partition:
    """Partition (parcellation) of the structures of a model into parts.

    Args:
        structures: Those that have parts, by name.
    """

    structures: Mapping[str, StructureParts]

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Names of the parts, by structure."""
        return {name: parts.names for name, parts in self.structures.items()}

    def to_tensors(self) -> dict[str, Tensor]:
        """What is stored; half precision rounds by less than 0.1 mm."""
        return {f"{_PREFIX}{name}": parts.distances.half() for name, parts in self.structures.items()}


def partition_from_tensors(
    names: Mapping[str, Sequence[str]], structures: Sequence[str], decoder: AtlasDecoder, tensors: Mapping[str, Tensor]
) -> Partition:
    """Rebuild from what `Partition.to_tensors` gave.

    Args:
        names: Names of the parts, by structure.
        structures: Names of the model's structures.
        decoder: The model's.
        tensors: Tensors of the bundle.

    Raises:
        FileError: A tensor is missing, not finite, or does not fit the names.
    """
    found = {}
    for structure, parts in names.items():
        distances = tensors.get(f"{_PREFIX}{structure}", torch.zeros(0))
        fits = distances.ndim == 4 and len(distances) == len(parts) >= 2 and min(distances.shape) >= 2
        if structure not in structures or not fits or not bool(distances.isfinite().all()):
            given = f"parts of {structure} of shape {tuple(distances.shape)}"
            expected = f"finite distances to {len(parts)} parts of one of {', '.join(structures)}"
            raise FileError("partition", given, expected, "copy the folder again")
        index = list(structures).index(structure)
        found[structure] = StructureParts(tuple(parts), index, distances.float(), template_box(decoder, index))
    return Partition(found)


def template_box(decoder: AtlasDecoder, index: int) -> Box:
    """The box that holds a structure's template, model units."""
    return Box(decoder.lower[index], decoder.upper[index])


def distances_to_parts(places: Floats, part: NDArray[np.int64], nodes: Floats) -> Floats:
    """(p, m) distance of (m, 3) nodes to the places of each part.

    Args:
        places: (n, 3) of voxels, in the template's frame.
        part: (n,) the part of each, 0 to p - 1; each part has one at least.
        nodes: (m, 3) where to measure.
    """
    trees = [cKDTree(places[part == number]) for number in range(int(part.max()) + 1)]
    return np.stack([tree.query(nodes, workers=-1)[0] for tree in trees])

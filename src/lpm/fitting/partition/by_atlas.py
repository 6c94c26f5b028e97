"""Structures divided by an atlas of their parts: lungs by an atlas of five lobes that was fitted to the same evidence.

The partition of `parts.py` carries the same boundaries to every shape. An atlas whose structures are the parts learns
where their boundaries lie in a shape, but parts that know nothing of each other leave gaps. Here the structure is that
of the one fit, and each place in it belongs to the part that the other fit says is nearest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lpm.errors import InputError
from lpm.fitting.extraction import fitted_field
from lpm.fitting.fit import Fit
from lpm.geometry.volumes import Volume


def labels_by_atlas(
    whole: Fit, parts: Fit, of: Mapping[str, Sequence[str]], grid: Volume | None = None, spacing_mm: float = 1.5
) -> Volume:
    """Label map of the parts of a fit's structures; every voxel of the structures has one.

    Args:
        whole: Fit of the structures, such as lungs.
        parts: Fit of their parts, such as lobes, by an atlas of these, to the same evidence in the same frame.
        of: Names of each structure's parts.
        grid: Take its voxels and affine; default a grid of `spacing_mm` around the structures.
        spacing_mm: Voxel size of the default grid.

    Returns:
        1, 2, ... in the order in which `of` names the parts.

    Raises:
        InputError: A structure without parts, a part of two structures, or one that the atlas does not know.
    """
    named = [name for names in of.values() for name in names]
    known = parts.model.structures
    are_known = set(named) <= set(known) and len(set(named)) == len(named)
    if set(of) != set(whole.meshes) or not all(of.values()) or not are_known:
        given = "; ".join(f"{structure}: {', '.join(names) or 'nothing'}" for structure, names in of.items())
        expected = f"parts of each of {', '.join(whole.meshes)}, among {', '.join(known)}, each once"
        raise InputError("parts", given or "nothing", expected, "name each structure's parts")
    labels, field = whole.labels(grid, spacing_mm), fitted_field(parts.model, parts.shape)
    found = np.zeros_like(labels.voxels)
    for number, structure in enumerate(whole.meshes, start=1):
        inside = np.argwhere(labels.voxels == number)
        columns = [known.index(name) for name in of[structure]]
        nearest = field(labels.to_world(inside))[:, columns].argmin(axis=1)
        found[tuple(inside.T)] = np.array([named.index(name) + 1 for name in of[structure]])[nearest]
    return labels.with_voxels(found)

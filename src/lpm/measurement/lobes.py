"""Volumes of lobes, where a label map tells them apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lpm.files.segments.names import lobe_of
from lpm.files.volumes import VolumeFile
from lpm.geometry.volumes import canonical
from lpm.preparation.label_maps.meaning import is_preset
from lpm.preparation.label_maps.spread import Spread
from lpm.preparation.label_maps.values import whole_labels
from lpm.structures import LOBES, PRESETS


def lobe_volumes_ml(read: VolumeFile, said: Mapping[str, tuple[int, ...]] | None, subject: str) -> dict[str, float]:
    """Volumes of lobes by measure, such as ``left_upper_lobe_volume_ml``: the voxels of each.

    Args:
        read: A label map, as read.
        said: Label values by structure, as a person gives them.
        subject: Name for messages.

    Returns:
        Those of the lobes that the file names, or that are numbered as a tool numbers them; empty for whole lungs.
    """
    values = _lobes(read, said, subject)
    ml = {name: float(np.count_nonzero(read.volume.voxels == value)) for name, value in values.items()}
    return {f"{name}_volume_ml": n * read.volume.voxel_ml for name, n in ml.items() if n}


def _lobes(read: VolumeFile, said: Mapping[str, tuple[int, ...]] | None, subject: str) -> dict[str, int]:
    named = {lobe: value for value, name in read.segments.items() if (lobe := lobe_of(name)) is not None}
    if named or read.segments:
        return named
    for preset, lobes in LOBES.items():
        if said is not None and {name: tuple(own) for name, own in said.items()} == PRESETS[preset]:
            return lobes
    if said is not None:
        return {}
    spread = Spread.of(canonical(whole_labels(read.volume, subject)[0]))
    return next((lobes for preset, lobes in LOBES.items() if is_preset(spread, PRESETS[preset])), {})

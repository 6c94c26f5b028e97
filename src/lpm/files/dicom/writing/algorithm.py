"""What made a result, as DICOM says it."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

import lpm
from lpm.files.dicom.codes import code_item
from lpm.files.dicom.writing.source import MANUFACTURER


@dataclass(frozen=True)
class Algorithm:
    """What made a result.

    Args:
        name: Such as ``lpm segment (thresholds)``.
        family: Code and meaning of its kind, of DICOM's context group 7162.
    """

    name: str
    family: tuple[str, str]

    def items(self) -> list[Dataset]:
        """The Algorithm Identification Macro, as a sequence."""
        item = Dataset()
        item.AlgorithmFamilyCodeSequence = [code_item(self.family, "DCM")]
        item.AlgorithmName, item.AlgorithmVersion, item.AlgorithmSource = self.name, lpm.__version__, MANUFACTURER
        return [item]


def fitting(verb: str) -> Algorithm:
    """The fit of the shape model.

    Args:
        verb: The command, such as ``lpm fit ct``.
    """
    return Algorithm(verb, ("123111", "Deformable Models"))


def segmenting(segmenter: str) -> Algorithm:
    """A segmenter: the built-in one works by thresholds and shape, others are networks.

    Args:
        segmenter: Its name.
    """
    by_shape, network = ("123104", "Morphological Operations"), ("123110", "Artificial Intelligence")
    return Algorithm(f"lpm segment ({segmenter})", by_shape if segmenter == "thresholds" else network)

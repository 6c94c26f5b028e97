"""Which segmenters there are: the built-in one, and two trained networks of others, as extras."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from lpm.errors import InputError
from lpm.extras import import_extra
from lpm.files.volumes import to_itk
from lpm.geometry.volumes import Volume
from lpm.preparation.hounsfield import Scan
from lpm.preparation.segmentation import LEFT, RIGHT, Segmenter, ThresholdSegmenter

SegmenterName = Literal["thresholds", "lungmask", "totalsegmentator"]
_LOBES = {
    "lung_upper_lobe_left": LEFT,
    "lung_lower_lobe_left": LEFT,
    "lung_upper_lobe_right": RIGHT,
    "lung_middle_lobe_right": RIGHT,
    "lung_lower_lobe_right": RIGHT,
}


def segmenter(name: SegmenterName) -> Segmenter:
    """Find a segmenter by its name; packages are imported when it is used."""
    found: dict[SegmenterName, Segmenter] = {
        "thresholds": ThresholdSegmenter(),
        "lungmask": LungmaskSegmenter(),
        "totalsegmentator": TotalSegmentatorSegmenter(),
    }
    return found[name]


def _checked(values: np.ndarray, grid: Volume, who: str, subject: str) -> Volume:
    """Labels on the scan's grid.

    Raises:
        InputError: None, or not on that grid.
    """
    if values.shape != grid.voxels.shape:
        raise InputError(subject, f"{who} gave an image of {values.shape}", f"one of {grid.voxels.shape}")
    if not values.any():
        raise InputError(subject, f"{who} found no lung", "a chest CT", "look at the scan")
    return grid.with_voxels(values.astype(np.uint8))


@dataclass(frozen=True)
class LungmaskSegmenter:
    """U-net R231 of Hofmanninger et al. 2020 (package lungmask), which takes in dense disease; fetches its weights.

    Args:
        model: One of lungmask's models that tells right from left.
    """

    model: str = "R231"

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"lungmask {version('lungmask')} {self.model}"

    def segment(self, scan: Scan, subject: str) -> Volume:
        """Labels on the scan's own grid; see `Segmenter`."""
        inferer = import_extra("lungmask", "lungmask", "segment").LMInferer(modelname=self.model, tqdm_disable=True)
        found = np.asarray(inferer.apply(to_itk(scan.volume))).transpose(2, 1, 0)
        exchanged = np.where(found == 1, RIGHT, np.where(found == 2, LEFT, 0))  # its 1 is the right lung
        return _checked(exchanged, scan.volume, self.name, subject)


@dataclass(frozen=True)
class TotalSegmentatorSegmenter:
    """Lobes of TotalSegmentator (Wasserthal et al. 2023), joined to lungs; fetches its weights.

    Args:
        fast: Its 3 mm network, for processors without a GPU.
        device: ``cpu``, ``gpu`` or ``mps``.
    """

    fast: bool = True
    device: str = "cpu"

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"TotalSegmentator {version('TotalSegmentator')}{' fast' if self.fast else ''}"

    def segment(self, scan: Scan, subject: str) -> Volume:
        """Labels on the scan's own grid; see `Segmenter`."""
        api, mapping, nibabel = (
            import_extra(module, "totalsegmentator", "segment")
            for module in ("totalsegmentator.python_api", "totalsegmentator.map_to_binary", "nibabel")
        )
        image = nibabel.Nifti1Image(scan.volume.voxels, scan.volume.world_from_voxel)
        options: dict[str, Any] = {"fast": self.fast, "device": self.device, "quiet": True}
        answer = api.totalsegmentator(image, None, ml=True, roi_subset=list(_LOBES), **options)
        lobes = np.asarray(answer.dataobj)
        found = np.zeros(lobes.shape, dtype=np.uint8)
        for number, lobe in mapping.class_map["total"].items():
            if lobe in _LOBES:
                found[lobes == number] = _LOBES[lobe]
        return _checked(found, scan.volume, self.name, subject)

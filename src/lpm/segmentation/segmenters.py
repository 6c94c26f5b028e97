"""Which segmenters there are: the built-in one, and two trained networks of others, as extras."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np

from lpm.errors import FileError, InputError, MissingExtraError
from lpm.extras import import_extra
from lpm.files.volumes import to_itk
from lpm.geometry.sides import LEFT, RIGHT
from lpm.geometry.volumes import Volume, canonical
from lpm.segmentation.hounsfield import Scan
from lpm.segmentation.thresholds import Segmenter, ThresholdSegmenter
from lpm.structures import SegmenterName

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


def _no_weights(package: str, error: Exception, instead: str) -> FileError:
    """What a user reads whose package could not fetch its weights, or read what it fetched."""
    reason: BaseException = error
    while cause := reason.__cause__ or reason.__context__:
        reason = cause
    given = f"{package} has no weights it can use: {type(error).__name__}, {reason}"
    expected = "an internet connection at the first use, when it fetches them"
    return FileError("segment", given, expected, f"{instead}, or --segmenter thresholds, which needs none")


def _checked(values: np.ndarray, grid: Volume, who: str, subject: str) -> Volume:
    """Labels on the grid of a scan, made upright.

    Raises:
        InputError: None, or not on that grid.
    """
    if values.shape != grid.voxels.shape:
        raise InputError(subject, f"{who} gave an image of {values.shape}", f"one of {grid.voxels.shape}")
    if not values.any():
        raise InputError(subject, f"{who} found no lung", "a chest CT", "look at the scan")
    return canonical(grid.with_voxels(values.astype(np.uint8)))


@dataclass(frozen=True)
class LungmaskSegmenter:
    """U-net R231 of Hofmanninger et al. 2020 (package lungmask), which takes in dense disease; fetches its weights.

    Args:
        model: One of lungmask's models that tells right from left.
    """

    model: str = "R231"

    @property
    def name(self) -> str:
        """Name in reports."""
        return f"lungmask {version('lungmask')} {self.model}"

    def segment(self, scan: Scan, subject: str) -> Volume:
        """Labels on the grid of `Scan.upright`; see `Segmenter`.

        Raises:
            MissingExtraError: lungmask is not installed.
            FileError: Its weights can be neither found nor fetched, or are damaged.
            InputError: No lung was found.
        """
        mask, hub = (import_extra(module, "lungmask", "segment") for module in ("lungmask.mask", "torch.hub"))
        try:
            inferer = mask.LMInferer(modelname=self.model, tqdm_disable=True)
        except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
            source, folder = mask.MODEL_URLS[self.model][0], f"{hub.get_dir()}/checkpoints"
            raise _no_weights(
                "lungmask", error, f"put {source} into {folder}, in place of any that is there"
            ) from error
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
        """Name in reports."""
        return f"TotalSegmentator {version('TotalSegmentator')}{' fast' if self.fast else ''}"

    def segment(self, scan: Scan, subject: str) -> Volume:
        """Labels on the grid of `Scan.upright`; see `Segmenter`.

        Raises:
            MissingExtraError: TotalSegmentator is not installed, or its torchvision does not fit the installed torch.
            FileError: Its weights can be neither found nor fetched, or are incomplete.
            InputError: No lung was found.
        """
        mapping = import_extra("totalsegmentator.map_to_binary", "totalsegmentator", "segment")
        lobes = self._lobes(scan.volume)
        found = np.zeros(lobes.shape, dtype=np.uint8)
        for number, lobe in mapping.class_map["total"].items():
            if lobe in _LOBES:
                found[lobes == number] = _LOBES[lobe]
        return _checked(found, scan.volume, self.name, subject)

    def _lobes(self, ct: Volume) -> np.ndarray:
        """Its numbers of the lobes, on the CT's own grid."""
        api, config, nibabel, requests = (
            import_extra(module, "totalsegmentator", "segment")
            for module in ("totalsegmentator.python_api", "totalsegmentator.config", "nibabel", "requests")
        )
        image = nibabel.Nifti1Image(ct.voxels, ct.world_from_voxel)
        options: dict[str, Any] = {"fast": self.fast, "device": self.device, "quiet": True}
        try:
            answer = api.totalsegmentator(image, None, ml=True, roi_subset=list(_LOBES), **options)
        except (requests.RequestException, BadZipFile, FileNotFoundError) as error:
            instead = f"put its unpacked weights into {config.get_weights_dir()}, in place of any that are incomplete"
            raise _no_weights("TotalSegmentator", error, instead) from error
        except RuntimeError as error:  # what torchvision raises whose library was built for another torch
            if "torchvision::" not in str(error):
                raise
            given = f"TotalSegmentator needs torchvision, which cannot be loaded beside this torch ({error})"
            hint = "install torchvision from where torch was installed from, CPU build with CPU build"
            raise MissingExtraError("segment", given, "both of one build", hint) from error
        return np.asarray(answer.dataobj)

"""From a radiograph to the network's square input and back. Places are picture pixels, edges at -0.5 and n - 0.5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_WORKING_PX = 448  # along the longer side; the network's windows are resampled from it to 192
_GRID_PX = 512  # of a reading's longer side, at most: finer than what the network sees


@dataclass(frozen=True)
class Window:
    """A square of the picture, in shares of its longer side, from its top left corner.

    Args:
        row: Row of the window's middle.
        column: Column of the window's middle.
        side: Side length of the window.
    """

    row: float
    column: float
    side: float


@dataclass(frozen=True, eq=False)
class Squared:
    """A picture with square pixels.

    Args:
        pixels: (1, 1, r, c) 0 to 1.
    """

    pixels: Tensor

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width in shares of the longer side."""
        rows, columns = self.pixels.shape[2:]
        return rows / max(rows, columns), columns / max(rows, columns)

    def whole(self) -> Window:
        """All of it."""
        height, width = self.extent
        return Window(height / 2.0, width / 2.0, 1.0)

    def seen(self, window: Window, size_px: int) -> Tensor:
        """(1, 1, s, s) what lies in a window, standardised; beyond the picture it is as dark as its darkest."""
        longer = max(self.pixels.shape[2:])
        side = max(8, round(window.side * longer))
        top, left = round(window.row * longer - side / 2), round(window.column * longer - side / 2)
        rows, columns = self.pixels.shape[2:]
        pads = (max(0, -left), max(0, left + side - columns), max(0, -top), max(0, top + side - rows))
        low = float(self.pixels.min())
        padded = functional.pad(self.pixels, pads, value=low)
        part = padded[..., top + pads[2] : top + pads[2] + side, left + pads[0] : left + pads[0] + side]
        size = (size_px, size_px)
        return standardised(functional.interpolate(part, size=size, mode="bilinear", antialias=True))

    def inverted(self) -> Squared:
        """Dark and bright exchanged."""
        return Squared(1.0 - self.pixels)


def squared(pixels: NDArray[np.float32], mm_per_px: tuple[float, float]) -> Squared:
    """Resample to square pixels, 448 along the longer side.

    Args:
        pixels: (r, c) 0 to 1.
        mm_per_px: Pixel spacing of rows and columns; only their ratio counts.
    """
    sides = np.array(pixels.shape) * np.array(mm_per_px)
    rows, columns = (max(8, round(float(side))) for side in sides / sides.max() * _WORKING_PX)
    # a copy: arrays read from files may be read-only
    tensor = torch.from_numpy(np.array(pixels))[None, None]
    return Squared(functional.interpolate(tensor, size=(rows, columns), mode="bilinear", antialias=True))


def standardised(pictures: Tensor) -> Tensor:
    """(n, 1, s, s) pictures with mean 0 and spread 1, outliers clipped."""
    mean = pictures.mean(dim=(2, 3), keepdim=True)
    spread = pictures.std(dim=(2, 3), keepdim=True).clamp_min(1e-4)
    return ((pictures - mean) / spread).clamp(-3.0, 3.0)


def grid_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a reading: the picture's own, or fewer, at most 512."""
    reduce = max(1.0, max(shape) / _GRID_PX)
    return max(1, round(shape[0] / reduce)), max(1, round(shape[1] / reduce))


def onto_picture(maps: Tensor, window: Window, extent: tuple[float, float], shape: tuple[int, int]) -> Tensor:
    """(k, s, s) maps of a window on a grid of r x c over the whole picture: (k, r, c), 0 outside the window."""
    rows = (torch.arange(shape[0]) + 0.5) / shape[0] * extent[0]
    columns = (torch.arange(shape[1]) + 0.5) / shape[1] * extent[1]
    down = (rows - window.row) / window.side * 2.0
    across = (columns - window.column) / window.side * 2.0
    grid = torch.stack(torch.broadcast_tensors(across[None, :], down[:, None]), dim=-1)
    return functional.grid_sample(maps[None], grid[None], align_corners=False)[0]

"""Names of the structures that the package knows, and the values that label maps give them."""

from __future__ import annotations

from typing import Literal

SegmenterName = Literal["thresholds", "lungmask", "totalsegmentator"]
DEFAULT_STRUCTURES: dict[str, tuple[int, ...]] = {"left_lung": (1,), "right_lung": (2,)}
UNION = ("lungs",)  # one structure for both lungs, as in the paper
LUNGS_MM = 500.0  # diagonal of the box that holds both lungs of a large adult

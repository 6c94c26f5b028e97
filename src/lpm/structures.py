"""Names of the structures that the package knows, and the values that label maps give them."""

from __future__ import annotations

from typing import Literal

SegmenterName = Literal["thresholds", "lungmask", "totalsegmentator"]
GasPolicy = Literal["leave-out", "keep"]
DEFAULT_STRUCTURES: dict[str, tuple[int, ...]] = {"left_lung": (1,), "right_lung": (2,)}
_RIGHT_LOBES = ("right_upper_lobe", "right_middle_lobe", "right_lower_lobe")
PRESETS: dict[str, dict[str, tuple[int, ...]]] = {
    "totalsegmentator": {"left_lung": (10, 11), "right_lung": (12, 13, 14)},
    "totalsegmentator-v1": {"left_lung": (13, 14), "right_lung": (15, 16, 17)},
    "lungmask": {"left_lung": (2,), "right_lung": (1,)},
    "lungmask-lobes": {"left_lung": (1, 2), "right_lung": (3, 4, 5)},
    "slicer-lungct": {"left_lung": (2,), "right_lung": (1,)},
}
"""Label values of the lungs by the tool that wrote them; TotalSegmentator's of its task `total`."""
LOBES: dict[str, dict[str, int]] = {
    preset: dict(zip(("left_upper_lobe", "left_lower_lobe", *_RIGHT_LOBES), range(first, first + 5), strict=True))
    for preset, first in {"totalsegmentator": 10, "totalsegmentator-v1": 13, "lungmask-lobes": 1}.items()
}
"""Label values of the lobes by the tool that wrote them: presets whose lungs consist of lobes."""
UNION = ("lungs",)  # one structure for both lungs, as in the paper
LUNGS_MM = 500.0  # diagonal of the box that holds both lungs of a large adult

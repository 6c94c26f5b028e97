"""Two radiographs of one patient: levelled where one has no place, and checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from lpm.calibration import count, number
from lpm.geometry.frames import Floats
from lpm.xray.evidence import XrayObservation
from lpm.xray.rays import SeenPaths

_MOST_SHIFT_MM = count("xray.most_shift_mm")
_UNLIKE_VIEWS = number("xray.unlike_views")
_UNLIKE_VOLUMES = number("xray.unlike_volumes")
_REACHED_MM = 400.0  # up and down of the lungs' middle: more than any lungs reach


def level(seen: Sequence[SeenPaths], is_placed: Sequence[bool]) -> tuple[list[SeenPaths], float]:
    """Shift a view of unknown placement up or down until both show the same amount of lung at each height.

    Returns:
        Both, and how much they disagree then: 0 for the same, 1 for two patients of whom one lies above the other.
    """
    at = 0 if is_placed[1] and not is_placed[0] else 1
    kept, moved = seen[1 - at], seen[at]
    middles = [_middle_height(each) for each in (kept, moved)]
    first, second = (_by_height(each, middle) for each, middle in zip((kept, moved), middles, strict=True))
    shifts = range(-_MOST_SHIFT_MM, _MOST_SHIFT_MM + 1)
    apart = [0.5 * float(np.abs(first - np.roll(second, shift)).sum()) for shift in shifts]
    best = int(np.argmin(apart))
    found = list(seen)
    if not all(is_placed):
        up = np.array([0.0, 0.0, shifts[best] + middles[0] - middles[1]])
        source = None if moved.view.source_mm is None else moved.view.source_mm + up
        view = replace(moved.view, origin_mm=moved.view.origin_mm + up, source_mm=source)
        found[at] = replace(moved, view=view)
    return found, apart[best]


def _middle_height(seen: SeenPaths) -> float:
    return float(np.average(seen.places_mm(seen.pixels)[:, 2], weights=seen.paths_mm.sum(axis=1)))


def _by_height(seen: SeenPaths, middle_mm: float) -> Floats:
    """Share of the lungs' volume at each height about a middle, by mm: however a patient is turned, it is the same."""
    edges = middle_mm + np.arange(-_REACHED_MM, _REACHED_MM + 1.0)
    total, _ = np.histogram(
        seen.places_mm(seen.pixels)[:, 2], bins=edges, weights=np.asarray(seen.paths_mm).sum(axis=1)
    )
    smooth = ndimage.gaussian_filter1d(total, 6.0)
    return np.asarray(smooth / max(float(smooth.sum()), 1e-9))


def doubts_about_pair(apart: float, pair: Sequence[XrayObservation]) -> list[str]:
    """Whether two pictures can be of one patient at one breath.

    Args:
        apart: Share of the lung that lies at other heights (`level`).
        pair: The pictures.
    """
    why = []
    if apart > _UNLIKE_VIEWS:
        why.append(f"{apart:.0%} of the lung lies at other heights")
    first, second = (each.volume_ml for each in pair)
    if first is not None and second is not None:
        sd = float(np.linalg.norm([each.reading.volume_sd for each in pair]))
        if abs(np.log(first / second)) > _UNLIKE_VOLUMES * sd:
            why.append(f"one shows {first:.0f} ml of lung, the other {second:.0f} ml")
    return [f"the pictures may show different patients or breaths: {'; '.join(why)}"] if why else []

"""Two slice distances in one series are read, slices that are missing are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_writing import Writing, check, rewrite, write_series
from lpm.errors import InputError
from lpm.files.dicom.distances import distances
from lpm.files.scans import read_scan


def thinned(folder: Path, every: int, how: Writing, *, renumbered: bool) -> None:
    """Slices of the upper half but every so manieth left out, as a scanner does it or as they get lost."""
    lost = tuple(k for k in range(30, 60) if (k - 30) % every)
    write_series(folder, replace(how, left_out=lost), n=60)
    if renumbered:
        for k, path in enumerate(sorted(folder.iterdir())):
            rewrite([path], InstanceNumber=100 - k)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0.96, 0.28, 0, -0.28, 0.96, 0)])
@pytest.mark.parametrize(("step_mm", "every"), [(2.5, 2), (1.9, 3), (2.0, 3), (3.0, 2)])
def test_two_distances_become_the_finer(
    tmp_path: Path, step_mm: float, every: int, orientation: tuple[float, ...]
) -> None:
    thinned(tmp_path, every, Writing(step_mm=step_mm, orientation=orientation), renumbered=True)
    read = read_scan(tmp_path)
    check(read.volume, tolerance=1.01)
    assert read.volume.spacing_mm[2] == pytest.approx(step_mm)
    assert read.notes == (f"slices {step_mm:g} and {step_mm * every:g} mm apart in one series: interpolated",)


@pytest.mark.parametrize(("step_mm", "every", "renumbered"), [(2.5, 2, False), (2.5, 4, True), (5.0, 2, True)])
def test_slices_that_are_missing_are_refused(tmp_path: Path, step_mm: float, every: int, renumbered: bool) -> None:
    """Numbers that skip, or a distance that no chest CT has."""
    thinned(tmp_path, every, Writing(step_mm=step_mm), renumbered=renumbered)
    with pytest.raises(InputError, match=rf"slices missing, {step_mm * every:.1f} mm between neighbours instead of"):
        read_scan(tmp_path)


def test_the_finer_one_may_be_the_rarer() -> None:
    heights = np.concatenate([np.arange(0.0, 50.0, 5.0), np.arange(50.0, 80.0, 2.5), np.arange(80.0, 200.0, 5.0)])
    found = distances(heights, np.arange(len(heights)), 5.0)
    assert (found.step_mm, found.coarser_mm, found.missing_mm) == (2.5, 5.0, [])


def test_a_slice_that_is_missing_beside_two_distances_is_found() -> None:
    heights = np.concatenate([np.arange(0.0, 50.0, 2.5), np.arange(50.0, 100.0, 5.0)])
    found = distances(np.delete(heights, 8), np.delete(np.arange(len(heights)), 8), 2.5)
    assert found.missing_mm == [20.0]

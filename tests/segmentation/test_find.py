from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations, product

import numpy as np
import pytest

from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs, stored_as
from lpm.geometry.volumes import Volume, canonical
from lpm.segmentation.chest_wall import LungBeforeRibs
from lpm.segmentation.find import LungPolicy, find_lungs
from lpm.segmentation.hounsfield import Scan, hounsfield

COARSE = (3.0, 3.0, 3.5)
ORIENTATIONS = list(product(permutations(range(3)), product((False, True), repeat=3)))[::7]


def phantom(**changes: object) -> tuple[Volume, Volume]:
    rng = np.random.default_rng(0)
    return render_scan(PhantomScan(random_lungs(rng=rng), **{"spacing_mm": COARSE, **changes}), rng=rng)  # type: ignore[arg-type]


def one_more_voxel(scan: Scan, labels: Volume, hidden: Mapping[str, LungBeforeRibs]) -> Volume:
    """A filler that knows no lungs."""
    assert list(hidden) == ["right_lung"]
    assert labels.voxels.shape == scan.upright.voxels.shape
    more = labels.voxels.copy()
    more[0, 0, 0] = 2
    return labels.with_voxels(more)


def nothing_to_fill(scan: Scan, labels: Volume, hidden: Mapping[str, LungBeforeRibs]) -> Volume:
    raise AssertionError("healthy lungs need no filler")


def dice(found: Volume, true: Volume) -> float:
    pairs = [(found.voxels == side, true.voxels == side) for side in (1, 2)]
    return min(2.0 * float((a & b).sum()) / float(a.sum() + b.sum()) for a, b in pairs)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_labels_lie_on_the_scans_own_grid(order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    ct, true = phantom(spacing_mm=(5.0, 5.0, 6.0))
    stored = stored_as(ct, order, flips)
    found = find_lungs(hounsfield(stored, "phantom"), LungPolicy())
    assert found.labels.voxels.shape == stored.voxels.shape
    np.testing.assert_array_equal(found.labels.world_from_voxel, stored.world_from_voxel)
    assert dice(found.labels, stored_as(true, order, flips)) > 0.93
    np.testing.assert_array_equal(canonical(found.labels).voxels, found.upright.voxels)


def test_healthy_lungs_are_not_filled() -> None:
    found = find_lungs(hounsfield(phantom()[0], "phantom"), LungPolicy(filler=nothing_to_fill))
    assert found.notes == ()
    assert found.added_ml == {}
    assert found.segmenter == "thresholds"
    assert found.ribs.keys() == {"left_lung", "right_lung"}


@pytest.mark.slow
def test_what_is_filled_is_told() -> None:
    ct, _ = phantom(consolidated=0.3)
    scan = hounsfield(ct, "phantom")
    plain, filled = (find_lungs(scan, LungPolicy(filler=filler)) for filler in (None, one_more_voxel))
    (left_out,), (added,) = plain.notes, filled.notes
    assert left_out.startswith("right_lung: dense tissue before")
    assert left_out.endswith("; none of it was added")
    assert added.endswith("; added 0 ml of it")
    assert plain.added_ml is None
    assert filled.added_ml == {"right_lung": pytest.approx(scan.volume.voxel_ml)}
    assert (filled.upright.voxels != plain.upright.voxels).sum() == 1
    assert (filled.labels.voxels != plain.labels.voxels).sum() == 1

from __future__ import annotations

import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lpm.errors import InputError, MissingExtraError
from lpm.files.volumes import read_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs, stored_as
from lpm.geometry.volumes import Volume
from lpm.segmentation.hounsfield import hounsfield
from lpm.segmentation.segmenters import segmenter
from lpm.segmentation.thresholds import ThresholdSegmenter, as_stored, averaged

COARSE = (3.0, 3.0, 3.5)
ORIENTATIONS = list(product(permutations(range(3)), product((False, True), repeat=3)))[::7]


def dice(found: Volume, true: Volume) -> list[float]:
    pairs = [(found.voxels == side, true.voxels == side) for side in (1, 2)]
    return [2.0 * float((a & b).sum()) / float(a.sum() + b.sum()) for a, b in pairs]


def scan(seed: int = 0, **changes: object) -> tuple[Volume, Volume]:
    rng = np.random.default_rng(seed)
    return render_scan(PhantomScan(random_lungs(rng=rng), **{"spacing_mm": COARSE, **changes}), rng=rng)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"with_arms": True},
        {"padding_hu": -2048.0},
        {"touching": True},
        {"lung_hu": -930.0},
        {"noise_hu": 60.0},
        {"with_gas": False, "with_table": False},
        {"cropped_mm": 90.0},
    ],
    ids=str,
)
def test_lungs_are_found_and_sides_are_right(changes: dict[str, object]) -> None:
    ct, true = scan(**changes)
    found = ThresholdSegmenter().segment(hounsfield(ct, "phantom"), "phantom")
    assert min(dice(found, true)) > 0.96


def test_lungs_that_touch_are_one_piece_of_air_and_two_lungs() -> None:
    ct, true = scan(touching=True)
    air = ndimage.label((ct.voxels < -400.0) & (true.voxels > 0))[0]
    sizes = np.bincount(air.ravel())[1:]
    assert sizes.max() > 0.99 * sizes.sum()
    found = ThresholdSegmenter().segment(hounsfield(ct, "phantom"), "phantom")
    assert min(dice(found, true)) > 0.99


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_labels_lie_on_the_scans_own_grid(order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    ct, true = scan(spacing_mm=(5.0, 5.0, 6.0))
    stored = stored_as(ct, order, flips)
    found = ThresholdSegmenter().segment(hounsfield(stored, "phantom"), "phantom")
    assert found.voxels.shape == stored.voxels.shape
    np.testing.assert_array_equal(found.world_from_voxel, stored.world_from_voxel)
    assert min(dice(found, stored_as(true, order, flips))) > 0.93


def test_the_airway_and_the_stomachs_gas_are_no_lung() -> None:
    ct, true = scan()
    found = ThresholdSegmenter().segment(hounsfield(ct, "phantom"), "phantom")
    air = ct.voxels < -960.0
    beside = air & (true.voxels == 0)
    assert (found.voxels[beside] > 0).mean() < 0.02


def test_no_lung_is_refused() -> None:
    voxels = np.full((40, 40, 40), 30.0, dtype=np.float32)
    voxels[:4] = -1000.0
    voxels[18:22, 18:22, 18:22] = -1000.0
    with pytest.raises(InputError, match="large pieces of air in the body, none like lung"):
        ThresholdSegmenter().segment(hounsfield(Volume(voxels, np.diag([5.0, 5, 5, 1])), "x"), "x")


def test_averaging_keeps_the_place() -> None:
    volume = Volume(np.arange(7 * 8 * 5, dtype=np.float32).reshape(7, 8, 5), np.diag([1.0, 1.0, 4.0, 1.0]))
    small = averaged(volume, 2.0)
    assert small.voxels.shape == (4, 4, 5)
    assert small.voxels[0, 0, 0] == volume.voxels[:2, :2, 0].mean()
    np.testing.assert_allclose(small.to_world(np.zeros((1, 3)))[0], (0.5, 0.5, 0.0))


def test_a_canonical_image_goes_back_to_how_it_was_stored() -> None:
    from lpm.geometry.volumes import canonical

    volume = Volume(np.random.default_rng(0).uniform(size=(4, 5, 6)), np.diag([1.0, 1.5, 2.0, 1.0]))
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        stored = stored_as(volume, order, flips)
        np.testing.assert_array_equal(as_stored(canonical(stored), stored).voxels, stored.voxels)


@pytest.mark.parametrize("name", ["lungmask", "totalsegmentator"])
def test_an_extra_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    for module in [module for module in sys.modules if module.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    ct, _ = scan()
    with pytest.raises(MissingExtraError, match=f"the extra {name}"):
        segmenter(name).segment(hounsfield(ct, "x"), "x")  # type: ignore[arg-type]


@pytest.mark.real
def test_a_real_ct_agrees_with_totalsegmentators_lobes(real_lungs: Path) -> None:
    folder = real_lungs.parent / "ct" / "LIDC-IDRI-0001"
    lobes = read_volume(folder / "totalsegmentator_labels.nii.gz")
    sides = np.where(np.isin(lobes.voxels, (10, 11)), 1, np.where(np.isin(lobes.voxels, (12, 13, 14)), 2, 0))
    found = ThresholdSegmenter().segment(hounsfield(read_volume(folder / "ct.nii.gz"), "LIDC"), "LIDC")
    assert min(dice(found, lobes.with_voxels(sides))) > 0.975

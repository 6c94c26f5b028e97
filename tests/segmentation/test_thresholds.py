from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lpm.errors import InputError, MissingExtraError
from lpm.files.volumes import read_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.geometry.volumes import Volume, canonical
from lpm.segmentation.hounsfield import hounsfield
from lpm.segmentation.segmenters import segmenter
from lpm.segmentation.thresholds import ThresholdSegmenter

COARSE = (3.0, 3.0, 3.5)


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


@pytest.mark.parametrize("name", ["lungmask", "totalsegmentator"])
def test_an_extra_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    for module in [module for module in sys.modules if module.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    ct, _ = scan()
    with pytest.raises(MissingExtraError, match=f"the extra {name}"):
        segmenter(name).segment(hounsfield(ct, "x"), "x")  # type: ignore[arg-type]


@pytest.mark.real
@pytest.mark.slow
def test_a_real_ct_agrees_with_totalsegmentators_lobes(real_lungs: Path) -> None:
    folder = real_lungs.parent / "ct" / "LIDC-IDRI-0001"
    lobes = read_volume(folder / "totalsegmentator_labels.nii.gz")
    sides = np.where(np.isin(lobes.voxels, (10, 11)), 1, np.where(np.isin(lobes.voxels, (12, 13, 14)), 2, 0))
    found = ThresholdSegmenter().segment(hounsfield(read_volume(folder / "ct.nii.gz"), "LIDC"), "LIDC")
    assert min(dice(found, canonical(lobes.with_voxels(sides)))) > 0.975

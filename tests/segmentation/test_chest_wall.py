from __future__ import annotations

import numpy as np
import pytest

from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs, stored_as
from lpm.geometry.volumes import Volume, canonical
from lpm.preparation.gate import judge_hidden
from lpm.segmentation.chest_wall import LungBeforeRibs, lungs_before_ribs
from lpm.segmentation.hounsfield import Scan

SPACING = (4.0, 4.0, 4.0)


def scan(consolidated: float = 0.0, **changes: object) -> tuple[Scan, Volume, Volume]:
    """A generated CT, what of its lungs holds air, and all of them."""
    rng = np.random.default_rng(3)
    phantom = PhantomScan(random_lungs(rng=rng), spacing_mm=SPACING, consolidated=consolidated, **changes)  # type: ignore[arg-type]
    ct, true = render_scan(phantom, rng=rng)
    aerated = np.where(ct.voxels < -400.0, true.voxels, 0).astype(np.uint8)
    return Scan(ct, 0.0), true.with_voxels(aerated if consolidated else true.voxels), true


@pytest.mark.parametrize("changes", [{}, {"with_arms": True}, {"noise_hu": 60.0}, {"cropped_mm": 80.0}], ids=str)
def test_nothing_parts_healthy_lungs_from_their_ribs(changes: dict[str, object]) -> None:
    ct, labels, _ = scan(**changes)
    found = lungs_before_ribs(ct, labels)
    assert found.keys() == {"left_lung", "right_lung"}
    assert not any(lung.is_hidden for lung in found.values())


@pytest.mark.parametrize("share", [0.15, 0.3])
def test_consolidation_parts_one_lung_from_its_ribs(share: float) -> None:
    ct, labels, true = scan(consolidated=share)
    left, right = lungs_before_ribs(ct, labels).values()
    assert right.is_hidden
    assert not left.is_hidden
    sure = right.pleura_mm[right.is_sure]
    assert len(sure) > 20
    inside = true.to_voxel(sure - 8.0 * right.outwards[right.is_sure])
    assert (true.voxels[tuple(np.rint(inside).astype(int).T)] == 2).mean() > 0.9, "just within the pleura there is lung"
    outside = true.to_voxel(sure + 8.0 * right.outwards[right.is_sure])
    assert (true.voxels[tuple(np.rint(outside).astype(int).T)] == 2).mean() < 0.1


def test_how_the_scan_is_stored_changes_nothing() -> None:
    ct, labels, _ = scan(consolidated=0.3)
    order, flips = (2, 0, 1), (True, False, True)
    other = lungs_before_ribs(Scan(stored_as(ct.volume, order, flips), 0.0), canonical(labels))
    for side, lung in lungs_before_ribs(ct, labels).items():
        assert other[side].hidden_share == pytest.approx(lung.hidden_share)
        np.testing.assert_allclose(other[side].pleura_mm, lung.pleura_mm, atol=1e-6)
        np.testing.assert_allclose(other[side].outwards, lung.outwards, atol=1e-9)


def test_without_ribs_nothing_is_said() -> None:
    ct, labels, _ = scan(consolidated=0.3)
    soft = ct.volume.with_voxels(np.minimum(ct.volume.voxels, 60.0))
    found = lungs_before_ribs(Scan(soft, 0.0), labels)
    assert all(lung.hidden_share == 0 and len(lung.pleura_mm) == 0 for lung in found.values())


def test_one_lung_alone() -> None:
    ct, labels, _ = scan()
    found = lungs_before_ribs(ct, labels.with_voxels(np.where(labels.voxels == 2, 2, 0).astype(np.uint8)))
    assert found.keys() == {"right_lung"}


def test_the_gate_names_the_lung() -> None:
    none = np.zeros((0, 3))
    lungs = {
        name: LungBeforeRibs(share, none, none, np.zeros(0, dtype=bool))
        for name, share in (("left_lung", 0.02), ("right_lung", 0.31))
    }
    (finding,) = judge_hidden(lungs)
    assert finding.what == "right_lung hidden in part: dense tissue before 31% of the ribs at its back"
    assert not finding.rejects

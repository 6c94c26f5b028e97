"""Children, chests that the field of view cuts, lungs that are missing or dense: right, and said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lpm.errors import InputError
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.geometry.volumes import Volume
from lpm.segmentation.find import FoundLungs, LungPolicy, find_lungs
from lpm.segmentation.hounsfield import hounsfield
from lpm.segmentation.spine import find_spine

CUT = "the chest is cut sideways by the field of view"


@pytest.fixture(scope="module")
def chest() -> tuple[Volume, Volume]:
    rng = np.random.default_rng(0)
    return render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(4.0, 4.0, 4.0), with_table=False), rng=rng)


@pytest.fixture(scope="module")
def touching() -> tuple[Volume, Volume]:
    rng = np.random.default_rng(0)
    return render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(3.0, 3.0, 4.0), touching=True), rng=rng)


def found_in(ct: Volume) -> FoundLungs:
    return find_lungs(hounsfield(ct, "phantom"), LungPolicy())


def dice(found: FoundLungs, true: Volume) -> list[float]:
    pairs = [(found.labels.voxels == side, true.voxels == side) for side in (1, 2)]
    return [2.0 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0) for a, b in pairs]


def scaled(volume: Volume, by: float) -> Volume:
    affine = volume.world_from_voxel.copy()
    affine[:3] *= by
    return Volume(volume.voxels, affine)


def cropped(volumes: tuple[Volume, Volume], sides: tuple[int, ...], margin: int) -> tuple[Volume, Volume]:
    """A scan and its labels, cut sideways to the box of some lungs."""
    ct, true = volumes
    places = np.argwhere(np.isin(true.voxels, sides))
    low, high = np.maximum(places.min(axis=0) - margin, 0), places.max(axis=0) + margin + 1
    affine = ct.world_from_voxel.copy()
    affine[:2, 3] += affine[:2, :2] @ low[:2]
    cut, labels = (each.voxels[low[0] : high[0], low[1] : high[1]] for each in (ct, true))
    return Volume(np.ascontiguousarray(cut), affine), Volume(np.ascontiguousarray(labels), affine)


def painted(ct: Volume, where: np.ndarray, hu: float) -> Volume:
    """A scan with other densities in some places, as noisy as before."""
    noise = np.random.default_rng(5).normal(0.0, 12.0, ct.voxels.shape)
    return ct.with_voxels(np.where(where, hu + noise, ct.voxels).astype(np.float32))


@pytest.mark.parametrize("size", [0.7, 0.5, 0.35])
def test_children_have_two_lungs_and_a_note(chest: tuple[Volume, Volume], size: float) -> None:
    ct, true = (scaled(each, size) for each in chest)
    found = found_in(ct)
    assert min(dice(found, true)) > 0.95
    np.testing.assert_array_equal(found.labels.world_from_voxel, ct.world_from_voxel)
    assert size > 0.6 or "of a slim adult's size: a child, or wrong voxel sizes" in found.notes[0]


def test_lengths_on_a_childs_ribs_are_its_own(chest: tuple[Volume, Volume]) -> None:
    adult, child = (found_in(painted(scaled(chest[0], size), hidden(chest[1]), 35.0)) for size in (1.0, 0.4))
    assert adult.ribs["right_lung"].is_hidden
    assert child.ribs["right_lung"].is_hidden
    middles = [each.ribs["right_lung"].pleura_mm.mean(axis=0) for each in (adult, child)]
    np.testing.assert_allclose(middles[1], 0.4 * middles[0], atol=6.0)


def hidden(true: Volume) -> np.ndarray:
    """The lower and hinder part of the right lung."""
    depth = 0.65 * np.arange(true.voxels.shape[2]) + 0.75 * np.arange(true.voxels.shape[1])[:, None]
    right = true.voxels == 2
    depth = np.broadcast_to(depth, right.shape)
    return right & (depth < np.quantile(depth[right], 0.35))


@pytest.mark.parametrize("margin", [-3, 0, 3])
def test_lungs_in_a_narrow_view_are_whole_and_the_cut_is_told(chest: tuple[Volume, Volume], margin: int) -> None:
    ct, true = cropped(chest, (1, 2), margin)
    found = found_in(ct)
    assert min(dice(found, true)) > 0.95
    assert found.notes[0].startswith(CUT)
    assert ("of lung lie at its border" in found.notes[0]) == (margin < 1)


@pytest.mark.parametrize("side", [1, 2])
def test_one_lung_in_view_keeps_its_side(chest: tuple[Volume, Volume], side: int) -> None:
    ct, true = cropped(chest, (side,), 1)
    found = found_in(ct)
    assert dice(found, true)[side - 1] > 0.95
    assert found.notes[0].startswith(CUT)
    assert any("found: removed" in note or "1 to " in note for note in found.notes)


def test_outside_of_the_scanners_circle_is_the_border_of_the_view(chest: tuple[Volume, Volume]) -> None:
    ct, true = chest
    across, along, _ = np.indices(ct.voxels.shape)
    middle = np.argwhere(true.voxels > 0).mean(axis=0)
    outside = np.hypot(across - middle[0], along - middle[1]) > 25  # 100 mm
    found = found_in(ct.with_voxels(np.where(outside, -2048.0, ct.voxels).astype(np.float32)))
    assert min(dice(found, true.with_voxels(np.where(outside, 0, true.voxels)))) > 0.95
    assert found.notes[0].startswith(CUT)


def test_a_lung_that_is_not_there_is_told(chest: tuple[Volume, Volume]) -> None:
    ct, true = chest
    found = found_in(painted(ct, true.voxels == 1, 12.0))
    assert found.notes[0] == "no left lung found: removed, dense throughout, or out of view"
    assert dice(found, true)[1] > 0.95


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("side", [1, 2])
def test_what_is_left_of_a_lung_stays_its_own_where_lungs_touch(
    touching: tuple[Volume, Volume], side: int, share: float
) -> None:
    ct, true = touching
    height = np.broadcast_to(np.arange(ct.voxels.shape[2]), ct.voxels.shape)
    lung = true.voxels == side
    dense = lung & (height < np.quantile(height[lung], 1.0 - share))
    found = found_in(painted(ct, dense, 12.0))
    assert min(dice(found, true.with_voxels(np.where(dense, 0, true.voxels)))) > 0.93
    assert share > 0.2 or any("1 to " in note for note in found.notes)


def test_the_spine_is_found_behind_and_not_in_the_arms() -> None:
    rng = np.random.default_rng(1)
    lungs = random_lungs(rng=rng)
    ct, _ = render_scan(PhantomScan(lungs, spacing_mm=(4.0, 4.0, 5.0), with_arms=True), rng=rng)
    scan = hounsfield(ct, "phantom")
    spine = find_spine(scan.averaged(3.0), scan.body.voxels)
    assert spine.across_mm is not None
    assert spine.across_mm + ct.world_from_voxel[0, 3] == pytest.approx(lungs.center_mm[0], abs=8.0)
    assert spine.behind_hu > 2.0 * spine.before_hu


def gas_of(true: Volume, side: int, kind: str) -> np.ndarray:
    """A ball at the lateral wall of a lung, or a layer all around it: 20 to 40 % of it."""
    lung = true.voxels == side
    if kind == "pneumothorax":
        return lung & (ndimage.distance_transform_edt(lung, sampling=true.spacing_mm) < 14.0)
    places = np.argwhere(lung)
    level = places[np.abs(places - np.median(places, axis=0))[:, 1:].max(axis=1) < 2]
    wall = level[level[:, 0].argmin() if side == 1 else level[:, 0].argmax()].astype(float)
    wall[0] += 7.0 if side == 1 else -7.0
    away = np.indices(lung.shape) - wall[:, None, None, None]
    distance = np.linalg.norm(away * true.spacing_mm[:, None, None, None], axis=0)
    return lung & (distance < 45.0) & ~(lung & (distance > 38.0))


def with_wall(ct: Volume, gas: np.ndarray, lung: np.ndarray) -> Volume:
    """Gas, and a wall of one voxel between it and the lung."""
    return painted(painted(ct, ndimage.binary_dilation(gas) & lung & ~gas, -30.0), gas, -998.0)


@pytest.mark.parametrize("side", [1, 2])
def test_a_bulla_is_lung_and_is_named(chest: tuple[Volume, Volume], side: int) -> None:
    ct, true = chest
    gas = gas_of(true, side, "bulla")
    found = found_in(with_wall(ct, gas, true.voxels == side))
    assert min(dice(found, true)) > 0.95
    (note,) = found.notes
    assert f"{('left', 'right')[side - 1]}_lung: " in note
    assert "a bulla (confidence" in note
    assert note.endswith("counted as lung")
    told = float(note.split(" ml")[0].split(": ")[1])
    assert told == pytest.approx(gas.sum() * ct.voxel_ml, rel=0.25)


@pytest.mark.parametrize(("side", "back"), [(1, 0.3), (1, 0.6), (2, 0.3), (2, 0.6)])
def test_gas_at_the_base_of_a_lung_is_always_named(chest: tuple[Volume, Volume], side: int, back: float) -> None:
    ct, true = chest
    lung = true.voxels == side
    columns = np.argwhere(ndimage.binary_erosion(lung.any(axis=2), iterations=6))
    row = int(np.quantile(columns[:, 1], back))
    across = int(np.median(columns[columns[:, 1] == row][:, 0]))
    away = np.indices(lung.shape) - np.array([across, row, lung[across, row].argmax() + 1])[:, None, None, None]
    gas = lung & (np.linalg.norm(away * true.spacing_mm[:, None, None, None], axis=0) < 40.0)
    notes = found_in(with_wall(ct, gas, lung)).notes
    ml = gas.sum() * ct.voxel_ml
    told = [float(note.split(" ml")[0].split(": ")[1]) for note in notes if " ml of gas " in note]
    assert ml > 60.0
    assert len(told) == 1
    assert told[0] == pytest.approx(ml, rel=0.3)


def test_a_pneumothorax_is_left_out_or_kept_and_named(chest: tuple[Volume, Volume]) -> None:
    ct, true = chest
    gas = gas_of(true, 2, "pneumothorax")
    scan = hounsfield(with_wall(ct, gas, true.voxels == 2), "phantom")
    out, kept = find_lungs(scan, LungPolicy()), find_lungs(scan, LungPolicy(gas="keep"))
    assert dice(out, true.with_voxels(np.where(gas, 0, true.voxels)))[1] > 0.9
    assert dice(kept, true)[1] > 0.95
    assert "right_lung: " in out.notes[0]
    assert "a pneumothorax (confidence" in out.notes[0]
    assert out.notes[0].endswith("left out of the lung")
    assert kept.notes[0].endswith("counted as lung")


@pytest.mark.parametrize(
    ("axes", "signs", "doubt"),
    [
        ((0, 1, 2), (1, 1, -1), "the lungs' apices seem to lie below"),
        ((0, 1, 2), (-1, -1, 1), "the spine seems to lie in front"),
    ],
)
def test_a_header_that_turns_the_patient_is_doubted(
    chest: tuple[Volume, Volume], axes: tuple[int, ...], signs: tuple[int, ...], doubt: str
) -> None:
    ct, _ = chest
    affine = ct.world_from_voxel.copy()
    affine[:3, :3] = ct.world_from_voxel[:3, axes] * signs
    notes = found_in(Volume(ct.voxels, affine)).notes
    assert any(note.startswith(doubt) for note in notes)
    assert not any("seem" in note for note in found_in(ct).notes)


def test_more_lung_than_any_body_holds_is_refused(chest: tuple[Volume, Volume]) -> None:
    with pytest.raises(InputError, match=r"ct: [\d,]+ ml look like lung; expected at most 11,000 ml"):
        found_in(scaled(chest[0], 1.8))


def test_a_heart_on_the_right_is_doubted() -> None:
    rng = np.random.default_rng(2)
    ct, _ = render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(4.0, 4.0, 4.0), with_table=False), rng=rng)
    affine = ct.world_from_voxel.copy()
    affine[:3, 0] *= -1
    assert any("the heart seems to lie on the right" in note for note in found_in(Volume(ct.voxels, affine)).notes)
    assert not any("heart" in note for note in found_in(ct).notes)


def test_a_turned_header_is_doubted_where_the_skin_is_out_of_view_and_the_lungs_are_not(
    chest: tuple[Volume, Volume],
) -> None:
    ct, _ = cropped(chest, (1, 2), margin=3)
    affine = ct.world_from_voxel.copy()
    affine[:3, 2] *= -1
    for volume, is_turned in ((ct, False), (Volume(ct.voxels, affine), True)):
        notes = found_in(volume).notes
        assert any("the skin is out of view, the lungs are not" in note for note in notes)
        assert any("apices seem to lie below" in note for note in notes) == is_turned

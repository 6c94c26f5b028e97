from __future__ import annotations

import numpy as np
import pytest

from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig
from lpm.fitting.evidence.masks import MaskFitConfig, fit_mask, observe_mask
from lpm.fitting.evidence.points import observe_points
from lpm.fitting.surfaces import fit_observations
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle

QUICK = MaskFitConfig(n_points=400, spacing_mm=5.0)


@pytest.fixture(scope="module")
def labels() -> Volume:
    return to_labels(random_lungs(rng=np.random.default_rng(99)), 5.0)


def test_a_full_mask_comes_back(tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator) -> None:
    fit = fit_mask(tiny_model, labels, rng=rng, config=QUICK)
    again = fit.labels(labels)
    for value in (1, 2):
        true, found = labels.voxels == value, again.voxels == value
        assert 2 * (true & found).sum() / (true.sum() + found.sum()) > 0.85
    assert fit.notes == ()


def test_one_lung_gives_one_lung_unless_asked(
    tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator
) -> None:
    left = labels.with_voxels(np.where(labels.voxels == 1, 1, 0).astype(np.uint8))
    fit = fit_mask(tiny_model, left, rng=rng, config=QUICK)
    assert set(fit.lungs) == {"left_lung"}
    assert "right_lung: not seen, not asked for, left out" in fit.notes[0]
    complete = fit_mask(tiny_model, left, rng=rng, config=QUICK.model_copy(update={"complete": True}))
    assert set(complete.lungs) == {"left_lung", "right_lung"}
    assert "right_lung: no point was given, predicted" in complete.notes[0]


def test_beside_a_lung_of_doubtful_side_none_is_predicted(
    tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator
) -> None:
    right = labels.with_voxels((labels.voxels == 2).astype(np.uint8))
    named = QUICK.model_copy(update={"structures": {"left_lung": (1,)}})
    notes = observe_mask(tiny_model, right, rng=rng, config=named).notes
    assert any("the lung called left lies on the right of the middle" in note for note in notes)
    with pytest.raises(InputError, match=r"the other is to be predicted; expected a lung whose side is sure"):
        observe_mask(tiny_model, right, rng=rng, config=named.model_copy(update={"complete": True}))


def test_notes_on_a_label_map_are_those_of_the_fit(
    tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator
) -> None:
    seen = observe_mask(tiny_model, labels.with_voxels((labels.voxels > 0) * np.uint8(7)), rng=rng, config=QUICK)
    assert "value 7 holds both lungs" in seen.notes[0]
    assert set(seen.structure.tolist()) == {0, 1}


def test_a_cut_mask_says_so(tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator) -> None:
    cut = labels.with_voxels(labels.voxels[:, :, : labels.voxels.shape[2] * 3 // 4].copy())
    fit = fit_mask(tiny_model, cut, rng=rng, config=QUICK)
    assert any("cut by the image's superior border" in note for note in fit.notes)


def test_an_empty_mask_is_refused(tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="an empty mask"):
        fit_mask(tiny_model, labels.with_voxels(np.zeros_like(labels.voxels)), rng=rng, config=QUICK)


def test_a_structure_the_model_does_not_know_is_refused(
    tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator
) -> None:
    config = QUICK.model_copy(update={"structures": {"liver": (1,), "spleen": (2,)}})
    with pytest.raises(InputError, match=r"structures \['liver', 'spleen'\]"):
        fit_mask(tiny_model, labels, rng=rng, config=config)


def test_cut_lungs_have_a_long_range_residual(
    tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator
) -> None:
    cut = labels.with_voxels(labels.voxels[:, :, : labels.voxels.shape[2] * 3 // 4].copy())
    assert fit_mask(tiny_model, cut, rng=rng, config=QUICK).config.residual.long_range_share > 0
    assert fit_mask(tiny_model, labels, rng=rng, config=QUICK).config.residual.long_range_share == 0
    asked = QUICK.model_copy(update={"fit": FitConfig(residual=ResidualConfig(sd_mm=4.0))})
    assert fit_mask(tiny_model, cut, rng=rng, config=asked).config.residual.sd_mm == 4.0


def test_beyond_a_cut_the_lungs_go_on(tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator) -> None:
    n = labels.voxels.shape[2]
    cut = labels.with_voxels(labels.voxels[:, :, : n * 3 // 4].copy())
    observation = observe_mask(tiny_model, cut, rng=rng, config=QUICK)
    assert labels.to_voxel(observation.points_mm)[:, 2].max() < n * 3 // 4 - 2
    fit = fit_mask(tiny_model, cut, rng=rng, config=QUICK)
    top = max(labels.to_voxel(mesh.vertices)[:, 2].max() for mesh in fit.lungs.values())
    assert top > n * 3 // 4


def test_a_blanked_part_is_predicted_as_well(tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator) -> None:
    voxels = labels.voxels.copy()
    filled = np.flatnonzero(voxels.any(axis=(0, 1)))
    voxels[:, :, filled[int(0.7 * len(filled))] :] = 0
    fit = fit_mask(tiny_model, labels.with_voxels(voxels), rng=rng, config=QUICK)
    assert any("flat superior face" in note for note in fit.notes)


def test_a_few_drawn_slices_give_lungs(tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator) -> None:
    kept = np.zeros(labels.voxels.shape, dtype=bool)
    middle = np.argwhere(labels.voxels > 0).mean(axis=0).astype(int)
    right = np.argwhere(labels.voxels == 2).mean(axis=0).astype(int)
    kept[right[0]] = kept[:, middle[1]] = kept[:, :, middle[2]] = True
    drawn = labels.with_voxels(np.where(kept, labels.voxels, 0).astype(np.uint8))
    fit = fit_mask(tiny_model, drawn, rng=rng, config=QUICK)
    assert fit.observed == "3 drawn slices of left_lung and right_lung"
    true = sum((labels.voxels == value).sum() for value in (1, 2)) * labels.voxel_ml
    assert sum(mesh.volume_ml for mesh in fit.lungs.values()) == pytest.approx(true, rel=0.25)


def test_evidence_goes_together(tiny_model: ModelBundle, labels: Volume, rng: np.random.Generator) -> None:
    left = labels.with_voxels(np.where(labels.voxels == 1, 1, 0).astype(np.uint8))
    right = labels.with_voxels(np.where(labels.voxels == 2, 2, 0).astype(np.uint8))
    mask = observe_mask(tiny_model, left, rng=rng, config=QUICK)
    points = observe_mask(tiny_model, right, rng=rng, config=QUICK).points_mm[:200]
    fit = fit_observations(tiny_model, [mask, observe_points(tiny_model, points)], spacing_mm=4.0)
    assert set(fit.lungs) == {"left_lung", "right_lung"}
    assert "mask of left_lung" in fit.observed
    assert "200 surface points" in fit.observed
    assert fit.shape.surface is not None
    sides = fit.shape.surface.structure
    assert (sides == 0).sum() >= len(mask.points_mm)
    assert (sides == 1).sum() > 150


def test_nothing_to_fit_is_refused(tiny_model: ModelBundle) -> None:
    with pytest.raises(InputError, match="no observation"):
        fit_observations(tiny_model, [])

from __future__ import annotations

import numpy as np
import pytest

from lpm.errors import InputError
from lpm.fitting.masks import MaskFitConfig, fit_mask
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle

QUICK = MaskFitConfig(n_points=800, spacing_mm=4.0)


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

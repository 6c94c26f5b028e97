"""Lungs from a chest CT: find them in it, then fit their surface as that of a mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from lpm.errors import InputError
from lpm.fitting.evidence.masks import MaskFitConfig, label_values, observe_structures
from lpm.fitting.evidence.observation import Observation, digest_of
from lpm.fitting.fit import Fit
from lpm.fitting.surfaces import fit_observations
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle
from lpm.preparation.label_maps.found import numbered
from lpm.records import StrictModel
from lpm.segmentation.find import Filler, FoundLungs, LungPolicy, find_lungs
from lpm.segmentation.hounsfield import hounsfield
from lpm.structures import DEFAULT_STRUCTURES, GasPolicy, SegmenterName


class CtFitConfig(StrictModel):
    """How a CT is fitted."""

    segmenter: SegmenterName = Field("thresholds", description="finds the lungs")
    fill: bool = Field(True, description="add lung that dense disease hides, before the fit")
    gas: GasPolicy = Field("leave-out", description="whether gas of a pneumothorax is left out or kept as lung")
    mask: MaskFitConfig = Field(MaskFitConfig(), description="how the lungs that were found are fitted")

    def policy(self, filler: Filler) -> LungPolicy:
        """How lungs are found, with what fills them where that is wanted."""
        return LungPolicy(self.segmenter, filler if self.fill else None, self.gas)


def observe_lungs(
    model: ModelBundle, found: FoundLungs, *, rng: np.random.Generator, config: MaskFitConfig | None = None
) -> Observation:
    """Take the lungs that `find_lungs` found in a CT for what was seen.

    Args:
        model: Model of the left and the right lung, or of both in one.
        found: The lungs.
        rng: Draws the points on their surface.
        config: Number of points, completion; default `MaskFitConfig()`.

    Raises:
        InputError: The model is not of lungs.
    """
    config = config or MaskFitConfig()
    values = label_values(model, config)
    if values != DEFAULT_STRUCTURES:
        given = f"a model of {', '.join(f'{name} ({labels[0]})' for name, labels in values.items())}"
        raise InputError("CT", given, "left_lung (1) and right_lung (2), which are found in a CT", "fit a mask")
    present = {name: values for name, values in values.items() if np.isin(found.upright.voxels, values).any()}
    seen = observe_structures(model, numbered(found.upright, present), rng, config)
    source = digest_of(found.labels.voxels, found.labels.world_from_voxel)
    return replace(seen, what=f"CT, {seen.what}", notes=(*found.notes, *seen.notes), source=source)


def fit_ct(
    model: ModelBundle, ct: Volume, filler: Filler, *, rng: np.random.Generator, config: CtFitConfig | None = None
) -> Fit:
    """Reconstruct lungs from a CT.

    Args:
        model: Model of lungs.
        ct: CT in HU, with any axis order and flips.
        filler: Adds what dense disease hides, unless the config leaves it out.
        rng: Draws the points on the lungs' surface.
        config: Segmenter, filling, and how the lungs are fitted; default `CtFitConfig()`.

    Raises:
        InputError: Not in HU, no lung was found, or the model is not of lungs.
    """
    config = config or CtFitConfig()
    found = find_lungs(hounsfield(ct, "CT"), config.policy(filler), "CT")
    seen = observe_lungs(model, found, rng=rng, config=config.mask)
    return fit_observations(model, [seen], config=config.mask.fit, spacing_mm=config.mask.spacing_mm)

"""Two generated lungs divided by an atlas of their upper and lower parts, which are divided by a slanting plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from divided_lungs import divided
from lpm.batch.cases import find_cases
from lpm.errors import InputError
from lpm.files.volumes import read_volume, write_volume
from lpm.fitting.evidence.points import fit_points
from lpm.fitting.fit import Fit
from lpm.fitting.partition.by_atlas import labels_by_atlas
from lpm.model.atlas_build import AtlasBuild
from lpm.model.bundle import ModelBundle, bundle_of_atlas
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import PreparationConfig, SamplingConfig
from lpm.preparation.prepare import finish_cohort, prepare_cases
from quick_atlas import QUICK_ATLAS

OF = {"left_lung": ("left_top", "left_bottom"), "right_lung": ("right_top", "right_bottom")}
PARTS = {name: (value,) for value, name in enumerate([part for parts in OF.values() for part in parts], start=1)}
QUICK = QUICK_ATLAS.model_copy(
    update={
        "spacing_mm": 8.0,
        "components": 2,
        "registration": QUICK_ATLAS.registration.model_copy(update={"rounds": 0}),
    }
)


@pytest.fixture(scope="module")
def atlas_of_parts(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    lungs, folder = Cohort(tiny_cohort), tmp_path_factory.mktemp("parts")
    for subject in lungs.subjects("train"):
        labels = divided(read_volume(lungs.path(subject, "labels.nii.gz")))
        write_volume(folder / "labels" / f"{subject}.nii.gz", labels)
    config = PreparationConfig(structures=PARTS, sampling=SamplingConfig(n_surface=2000, n_off_surface=1000))
    outcomes = list(prepare_cases(find_cases([folder / "labels"]), folder / "cohort", config, jobs=1, resume=False))
    finish_cohort(outcomes, folder / "cohort", config, None, keep_rejected=True)
    cohort = Cohort(folder / "cohort")
    build = AtlasBuild(cohort, list(cohort.manifest.subjects), QUICK, folder / "registration")
    for _ in build.steps():
        pass
    return bundle_of_atlas(build, "generated")


@pytest.fixture(scope="module")
def fits(tiny_atlas: ModelBundle, atlas_of_parts: ModelBundle, tiny_cohort: Path) -> tuple[Fit, Fit]:
    cohort = Cohort(tiny_cohort)
    points = cohort.surface(cohort.subjects("test")[0]).points_mm[:800]
    return fit_points(tiny_atlas, points, spacing_mm=4.0), fit_points(atlas_of_parts, points, spacing_mm=4.0)


def test_every_voxel_of_the_lungs_has_the_part_that_is_nearest(fits: tuple[Fit, Fit], tiny_cohort: Path) -> None:
    lungs, parts = fits
    cohort = Cohort(tiny_cohort)
    true = divided(read_volume(cohort.path(cohort.subjects("test")[0], "labels.nii.gz")))
    found, whole = labels_by_atlas(lungs, parts, OF, true), lungs.labels(true)
    assert np.array_equal(found.voxels > 0, whole.voxels > 0)
    assert np.array_equal((found.voxels + 1) // 2, whole.voxels), "a part lies in its own lung"
    for value in (1, 2, 3, 4):
        a, b = found.voxels == value, true.voxels == value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.75


def test_parts_that_the_atlas_does_not_know_are_refused(fits: tuple[Fit, Fit]) -> None:
    lungs, parts = fits
    with pytest.raises(InputError, match="parts of each of left_lung, right_lung, among left_top, left_bottom"):
        labels_by_atlas(lungs, parts, {"left_lung": ("left_top",), "right_lung": ("right_middle",)})
    with pytest.raises(InputError, match="left_lung: left_top"):
        labels_by_atlas(lungs, parts, {"left_lung": ("left_top",)})
    with pytest.raises(InputError, match="right_lung: left_top"):
        labels_by_atlas(lungs, parts, {"left_lung": ("left_top", "left_bottom"), "right_lung": ("left_top",)})

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from divided_lungs import divided
from lpm.errors import FileError, InputError
from lpm.files.volumes import read_volume
from lpm.fitting.evidence.points import fit_points
from lpm.fitting.fit import Fit
from lpm.fitting.partition.learning import PartitionConfig, partition_model
from lpm.geometry.grids import voxelise_on
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle, read_bundle, write_bundle
from lpm.model.partition import partition_from_tensors
from lpm.model.warp import Box
from lpm.preparation.cohort import Cohort

STRUCTURES = {"left_lung": (1, 2), "right_lung": (3, 4)}
PARTS = {"left_top": (1,), "left_bottom": (2,), "right_top": (3,), "right_bottom": (4,)}
CONFIG = PartitionConfig(structures=STRUCTURES, parts=PARTS, n_points=800)


def labels_of(cohort: Cohort, subject: str) -> Volume:
    return divided(read_volume(cohort.path(subject, "labels.nii.gz")))


@pytest.fixture(scope="module")
def model(tiny_atlas: ModelBundle, tiny_cohort: Path) -> ModelBundle:
    cohort = Cohort(tiny_cohort)
    examples = {subject: labels_of(cohort, subject) for subject in cohort.subjects("train")[:2]}
    return partition_model(tiny_atlas, examples, CONFIG, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def fit(model: ModelBundle, tiny_cohort: Path) -> Fit:
    cohort = Cohort(tiny_cohort)
    subject = cohort.subjects("test")[0]
    return fit_points(model, cohort.surface(subject).points_mm[:1000], spacing_mm=4.0)


def test_unseen_parts_are_found_from_the_lungs_surface(fit: Fit, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    true = labels_of(cohort, cohort.subjects("test")[0])
    found = fit.part_labels(true)
    for value in (1, 2, 3, 4):
        a, b = found.voxels == value, true.voxels == value
        assert 2.0 * (a & b).sum() / (a.sum() + b.sum()) > 0.93
        assert 2.0 * (a & (true.voxels == value % 4 + 1)).sum() / (a.sum() + b.sum()) < 0.05


def test_parts_leave_no_gap_and_do_not_overlap(fit: Fit, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    grid = labels_of(cohort, cohort.subjects("test")[0])
    lungs = fit.labels(grid).voxels > 0
    np.testing.assert_array_equal(fit.part_labels(grid).voxels > 0, lungs)
    parts = fit.parts(spacing_mm=3.0)
    assert list(parts) == list(PARTS)
    assert all(mesh.is_closed and mesh.n_pieces == 1 for mesh in parts.values())
    claims = np.sum([voxelise_on(mesh, grid) for mesh in parts.values()], axis=0)
    assert (claims > 1).sum() <= 1e-3 * lungs.sum()
    whole = sum(mesh.volume_ml for mesh in fit.lungs.values())
    assert sum(mesh.volume_ml for mesh in parts.values()) == pytest.approx(whole, rel=0.01)
    assert parts["left_top"].centroid[2] > parts["left_bottom"].centroid[2] + 50.0


def test_a_structure_that_is_not_divided_is_its_own_part(tiny_atlas: ModelBundle, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    subject = cohort.subjects("train")[0]
    labels = labels_of(cohort, subject)
    config = PartitionConfig(structures=STRUCTURES, parts={"left_top": (1,), "left_bottom": (2,)}, n_points=400)
    model = partition_model(tiny_atlas, {subject: labels}, config, rng=np.random.default_rng(0))
    fit = fit_points(model, cohort.surface(subject).points_mm[:400], spacing_mm=6.0)
    parts = fit.parts(spacing_mm=6.0)
    assert list(parts) == ["left_top", "left_bottom", "right_lung"]
    assert parts["right_lung"].volume_ml == pytest.approx(fit.lungs["right_lung"].volume_ml, rel=0.02)
    assert sorted(np.unique(fit.part_labels(labels).voxels)) == [0, 1, 2, 3]


def test_a_partition_comes_back_from_disk(model: ModelBundle, tmp_path: Path) -> None:
    write_bundle(tmp_path, model)
    again = read_bundle(tmp_path)
    assert again.manifest == model.manifest
    assert again.manifest.parts == {
        "left_lung": ("left_top", "left_bottom"),
        "right_lung": ("right_top", "right_bottom"),
    }
    assert model.partition is not None
    assert again.partition is not None
    for name, parts in again.partition.structures.items():
        before = model.partition.structures[name]
        assert isinstance(parts.box, Box)
        assert 0.0 < float((parts.distances - before.distances).abs().max()) * model.manifest.scale_mm < 0.2


def test_a_damaged_partition_is_refused(model: ModelBundle) -> None:
    assert model.partition is not None
    tensors = model.partition.to_tensors()
    known = (model.partition.names, model.structures, model.decoder)
    for damaged in ({}, tensors | {"partition.left_lung": tensors["partition.left_lung"][:1]}):
        with pytest.raises(FileError, match="partition: parts of left_lung of shape"):
            partition_from_tensors(*known, damaged)  # type: ignore[arg-type]


def test_what_cannot_teach_parts_is_refused(
    tiny_atlas: ModelBundle, tiny_model: ModelBundle, tiny_cohort: Path, rng: np.random.Generator
) -> None:
    cohort = Cohort(tiny_cohort)
    labels = labels_of(cohort, cohort.subjects("train")[0])
    with pytest.raises(InputError, match="partition: a model of preset tiny; expected an atlas"):
        partition_model(tiny_model, {"a": labels}, CONFIG, rng=rng)
    with pytest.raises(InputError, match="partition: no label map"):
        partition_model(tiny_atlas, {}, CONFIG, rng=rng)
    heart = PartitionConfig(structures={"heart": (1, 2)}, parts={"top": (1,), "bottom": (2,)})
    with pytest.raises(InputError, match=r"structures \['heart'\]; expected of left_lung, right_lung"):
        partition_model(tiny_atlas, {"a": labels}, heart, rng=rng)
    with pytest.raises(InputError, match="a: no left_bottom; expected all parts"):
        partition_model(tiny_atlas, {"a": labels.with_voxels(labels.voxels * (labels.voxels != 2))}, CONFIG, rng=rng)


def test_a_model_without_parts_says_so(tiny_atlas: ModelBundle, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    fit = fit_points(tiny_atlas, cohort.surface(cohort.subjects("test")[0]).points_mm[:300], spacing_mm=8.0)
    with pytest.raises(InputError, match="parts: a model that knows of no parts"):
        fit.parts()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "no parts"),
        ({"a": (1,), "b": (1,)}, "a label value belongs to one part"),
        ({"a": (1,), "b": (2, 3)}, "the values of b belong to no structure, or to several"),
        ({"a": (9,)}, "the values of a belong to no structure"),
        ({"a": (1,)}, "the parts of left_lung are two or more"),
        ({"a": (1, 2)}, "the parts of left_lung are two or more"),
    ],
)
def test_parts_must_divide_structures(parts: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PartitionConfig(structures=STRUCTURES, parts=parts)

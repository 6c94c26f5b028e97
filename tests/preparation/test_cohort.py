from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lpm.batch.cases import Case
from lpm.errors import FileError, InputError, SchemaError
from lpm.files.volumes import write_volume
from lpm.geometry.distances import signed_distance
from lpm.geometry.frames import WorldPoints
from lpm.geometry.volumes import Volume
from lpm.preparation.cohort import Cohort, read_split, split_at_random
from lpm.preparation.config import MeshingConfig, PreparationConfig, SamplingConfig, digest_case
from lpm.preparation.prepare import finish_cohort, prepare_cases


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, coarse_labels: Volume, quick_config: PreparationConfig) -> Path:
    """A cohort of two: the phantom, and the same one 20 % larger and moved."""
    root = tmp_path_factory.mktemp("cohort")
    affine = coarse_labels.world_from_voxel.copy()
    affine[:3, :3] *= 1.2
    affine[:3, 3] += 100.0
    write_volume(root / "small.nii.gz", coarse_labels)
    write_volume(root / "large.nii.gz", Volume(coarse_labels.voxels, affine))
    (root / "split.json").write_text(json.dumps({"train": ["large"], "test": ["small"]}))
    cases = [Case(name, root / f"{name}.nii.gz") for name in ("small", "large")]
    outcomes = list(prepare_cases(cases, root / "out", quick_config, jobs=1, resume=False))
    finish_cohort(outcomes, root / "out", quick_config, root / "split.json")
    return root / "out"


def test_subjects_by_split(folder: Path) -> None:
    cohort = Cohort(folder)
    assert cohort.structures == ("left_lung", "right_lung")
    assert cohort.subjects() == ["large", "small"]
    assert cohort.subjects("train") == ["large"]
    assert cohort.subjects("test") == ["small"]


def test_what_is_read_fits_together(folder: Path) -> None:
    cohort = Cohort(folder)
    meshes, surface, off = cohort.meshes("small"), cohort.surface("small"), cohort.off_surface("small")
    assert off.signed_distance_mm.shape == (2000, 2)
    for index, mesh in enumerate(meshes.values()):
        assert mesh.is_closed
        own = surface.points_mm[surface.structure == index]
        assert np.abs(signed_distance(mesh, own)).max() < 1e-3
        np.testing.assert_allclose(signed_distance(mesh, off.points_mm), off.signed_distance_mm[:, index], atol=1e-3)


def test_one_scale_for_all_keeps_size_in_the_shape(folder: Path) -> None:
    cohort = Cohort(folder)
    small, large = (cohort.world_from_model(name) for name in ("small", "large"))
    assert small.scale_mm == large.scale_mm == pytest.approx(cohort.manifest.scale_mm)
    radii = {}
    for name, frame in (("small", small), ("large", large)):
        points = WorldPoints(np.concatenate([mesh.vertices for mesh in cohort.meshes(name).values()]))
        radii[name] = np.linalg.norm(frame.inverse(points).xyz, axis=1).max()
    assert radii["large"] == pytest.approx(1 / 1.05, rel=1e-5)
    assert radii["small"] == pytest.approx(radii["large"] / 1.2, rel=1e-3)


def test_a_scale_of_each_subject_takes_size_out(folder: Path, tmp_path: Path) -> None:
    data = json.loads((folder / "cohort.json").read_text())
    data["scale"] = "subject"
    (tmp_path / "cohort.json").write_text(json.dumps(data))
    cohort = Cohort(tmp_path)
    small, large = (cohort.world_from_model(name).scale_mm for name in ("small", "large"))
    assert large == pytest.approx(1.2 * small, rel=1e-3)


def test_manifest_tells_what_was_done(folder: Path, quick_config: PreparationConfig) -> None:
    manifest = Cohort(folder).manifest
    assert manifest.config == quick_config
    assert manifest.split_source == "split.json"
    assert manifest.failed == {}
    assert manifest.subjects["small"].source == "small.nii.gz"
    assert len(manifest.subjects["small"].digest) == 64


def edited(folder: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    data = json.loads((folder / "cohort.json").read_text())
    edit(data)
    (tmp_path / "cohort.json").write_text(json.dumps(data))
    return tmp_path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(schema_version=3), r"schema version 3; expected version 2.*upgrade lungs-parametric-model"),
        (lambda d: d.update(schema_version=0), r"schema version 0; expected version 2.*write it again"),
        (lambda d: d.pop("schema_version"), r"schema version None; expected version 2"),
        (lambda d: d.update(colour="red"), r"does not follow its schema (.|\n)*colour(.|\n)*Extra inputs"),
        (lambda d: d.pop("scale_mm"), r"does not follow its schema (.|\n)*scale_mm(.|\n)*Field required"),
        (lambda d: d["config"].update(speed=1), r"config.speed(.|\n)*Extra inputs"),
        (lambda d: d.update(scale_mm="wide"), r"scale_mm(.|\n)*valid number"),
    ],
)
def test_other_schemas(folder: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Cohort(edited(folder, tmp_path, edit))


@pytest.mark.parametrize("key", ["split", "subjects"])
def test_a_subject_that_leads_out_of_the_cohort_is_refused(folder: Path, tmp_path: Path, key: str) -> None:
    def lead_out(data: dict[str, Any]) -> None:
        data[key]["../../x"] = next(iter(data[key].values()))

    edited(folder, tmp_path, lead_out)
    with pytest.raises(SchemaError, match="no plain name"):
        Cohort(tmp_path)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cohort.json: cannot be read \(No such file.*expected a manifest"):
        Cohort(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"schema_version": 1', b"\xff\xfe"])
def test_a_manifest_that_is_not_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cohort.json").write_bytes(content)
    with pytest.raises(FileError, match=r"cohort.json: not JSON .*expected a manifest"):
        Cohort(tmp_path)


def test_a_manifest_that_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "cohort.json").write_text("[]")
    with pytest.raises(SchemaError, match="schema version None"):
        Cohort(tmp_path)


@given(st.sets(st.text("abc123", min_size=1), min_size=4, max_size=40), st.integers(0, 100))
def test_random_split_is_three_quarters_and_blind_to_order(names: set[str], seed: int) -> None:
    split = split_at_random(list(names), seed)
    assert split == split_at_random(sorted(names, reverse=True), seed)
    assert set(split) == names
    assert list(split.values()).count("train") == round(0.75 * len(names))


def test_random_split_follows_the_seed() -> None:
    names = [f"s{i}" for i in range(20)]
    assert split_at_random(names, 0) != split_at_random(names, 1)
    assert split_at_random(["one"], 0) == {"one": "train"}


def split_file(tmp_path: Path, data: object) -> Path:
    (tmp_path / "split.json").write_text(json.dumps(data))
    return tmp_path / "split.json"


def test_a_given_split_may_name_others(tmp_path: Path) -> None:
    path = split_file(tmp_path, {"train": ["a", "z"], "test": ["b"]})
    assert read_split(path, ["a", "b"]) == {"a": "train", "b": "test"}


@pytest.mark.parametrize("data", [[], {"train": ["a"]}, {"train": 1, "test": ["a"]}, {"train": [["a"]], "test": []}])
def test_not_a_split(tmp_path: Path, data: object) -> None:
    with pytest.raises(FileError, match=r"split.json: not a split .*expected \{\"train\": \[names\]"):
        read_split(split_file(tmp_path, data), ["a"])


def test_a_split_that_is_missing_or_not_json(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none.json: not a split .*No such file"):
        read_split(tmp_path / "none.json", ["a"])
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(FileError, match="not a split"):
        read_split(tmp_path / "split.json", ["a"])


def test_a_subject_in_both_parts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\['a'\] in train and in test; expected each subject once"):
        read_split(split_file(tmp_path, {"train": ["a"], "test": ["a"]}), ["a"])


def test_a_subject_in_no_part(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not place \['c'\]; expected every subject.*add them"):
        read_split(split_file(tmp_path, {"train": ["a"], "test": ["b"]}), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        ({}, "every structure needs at least one label value"),
        ({"left_lung": ()}, "every structure needs at least one label value"),
        ({"left_lung": (1,), "right_lung": (1,)}, "a label value belongs to one structure"),
        ({"left_lung": (0,)}, "0 is background"),
    ],
)
def test_structures_that_contradict_themselves(structures: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PreparationConfig(structures=structures)


def test_unknown_keys_of_a_config() -> None:
    with pytest.raises(ValidationError, match="sigma_voxel\n"):
        MeshingConfig.model_validate({"sigma_voxel": 1.0})


def test_digest_changes_with_bytes_name_and_content_but_not_with_scale(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    config = PreparationConfig()
    digest = digest_case(path, "s", config)
    assert digest == digest_case(path, "s", config.model_copy(update={"scale": "subject"}))
    assert digest != digest_case(path, "t", config)
    assert digest != digest_case(path, "s", PreparationConfig(seed=1))
    assert digest != digest_case(path, "s", PreparationConfig(sampling=SamplingConfig(n_surface=100)))
    path.write_bytes(b"abd")
    assert digest != digest_case(path, "s", config)

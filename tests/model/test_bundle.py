from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import lpm
from lpm.errors import FileError, InputError, SchemaError
from lpm.fitting.extraction import placed_shape
from lpm.geometry.extraction import lattice_over
from lpm.model.bundle import ModelBundle, _numbers, read_bundle, write_bundle
from lpm.preparation.cohort import Cohort


@pytest.fixture
def folder(tiny_model: ModelBundle, tmp_path: Path) -> Path:
    write_bundle(tmp_path / "model", tiny_model)
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bundle_comes_back_as_it_was(folder: Path, tiny_model: ModelBundle) -> None:
    again = read_bundle(folder)
    assert again.manifest == tiny_model.manifest
    beta, points = torch.ones(tiny_model.latents.n_modes), np.random.default_rng(0).uniform(-100, 100, (50, 3))
    pose = tiny_model.world_from_model(np.zeros(3))
    np.testing.assert_allclose(
        again.distances_mm(beta, pose, points), tiny_model.distances_mm(beta, pose, points), atol=1e-3
    )
    assert torch.equal(again.codes, tiny_model.codes)


def test_interpolated_distances_are_those_of_the_atlas() -> None:
    """Near the surface to a hundredth of a millimetre, for a shape that is moved, scaled and turned."""
    bundled = lpm.load().bundle
    rng, beta = np.random.default_rng(0), torch.zeros(bundled.latents.n_modes)
    beta[:30] = torch.from_numpy(rng.standard_normal(30)).float()
    turn = Rotation.from_rotvec([0.1, -0.2, 0.1]).as_matrix()
    pose = replace(bundled.world_from_model(np.array([30.0, -200.0, 900.0]), np.array([0.9, 1.0, 1.1])), rotation=turn)
    vertices = placed_shape(bundled, beta, pose, 4.0).meshes["left_lung"].vertices
    lattice = lattice_over(vertices.min(axis=0) - 20.0, vertices.max(axis=0) + 20.0, 1.5)
    exact = bundled.distances_mm(beta, pose, vertices)
    wrong = np.abs(bundled.interpolated_mm(beta, pose, lattice, 6.0)(vertices) - exact)[:, 0]
    assert 0.0 < wrong.mean() < 0.02
    assert wrong.max() < 0.2


def test_distances_of_a_network_are_never_interpolated(tiny_model: ModelBundle) -> None:
    beta, points = torch.ones(tiny_model.latents.n_modes), np.random.default_rng(0).uniform(-100, 100, (50, 3))
    pose, lattice = tiny_model.world_from_model(np.zeros(3)), lattice_over(np.full(3, -100.0), np.full(3, 100.0), 10.0)
    found = tiny_model.interpolated_mm(beta, pose, lattice, 6.0)(points)
    np.testing.assert_array_equal(found, tiny_model.distances_mm(beta, pose, points))


def test_it_says_what_it_was_trained_on(tiny_model: ModelBundle) -> None:
    manifest = tiny_model.manifest
    assert len(manifest.training_subjects) == 4
    assert manifest.training_shapes == 12
    assert manifest.structures == ("left_lung", "right_lung")
    assert manifest.loss_history[0]["epoch"] == 1
    assert manifest.data == "generated"
    assert "torch" in manifest.versions


def test_nothing_is_pickled(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "weights.safetensors"]


def test_newer_schema_is_refused(folder: Path) -> None:
    edit(folder, schema_version=99)
    with pytest.raises(SchemaError, match=r"schema version 99; expected version 1. Try: upgrade"):
        read_bundle(folder)


def test_unknown_key_is_refused(folder: Path) -> None:
    edit(folder, surprise=1)
    with pytest.raises(SchemaError, match="does not follow its schema"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["../../../x", "/etc/x", "a\\b", ".hidden", ""])
@pytest.mark.parametrize("key", ["structures", "training_subjects"])
def test_names_that_lead_out_of_a_folder_are_refused(folder: Path, key: str, name: str) -> None:
    edit(folder, **{key: [name, "right_lung"]})
    with pytest.raises(SchemaError, match="no plain name"):
        read_bundle(folder)


def test_truncated_weights_are_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FileError, match="damaged"):
        read_bundle(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["config"]["decoder"]["width"] = 32
    edit(folder, config=manifest["config"])
    with pytest.raises(FileError, match="weights do not fit the manifest"):
        read_bundle(folder)


def test_an_implausible_network_is_refused_before_memory_is_taken(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["config"]["decoder"] |= {"width": 8192, "layers": 64}
    edit(folder, config=manifest["config"])
    with pytest.raises(InputError, match=r"a network of [\d,]+ parameters; expected at most"):
        read_bundle(folder)


def test_attributes_of_the_training_subjects_travel_with_it(tiny_model: ModelBundle, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    for subject, attributes in tiny_model.manifest.attributes.items():
        volume = sum(mesh.volume_ml for mesh in cohort.meshes(subject).values())
        assert attributes["total_volume_ml"] == pytest.approx(volume, rel=1e-5)
    assert tiny_model.manifest.attributes.keys() == set(tiny_model.manifest.training_subjects)


def test_numbers_of_a_table_are_attributes() -> None:
    said = {"age": "61", "sex": "F", "site": "Leeds", "weight_kg": " 70.5 ", "missing": "nan"}
    assert _numbers(said) == {"age": 61.0, "sex": 0.0, "weight_kg": 70.5}


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nowhere: no such folder; expected a model that `lpm train` wrote"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"holds no bundle\.json"):
        read_bundle(tmp_path)

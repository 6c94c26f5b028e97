"""Meshes with the same triangles on fitted surfaces, and fits that are read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from lpm.errors import FileError, InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.points import fit_points
from lpm.fitting.fit import Fit
from lpm.fitting.written import read_fit
from lpm.geometry.crossings import crossing_faces
from lpm.geometry.distances import closest_points
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort


@pytest.fixture(scope="module")
def fits(tiny_atlas: ModelBundle, tiny_cohort: Path) -> tuple[Fit, Fit]:
    """Lungs, and the same stretched and moved, each by points that the residual follows."""
    cohort = Cohort(tiny_cohort)
    points, config = cohort.surface(cohort.subjects("test")[0]).points_mm[:800], FitConfig(max_iterations=8)
    first = fit_points(tiny_atlas, points, config=config, spacing_mm=6.0)
    moved = points * np.array([1.05, 1.1, 0.9]) + np.array([10.0, -20.0, 30.0])
    return first, fit_points(tiny_atlas, moved, config=config, spacing_mm=6.0)


def test_fits_have_the_same_triangles_on_their_own_surfaces(fits: tuple[Fit, Fit]) -> None:
    both = [fit.corresponding(1500) for fit in fits]
    for fit, found in zip(fits, both, strict=True):
        for name, mesh in found.meshes.items():
            assert np.array_equal(mesh.faces, both[0].meshes[name].faces)
            assert mesh.is_closed
            assert mesh.enclosed_volume > 0
            assert closest_points(fit.meshes[name], mesh.vertices).distance.mean() < 0.3
            assert found.quality[name].distance_mean_mm < 0.3
            assert found.quality[name].folded < 0.05 * len(mesh.faces)


def test_the_residual_is_followed(fits: tuple[Fit, Fit]) -> None:
    """Without it the surface is millimetres off here."""
    field = fits[0].field
    for name, mesh in fits[0].corresponding(1500).meshes.items():
        decoded = field.residual(torch.tensor(mesh.vertices), field.index(name))
        assert float(decoded.abs().max()) > 0.5
        assert np.abs(field.distances_mm(mesh.vertices, name)).mean() < 0.05


def test_a_written_fit_is_read_again(fits: tuple[Fit, Fit], tiny_atlas: ModelBundle, tmp_path: Path) -> None:
    fits[0].write(tmp_path / "fit", corresponding=True)
    field = read_fit(tmp_path / "fit", tiny_atlas)
    name = field.structures[0]
    points = fits[0].meshes[name].vertices + np.array([3.0, 0.0, 0.0])
    off_mm = field.distances_mm(points, name) - fits[0].field.distances_mm(points, name)
    assert np.abs(off_mm).max() < 0.01
    assert (tmp_path / "fit" / "residual.npz").stat().st_size < 200_000
    said = json.loads((tmp_path / "fit" / "fit.json").read_text())["corresponding"][name]
    assert said["distance_mean_mm"] < 0.3
    assert sorted(path.name for path in (tmp_path / "fit" / "corresponding").iterdir()) == [
        "left_lung.ply",
        "right_lung.ply",
    ]
    fits[0].write(tmp_path / "fit")  # gives way, with its folder


def test_a_fit_of_before_the_long_range_residual_is_read(
    fits: tuple[Fit, Fit], tiny_atlas: ModelBundle, tmp_path: Path
) -> None:
    fits[0].write(tmp_path / "fit")
    with np.load(tmp_path / "fit" / "residual.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if not name.startswith("long_range")}
        assert len(kept) == len(arrays.files) - 2
    np.savez(tmp_path / "fit" / "residual.npz", **kept)
    assert read_fit(tmp_path / "fit", tiny_atlas).residual.config.long_range_share == 0.0


def test_what_is_no_fit_of_the_model_is_refused(
    fits: tuple[Fit, Fit], tiny_atlas: ModelBundle, tiny_model: ModelBundle, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match=r"no fit\.json in it"):
        read_fit(tmp_path, tiny_atlas)
    fits[0].write(tmp_path / "fit")
    with pytest.raises(InputError, match="a fit of another model"):
        read_fit(tmp_path / "fit", tiny_model)
    (tmp_path / "fit" / "residual.npz").unlink()
    with pytest.raises(FileError, match=r"residual\.npz.*no such file"):
        read_fit(tmp_path / "fit", tiny_atlas)
    (tmp_path / "fit" / "residual.npz").write_bytes(b"damaged")
    with pytest.raises(FileError, match="cannot be read"):
        read_fit(tmp_path / "fit", tiny_atlas)
    summary = json.loads((tmp_path / "fit" / "fit.json").read_text())
    for lost in ("pose", "structures"):
        (tmp_path / "fit" / "fit.json").write_text(json.dumps({k: v for k, v in summary.items() if k != lost}))
        with pytest.raises(FileError, match="lacks or damages"):
            read_fit(tmp_path / "fit", tiny_atlas)
    (tmp_path / "fit" / "fit.json").write_text(json.dumps(summary | {"total_volume_ml": None}))
    with pytest.raises(InputError, match="lungs of unknown size"):
        read_fit(tmp_path / "fit", tiny_atlas)


def test_a_network_has_no_correspondence(fits: tuple[Fit, Fit], tiny_model: ModelBundle) -> None:
    with pytest.raises(InputError, match="correspondence"):
        replace(fits[0], model=tiny_model).corresponding()


def test_triangles_that_run_through_others_are_found() -> None:
    solid = trimesh.creation.icosphere(2)
    one = WorldMesh(np.asarray(solid.vertices), np.asarray(solid.faces))
    assert len(crossing_faces(one)) == 0
    two = np.concatenate([one.vertices, one.vertices + np.array([1.0, 0.1, 0.2])])
    assert len(crossing_faces(WorldMesh(two, np.concatenate([one.faces, one.faces + len(one.vertices)])))) > 10
    apart = np.concatenate([one.vertices, one.vertices + np.array([3.0, 0.0, 0.0])])
    assert len(crossing_faces(WorldMesh(apart, np.concatenate([one.faces, one.faces + len(one.vertices)])))) == 0

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.errors import InputError
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import Ellipsoid
from lpm.preparation.config import SamplingConfig
from lpm.preparation.sampling import sample_sdf, sample_surfaces

CENTERS = {"left_lung": (-60.0, 0.0, 0.0), "right_lung": (70.0, 10.0, 20.0)}
RADII = {"left_lung": 30.0, "right_lung": 45.0}


@pytest.fixture(scope="module")
def balls() -> dict[str, WorldMesh]:
    meshes = {}
    for name, center in CENTERS.items():
        ball = trimesh.creation.icosphere(subdivisions=4, radius=RADII[name])
        meshes[name] = WorldMesh(np.asarray(ball.vertices) + center, np.asarray(ball.faces))
    return meshes


def test_surface_points_lie_on_their_own_structure(balls: dict[str, WorldMesh], rng: np.random.Generator) -> None:
    drawn = sample_surfaces(balls, 2000, rng=rng)
    assert drawn.points_mm.shape == drawn.normals.shape == (2000, 3)
    for index, name in enumerate(balls):
        own = drawn.structure == index
        ball = Ellipsoid(CENTERS[name], RADII[name])
        assert np.abs(ball.field(drawn.points_mm[own])).max() < 0.2
        assert np.abs(ball.field(drawn.points_mm[~own])).min() > 5.0
        outward = drawn.points_mm[own] - CENTERS[name]
        assert (np.einsum("ij,ij->i", drawn.normals[own], outward) > 0).all()


def test_points_are_shared_out_by_area_in_random_order(balls: dict[str, WorldMesh], rng: np.random.Generator) -> None:
    structure = sample_surfaces(balls, 20_000, rng=rng).structure
    assert structure.mean() == pytest.approx(45**2 / (45**2 + 30**2), abs=0.02)
    assert structure[:10_000].mean() == pytest.approx(structure[10_000:].mean(), abs=0.03)


def test_signed_distances_to_every_structure(balls: dict[str, WorldMesh], rng: np.random.Generator) -> None:
    samples = sample_sdf(balls, SamplingConfig(n_off_surface=2000), rng=rng)
    assert samples.signed_distance_mm.shape == (2000, 2)
    for index, name in enumerate(balls):
        truth = Ellipsoid(CENTERS[name], RADII[name]).field(samples.points_mm)
        np.testing.assert_allclose(samples.signed_distance_mm[:, index], truth, atol=0.2)
    assert not np.allclose(samples.signed_distance_mm[:, 0], samples.signed_distance_mm[:, 1])
    assert (samples.signed_distance_mm < 0).any(axis=0).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_near_and_far_are_shared_as_told(balls: dict[str, WorldMesh], share: float, rng: np.random.Generator) -> None:
    config = SamplingConfig(n_off_surface=2000, volume_share=share, near_sigmas_mm=(0.5,))
    distance = np.abs(sample_sdf(balls, config, rng=rng).signed_distance_mm).min(axis=1)
    assert (distance < 3.0).mean() == pytest.approx(1.0 - share, abs=0.1)


def test_streams_follow_the_seed(balls: dict[str, WorldMesh]) -> None:
    config = SamplingConfig(n_off_surface=500)
    first, again, other = (sample_sdf(balls, config, rng=np.random.default_rng(seed)).points_mm for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_open_mesh_has_no_signed_distance(balls: dict[str, WorldMesh], rng: np.random.Generator) -> None:
    ball = balls["left_lung"]
    with pytest.raises(InputError, match="an open mesh"):
        sample_sdf({"left_lung": ball.with_faces(ball.faces[1:])}, SamplingConfig(n_off_surface=100), rng=rng)

from __future__ import annotations

import numpy as np
import pytest
import torch

import lpm
from lpm.errors import InputError
from lpm.fitting.extraction import shape_of
from lpm.geometry.distances import closest_points
from lpm.geometry.meshes import WorldMesh
from lpm.model.atlas import AtlasDecoder
from lpm.model.bundle import ModelBundle
from lpm.model.correspondence import TemplateSurfaces, template_surfaces


@pytest.fixture
def surfaces(tiny_atlas: ModelBundle) -> TemplateSurfaces:
    return template_surfaces(tiny_atlas, 1500)


def _latent(model: ModelBundle, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return model.latents.to_latent(0.7 * torch.randn(model.latents.n_modes, generator=generator))


@pytest.mark.parametrize("seed", range(3))
def test_carried_vertices_lie_on_the_shapes_surface(
    tiny_atlas: ModelBundle, surfaces: TemplateSurfaces, seed: int
) -> None:
    latent = _latent(tiny_atlas, seed)
    for index, points in enumerate(surfaces.carried(latent)):
        off_mm = tiny_atlas.manifest.scale_mm * tiny_atlas.decoder(latent[None], points)[:, index].abs()
        assert float(off_mm.mean()) < 0.15
        assert float(off_mm.quantile(0.99)) < 1.0


def test_vertices_are_the_same_places_in_every_shape(tiny_atlas: ModelBundle, surfaces: TemplateSurfaces) -> None:
    """What the atlas says of a carried vertex is where it came from."""
    decoder = tiny_atlas.decoder
    assert isinstance(decoder, AtlasDecoder)
    latent = _latent(tiny_atlas, 0)
    own = surfaces._own(latent)
    for displacement, carried, template in zip(own, surfaces.carried(latent), surfaces.vertices, strict=True):
        warped = carried + decoder.displacement(latent[None, decoder.n_components :], carried)
        off_mm = tiny_atlas.manifest.scale_mm * (displacement(warped) - template).norm(dim=1)
        moved_mm = tiny_atlas.manifest.scale_mm * (carried - template).norm(dim=1)
        assert float(off_mm.median()) < 0.5
        assert float(moved_mm.median()) > 3.0  # it did go somewhere


def test_meshes_are_those_of_marching_cubes(tiny_atlas: ModelBundle, surfaces: TemplateSurfaces) -> None:
    beta = torch.zeros(tiny_atlas.latents.n_modes)
    beta[0] = 1.0
    world = tiny_atlas.world_from_model(np.zeros(3))
    found = surfaces.meshes(tiny_atlas.latents.to_latent(beta), world, tiny_atlas.structures)
    true = shape_of(tiny_atlas, beta, 3.0).meshes
    mean = shape_of(tiny_atlas, torch.zeros(tiny_atlas.latents.n_modes), 3.0).meshes
    for name, mesh in found.items():
        assert mesh.is_closed
        assert mesh.volume_ml == pytest.approx(true[name].volume_ml, rel=0.02)
        assert mesh.volume_ml != pytest.approx(mean[name].volume_ml, rel=0.02)
        assert closest_points(true[name], mesh.vertices).distance.mean() < 0.5
        assert closest_points(mean[name], mesh.vertices).distance.mean() > 1.0


def test_all_shapes_share_triangles_that_the_shape_does_not_change(
    tiny_atlas: ModelBundle, surfaces: TemplateSurfaces
) -> None:
    world = tiny_atlas.world_from_model(np.array([10.0, -20.0, 30.0]))
    one = surfaces.meshes(_latent(tiny_atlas, 1), world, tiny_atlas.structures)
    two = surfaces.meshes(_latent(tiny_atlas, 2), world, tiny_atlas.structures)
    for name in tiny_atlas.structures:
        np.testing.assert_array_equal(one[name].faces, two[name].faces)
        assert one[name].enclosed_volume > 0
        assert 300 < len(one[name].faces) <= 3000


def test_a_network_has_no_average_to_carry(tiny_model: ModelBundle) -> None:
    with pytest.raises(InputError, match=r"correspondence.*an atlas.*lpm\.load"):
        template_surfaces(tiny_model)


@pytest.mark.parametrize("faces_each", [2000, 3000, 8000])
def test_the_bundled_average_is_closed_with_few_triangles(faces_each: int) -> None:
    """Of so few triangles, the usual decimation makes a mesh of one of its lungs that is not closed."""
    surfaces = template_surfaces(lpm.load().bundle, faces_each)
    for vertices, faces in zip(surfaces.vertices, surfaces.faces, strict=True):
        assert len(faces) <= faces_each
        assert WorldMesh(vertices.double().numpy(), faces).is_closed

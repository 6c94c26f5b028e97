from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lpm
from lpm.errors import FileError, InputError
from lpm.geometry.distances import closest_points, signed_distance
from lpm.geometry.frames import WorldPoints
from lpm.model.atlas import AtlasDecoder
from lpm.model.atlas_build import AtlasBuild
from lpm.model.bundle import ModelBundle, read_bundle, write_bundle
from lpm.model.config import AtlasConfig
from lpm.model.registration.components import whitened_components
from lpm.model.warp import Box
from lpm.preparation.cohort import Cohort


@pytest.fixture
def decoder(tiny_atlas: ModelBundle) -> AtlasDecoder:
    assert isinstance(tiny_atlas.decoder, AtlasDecoder)
    return tiny_atlas.decoder


def test_a_training_subjects_code_gives_its_distances(tiny_atlas: ModelBundle, tiny_cohort: Path) -> None:
    cohort = Cohort(tiny_cohort)
    for subject, code in zip(cohort.subjects("train"), tiny_atlas.codes, strict=True):
        points = cohort.off_surface(subject).points_mm[:400]
        inside = torch.tensor(cohort.world_from_model(subject).inverse(WorldPoints(points)).xyz).float()
        found = cohort.manifest.scale_mm * tiny_atlas.decoder(code[None], inside).numpy()
        for column, name in enumerate(cohort.structures):
            true = signed_distance(cohort.mesh(subject, name), points)
            near = np.abs(true) < 20.0
            assert np.abs(found[near, column] - true[near]).mean() < 1.0  # a grid of 10 mm
            assert np.abs(found[near, column] + true[near]).mean() > 3.0


def test_one_latent_for_all_is_one_a_point(decoder: AtlasDecoder) -> None:
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(1, decoder.latent_size, generator=generator)
    points = torch.rand(50, 3, generator=generator) - 0.5
    torch.testing.assert_close(decoder(latent, points), decoder(latent.expand(50, -1), points), atol=1e-5, rtol=1e-4)


def test_the_warp_moves_points_as_far_as_it_says(decoder: AtlasDecoder, tiny_atlas: ModelBundle) -> None:
    generator = torch.Generator().manual_seed(0)
    warp = torch.randn(200, decoder.latent_size - decoder.n_components, generator=generator)
    moved = decoder.displacement(warp, decoder.warp_centers[:1].expand(200, -1)) * tiny_atlas.manifest.scale_mm
    spread = float(moved.square().mean().sqrt())
    config = tiny_atlas.manifest.config
    assert isinstance(config, AtlasConfig)
    sd_mm = config.warp_scales[0].sd_mm
    assert 0.6 * sd_mm < spread < 1.1 * sd_mm


def test_distance_grows_outside_the_grid(decoder: AtlasDecoder) -> None:
    far = decoder(torch.zeros(1, decoder.latent_size), torch.tensor([[3.0, 0.0, 0.0], [5.0, 0.0, 0.0]]))
    assert (far[1] - far[0] > 1.9).all()


def test_shape_parameters_are_sorted_and_positive_is_larger(tiny_atlas: ModelBundle, tiny_cohort: Path) -> None:
    world = tiny_atlas.world_from_model(np.zeros(3))
    cohort = Cohort(tiny_cohort)
    surface = cohort.surface(cohort.subjects("train")[0])
    points = surface.points_mm[:800] - cohort.world_from_model(cohort.subjects("train")[0]).center_mm
    mean = tiny_atlas.distances_mm(torch.zeros(tiny_atlas.latents.n_modes), world, points)
    reach = []
    for index in (0, 5, tiny_atlas.latents.n_modes - 1):
        beta = torch.zeros(tiny_atlas.latents.n_modes)
        beta[index] = 0.3
        change = (tiny_atlas.distances_mm(beta, world, points) - mean)[np.arange(800), surface.structure[:800]]
        reach.append(np.sqrt((change**2).mean()))
        if index == 0:
            assert change.mean() < 0
    assert reach[0] > reach[1] > reach[2]


def test_a_bundle_comes_back_from_disk(tiny_atlas: ModelBundle, tmp_path: Path) -> None:
    write_bundle(tmp_path, tiny_atlas)
    again = read_bundle(tmp_path)
    assert again.manifest == tiny_atlas.manifest
    points = np.random.default_rng(0).uniform(-100, 100, (100, 3))
    world, beta = tiny_atlas.world_from_model(np.zeros(3)), torch.full((tiny_atlas.latents.n_modes,), 0.2)
    difference = again.distances_mm(beta, world, points) - tiny_atlas.distances_mm(beta, world, points)
    assert 0 < np.abs(difference).max() < 0.2  # the fields are stored in half precision


def test_the_history_says_how_well_the_lungs_were_registered(tiny_atlas: ModelBundle) -> None:
    first, last = tiny_atlas.manifest.loss_history
    assert list(first) == ["round", "left_lung_error_mm", "right_lung_error_mm"]
    assert (first["round"], last["round"]) == (1, 2)
    for name in ("left_lung_error_mm", "right_lung_error_mm"):
        assert 0.0 < last[name] < 1.5
        assert first[name] != last[name]


def test_two_subjects_are_too_few(tiny_cohort: Path, tmp_path: Path) -> None:
    cohort = Cohort(tiny_cohort)
    with pytest.raises(InputError, match="atlas: 2 training subjects; expected at least 3"):
        AtlasBuild(cohort, cohort.subjects("train")[:2], AtlasConfig(), tmp_path)


def test_damaged_tensors_are_refused(decoder: AtlasDecoder) -> None:
    tensors = decoder.to_tensors()
    with pytest.raises(FileError, match="atlas: no lower"):
        AtlasDecoder.from_tensors({name: value for name, value in tensors.items() if name != "lower"})
    with pytest.raises(FileError, match="atlas: tensors of shapes"):
        AtlasDecoder.from_tensors(tensors | {"upper": tensors["upper"][:1]})
    with pytest.raises(FileError, match="atlas: tensors of shapes"):
        AtlasDecoder.from_tensors(tensors | {"upper": tensors["lower"]})
    with pytest.raises(FileError, match="atlas: values of template; expected finite"):
        AtlasDecoder.from_tensors(tensors | {"template": tensors["template"] * float("nan")})
    with pytest.raises(FileError, match="atlas: values of warp_lengths; expected finite and positive"):
        AtlasDecoder.from_tensors(tensors | {"warp_lengths": -tensors["warp_lengths"]})


def test_components_are_whitened_and_sorted() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((20, 3)) * [5.0, 2.0, 0.5]) @ rng.standard_normal((3, 40))
    centred = (values - values.mean(axis=0)).astype(np.float32)
    components, scores = whitened_components(centred)
    assert len(components) == 3
    np.testing.assert_allclose(scores @ components, centred, atol=1e-3)
    np.testing.assert_allclose(scores.std(axis=0, ddof=1), 1.0, atol=1e-3)
    lengths = np.linalg.norm(components, axis=1)
    assert (np.diff(lengths) < 0).all()
    assert len(whitened_components(centred, 2)[0]) == 2


def test_unseen_lungs_from_points(tiny_atlas: ModelBundle, tiny_cohort: Path) -> None:
    from lpm.fitting.evidence.points import fit_points

    cohort = Cohort(tiny_cohort)
    subject = cohort.subjects("test")[0]
    fit = fit_points(tiny_atlas, cohort.surface(subject).points_mm[:1500], spacing_mm=4.0)
    for name, mesh in fit.lungs.items():
        assert mesh.is_closed
        assert mesh.n_pieces == 1
        assert closest_points(cohort.mesh(subject, name), mesh.vertices).distance.mean() < 1.0


def test_a_shape_in_haste_is_nearly_the_same() -> None:
    """Smooth displacements between the nodes of a grid: the finer, the nearer."""
    bundle = lpm.load().bundle
    assert isinstance(bundle.decoder, AtlasDecoder)
    generator = torch.Generator().manual_seed(0)
    latent = bundle.latents.to_latent(torch.randn(bundle.latents.n_modes, generator=generator))[None]
    box, scale_mm = Box(*(torch.tensor(corner).float() for corner in bundle.box)), bundle.manifest.scale_mm
    points = box.lower + (box.upper - box.lower) * torch.rand(1000, 3, generator=generator)
    true = bundle.decoder(latent, points)
    off_mm = [
        scale_mm * (bundle.decoder.at_latent(latent, box, spacing / scale_mm)(points) - true).abs().detach()
        for spacing in (8.0, 16.0)
    ]
    assert off_mm[0].mean() < 0.06
    assert off_mm[1].mean() < 0.2
    assert off_mm[1].max() < 1.5

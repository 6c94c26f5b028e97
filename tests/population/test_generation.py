from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import lpm
from lpm.batch.cases import find_cases
from lpm.errors import FileError, InputError
from lpm.files.meshes import read_mesh
from lpm.files.volumes import read_volume
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import Ellipsoid, to_mask
from lpm.geometry.surfaces import extract_surface
from lpm.measurement.shapes import measure_shapes
from lpm.model.bundle import ModelBundle
from lpm.population.data_set import DataSet, Request, read_attributes
from lpm.population.gates import Familiar, overlap_ml, unsound
from lpm.population.generation import GenerationConfig, Generator, generate
from lpm.population.population import Population
from lpm.preparation.config import PreparationConfig
from lpm.preparation.prepare import prepare_cases


@pytest.fixture(scope="module")
def generator(tiny_atlas: ModelBundle) -> Generator:
    return Generator.of(tiny_atlas, GenerationConfig(least_novelty=0.05))


@pytest.fixture(scope="module")
def population(generator: Generator) -> Population:
    return generator.population


def ball(x_mm: float, radius_mm: float = 20.0) -> WorldMesh:
    return extract_surface(to_mask(Ellipsoid((x_mm, 0.0, 0.0), radius_mm), 1.0), 0.5)


# --- The population ---------------------------------------------------------------------------------------------------


def test_coordinates_are_those_of_the_training_subjects(population: Population, tiny_atlas: ModelBundle) -> None:
    betas = tiny_atlas.latents.to_beta(tiny_atlas.codes).double().numpy()
    again = [population.beta(own) for own in population.coordinates]
    assert np.allclose(again, betas, atol=1e-4)
    assert np.allclose(np.cov(population.coordinates, rowvar=False), np.eye(population.coordinates.shape[1]), atol=1e-9)


def test_the_table_is_what_was_measured_in_training(population: Population, tiny_atlas: ModelBundle) -> None:
    assert population.table.rows() == tiny_atlas.manifest.attributes
    assert population.table.subjects == tiny_atlas.manifest.training_subjects


def test_conditioning_is_that_of_a_gaussian(population: Population) -> None:
    """Against draws: those that happen to have the value lie where the conditional says."""
    name = "total_volume_ml"
    slope, sd = population.slopes([name])[0], float(population.table.sd[population.table.index(name)])
    mean, factor = population.conditional({name: float(population.table.mean[0] + sd)})
    assert np.allclose(mean, slope / sd)
    assert np.allclose(factor @ factor.T, np.eye(len(slope)) - np.outer(slope, slope) / sd**2, atol=1e-9)


def test_what_is_expected_is_the_regression(population: Population) -> None:
    volume, height = (population.table.values[:, population.table.index(n)] for n in ("total_volume_ml", "height_mm"))
    slope, offset = np.polyfit(volume, height, 1)
    asked = float(volume.mean() + 0.5 * volume.std())
    assert population.expected({"total_volume_ml": asked})["height_mm"] == pytest.approx(slope * asked + offset)
    assert population.expected({})["height_mm"] == pytest.approx(height.mean())


def test_impossible_conditions_are_refused_with_what_is_possible(population: Population) -> None:
    with pytest.raises(
        InputError, match=r"total_volume_ml: 20,000; expected [^-].* as lungs of this population can be"
    ):
        population.check({"total_volume_ml": 20_000.0})
    with pytest.raises(InputError, match=r"did you mean height_mm"):
        population.check({"hight_mm": 200.0})
    with pytest.raises(InputError, match=r"total_volume_ml: 4.5; expected [1-9][\d,.]* to "):
        population.draw_within({"total_volume_ml": (4.5, 4.5)}, rng=np.random.default_rng(0))  # litres
    with pytest.raises(InputError, match=r"total_volume_ml: 3 to 6; expected [1-9][\d,.]* to "):
        population.draw_within({"total_volume_ml": (3.0, 6.0)}, rng=np.random.default_rng(0))
    low, high = population.possible("height_mm", {"total_volume_ml": float(population.table.mean[0])})
    with pytest.raises(InputError, match=r"height_mm: .* with total_volume_ml"):
        population.check({"total_volume_ml": float(population.table.mean[0]), "height_mm": high + 1.0})
    assert low < population.expected({})["height_mm"] < high


def test_no_size_is_possible_below_zero() -> None:
    population = Population.of(lpm.load().bundle)
    table = population.table
    least = np.nanmin(table.values, axis=0) - table.sd
    assert least[table.index("total_volume_ml")] < 0  # the training lungs differ so much
    assert population.possible("total_volume_ml", {})[0] == 0.0
    tilt = "left_lung_base_tilt_deg"  # a base may tilt either way
    assert population.possible(tilt, {})[0] < 0


def test_ranges_hold(population: Population, rng: np.random.Generator) -> None:
    low, high = population.possible("total_volume_ml", {})
    asked = {"total_volume_ml": (low + 0.3 * (high - low), low + 0.5 * (high - low))}
    drawn = [population.draw_within(asked, rng=rng)["total_volume_ml"] for _ in range(20)]
    assert all(asked["total_volume_ml"][0] <= volume <= asked["total_volume_ml"][1] for volume in drawn)
    assert len(set(drawn)) == 20
    anything = {"right_share_percent": (0.0, 100.0)}
    for _ in range(50):
        population.check(population.draw_within(anything, rng=rng))  # a range may be wider than what lungs can be
    with pytest.raises(InputError, match="the lower end first"):
        population.draw_within({"height_mm": (250.0, 200.0)}, rng=rng)
    with pytest.raises(InputError, match=r"10,000 to 20,000; expected"):
        population.draw_within({"total_volume_ml": (10_000.0, 20_000.0)}, rng=rng)


# --- Lungs ------------------------------------------------------------------------------------------------------------


def test_lungs_are_sound_and_as_asked_for(generator: Generator) -> None:
    volume = generator.population.expected({})["total_volume_ml"] * 1.05
    asked = {"total_volume_ml": (volume, volume)}
    for lungs in generate(generator, 3, asked, rng=np.random.default_rng(0)):
        assert unsound(lungs.meshes) == ""
        assert sum(mesh.volume_ml for mesh in lungs.meshes.values()) == pytest.approx(volume, rel=0.01)
        assert lungs.attributes == pytest.approx({**measure_shapes(lungs.meshes)})
        assert lungs.nearest_mm >= generator.least_mm


def test_the_same_stream_gives_the_same_lungs(generator: Generator) -> None:
    first, again, other = (generator.draw({}, rng=np.random.default_rng([seed, 1])) for seed in (5, 5, 6))
    assert np.array_equal(first.beta, again.beta)
    assert not np.allclose(first.beta, other.beta)


def test_no_lungs_are_refused(generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="n = 0"):
        list(generate(generator, 0, {}, rng=np.random.default_rng(0)))
    with pytest.raises(InputError, match="--n: 0"):
        list(DataSet(generator, Request(ranges={}), tmp_path / "out").write_all(0))


def test_only_copies_are_refused(population: Population) -> None:
    """If everything is too near to the training subjects, nothing comes out."""
    strict = Generator(population, GenerationConfig(least_novelty=1.0, truncation=1e-3, most_tries=2))
    with pytest.raises(InputError, match="a near copy of training lungs"):
        object.__setattr__(strict, "least_mm", 50.0) or strict.draw({}, rng=np.random.default_rng(0))


def test_overlap_is_counted() -> None:
    apart, touching = overlap_ml(ball(-30.0), ball(30.0)), overlap_ml(ball(-15.0), ball(15.0))
    lens = np.pi * (4 * 20.0 + 30.0) * (2 * 20.0 - 30.0) ** 2 / 12.0 / 1000.0
    assert apart == 0.0
    assert touching == pytest.approx(lens, rel=0.05)
    assert "overlap by" in unsound({"one": ball(-15.0), "other": ball(15.0)})
    assert "one is not one closed piece" in unsound({"one": ball(0.0).flipped()})


def test_what_is_familiar_is_near() -> None:
    subjects = [{"a": ball(0.0, radius)} for radius in (20.0, 22.0, 30.0)]
    familiar = Familiar.of(subjects)
    assert familiar.nearest_each_mm() == pytest.approx([2.0, 2.0, 8.0], abs=0.3)
    assert familiar.nearest_mm({"a": ball(100.0, 25.0)}) == pytest.approx(3.0, abs=0.3)


# --- On disk ----------------------------------------------------------------------------------------------------------


def test_a_data_set_goes_on_where_it_stopped_and_is_prepared_again(
    generator: Generator, quick_config: PreparationConfig, tmp_path: Path
) -> None:
    data_set = DataSet(generator, Request(ranges={}, seed=3, labels_mm=6.0), tmp_path / "lungs")
    first = list(itertools.islice(data_set.write_all(2), 2))
    before = (tmp_path / "lungs" / "lungs_00000" / "lungs.json").stat().st_mtime_ns
    all_three = list(data_set.write_all(3))
    assert all_three[:2] == first
    assert (tmp_path / "lungs" / "lungs_00000" / "lungs.json").stat().st_mtime_ns == before
    table = read_attributes(tmp_path / "lungs")
    assert table.subjects == ("lungs_00000", "lungs_00001", "lungs_00002")
    cases = find_cases([tmp_path / "lungs" / "subjects.csv"])
    assert [case.subject for case in cases] == list(table.subjects)
    assert float(cases[0].attributes["total_volume_ml"]) == pytest.approx(first[0].attributes["total_volume_ml"])
    assert [case.subject for case in find_cases([tmp_path / "lungs"])] == list(table.subjects)
    (prepared,) = prepare_cases(cases[:1], tmp_path / "cohort", quick_config, jobs=1, resume=False)
    assert prepared.quality is not None
    total = sum(structure.volume_ml for structure in prepared.quality.structures.values())
    assert total == pytest.approx(first[0].attributes["total_volume_ml"], rel=0.03)


def test_files_agree_with_each_other(generator: Generator, tmp_path: Path) -> None:
    (one,) = DataSet(generator, Request(ranges={}, labels_mm=3.0), tmp_path / "lungs").write_all(1)
    folder = tmp_path / "lungs" / one.name
    labels = read_volume(folder / "labels.nii.gz")
    for value, name in enumerate(("left_lung", "right_lung"), start=1):
        mesh = read_mesh(folder / f"{name}.ply")
        assert mesh.volume_ml == pytest.approx(one.attributes[f"{name}_volume_ml"], rel=1e-4)
        counted = np.count_nonzero(labels.voxels == value) * labels.voxel_ml
        assert counted == pytest.approx(mesh.volume_ml, rel=0.01)
    manifest = json.loads((tmp_path / "lungs" / "manifest.json").read_text())
    assert manifest["subjects"] == [one.name]
    with (tmp_path / "lungs" / "subjects.csv").open() as file:
        assert next(csv.DictReader(file))["path"] == f"{one.name}/labels.nii.gz"


def test_another_request_is_made_again(generator: Generator, tmp_path: Path) -> None:
    (first,) = DataSet(generator, Request(ranges={}, seed=1, labels_mm=6.0), tmp_path / "lungs").write_all(1)
    (second,) = DataSet(generator, Request(ranges={}, seed=2, labels_mm=6.0), tmp_path / "lungs").write_all(1)
    assert first.beta != second.beta


def test_a_folder_of_something_else_is_left_alone(generator: Generator, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileError, match="holds no generated lungs"):
        list(DataSet(generator, Request(ranges={}), tmp_path).write_all(1))

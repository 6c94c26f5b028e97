from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from lpm.batch.workers import LocalWorkers
from lpm.errors import InputError
from lpm.geometry.distances import signed_distance
from lpm.geometry.grids import VoxelGrid, grid_nodes
from lpm.geometry.surfaces import surface_on_grid
from lpm.model.config import RegistrationConfig
from lpm.model.registration.components import held_out_count
from lpm.model.registration.folder import Grid, Plan, RegistrationFolder
from lpm.model.registration.group import GroupRegistration
from lpm.model.registration.pairwise import Basis
from lpm.model.warp import WarpScale

GRID = VoxelGrid(np.array([-60.0, -60.0, -60.0]), 5.0, (25, 25, 25))
NODES = grid_nodes(GRID).reshape(-1, 3)
QUICK = RegistrationConfig(rounds=1, spacing_mm=15.0, scales=(WarpScale(12.0, 60.0, 30), WarpScale(5.0, 28.0, 60)))


def notched(size: float, notch_z: float) -> torch.Tensor:
    """A ball with a deep notch in its right side, at a height of its own."""
    ball = np.linalg.norm(NODES, axis=1) - size
    notch = np.linalg.norm(NODES - np.array([size, 0.0, notch_z]), axis=1) - 14.0
    return torch.from_numpy(np.maximum(ball, -notch).reshape(GRID.shape)).float()


SUBJECTS = tuple(f"ball{index}" for index in range(5))


class Found(NamedTuple):
    """Balls whose notches lie at five heights, and what was found of them."""

    distances: torch.Tensor
    template: torch.Tensor
    displacements: list[torch.Tensor]
    registration: GroupRegistration


def begun(path: Path, distances: torch.Tensor) -> RegistrationFolder:
    """A registration of one structure, its distances stored."""
    folder = RegistrationFolder(path)
    vertices = NODES[np.abs(distances[2].numpy().ravel()) < 4.0]
    contents = dict.fromkeys(SUBJECTS, "same")
    plan = Plan(structures=("ball",), grids=(Grid.of(GRID),), config=QUICK, subjects=contents)
    folder.begin(plan, [Basis.over(vertices, QUICK.scales)])
    for subject, each in zip(SUBJECTS, distances, strict=True):
        folder.write_fields(subject, each[None])
    return folder


@pytest.fixture(scope="module")
def balls() -> torch.Tensor:
    return torch.stack([notched(size, z) for size, z in ((36, -14), (40, -7), (38, 0), (42, 7), (36, 14))])


@pytest.fixture(scope="module")
def found(balls: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = begun(tmp_path_factory.mktemp("registration"), balls)
    registration = GroupRegistration(folder, SUBJECTS, LocalWorkers(1))
    assert list(registration.rounds()) == [1] * 5 + [2] * 5
    (grid,) = registration.displacements
    fields = [grid.field(folder.coefficients(subject, 2)[0], QUICK.spacing_mm) for subject in SUBJECTS]
    return Found(balls, folder.template(2)[0], fields, registration)


def test_every_shape_is_the_displaced_template(found: Found) -> None:
    first, last = found.registration.errors_mm(1), found.registration.errors_mm(2)
    assert first != last
    assert last[0] < 1.0
    box, moved_box = Grid.of(GRID).box, found.registration.displacements[0].box
    distances, points = found.distances, box.nodes(GRID.shape)
    for distance, displacement in zip(distances, found.displacements, strict=True):
        moved = points + moved_box.sample(displacement, points)
        value = box.distance(found.template, moved)
        near = distance.flatten().abs() < 4.0
        assert float((value - distance.flatten())[near].abs().mean()) < 1.2
    near = distances[0].flatten().abs() < 4.0
    assert float((found.template - distances[0]).flatten()[near].abs().mean()) > 1.3


def test_the_average_keeps_a_notch_that_a_mean_of_distances_loses(found: Found) -> None:
    distances = found.distances
    along = np.stack([np.linspace(0.0, 45.0, 46), np.zeros(46), np.zeros(46)], axis=1)

    def depth(field: torch.Tensor) -> float:
        mesh = surface_on_grid(field.numpy(), GRID).outward()
        return float((signed_distance(mesh, along) < 0).sum())

    single = np.mean([depth(each) for each in distances[2:3]])
    assert abs(depth(found.template) - single) < 3.0
    assert depth(distances.mean(dim=0)) > single + 4.0


def test_a_killed_registration_goes_on_to_the_same(found: Found, balls: torch.Tensor, tmp_path: Path) -> None:
    folder = begun(tmp_path, balls)
    stopped = GroupRegistration(folder, SUBJECTS, LocalWorkers(1)).rounds()
    for _ in range(7):  # two of the second round
        next(stopped)
    stopped.close()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("round-*")}
    assert len(times) == 7
    again = GroupRegistration(folder, SUBJECTS, LocalWorkers(2))
    assert len(list(again.rounds())) == 10
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert torch.equal(folder.template(2)[0], found.template)
    for subject in SUBJECTS:
        expected = found.registration.folder.coefficients(subject, 2)
        assert torch.equal(folder.coefficients(subject, 2), expected)


def test_another_cohort_or_other_settings_are_refused(found: Found) -> None:
    folder = found.registration.folder
    plan = folder.plan()
    with pytest.raises(InputError, match=r"a registration of another cohort \(ball3\)"):
        folder.check_same(plan.model_copy(update={"subjects": plan.subjects | {"ball3": "changed"}}))
    other = QUICK.model_copy(update={"rounds": 2})
    with pytest.raises(InputError, match="a registration of other settings"):
        folder.check_same(plan.model_copy(update={"config": other}))
    with pytest.raises(InputError, match="an atlas of other settings or structures"):
        RegistrationFolder(folder.path / "new").take_over(folder, plan.model_copy(update={"config": other}))


def test_an_earlier_average_takes_new_lungs(found: Found, balls: torch.Tensor, tmp_path: Path) -> None:
    """Lungs that are known keep what was found of them; the new one is registered to the average that is there."""
    earlier, folder = found.registration.folder, RegistrationFolder(tmp_path)
    plan = earlier.plan()
    folder.take_over(earlier, plan.model_copy(update={"subjects": plan.subjects | {"new": "same"}}))
    folder.write_fields("new", notched(39, 3)[None])
    registration = GroupRegistration(folder, (*SUBJECTS, "new"), LocalWorkers(1))
    assert list(registration.register_to(2, registration.subjects)) == [2] * 6
    assert torch.equal(folder.coefficients("ball1", 2), earlier.coefficients("ball1", 2))
    assert torch.equal(folder.template(2), earlier.template(2))
    assert float(folder.errors_mm("new", 2)) < 1.2


@pytest.mark.parametrize("true", [2, 6])
def test_as_many_components_as_held_out_shapes_ask_for(true: int) -> None:
    """Displacements of a known number of components, in noise."""
    rng = np.random.default_rng(true)
    points = rng.uniform(-100, 100, (60, 3))
    components = rng.standard_normal((true, 180)) * np.linspace(9.0, 6.0, true)[:, None]
    displaced = rng.standard_normal((80, true)) @ components + rng.standard_normal((80, 180))
    assert held_out_count(displaced, points, (WarpScale(2.0, 30.0, 10),), 20) == true

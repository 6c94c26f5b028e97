import importlib.util
import sys

import numpy as np
import pytest
import trimesh

from lpm.errors import InputError, MissingExtraError, NoSurfaceError
from lpm.evaluation.metrics import surface_scores
from lpm.evaluation.poisson import PoissonReconstruction, cut_at, gap_between, pieces_of
from lpm.geometry.meshes import WorldMesh, joined
from lpm.preparation.sampling import sample_surfaces

SIDES = ("left_lung", "right_lung")
needs_open3d = pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="open3d (extra benchmarks) absent")


def rng(seed=0):
    return np.random.default_rng(seed)


def ellipsoid(radius, center):
    made = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
    return WorldMesh(np.asarray(made.vertices) * (radius * np.array([0.8, 1.0, 1.3])) + center, np.asarray(made.faces))


def lungs(radius):
    """Two ellipsoids; the right one is larger, so that exchanged sides are seen."""
    return {"left_lung": ellipsoid(radius, (-45, 0, 0)), "right_lung": ellipsoid(radius + 4, (45, 0, 0))}


def assd(predicted, true):
    return surface_scores(predicted, true, 1500, rng=rng())[0].assd_mm


@needs_open3d
def test_poisson_with_known_sides_follows_dense_points():
    true = lungs(30.0)
    samples = sample_surfaces(true, 3000, rng=rng())
    by_side = {name: samples.points_mm[samples.structure == index] for index, name in enumerate(SIDES)}
    found = PoissonReconstruction(SIDES, depth=5).reconstruct_sides(by_side)
    assert assd(found, true) < 1.0


@needs_open3d
def test_poisson_with_unknown_sides_names_them_by_side():
    true = lungs(20.0)
    found = PoissonReconstruction(SIDES, depth=5).reconstruct(sample_surfaces(true, 3000, rng=rng()).points_mm)
    assert tuple(found) == SIDES
    assert found["left_lung"].vertices[:, 0].mean() < found["right_lung"].vertices[:, 0].mean()
    with pytest.raises(InputError, match="3 points; expected at least 10"):
        PoissonReconstruction(SIDES, depth=5).reconstruct(np.zeros((3, 3)))


@needs_open3d
def test_poisson_with_true_normals_is_better_and_needs_them():
    true = lungs(30.0)
    samples = sample_surfaces(true, 600, rng=rng())
    told = PoissonReconstruction(SIDES, depth=5, true_normals=True)
    alone = PoissonReconstruction(SIDES, depth=5)
    assert told.name != alone.name
    error = assd(told.reconstruct(samples.points_mm, samples.normals), true)
    assert error < 1.5
    assert error <= assd(alone.reconstruct(samples.points_mm), true) + 0.05
    with pytest.raises(InputError, match="no normals"):
        told.reconstruct(samples.points_mm)


def test_poisson_needs_two_structures():
    with pytest.raises(InputError, match="two, a left and a right one"):
        PoissonReconstruction(("lungs",))


def test_poisson_without_open3d_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(
        MissingExtraError, match=r"extra benchmarks.*pip install 'lungs-parametric-model\[benchmarks\]'"
    ):
        PoissonReconstruction(SIDES)


def test_pieces_are_those_that_share_no_vertex():
    pair = lungs(20.0)
    left, right = pair["left_lung"], pair["right_lung"]
    n = len(left.vertices)
    assert sorted(len(piece.vertices) for piece in pieces_of(joined(pair.values()))) == sorted([n, len(right.vertices)])
    assert len(pieces_of(left)) == 1


def test_gap_lies_between_two_groups_of_any_size():
    x = np.concatenate([rng().normal(-50, 5, 900), rng().normal(60, 5, 100)])
    assert -30 < gap_between(x) < 40
    assert gap_between(np.zeros(5)) == 0.0


def test_a_closed_mesh_is_cut_into_two_closed_ones():
    ball = ellipsoid(30.0, (0, 0, 0))
    smaller, larger = cut_at(ball, 0.0, 3.0)
    assert smaller.is_closed
    assert larger.is_closed
    assert smaller.vertices[:, 0].max() == pytest.approx(0.0, abs=0.1)
    assert smaller.volume_ml == pytest.approx(0.5 * ball.volume_ml, rel=0.05)
    assert larger.volume_ml == pytest.approx(smaller.volume_ml, rel=0.02)


def test_an_open_mesh_is_shared_out_and_a_one_sided_one_refused():
    ball = ellipsoid(30.0, (0, 0, 0))
    opened = WorldMesh(ball.vertices, ball.faces[1:])
    smaller, larger = cut_at(opened, 0.0, 3.0)
    assert len(smaller.faces) + len(larger.faces) == len(opened.faces)
    assert not smaller.is_closed
    with pytest.raises(NoSurfaceError, match=r"on one side of R = 100.0 mm"):
        cut_at(ball, 100.0, 3.0)

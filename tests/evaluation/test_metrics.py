import json

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lpm.errors import InputError
from lpm.evaluation.metrics import (
    MetricsConfig,
    dice,
    point_scores,
    sampling_floor,
    score,
    summarise,
    surface_scores,
    unit_per_mm,
    volume_scores,
)
from lpm.geometry.distances import signed_distance
from lpm.geometry.grids import VoxelGrid, grid_around, voxelise
from lpm.geometry.meshes import WorldMesh

FAST = MetricsConfig(n_points=1000, n_surface=2000, voxel_mm=4.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def sphere(radius, center=(0, 0, 0), subdivisions=4):
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return WorldMesh(np.asarray(made.vertices) + center, np.asarray(made.faces))


def box(size, center=(0, 0, 0)):
    made = trimesh.creation.box(extents=size)
    return WorldMesh(np.asarray(made.vertices) + center, np.asarray(made.faces))


def lungs(radius=30.0, shift=(0, 0, 0)):
    apart = np.array([50, 0, 0])
    return {"left_lung": sphere(radius, shift - apart, 3), "right_lung": sphere(radius + 5, shift + apart, 3)}


def opened(mesh):
    return WorldMesh(mesh.vertices, mesh.faces[1:])


# Points to triangles


def test_concentric_spheres_are_apart_by_the_difference_of_their_radii():
    pooled, each = surface_scores({"a": sphere(33)}, {"a": sphere(30)}, 5000, rng=rng())
    assert pooled.assd_mm == pytest.approx(3.0, abs=0.05)
    assert pooled.hd95_mm == pytest.approx(3.0, abs=0.1)
    assert pooled.hausdorff_mm == pytest.approx(3.0, abs=0.15)
    assert (pooled.within_1mm, pooled.within_2mm, pooled.within_5mm) == (0.0, 0.0, 1.0)
    assert pooled.normal_consistency == pytest.approx(1.0, abs=0.01)
    assert each["a"] == pooled


def test_shifted_sphere_has_the_known_mean_distance():
    # the distance from a sphere of radius r shifted by d is | |x + d| - r |, on average about d / 2
    pooled, _ = surface_scores({"a": sphere(50, (2, 0, 0))}, {"a": sphere(50)}, 20_000, rng=rng())
    assert pooled.assd_mm == pytest.approx(1.0, abs=0.05)
    assert pooled.hausdorff_mm == pytest.approx(2.0, abs=0.05)
    assert pooled.within_1mm == pytest.approx(0.5, abs=0.05)


def test_hd95_lies_between_mean_and_maximum():
    pooled, _ = surface_scores({"a": sphere(50, (4, 0, 0))}, {"a": sphere(50)}, 20_000, rng=rng())
    # |cos| is uniform on a sphere, so the 95th percentile is 0.95 d
    assert pooled.hd95_mm == pytest.approx(3.8, abs=0.1)


def test_an_inside_out_mesh_has_normal_consistency_minus_one():
    pooled, _ = surface_scores({"a": sphere(30).flipped()}, {"a": sphere(30)}, 1000, rng=rng())
    assert pooled.normal_consistency == pytest.approx(-1.0, abs=0.01)


def test_exchanged_sides_show_in_the_structures_and_not_in_the_pooled_number():
    true = lungs()
    exchanged = {"left_lung": true["right_lung"], "right_lung": true["left_lung"]}
    pooled, each = surface_scores(exchanged, true, 1000, rng=rng())
    assert pooled.assd_mm < 1e-6
    assert each["left_lung"].assd_mm > 30


def test_structures_are_matched_by_name_whatever_their_order():
    true = lungs()
    turned = dict(reversed(true.items()))
    _, each = surface_scores(turned, true, 1000, rng=rng())
    assert each["left_lung"].assd_mm < 1e-6


@settings(max_examples=5, deadline=None)
@given(st.floats(20, 60), st.tuples(*[st.floats(-20, 20)] * 3))
def test_a_shape_has_no_distance_to_itself_and_some_to_another(radius, center):
    mesh = {"a": sphere(radius, center, 2)}
    larger = {"a": sphere(radius + 1, center, 2)}
    assert surface_scores(mesh, mesh, 300, rng=rng())[0].hausdorff_mm < 1e-5
    assert surface_scores(mesh, larger, 300, rng=rng())[0].assd_mm > 0.5


@settings(max_examples=5, deadline=None)
@given(st.floats(20, 60), st.floats(0, 20))
def test_surface_distance_does_not_depend_on_which_is_predicted(radius, shift):
    a, b = {"a": sphere(40, (0, 0, 0), 2)}, {"a": sphere(radius, (shift, 0, 0), 2)}
    there, back = (surface_scores(*pair, 1000, rng=rng())[0].assd_mm for pair in ((a, b), (b, a)))
    assert there == pytest.approx(back, rel=0.1, abs=0.1)


# Points to points


def test_point_numbers_follow_the_equations_of_the_paper():
    # one point a side, on triangles so small that they are points, 3 mm apart along R
    dot = np.array([[0, 0, 0], [1e-6, 0, 0], [0, 1e-6, 0]])
    true = {"a": WorldMesh(dot, [[0, 1, 2]])}
    predicted = {"a": WorldMesh(dot + np.array([3, 0, 0]), [[0, 1, 2]])}
    far = point_scores(predicted, true, MetricsConfig(n_points=1, threshold_mm=2.9), rng=rng())
    near = point_scores(predicted, true, MetricsConfig(n_points=1, threshold_mm=3.1), rng=rng())
    assert (far.precision, far.recall, far.f_score) == (0, 0, 0)
    assert (near.precision, near.recall, near.f_score) == (1, 1, 1)
    assert near.chamfer_mm == pytest.approx(3.0, abs=1e-4)
    assert near.chamfer_squared_mm2 == pytest.approx(18.0, abs=1e-3)


def test_precision_and_recall_tell_too_much_from_too_little():
    both, one = lungs(), {"left_lung": lungs()["left_lung"]}
    config = MetricsConfig(n_points=2000, threshold_mm=8.0)
    too_much = point_scores(both, one, config, rng=rng())
    too_little = point_scores(one, both, config, rng=rng())
    assert too_much.recall > 0.99
    assert too_much.precision < 0.6
    assert too_little.precision > 0.99
    assert too_little.recall < 0.6
    p, r = too_much.precision, too_much.recall
    assert too_much.f_score == pytest.approx(2 * p * r / (p + r))


def test_the_unit_cube_holds_the_true_lungs():
    true = {"a": box((100, 50, 20), (7, 8, 9))}
    assert unit_per_mm(true) == pytest.approx(2 / 100)
    result = point_scores({"a": sphere(40)}, true, FAST, rng=rng())
    assert result.unit_chamfer == pytest.approx(result.chamfer_mm / 50)
    assert result.unit_chamfer_squared == pytest.approx(result.chamfer_squared_mm2 / 2500)
    assert result.unit_chamfer != result.chamfer_mm


def test_a_perfect_reconstruction_scores_the_floor_and_not_zero():
    true = lungs()
    result = score(true, true, FAST, rng=rng())
    floor = sampling_floor(true, FAST, rng=rng(5))
    assert result.assd_mm < 1e-6
    assert result.chamfer_mm == pytest.approx(floor.chamfer_mm, rel=0.1)
    assert result.floor.chamfer_mm == pytest.approx(floor.chamfer_mm, rel=0.1)
    assert result.chamfer_mm > 0.5
    worse = score(lungs(shift=(6, 0, 0)), true, FAST, rng=rng())
    assert worse.chamfer_mm > 1.2 * worse.floor.chamfer_mm


# Volumes


def test_voxels_of_a_sphere_are_those_inside_it():
    ball = sphere(20, (1.3, -2.1, 0.7))
    grid = grid_around([ball], 1.7)
    nodes = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    inside = signed_distance(ball, nodes * grid.spacing_mm + grid.origin_mm) < 0
    assert np.array_equal(voxelise(ball, grid).ravel(), inside)


def test_rays_through_edges_and_vertices_leak_nowhere():
    # every ray of this grid meets edges or vertices of the box
    grid = VoxelGrid(np.full(3, -3.0), 0.5, (13, 13, 13))
    mask = voxelise(box((2, 2, 2)), grid)
    assert 3**3 <= mask.sum() <= 5**3
    assert not mask[[0, -1]].any()
    assert not mask[:, :, [0, -1]].any()
    assert mask[5:8, 5:8, 5:8].all()


@settings(max_examples=5, deadline=None)
@given(st.tuples(*[st.floats(0, 1)] * 3), st.integers(0, 2**31))
def test_voxels_of_a_ragged_mesh_agree_with_its_signed_distance(shift, seed):
    ball = sphere(10, shift, 2)
    ragged = WorldMesh(ball.vertices * rng(seed).uniform(0.8, 1.2, (len(ball.vertices), 1)), ball.faces)
    grid = grid_around([ragged], 1.5)
    picked = rng(seed).integers(0, grid.shape, size=(300, 3))
    distance = signed_distance(ragged, picked * grid.spacing_mm + grid.origin_mm)
    clear = np.abs(distance) > 1e-9
    assert np.array_equal(voxelise(ragged, grid)[tuple(picked.T)][clear], distance[clear] < 0)


def test_overlapping_pieces_of_a_mesh_unite():
    a, b = box((10, 10, 10)), box((10, 10, 10), (5, 0, 0))
    both = WorldMesh(np.concatenate([a.vertices, b.vertices]), np.concatenate([a.faces, b.faces + len(a.vertices)]))
    grid = VoxelGrid(np.full(3, -7.5), 1.0, (21, 16, 16))
    assert voxelise(both, grid).sum() == 15 * 10 * 10


def test_voxelise_refuses_an_open_mesh():
    with pytest.raises(InputError, match=r"voxelise: an open mesh.*a closed one.*repair"):
        voxelise(opened(sphere(5)), VoxelGrid(np.zeros(3), 1.0, (4, 4, 4)))


def test_dice_of_shifted_boxes_is_known():
    pooled, each, overlap = volume_scores({"a": box((40, 40, 40), (10, 0, 0))}, {"a": box((40, 40, 40))}, 1.0)
    assert pooled.dice == pytest.approx(0.75, abs=0.01)
    assert each["a"].dice == pooled.dice
    assert overlap == 0.0


def test_dice_of_empty_masks_is_one_and_of_disjoint_masks_zero():
    empty, full = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    assert dice(empty, empty) == 1.0
    assert dice(empty, full) == 0.0


def test_overlap_of_two_predicted_boxes_is_known():
    true = {"left_lung": box((40, 40, 40), (-20.1, 0, 0)), "right_lung": box((40, 40, 40), (20.1, 0, 0))}
    predicted = {"left_lung": box((40, 40, 40), (-15, 0, 0)), "right_lung": box((40, 40, 40), (15, 0, 0))}
    assert volume_scores(predicted, true, 1.0)[2] == pytest.approx(10 * 40 * 40 / 1000, rel=0.1)
    assert volume_scores(true, true, 1.0)[2] == 0.0


def test_volume_error_comes_from_the_meshes():
    pooled, each, _ = volume_scores({"a": box((11, 10, 10))}, {"a": box((10, 10, 10))}, 1.0)
    assert pooled.volume_ml == pytest.approx(1.1)
    assert pooled.volume_error_ml == pytest.approx(0.1)
    assert pooled.volume_error_percent == pytest.approx(10.0)
    assert each["a"].volume_error_percent == pytest.approx(10.0)


def test_pieces_and_openings_are_counted():
    a, b = sphere(10, subdivisions=2), sphere(5, (40, 0, 0), 2)
    two = WorldMesh(np.concatenate([a.vertices, b.vertices]), np.concatenate([a.faces, b.faces + len(a.vertices)]))
    pooled, _, _ = volume_scores({"a": two}, {"a": a}, 1.0)
    assert (pooled.n_pieces, pooled.is_closed) == (2, True)
    pooled, _, overlap = volume_scores({"a": opened(a)}, {"a": a}, 1.0)
    assert (pooled.n_pieces, pooled.is_closed) == (1, False)
    assert (pooled.dice, pooled.volume_ml, pooled.volume_error_percent, overlap) == (None, None, None, None)


# Records


def test_scores_are_flat_json_and_repeatable():
    predicted, true = lungs(shift=(2, 1, 0)), lungs()
    one, again, other = (score(predicted, true, FAST, rng=rng(seed)) for seed in (0, 0, 1))
    flat = one.flat()
    assert json.loads(json.dumps(flat)) == flat
    assert {"assd_mm", "dice", "floor.f_score", "left_lung.assd_mm", "right_lung.n_pieces"} <= set(flat)
    assert one == again
    assert one != other
    assert one.n_pieces == 2


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ({}, r"prediction: nothing was predicted; expected a mesh for each of left_lung, right_lung.*failed"),
        ({"left_lung": sphere(5)}, r"prediction: no right_lung"),
        (lungs() | {"heart": sphere(5)}, r"prediction: heart has no true counterpart"),
        (
            lungs() | {"left_lung": WorldMesh(np.zeros((3, 3)), [[0, 1, 2]])},
            r"predicted left_lung: a mesh without area",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(predicted, message):
    with pytest.raises(InputError, match=message):
        score(predicted, lungs(), FAST, rng=rng())


def test_a_true_shape_must_be_there_and_closed():
    with pytest.raises(InputError, match=r"true shape: no structures"):
        score(lungs(), {}, FAST, rng=rng())
    with pytest.raises(InputError, match=r"true left_lung: an open mesh.*closed"):
        score(lungs(), lungs() | {"left_lung": opened(sphere(30))}, FAST, rng=rng())


def test_config_refuses_unknown_keys_and_negative_thresholds():
    with pytest.raises(ValidationError, match="threshold"):
        MetricsConfig(threshold=1.0)
    with pytest.raises(ValidationError, match="greater than 0"):
        MetricsConfig(threshold_mm=-1.0)


def test_summary_gives_mean_median_and_an_interval_that_holds_the_mean():
    true = lungs()
    scores = [score(lungs(shift=(d, 0, 0)), true, FAST, rng=rng(d)) for d in (0, 1, 2, 9)]
    summary = summarise(scores, rng=rng())
    assd = [record.assd_mm for record in scores]
    row = summary["assd_mm"]
    assert row["mean"] == pytest.approx(np.mean(assd))
    assert row["median"] == pytest.approx(np.median(assd))
    assert min(assd) <= row["low"] < row["mean"] < row["high"] <= max(assd)
    assert row["n"] == 4
    assert summarise(scores, rng=rng()) == summary
    assert summarise(scores, rng=rng(1)) != summary


def test_summary_counts_only_subjects_that_have_a_number():
    true = {"a": sphere(20, subdivisions=2)}
    scores = [score(mesh, true, FAST, rng=rng()) for mesh in (true, {"a": opened(true["a"])})]
    summary = summarise(scores, rng=rng())
    assert summary["dice"]["n"] == 1
    assert summary["is_closed"]["mean"] == 0.5
    assert "dice" not in summarise(scores[1:], rng=rng())


def test_summary_refuses_nothing_and_mixtures():
    with pytest.raises(InputError, match="no scores"):
        summarise([], rng=rng())
    single = {"a": sphere(20, subdivisions=2)}
    mixed = [score(lungs(), lungs(), FAST, rng=rng()), score(single, single, FAST, rng=rng())]
    with pytest.raises(InputError, match="scores of different structures"):
        summarise(mixed, rng=rng())

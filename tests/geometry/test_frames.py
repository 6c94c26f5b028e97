from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lpm.errors import FrameError, InputError
from lpm.geometry.frames import ModelPoints, WorldFromModel, WorldPoints, as_points

millimetres = st.floats(-2000, 2000)
scales = st.floats(1.0, 500.0)
points_mm = arrays(np.float64, st.tuples(st.integers(0, 20), st.just(3)), elements=millimetres)


@given(points_mm, arrays(np.float64, 3, elements=scales), arrays(np.float64, 3, elements=millimetres))
def test_inverse_undoes_apply(points: np.ndarray, scale: np.ndarray, center: np.ndarray) -> None:
    world_from_model = WorldFromModel(scale, center)
    there_and_back = world_from_model(world_from_model.inverse(WorldPoints(points)))
    np.testing.assert_allclose(there_and_back.xyz_mm, points, atol=1e-9)


@given(points_mm, arrays(np.float64, 3, elements=scales), arrays(np.float64, 3, elements=millimetres))
def test_order_along_each_axis_is_kept(points: np.ndarray, scale: np.ndarray, center: np.ndarray) -> None:
    moved = WorldFromModel(scale, center)(ModelPoints(points)).xyz_mm
    assert (np.diff(moved, axis=0) * np.diff(points, axis=0) >= -1e-9).all()


@given(scales)
def test_one_number_scales_all_axes(scale: float) -> None:
    world_from_model = WorldFromModel(scale, np.zeros(3))
    assert world_from_model.axis_scale_mm.tolist() == [scale] * 3
    assert world_from_model.scale_mm == pytest.approx(scale)


def test_known_point_and_not_another() -> None:
    world_from_model = WorldFromModel(np.array([100.0, 200.0, 300.0]), np.array([1.0, 2.0, 3.0]))
    moved = world_from_model(ModelPoints(np.array([[1.0, 0.5, -1.0]]))).xyz_mm
    np.testing.assert_array_equal(moved, [[101.0, 102.0, -297.0]])
    assert not np.allclose(moved, WorldFromModel(200.0, np.zeros(3))(ModelPoints(np.array([[1.0, 0.5, -1.0]]))).xyz_mm)


def test_plain_numbers_survive_json() -> None:
    numbers = WorldFromModel(180.0, np.array([1.0, 2.0, 3.0])).to_dict()
    assert numbers == {"axis_scale_mm": [180.0] * 3, "center_mm": [1.0, 2.0, 3.0], "rotation": np.eye(3).tolist()}


def test_a_rotation_turns_and_comes_back() -> None:
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    placed = WorldFromModel(np.array([10.0, 20.0, 30.0]), np.array([1.0, 2.0, 3.0]), quarter)
    there = placed(ModelPoints(np.array([[1.0, 0.0, 0.0]])))
    np.testing.assert_allclose(there.xyz_mm, [[1.0, 12.0, 3.0]], atol=1e-12)
    np.testing.assert_allclose(placed.inverse(there).xyz, [[1.0, 0.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("matrix", [np.diag([1.0, 1.0, -1.0]), 2.0 * np.eye(3), np.eye(2)])
def test_mirrors_and_stretches_are_no_rotation(matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected a proper rotation, not a mirror"):
        WorldFromModel(1.0, np.zeros(3), matrix)


def test_lengths() -> None:
    assert len(WorldPoints(np.zeros((4, 3)))) == 4
    assert len(ModelPoints(np.zeros((5, 3)))) == 5


def test_world_points_are_refused_as_model_points() -> None:
    with pytest.raises(FrameError, match=r"world_from_model: got WorldPoints; expected ModelPoints"):
        WorldFromModel(1.0, np.zeros(3))(WorldPoints(np.zeros((1, 3))))  # type: ignore[arg-type]


def test_model_points_are_refused_as_world_points() -> None:
    with pytest.raises(FrameError, match=r"model_from_world: got ModelPoints; expected WorldPoints"):
        WorldFromModel(1.0, np.zeros(3)).inverse(ModelPoints(np.zeros((1, 3))))  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [-100.0, 0.0, np.nan, [100.0, -100.0, 100.0]])
def test_mirrors_and_void_scales_are_refused(scale: object) -> None:
    with pytest.raises(InputError, match=r"axis scales .* expected positive.*mirrors are refused"):
        WorldFromModel(scale, np.zeros(3))  # type: ignore[arg-type]


@pytest.mark.parametrize("center", [[0.0, 0.0], [0.0, np.nan, 0.0], [[0.0, 0.0, 0.0]]])
def test_centers_that_are_not_three_numbers_are_refused(center: object) -> None:
    with pytest.raises(InputError, match=r"center .* expected three finite millimetres"):
        WorldFromModel(1.0, center)  # type: ignore[arg-type]


def test_text_is_not_points() -> None:
    with pytest.raises(InputError, match="cloud: not numbers"):
        as_points([["a", "b", "c"]], "cloud")


@pytest.mark.parametrize("shape", [(3,), (4, 2), (2, 3, 1)])
def test_other_shapes_are_not_points(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"points: shape .* expected \(n, 3\)"):
        as_points(np.zeros(shape))


XYZ = np.random.default_rng(0).normal(0.0, 80.0, (50, 3))
NORMALS = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("points", "hint"),
    [
        (XYZ.T, "points.T"),
        (np.c_[XYZ, np.ones(50)].T, "points[:3].T"),
        (np.c_[XYZ, np.ones(50)], "points[:, :3]"),
        (np.c_[XYZ, NORMALS], "points[:, :3]"),
        (np.c_[NORMALS, XYZ], "points[:, 3:6]"),
        (np.c_[np.arange(50), XYZ], "points[:, 1:4]"),
        (XYZ[None], "points.reshape(-1, 3)"),
        (XYZ.reshape(5, 10, 3), "points.reshape(-1, 3)"),
    ],
)
def test_the_hint_for_another_shape_gives_the_points(points: np.ndarray, hint: str) -> None:
    with pytest.raises(InputError, match=r"expected \(n, 3\)") as caught:
        as_points(points)
    assert caught.value.hint.startswith(hint)
    assert np.array_equal(eval(hint, {"points": points}), XYZ)  # noqa: S307


@pytest.mark.parametrize("shape", [(30,), (30, 2), (2, 30), (0, 5)])
def test_no_hint_where_coordinates_could_mix(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        as_points(np.ones(shape))
    assert caught.value.hint == ""


def test_too_few_points_are_counted() -> None:
    assert len(as_points(np.zeros((3, 3)), "cloud", at_least=3)) == 3
    with pytest.raises(InputError, match=r"cloud: 3 points; expected at least 4\. Try: give more"):
        as_points(np.zeros((3, 3)), "cloud", at_least=4)


def test_points_with_nan_are_counted() -> None:
    with pytest.raises(InputError, match="2 of 3 points are NaN or infinite"):
        as_points([[0, 0, np.nan], [np.inf, 0, 0], [0, 0, 0]])


def _as(kind: str, points: np.ndarray) -> Any:
    match kind:
        case "torch":
            return torch.from_numpy(points).requires_grad_()
        case "trimesh cloud":
            return trimesh.PointCloud(points)
        case "trimesh mesh":
            return trimesh.Trimesh(points, [[0, 1, 2]], process=False)
        case "pyvista":
            return pytest.importorskip("pyvista").PolyData(points)
        case "open3d":
            open3d = pytest.importorskip("open3d")
            return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    return points.tolist()


@pytest.mark.parametrize("kind", ["list", "torch", "trimesh cloud", "trimesh mesh", "pyvista", "open3d"])
def test_points_of_other_libraries_go_in_as_they_are(kind: str) -> None:
    points = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 10]])
    assert np.array_equal(as_points(_as(kind, points)), points)

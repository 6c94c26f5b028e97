from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import marching_cubes

from lpm.geometry.masks import pieces
from lpm.geometry.meshes import WorldMesh, joined
from lpm.geometry.sides import (
    LEFT,
    RIGHT,
    is_exchanged,
    left_share,
    lies_across,
    split_at_middle,
    split_mask,
    split_mesh,
)


def boxes(*spans: tuple[int, int]) -> np.ndarray:
    """A mask of boxes that each take a span along the first axis."""
    mask = np.zeros((20, 8, 8), dtype=bool)
    for first, last in spans:
        mask[first:last, 2:6, 2:6] = True
    return mask


def mesh_of(mask: np.ndarray) -> WorldMesh:
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5, allow_degenerate=False)
    return WorldMesh(vertices, faces).outward()


def test_the_piece_with_the_smaller_r_is_the_left_one() -> None:
    found = split_mask(boxes((12, 16), (2, 8)))
    assert found is not None
    assert np.flatnonzero((found == LEFT).any(axis=(1, 2))).tolist() == list(range(2, 8))
    assert np.flatnonzero((found == RIGHT).any(axis=(1, 2))).tolist() == list(range(12, 16))


@pytest.mark.parametrize("mask", [boxes(), boxes((2, 8)), boxes((2, 19))], ids=["none", "one", "across"])
def test_one_piece_is_not_both_lungs(mask: np.ndarray) -> None:
    assert split_mask(mask) is None


def test_a_crumb_is_no_second_lung() -> None:
    mask = boxes((2, 15))
    mask[18, 3, 3] = True
    assert split_mask(mask) is None
    assert split_mesh(mesh_of(mask)) is None


@pytest.mark.parametrize("n_crumbs", [0, 2])
def test_a_mesh_is_split_by_its_faces_and_not_by_coordinates(n_crumbs: int) -> None:
    """Every coordinate of the right box is one of the left box's as well."""
    mask = boxes((2, 8), (12, 16))
    mask[[0, 18][:n_crumbs], 0, 0] = True
    whole = mesh_of(mask)
    found = split_mesh(whole)
    assert found is not None
    left, right = mesh_of(boxes((2, 8))), mesh_of(boxes((12, 16)))
    assert list(found) == ["left_lung", "right_lung"]
    assert found["left_lung"].enclosed_volume == pytest.approx(left.enclosed_volume)
    assert found["right_lung"].enclosed_volume == pytest.approx(right.enclosed_volume)
    assert sum(len(part.faces) for part in whole.pieces()) == len(whole.faces)


def test_the_order_of_a_meshs_pieces_does_not_matter() -> None:
    left, right = mesh_of(boxes((2, 8))), mesh_of(boxes((12, 16)))
    for pair in ([left, right], [right, left]):
        found = split_mesh(joined(pair))
        assert found is not None
        np.testing.assert_allclose(found["left_lung"].centroid, left.centroid)


def test_pieces_lie_left_right_or_across() -> None:
    share = left_share(*pieces(boxes((0, 3), (5, 14), (16, 20))), middle=10.0)
    assert share.tolist() == pytest.approx([0.0, 1.0, 5 / 9, 0.0])
    assert lies_across(share).tolist() == [False, False, True, False]


def test_a_piece_across_the_middle_is_cut_there() -> None:
    found = split_at_middle(boxes((0, 3), (5, 14)), 10.0)
    assert np.flatnonzero((found == LEFT).any(axis=(1, 2))).tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
    assert np.flatnonzero((found == RIGHT).any(axis=(1, 2))).tolist() == [10, 11, 12, 13]
    little = split_at_middle(boxes((0, 11), (14, 20)), 10.0)
    assert np.flatnonzero((little == LEFT).any(axis=(1, 2))).tolist() == list(range(11)), "a tenth across is no cut"


@pytest.mark.parametrize(
    ("across", "expected"),
    [
        ({"left_lung": -60.0, "right_lung": 60.0}, False),
        ({"left_lung": 60.0, "right_lung": -60.0}, True),
        ({"left_lung": 60.0}, False),
    ],
)
def test_exchanged_sides_are_seen_where_both_are_there(across: dict[str, float], expected: bool) -> None:
    assert is_exchanged(across) == expected

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.geometry.meshes import WorldMesh, joined
from lpm.geometry.sections import outline, section_area_cm2, volume_below_ml


def ball(radius_mm: float, center_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> WorldMesh:
    sphere = trimesh.creation.icosphere(5, radius_mm)
    return WorldMesh(sphere.vertices + np.array(center_mm), sphere.faces)


def box(extents_mm: tuple[float, float, float]) -> WorldMesh:
    made = trimesh.creation.box(extents_mm)
    return WorldMesh(np.array(made.vertices), np.array(made.faces))


@pytest.mark.parametrize("level", [-30.0, 0.1, 20.0, 45.0])
def test_sections_of_a_ball(level: float) -> None:
    mesh = ball(50.0, (12.0, -7.0, 0.0))
    height = level + 50.0
    assert section_area_cm2(mesh, level) == pytest.approx(np.pi * (50.0**2 - level**2) / 100.0, rel=3e-3)
    assert volume_below_ml(mesh, level) == pytest.approx(np.pi * height**2 * (50.0 - height / 3.0) / 1000.0, rel=4e-3)


def test_sections_of_a_box_are_exact() -> None:
    mesh = box((20.0, 30.0, 40.0))
    assert section_area_cm2(mesh, 3.0) == pytest.approx(6.0)
    assert volume_below_ml(mesh, -10.0) == pytest.approx(6.0)
    outlined = outline(mesh, 3.0)
    assert np.linalg.norm(outlined[:, 1] - outlined[:, 0], axis=1).sum() == pytest.approx(100.0)


def test_beyond_the_mesh_there_is_nothing() -> None:
    mesh = box((20.0, 30.0, 40.0))
    assert section_area_cm2(mesh, 25.0) == 0.0
    assert volume_below_ml(mesh, -25.0) == 0.0
    assert volume_below_ml(mesh, 25.0) == pytest.approx(mesh.volume_ml)


def test_a_level_through_vertices_is_no_special_case() -> None:
    mesh = ball(50.0)
    level = float(mesh.vertices[np.argsort(mesh.vertices[:, 2])[len(mesh.vertices) // 3], 2])
    assert section_area_cm2(mesh, level) == pytest.approx(section_area_cm2(mesh, level + 1e-7), rel=1e-6)


def test_two_pieces_add_up_and_a_cavity_is_taken_away() -> None:
    apart = joined([ball(20.0, (-40.0, 0.0, 0.0)), ball(20.0, (40.0, 0.0, 0.0))])
    hollow = joined([ball(40.0), ball(20.0).flipped()])
    assert section_area_cm2(apart, 0.05) == pytest.approx(2.0 * np.pi * 4.0, rel=3e-3)
    assert section_area_cm2(hollow, 0.05) == pytest.approx(np.pi * 12.0, rel=3e-3)

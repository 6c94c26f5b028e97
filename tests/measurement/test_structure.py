from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.geometry.meshes import WorldMesh
from lpm.measurement.structure import measure_structure


def of(made: trimesh.Trimesh) -> WorldMesh:
    return WorldMesh(np.array(made.vertices), np.array(made.faces)).outward()


@pytest.fixture(scope="module")
def ball() -> dict[str, float]:
    return measure_structure(of(trimesh.creation.icosphere(6, 50.0)))


def test_sizes_of_a_ball(ball: dict[str, float]) -> None:
    assert ball["volume_ml"] == pytest.approx(4 / 3 * np.pi * 125.0, rel=1e-3)
    assert ball["area_cm2"] == pytest.approx(4 * np.pi * 25.0, rel=1e-3)
    assert [ball[name] for name in ("height_mm", "width_mm", "depth_mm")] == pytest.approx([100.0] * 3, abs=0.05)
    assert ball["sphericity"] == pytest.approx(1.0, abs=1e-3)


def test_levels_of_a_ball(ball: dict[str, float]) -> None:
    for percent in (10, 30, 50, 70, 90):
        level = 100.0 * percent / 100.0 - 50.0
        assert ball[f"section_{percent}_cm2"] == pytest.approx(np.pi * (2500.0 - level**2) / 100.0, rel=2e-3)
    third = np.pi * (100 / 3) ** 2 * (50.0 - 100 / 9) / 1000.0
    assert ball["lower_third_ml"] == pytest.approx(third, rel=2e-3)
    assert ball["upper_third_ml"] == pytest.approx(third, rel=2e-3)
    assert ball["middle_third_ml"] == pytest.approx(ball["volume_ml"] - 2 * third, rel=2e-3)


def test_apex_and_base_of_a_ball(ball: dict[str, float]) -> None:
    assert ball["apex_radius_mm"] == pytest.approx(50.0, abs=0.1)
    # what faces down within 60 degrees, seen from below: a circle of radius 50 sin 60
    assert ball["base_area_cm2"] == pytest.approx(np.pi * (5.0 * np.sin(np.pi / 3)) ** 2, rel=0.02)
    assert ball["base_tilt_deg"] == pytest.approx(0.0, abs=0.1)
    assert ball["notch_depth_mm"] < 0.1


def test_a_base_that_falls_to_the_back_is_tilted() -> None:
    box = trimesh.creation.box((80.0, 100.0, 200.0)).subdivide().subdivide()
    vertices = np.array(box.vertices)
    is_base = vertices[:, 2] == vertices[:, 2].min()
    vertices[is_base, 2] += 0.25 * vertices[is_base, 1]
    found = measure_structure(WorldMesh(vertices, np.array(box.faces)))
    assert found["base_tilt_deg"] == pytest.approx(np.degrees(np.arctan(0.25)), abs=0.01)
    assert found["base_area_cm2"] == pytest.approx(80.0, rel=1e-6)


def test_a_vault_under_the_base_is_its_dome() -> None:
    """A cylinder of radius 50 mm, vaulted from below by a paraboloid 40 mm high: heights are spread evenly by area."""
    found = measure_structure(_vaulted(radius=50.0, height=200.0, dome=40.0))
    assert found["dome_height_mm"] == pytest.approx(0.8 * 40.0, abs=1.0)
    assert found["base_area_cm2"] == pytest.approx(np.pi * 25.0, rel=0.01)
    assert found["volume_ml"] == pytest.approx(np.pi * 2.5 * (200.0 - 20.0), rel=3e-3)


def _vaulted(radius: float, height: float, dome: float) -> WorldMesh:
    profile = [(0.0, dome), *((r, dome * (1 - (r / radius) ** 2)) for r in np.linspace(0, radius, 40)[1:])]
    profile += [(radius, height), (0.0, height)]
    return of(trimesh.creation.revolve(np.array(profile), sections=120))


def test_a_groove_is_a_notch() -> None:
    """A box of 100 x 100 mm with a groove 30 mm deep all along its height."""
    outline = np.array([[0, 0], [100, 0], [100, 40], [70, 40], [70, 60], [100, 60], [100, 100], [0, 100]], dtype=float)
    outline = np.concatenate(
        [np.linspace(a, b, 20, endpoint=False) for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True)]
    )
    n = len(outline)
    rings = np.concatenate([np.c_[outline, np.full(n, z)] for z in (0.0, 200.0)])
    sides = [[(i, (i + 1) % n, n + i), ((i + 1) % n, n + (i + 1) % n, n + i)] for i in range(n)]
    faces = np.array([face for pair in sides for face in pair])
    found = measure_structure(_closed(rings, faces, outline))
    assert found["notch_depth_mm"] == pytest.approx(30.0, abs=0.5)


def _closed(rings: np.ndarray, sides: np.ndarray, outline: np.ndarray) -> WorldMesh:
    """Lids by fans about a point that sees all of the outline."""
    n, middle = len(outline), np.array([35.0, 50.0])
    vertices = np.concatenate([rings, [[*middle, 0.0], [*middle, 200.0]]])
    bottom = [(2 * n, (i + 1) % n, i) for i in range(n)]
    top = [(2 * n + 1, n + i, n + (i + 1) % n) for i in range(n)]
    return WorldMesh(vertices, np.concatenate([sides, bottom, top]))

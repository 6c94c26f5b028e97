from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpm.errors import FileError, InputError
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import Ellipsoid, to_mask
from lpm.geometry.surfaces import extract_surface
from lpm.measurement.table import AttributeTable
from lpm.reports.population_plots import plot_attributes, plot_many, write_animation


def lungs(radius_mm: float) -> dict[str, WorldMesh]:
    shapes = {"left_lung": (-60.0, 0.0, 0.0), "right_lung": (60.0, 0.0, 0.0)}
    radii = (30.0, 40.0, radius_mm)
    return {name: extract_surface(to_mask(Ellipsoid(place, radii), 6.0), 0.5) for name, place in shapes.items()}


def table(mean: float, n: int) -> AttributeTable:
    values = np.random.default_rng(0).normal(mean, 10.0, n).tolist()
    return AttributeTable.of({f"subject{i}": {"height_mm": value} for i, value in enumerate(values)})


def test_lungs_side_by_side(tmp_path: Path) -> None:
    pytest.importorskip("pyvista")
    plot_many([lungs(60.0)] * 6, tmp_path / "many.png")
    width, height = Image.open(tmp_path / "many.png").size
    assert width > 3 * height
    with pytest.raises(InputError, match="5 pairs of lungs; expected a multiple of 6"):
        plot_many([lungs(60.0)] * 5, tmp_path / "many.png")


def test_attributes_of_real_and_generated(tmp_path: Path) -> None:
    plot_attributes(table(250.0, 30), table(255.0, 300), ["height_mm"], tmp_path / "attributes.png")
    assert Image.open(tmp_path / "attributes.png").size[0] > 200
    with pytest.raises(InputError, match="no attribute"):
        plot_attributes(table(250.0, 30), table(255.0, 300), [], tmp_path / "attributes.png")


def test_a_motion_goes_there_and_back(tmp_path: Path) -> None:
    pytest.importorskip("pyvista")
    write_animation((lungs(radius) for radius in (50.0, 60.0, 70.0)), tmp_path / "motion.gif")
    with Image.open(tmp_path / "motion.gif") as motion:
        assert motion.n_frames == 4
    with pytest.raises(InputError, match="1 frames"):
        write_animation([lungs(50.0)], tmp_path / "motion.gif")
    with pytest.raises(FileError, match="unknown kind"):
        write_animation([lungs(50.0)] * 2, tmp_path / "motion.mp4")

"""The module's logic from a node to lungs in the scene, with the real `lpm` and a stand-in for Slicer."""

from __future__ import annotations

import importlib
import re
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial import cKDTree

pytest.importorskip("vtkmodules", reason="needs the extra 'pictures'")
from slicer_folder import MODULE
from slicer_stub import FLIP, Node, install
from vtkmodules.util.numpy_support import vtk_to_numpy

import lpm
from lpm.files.points import read_points
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import PhantomLungs, to_labels
from lpm.geometry.surfaces import extract_surface
from lpm.geometry.volumes import Volume
from lpm.motion.glb import sliding_glb
from lpm.motion.sliders import SliderOptions, average_field, sliding_lungs
from LPMLib.commands import FitOptions, Radiographs
from LPMLib.environment import SetupError
from LPMLib.morphs import read_morphs

LUNGS = PhantomLungs(center_mm=(15.0, -70.0, 240.0))  # far from the origin: a turned axis shows
LPM = [sys.executable, "-m", "lpm.apps.start"]
QUICK = FitOptions(spacing_mm=6.0, n_points=300, report=False)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Node]:
    monkeypatch.delitem(sys.modules, "LPM", raising=False)
    return install(monkeypatch, tmp_path)


@pytest.fixture
def module(scene: list[Node]) -> ModuleType:
    return importlib.import_module("LPM")


def image_of(volume: Volume) -> sitk.Image:
    """As Slicer holds and writes it: LPS directions."""
    image = sitk.GetImageFromArray(volume.voxels.transpose(2, 1, 0))
    matrix = np.diag([*FLIP, 1.0]) @ volume.world_from_voxel
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def finish(logic: object) -> None:
    while logic.is_busy:  # type: ignore[attr-defined]
        logic.poll()  # type: ignore[attr-defined]
        time.sleep(0.02)


def points_of(node: Node) -> np.ndarray:
    return vtk_to_numpy(node.GetPolyData().GetPoints().GetData()).astype(float)


def true_points(name: str) -> np.ndarray:
    labels = to_labels(LUNGS, 4.0)
    value = {"left_lung": 1, "right_lung": 2}[name]
    return extract_surface(labels.with_voxels((labels.voxels == value).astype(np.uint8)), 0.5).vertices


def assert_over_the_truth(nodes: list[Node]) -> None:
    for node, name in zip(nodes, ("left_lung", "right_lung"), strict=True):
        distance_mm, _ = cKDTree(points_of(node)).query(true_points(name))
        assert np.median(distance_mm) < 4.0  # two thirds of the lattice; a turned axis makes it 100


def test_a_scan_gets_lungs_over_it_a_table_and_colours(scene: list[Node], module: ModuleType) -> None:
    ct, _ = render_scan(PhantomScan(LUNGS, spacing_mm=(4.0, 4.0, 4.0)), rng=np.random.default_rng(0))
    said: list[str] = []
    logic = module.LPMLogic(said=said.append)
    logic.fit(LPM, Node("vtkMRMLScalarVolumeNode", "chest", image_of(ct)), QUICK)
    assert logic.is_busy
    with pytest.raises(RuntimeError, match="Another command runs"):
        logic.segment(LPM, Node("vtkMRMLScalarVolumeNode", "chest", image_of(ct)))
    finish(logic)
    left, right, table = scene
    assert (left.name, right.name, table.name) == ("chest left lung", "chest right lung", "chest measures")
    assert_over_the_truth([left, right])
    assert left.display.got["SetVisibility2D"] is True
    names, value, low, high, percentile = table.columns
    assert names.GetValue(0) == "total_volume_ml"
    assert low.GetValue(0) < value.GetValue(0) < high.GetValue(0)
    assert 0 <= percentile.GetValue(0) <= 100
    assert logic.has_sigma
    logic.show_sigma(True)
    sigma = vtk_to_numpy(left.data.GetPointData().GetArray("sigma_mm"))
    assert len(sigma) == len(points_of(left))
    assert 0.05 < sigma.min() <= sigma.max() < 20.0
    assert right.display.got["SetScalarVisibility"] is True
    logic.show_sigma(False)
    assert right.display.got["SetScalarVisibility"] is False
    assert any("finding the lungs" in line for line in said)


def test_sliders_move_lungs(scene: list[Node], module: ModuleType, tmp_path: Path) -> None:
    model = lpm.load().bundle
    lungs = sliding_lungs(average_field(model), SliderOptions(600, n_shapes=2, knobs=False))
    (tmp_path / "sliders.glb").write_bytes(sliding_glb(lungs))
    moving = read_morphs(tmp_path / "sliders.glb")
    assert [(each.name, each.low, each.rest, each.high) for each in moving.sliders][1] == (
        "shape 2, sd",
        -2.0,
        0.0,
        2.0,
    )
    logic = module.LPMLogic()
    logic.moving = moving
    logic._show_moving(moving)
    logic.move([0.0, -1.0])
    for node, (name, rest) in zip(scene, lungs.rest.items(), strict=True):
        assert node.GetPolyData().GetNumberOfPolys() == len(rest.faces)
        expected = rest.vertices + 0.5 * lungs.ends[2].moved_mm[name]
        np.testing.assert_allclose(points_of(node), expected, atol=1e-3)
    logic._show_moving(moving)
    assert len(scene) == 2
    (tmp_path / "x.glb").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"x\.glb is no \.glb"):
        read_morphs(tmp_path / "x.glb")


@pytest.mark.slow
def test_markups_get_lungs_where_they_lie(scene: list[Node], module: ModuleType) -> None:
    points = np.concatenate([true_points(name)[::30] for name in ("left_lung", "right_lung")])
    logic = module.LPMLogic()
    logic.fit(LPM, Node("vtkMRMLMarkupsFiducialNode", "points", points), QUICK)
    finish(logic)
    assert_over_the_truth(scene[:2])


def test_models_and_markups_are_written_so_that_lpm_finds_their_place(module: ModuleType, tmp_path: Path) -> None:
    truth = true_points("left_lung")
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkPolyData

    points, data = vtkPoints(), vtkPolyData()
    points.SetData(numpy_to_vtk(truth, deep=True))
    data.SetPoints(points)
    logic = module.LPMLogic()
    for node in (Node("vtkMRMLModelNode", "m", data), Node("vtkMRMLMarkupsFiducialNode", "f", truth)):
        path = logic._written(node, tmp_path)
        np.testing.assert_allclose(read_points(path).points_mm, truth, atol=1e-3)


def test_what_lpm_refuses_is_said_in_its_words(scene: list[Node], module: ModuleType) -> None:
    logic = module.LPMLogic()
    logic.fit(LPM, Node("vtkMRMLMarkupsFiducialNode", "three", np.eye(3)), QUICK)
    with pytest.raises(RuntimeError, match=r"3 .*; expected .*10"):
        finish(logic)
    assert not logic.is_busy
    assert scene == []


def test_a_run_is_stopped(module: ModuleType) -> None:
    logic = module.LPMLogic()
    logic._begin([[sys.executable, "-c", "import time; time.sleep(60)"], ["never"]], lambda: None)
    logic.stop()
    assert not logic.is_busy
    logic.poll()


def test_a_command_that_is_not_there_is_told(module: ModuleType, tmp_path: Path) -> None:
    logic = module.LPMLogic()
    assert logic.kept_command() == ""
    with pytest.raises(SetupError, match="press 'Set up'"):
        logic.command(str(tmp_path / "lpm"))
    assert logic.command(sys.executable) == [sys.executable]
    assert logic.kept_command() == sys.executable


def test_radiographs_need_a_picture(module: ModuleType) -> None:
    with pytest.raises(ValueError, match="Choose a frontal or a lateral radiograph"):
        module.LPMLogic().fit_xray(LPM, Radiographs(), QUICK)


def test_the_panel_has_every_part_that_the_module_asks_for() -> None:
    asked = set(re.findall(r"self\.ui\.(\w+)", (MODULE / "LPM.py").read_text(encoding="utf-8")))
    tree = ET.parse(MODULE / "Resources" / "UI" / "LPM.ui")  # noqa: S314 (our own file)
    there = {widget.get("name") for widget in tree.iter("widget")}
    acted_on = {name for name in there if name and not re.search(r"Label\d+$|Group$|^LPM$", name)}
    assert asked == acted_on


def test_everything_that_slicer_loads_is_in_its_build_file() -> None:
    listed = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    for path in MODULE.glob("LPMLib/*.py"):
        assert f"LPMLib/{path.name}" in listed

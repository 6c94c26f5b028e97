"""A stand-in for what the module uses of 3D Slicer: nodes over real VTK and ITK, files with Slicer's own rules.

Slicer keeps its scene in RAS mm, writes files in LPS, as their headers say, and reads a mesh without a mark as LPS.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkIOLegacy import vtkPolyDataWriter
from vtkmodules.vtkIOPLY import vtkPLYReader

FLIP = np.array([-1.0, -1.0, 1.0])


class Anything:
    """Takes every call, and remembers the last arguments of each."""

    def __init__(self) -> None:
        self.got: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*args: object, **_named: object) -> Anything:
            self.got[name] = args[0] if len(args) == 1 else args
            return self

        return call


class Node:
    """A node of the scene: a volume (SimpleITK image), markups ((n, 3) RAS) or a model (vtkPolyData, RAS)."""

    def __init__(self, kind: str, name: str, data: Any = None) -> None:
        self.kind, self.name, self.data = kind, name, data
        self.display, self.columns = Anything(), []

    def GetClassName(self) -> str:
        return self.kind

    def IsA(self, kind: str) -> bool:
        return kind == self.kind

    def GetName(self) -> str:
        return self.name

    def SetName(self, name: str) -> None:
        self.name = name

    def GetID(self) -> str:
        return self.name

    def GetDisplayNode(self) -> Anything:
        return self.display

    def GetPolyData(self) -> vtkPolyData:
        return self.data

    def AddPointScalars(self, array: Any) -> None:
        self.data.GetPointData().AddArray(array)

    def AddColumn(self, column: Any) -> None:
        self.columns.append(column)

    def SetAndObservePolyData(self, data: vtkPolyData) -> None:
        self.data = data

    def CreateDefaultDisplayNodes(self) -> None:
        pass

    def CreateClosedSurfaceRepresentation(self) -> None:
        pass


def export_node(node: Node, path: str, _properties: object = None, world: bool = False) -> bool:
    assert world
    match node.kind:
        case "vtkMRMLScalarVolumeNode":
            sitk.WriteImage(node.data, path)
        case "vtkMRMLMarkupsFiducialNode":
            points = [{"id": str(n), "position": xyz.tolist()} for n, xyz in enumerate(node.data * FLIP, start=1)]
            markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}
            Path(path).write_text(json.dumps({"@schema": "x/markups-schema-v1.0.3.json#", "markups": [markup]}))
        case "vtkMRMLModelNode":
            turned = vtkPolyData()
            turned.DeepCopy(node.data)
            points = vtk_to_numpy(turned.GetPoints().GetData()) * FLIP
            turned.GetPoints().SetData(numpy_to_vtk(points.astype(np.float32), deep=True))
            writer = vtkPolyDataWriter()
            writer.SetFileName(path)
            writer.SetHeader("3D Slicer output. SPACE=LPS")
            writer.SetFileTypeToBinary()
            writer.SetInputData(turned)
            writer.Write()
    return Path(path).is_file()


def load_model(path: str) -> Node:
    reader = vtkPLYReader()
    reader.SetFileName(path)
    reader.Update()
    comments = reader.GetComments()
    said = " ".join(comments.GetValue(n) for n in range(comments.GetNumberOfValues()))
    data = reader.GetOutput()
    if "SPACE=RAS" not in said:
        points = vtk_to_numpy(data.GetPoints().GetData()) * FLIP
        data.GetPoints().SetData(numpy_to_vtk(points, deep=True))
    return Node("vtkMRMLModelNode", Path(path).stem, data)


def install(monkeypatch: Any, folder: Path) -> list[Node]:
    """Put the stand-in where `import slicer` and `import qt` find it; returns the nodes that are added later."""
    added: list[Node] = []
    names = ("slicer", "qt", "ctk", "slicer.ScriptedLoadableModule")
    slicer, qt, ctk, base = (types.ModuleType(name) for name in names)

    class Base:
        def __init__(self, *_: object) -> None:
            pass

    for name in ("", "Widget", "Logic", "Test"):
        setattr(base, f"ScriptedLoadableModule{name}", type(f"ScriptedLoadableModule{name}", (Base,), {}))

    def loaded(node: Node) -> Node:
        added.append(node)
        return node

    def add(kind: str, name: str) -> Node:
        return loaded(Node(kind, name))

    settings: dict[str, str] = {}
    slicer.util = types.SimpleNamespace(
        startupEnvironment=lambda: dict(__import__("os").environ),
        exportNode=export_node,
        loadModel=lambda path: loaded(load_model(path)),
        loadSegmentation=lambda path, _properties: loaded(Node("vtkMRMLSegmentationNode", path)),
        setSliceViewerLayers=lambda **_: None,
        resetThreeDViews=lambda: None,
    )
    slicer.app = types.SimpleNamespace(
        temporaryPath=str(folder),
        slicerUserSettingsFilePath=str(folder / "Slicer.ini"),
        layoutManager=Anything,
        applicationLogic=Anything,
    )
    slicer.mrmlScene = types.SimpleNamespace(AddNewNodeByClass=add, RemoveNode=added.remove)
    slicer.vtkMRMLLayoutNode = types.SimpleNamespace(SlicerLayoutFourUpTableView=1)
    slicer.vtkMRMLDisplayNode = types.SimpleNamespace(UseManualScalarRange=0)
    qt.QSettings = lambda: types.SimpleNamespace(value=settings.get, setValue=settings.__setitem__)
    for name, module in zip(names, (slicer, qt, ctk, base), strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    return added

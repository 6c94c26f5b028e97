"""LPM in 3D Slicer: both lungs of a scan, a segmentation, markups or radiographs, laid over what they come from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import ctk
import numpy as np
import qt
import vtk
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

import slicer
from LPMLib import commands, environment, morphs, results
from LPMLib.running import Running

KINDS = {
    "vtkMRMLScalarVolumeNode": "volume",
    "vtkMRMLSegmentationNode": "segmentation",
    "vtkMRMLMarkupsFiducialNode": "markups",
    "vtkMRMLModelNode": "model",
}
_SETTING = "LPM/command"
_POLL_MS = 200
_SIGMA = "sigma_mm"


class LPM(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "LPM: lungs"
        parent.categories = ["Segmentation"]
        parent.contributors = ["The LPM authors"]
        parent.helpText = (
            "Both lungs, as closed surfaces in patient millimetres with intervals, from a chest CT, a segmentation "
            "(whole, cut off, or a few slices), markups on their surface, or chest radiographs. Not for clinical use."
        )
        parent.acknowledgementText = "MIT licence."


class LPMWidget(ScriptedLoadableModuleWidget):
    """The module's panel."""

    def setup(self) -> None:
        """Build the panel; Slicer calls it once."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/LPM.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = LPMLogic(said=self._say)
        self.sliders: list = []
        self.timer = qt.QTimer()
        self.timer.setInterval(_POLL_MS)
        self.timer.connect("timeout()", self._poll)
        self.ui.commandPath.currentPath = self.logic.kept_command()
        for button, action in (
            (self.ui.setupButton, self._set_up),
            (self.ui.segmentButton, self._segment),
            (self.ui.fitButton, self._fit),
            (self.ui.fitXrayButton, self._fit_xray),
            (self.ui.slidersButton, self._sliders),
            (self.ui.restButton, self._rest),
            (self.ui.stopButton, self._stop),
        ):
            button.connect("clicked(bool)", lambda _checked, act=action: self._try(act))
        self.ui.sigmaCheck.connect("toggled(bool)", lambda shown: self._try(lambda: self.logic.show_sigma(shown)))
        self.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: self._refresh())
        self._refresh()

    def cleanup(self) -> None:
        """Stop what runs; Slicer calls it when the module goes."""
        self.timer.stop()
        self.logic.stop()

    def _try(self, action: Callable[[], None]) -> None:
        with slicer.util.tryWithErrorDisplay("LPM cannot do this.", waitCursor=False):
            action()
        if self.logic.is_busy:
            self.timer.start()
        self._refresh()

    def _poll(self) -> None:
        with slicer.util.tryWithErrorDisplay("LPM could not finish.", waitCursor=False):
            self.logic.poll()
        if not self.logic.is_busy:
            self.timer.stop()
        self._refresh()

    def _refresh(self) -> None:
        node, busy = self.ui.inputSelector.currentNode(), self.logic.is_busy
        kind = None if node is None else KINDS.get(node.GetClassName())
        self.ui.segmentButton.enabled = not busy and kind == "volume"
        self.ui.fitButton.enabled = not busy and kind is not None
        self.ui.fitXrayButton.enabled = not busy
        self.ui.setupButton.enabled = not busy
        self.ui.stopButton.enabled = busy
        self.ui.sigmaCheck.enabled = self.logic.has_sigma
        self.ui.slidersButton.enabled = not busy
        self.ui.restButton.enabled = bool(self.sliders)

    def _say(self, line: str) -> None:
        self.ui.log.appendPlainText(line)

    @property
    def _options(self) -> commands.FitOptions:
        return commands.FitOptions(
            spacing_mm=self.ui.spacingBox.value,
            n_points=int(self.ui.pointsBox.value),
            complete=self.ui.completeCheck.checked,
            model=self.ui.modelEdit.text.strip(),
        )

    def _set_up(self) -> None:
        self.ui.commandPath.currentPath = self.logic.set_up(Path(__file__))

    def _command(self) -> list[str]:
        return self.logic.command(self.ui.commandPath.currentPath)

    def _segment(self) -> None:
        self.logic.segment(self._command(), self.ui.inputSelector.currentNode())

    def _fit(self) -> None:
        self.logic.fit(self._command(), self.ui.inputSelector.currentNode(), self._options)

    def _fit_xray(self) -> None:
        chosen = [path and Path(path) for path in (self.ui.frontalPath.currentPath, self.ui.lateralPath.currentPath)]
        pictures = commands.Radiographs(
            frontal=chosen[0] or None,
            lateral=chosen[1] or None,
            mm_per_px=self.ui.mmPerPxBox.value or None,
            ap=self.ui.apCheck.checked,
        )
        self.logic.fit_xray(self._command(), pictures, self._options)

    def _sliders(self) -> None:
        self.logic.make_sliders(self._command(), self._show_sliders, self.ui.modelEdit.text.strip())

    def _show_sliders(self, moving: morphs.Morphs) -> None:
        layout = self.ui.slidersPanel.layout()
        for slider in self.sliders:
            layout.removeRow(slider)
        self.sliders = []
        for each in moving.sliders:
            slider = ctk.ctkSliderWidget()
            slider.minimum, slider.maximum, slider.value = each.low, each.high, each.rest
            slider.singleStep = (each.high - each.low) / 100.0
            slider.connect("valueChanged(double)", lambda _value: self._slide())
            layout.addRow(each.name, slider)
            self.sliders.append(slider)

    def _slide(self) -> None:
        self.logic.move([slider.value for slider in self.sliders])

    def _rest(self) -> None:
        for slider, each in zip(self.sliders, self.logic.moving.sliders):
            slider.value = each.rest

    def _stop(self) -> None:
        self.logic.stop()


class LPMLogic(ScriptedLoadableModuleLogic):
    """From nodes to files, to `lpm`, and back into the scene.

    Args:
        said: Called with each line that `lpm` says.
    """

    def __init__(self, said: Callable[[str], None] | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._said = said or (lambda line: None)
        self._running: Running | None = None
        self._waiting: list[Sequence[str]] = []
        self._then: Callable[[], None] = lambda: None
        self._fit_folder: Path | None = None
        self._models: dict = {}
        self._moving_models: dict = {}
        self.moving: morphs.Morphs | None = None
        self._environment = environment.outside_slicer(slicer.util.startupEnvironment())

    @property
    def is_busy(self) -> bool:
        """Whether a command runs or waits."""
        return self._running is not None

    @property
    def has_sigma(self) -> bool:
        """Whether lungs are shown whose uncertainty is known."""
        return bool(self._models) and self._fit_folder is not None and results.is_sized(self._fit_folder)

    def kept_command(self) -> str:
        """The `lpm` of an earlier session, or that of the module's own environment; empty without one."""
        kept = str(qt.QSettings().value(_SETTING, "") or "")
        own = environment.script_of(self._venv())
        return kept or (str(own) if own.is_file() else "")

    def command(self, path: str) -> list[str]:
        """How `lpm` is called.

        Raises:
            environment.SetupError: It is not there.
        """
        if not path or not os.access(path, os.X_OK):
            raise environment.SetupError("lpm is not installed yet: press 'Set up', or name the lpm command.")
        qt.QSettings().setValue(_SETTING, path)
        return [path]

    def set_up(self, module: Path) -> str:
        """Begin to make the module's environment; returns the command that will be there."""
        venv, package = self._venv(), environment.package_beside(module)
        self._begin(environment.setup_commands(venv, package, self._environment), lambda: self._said("lpm is ready."))
        return str(environment.script_of(venv))

    def segment(self, lpm: list[str], volume) -> None:
        """Begin to find the lungs of a CT."""
        folder = self._folder()
        source, out = self._written(volume, folder), folder / "lungs.seg.nrrd"
        name = volume.GetName() + " lungs"

        def show() -> None:
            node = slicer.util.loadSegmentation(str(out), {"name": name})
            node.CreateClosedSurfaceRepresentation()
            slicer.util.setSliceViewerLayers(background=volume, fit=True)

        self._begin([commands.segment_command(lpm, source, out)], show)

    def fit(self, lpm: list[str], node, options: commands.FitOptions) -> None:
        """Begin to fit lungs to a node."""
        folder = self._folder()
        source, out = self._written(node, folder), folder / "fit"
        command = commands.fit_command(lpm, KINDS[node.GetClassName()], source, out, options)
        background = node if node.IsA("vtkMRMLScalarVolumeNode") else None
        self._begin_fit(lpm, command, out, node.GetName(), background)

    def fit_xray(self, lpm: list[str], pictures: commands.Radiographs, options: commands.FitOptions) -> None:
        """Begin to fit lungs to radiographs."""
        out = self._folder() / "fit"
        self._begin_fit(lpm, commands.fit_xray_command(lpm, pictures, out, options), out, "Radiographs", None)

    def _begin_fit(self, lpm: list[str], command: list[str], out: Path, name: str, background) -> None:
        def show() -> None:
            self._show_fit(out, name, background)
            if results.is_sized(out):
                table = out.parent / "measures.json"
                self._begin([commands.measure_command(lpm, out, table)], lambda: self._show_table(table, name))

        self._begin([command], show)

    def _show_fit(self, out: Path, name: str, background) -> None:
        self._fit_folder, self._models = out, {}
        for structure, path in results.meshes_of(out).items():
            node = slicer.util.loadModel(str(path))  # the file's header says RAS
            node.SetName(name + " " + structure.replace("_", " "))
            display = node.GetDisplayNode()
            display.SetColor(*results.COLORS.get(structure, results.OTHER_COLOR))
            display.SetVisibility2D(True)
            display.SetSliceIntersectionThickness(2)
            self._models[structure] = node
        if background is not None:
            slicer.util.setSliceViewerLayers(background=background, fit=True)
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
        slicer.util.resetThreeDViews()
        for note in results.notes_of(out):
            self._said("note: " + note)

    def show_sigma(self, shown: bool) -> None:
        """Colour the lungs by the standard deviation of their surface, or plainly."""
        nodes = list(self._models.values())
        if shown and self._fit_folder is not None:
            sigmas = [self._add_sigma(structure, node) for structure, node in self._models.items()]
            low, high = results.shown_range(sigmas)
            for node in nodes:
                display = node.GetDisplayNode()
                display.SetActiveScalar(_SIGMA, vtk.vtkAssignAttribute.POINT_DATA)
                display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeFileViridis.txt")
                display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
                display.SetScalarRange(low, high)
            self._said(f"colours: 0 to {high:.2g} mm standard deviation along the normal")
        for node in nodes:
            node.GetDisplayNode().SetScalarVisibility(shown)

    def make_sliders(self, lpm: list[str], ready: Callable[[morphs.Morphs], None], model: str = "") -> None:
        """Begin to make lungs that sliders move: those of the last fit, where its size is known, else the average ones.

        Args:
            lpm: How `lpm` is called.
            ready: Called with the sliders once the lungs are shown.
            model: As in `commands.export_command`.
        """
        out, fit = self._folder() / "sliders.glb", self._fit_folder if self.has_sigma else None

        def show() -> None:
            self.moving = morphs.read_morphs(out)
            self._show_moving(self.moving)
            ready(self.moving)

        self._begin([commands.export_command(lpm, fit, out, model)], show)

    def _show_moving(self, moving: morphs.Morphs) -> None:
        for node in self._moving_models.values():
            slicer.mrmlScene.RemoveNode(node)
        self._moving_models = {}
        for structure, surface in moving.surfaces.items():
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", structure.replace("_", " ") + ", sliders")
            node.SetAndObservePolyData(_poly_data(surface))
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetColor(*results.COLORS.get(structure, results.OTHER_COLOR))
            node.GetDisplayNode().SetVisibility2D(True)
            self._moving_models[structure] = node
        for node in self._models.values():
            node.GetDisplayNode().SetVisibility(False)
        slicer.util.resetThreeDViews()

    def move(self, values: Sequence[float]) -> None:
        """Move the lungs to a value of each slider."""
        if self.moving is None:
            return
        weights = self.moving.weights(values)
        for structure, node in self._moving_models.items():
            points = node.GetPolyData().GetPoints()
            points.SetData(numpy_to_vtk(self.moving.surfaces[structure].moved(weights), deep=True))
            points.Modified()
            node.GetPolyData().Modified()

    def _add_sigma(self, structure: str, node) -> np.ndarray:
        points = vtk_to_numpy(node.GetPolyData().GetPoints().GetData())
        sigma = results.sigma_at(self._fit_folder, structure, points)
        array = numpy_to_vtk(sigma, deep=True)
        array.SetName(_SIGMA)
        node.AddPointScalars(array)
        return sigma

    def _show_table(self, path: Path, name: str) -> None:
        rows = results.measures_of(path)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name + " measures")
        names = vtk.vtkStringArray()
        names.SetName("measure")
        for row in rows:
            names.InsertNextValue(row.name)
        node.AddColumn(names)
        for column in ("value", "low", "high", "percentile"):
            values = np.array([getattr(row, column) for row in rows], dtype=float)  # None becomes nan
            array = numpy_to_vtk(values, deep=True)
            array.SetName(column)
            node.AddColumn(array)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveTableID(node.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()

    def _begin(self, steps: list[Sequence[str]], then: Callable[[], None]) -> None:
        if self.is_busy:
            raise RuntimeError("Another command runs: wait, or stop it.")
        self._waiting, self._then = list(steps), then
        self._next()

    def _next(self) -> None:
        command = self._waiting.pop(0)
        self._said("> " + " ".join(command))
        self._running = Running(command, self._environment)

    def poll(self) -> None:
        """Pass lines on; at a command's end go on with the next, or with what comes of it.

        Raises:
            RuntimeError: The command failed, with what it said.
        """
        running = self._running
        if running is None:
            return
        code = running.exit_code
        if code is not None:
            running.wait()
            self._running = None
        for line in running.new_lines():
            self._said(line)
        if code:
            self._waiting = []
            raise RuntimeError(running.trouble)
        if code == 0 and self._waiting:
            self._next()
        elif code == 0:
            self._then()

    def stop(self) -> None:
        """Stop what runs; nothing half-made is left."""
        if self._running is not None:
            self._running.stop()
            self._running, self._waiting = None, []
            self._said("stopped")

    def _written(self, node, folder: Path) -> Path:
        """Write a node as it lies in the world, transforms included."""
        path = folder / ("input" + commands.SUFFIXES[KINDS[node.GetClassName()]])
        if not slicer.util.exportNode(node, str(path), {"useCompression": 0}, world=True):
            raise RuntimeError("Slicer could not write " + node.GetName())
        return path

    @staticmethod
    def _folder() -> Path:
        return Path(tempfile.mkdtemp(prefix="LPM-", dir=slicer.app.temporaryPath))

    @staticmethod
    def _venv() -> Path:
        return Path(slicer.app.slicerUserSettingsFilePath).parent / "LPM-venv"


def _poly_data(surface: morphs.Surface) -> vtk.vtkPolyData:
    points, faces, data = vtk.vtkPoints(), vtk.vtkCellArray(), vtk.vtkPolyData()
    points.SetData(numpy_to_vtk(surface.points_mm, deep=True))
    of_three = np.insert(surface.faces.astype(np.int64), 0, 3, axis=1)
    faces.ImportLegacyFormat(numpy_to_vtkIdTypeArray(of_three.ravel(), deep=True))
    data.SetPoints(points)
    data.SetPolys(faces)
    return data


class LPMTest(ScriptedLoadableModuleTest):
    """What Slicer's own test runner runs: a node's way to a file and back."""

    def runTest(self) -> None:  # noqa: N802 (Slicer calls it so)
        """Fit lungs to a sample of markups needs `lpm`; without it only the panel is built."""
        slicer.mrmlScene.Clear()
        logic = LPMLogic()
        command = logic.kept_command()
        if not command:
            self.delayDisplay("lpm is not set up: nothing else to test")
            return
        volume = slicer.util.addVolumeFromArray(np.full((8, 8, 8), -1000, dtype=np.int16), name="air")
        logic.fit([command], volume, commands.FitOptions())
        while logic.is_busy:
            try:
                logic.poll()
            except RuntimeError as error:
                self.assertIn("lung", str(error))
                self.delayDisplay("a scan without lungs is refused in words")
                return
        self.fail("a scan without lungs was fitted")

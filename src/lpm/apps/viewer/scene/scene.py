"""What stands in the page's 3D scene: lungs in millimetres, evidence, the patient's sides, a scale. One a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from lpm.apps.viewer.scene.glb import colored_glb
from lpm.apps.viewer.scene.scan_slices import ScanSlice
from lpm.apps.viewer.scene.shown_lungs import OTHER_COLOR, Meshes
from lpm.apps.viewer.scene.vertex_colours import VertexColours
from lpm.geometry.frames import Floats
from lpm.reports.scenes import rgb, structure_color

if TYPE_CHECKING:
    from viser import SceneApi

UNIT_MM = 100.0  # of the scene: its keys move the camera by two units a second
DISTANCE = 7.5  # of the camera from the scene's middle, at first
_POINT_COLOR, _INK = (25, 25, 25), (40, 40, 40)
_POINT_MM = 1.6
_FLOOR_MM, _SIDES_MM, _BAR_MM = -175.0, 195.0, 100.0
_NAMES_MM = -150.0
_SIDES = {"lungs": -0.5, "seen": -0.5, "other": 0.5}  # to the right of who looks, in distances of lungs from others
_GHOST = 0.35
_AMBIENT = 1.1


class Scene:
    """A client's scene. World millimetres come in; `center_mm` stands in the scene's middle.

    Args:
        scene: The client's own.
    """

    def __init__(self, scene: SceneApi) -> None:
        self._scene = scene
        self._parts: dict[str, Any] = {}
        self._names: dict[str, Any] = {}
        self._apart_mm = 0.0
        self._groups = {slot: scene.add_frame(f"/{slot}", show_axes=False) for slot in _SIDES}
        self.center_mm: Floats = np.zeros(3)
        self._furnish()

    def show(self, slot: str, meshes: Meshes, colours: VertexColours | None = None) -> None:
        """Show lungs; those shown in the same slot give way.

        Args:
            slot: ``lungs``, or ``other`` for what they are compared with.
            meshes: RAS mm.
            colours: Colours; default one a structure.
        """
        names = {f"/{slot}/{name}" for name in meshes}
        for gone in [name for name in self._parts if name.startswith(f"/{slot}/") and name not in names]:
            self.remove(gone)
        for index, (name, mesh) in enumerate(meshes.items()):
            path, places = f"/{slot}/{name}", self._scaled(mesh.vertices)
            if colours is None:
                color = rgb(structure_color(index)) if slot == "lungs" or self._apart_mm else OTHER_COLOR
                opacity = None if slot == "lungs" or self._apart_mm else _GHOST
                self._plain(path, places, mesh.faces.astype(np.uint32), color, opacity)
            else:
                self.remove(path)
                self._parts[path] = self._scene.add_glb(path, colored_glb(mesh, colours.colors(name), places))

    def _plain(self, path: str, places: Floats, faces: Any, color: tuple[int, ...], opacity: float | None) -> None:
        """New places for the triangles that are there, or a new surface."""
        shown, vertices = self._parts.get(path), places.astype(np.float32)
        same = hasattr(shown, "faces") and np.array_equal(shown.faces, faces) and shown.opacity == opacity  # type: ignore[union-attr]
        if shown is not None and same and shown.color == color:
            shown.vertices = vertices
            return
        self.remove(path)
        self._parts[path] = self._scene.add_mesh_simple(
            path, vertices, faces, color=np.array(color), opacity=opacity, cast_shadow=False, receive_shadow=False
        )

    def show_points(self, points_mm: Floats) -> None:
        """Show points that were seen."""
        colors = np.tile(np.array(_POINT_COLOR, dtype=np.uint8), (len(points_mm), 1))
        self._parts["/seen/points"] = self._scene.add_point_cloud(
            "/seen/points", self._scaled(points_mm).astype(np.float32), colors, point_size=_POINT_MM / UNIT_MM
        )

    def show_slice(self, cut: ScanSlice) -> None:
        """Show one slice of a scan where it lies."""
        width, height = (size / UNIT_MM for size in cut.size_mm)
        self._parts["/seen/slice"] = self._scene.add_image(
            "/seen/slice",
            cut.picture,
            width,
            height,
            format="png",
            wxyz=_quaternion(cut.axes),
            position=self._scaled(cut.center_mm[None])[0],
        )

    def remove(self, path: str) -> None:
        """Take a part away, if it is there."""
        part = self._parts.pop(path, None)
        if part is not None:
            part.remove()

    def clear_evidence(self) -> None:
        """Take points and slices away."""
        for path in ("/seen/points", "/seen/slice"):
            self.remove(path)

    def set_apart(self, apart_mm: float, names: tuple[str, str] = ("", "")) -> None:
        """Stand lungs, with their evidence, and others apart, each over its name; 0 for all in one place."""
        self._apart_mm = apart_mm
        for slot, name in zip(("lungs", "other"), names, strict=True):
            if (label := self._names.pop(slot, None)) is not None:
                label.remove()
            if apart_mm:
                place = (0.0, 0.0, _NAMES_MM / UNIT_MM)
                self._names[slot] = self._scene.add_label(f"/{slot}/name", name, position=place, anchor="top-center")

    def face(self, camera: Any) -> None:
        """Stand lungs beside others as a camera sees it, and turn both so that it sees them from one side.

        Args:
            camera: Camera of the client, with its position and orientation in the scene.
        """
        turn = Rotation.from_quat(np.roll(np.array(camera.wxyz), -1))
        line = -np.array(camera.position)
        for slot, share in _SIDES.items():
            step = turn.apply([share * self._apart_mm / UNIT_MM, 0.0, 0.0])
            group = self._groups[slot]
            group.position = step
            group.wxyz = np.roll(_turning(line, line + step).as_quat(), 1)

    def _scaled(self, places_mm: Floats) -> Floats:
        return np.asarray((places_mm - self.center_mm) / UNIT_MM)

    def _furnish(self) -> None:
        """Light, a floor of 10 mm squares, letters at the patient's sides, a bar of known length."""
        scene, floor = self._scene, _FLOOR_MM / UNIT_MM
        scene.configure_default_lights(enabled=True, cast_shadow=False)
        scene.configure_environment_map(None)  # with it a frame takes thrice as long where no graphics card draws
        scene.add_light_ambient("/light", intensity=_AMBIENT)
        size, cell, section, edge = (length / UNIT_MM for length in (400.0, 10.0, 100.0, _SIDES_MM))
        scene.add_grid(
            "/floor", size, size, cell_size=cell, section_size=section, shadow_opacity=0.0, position=(0.0, 0.0, floor)
        )
        for letter, x, y in (("R", edge, 0.0), ("L", -edge, 0.0), ("A", 0.0, edge), ("P", 0.0, -edge)):
            scene.add_label(f"/sides/{letter}", letter, position=(x, y, floor), anchor="center-center")
        bar = np.array([[[-2.0, 0.5, floor], [-2.0 + _BAR_MM / UNIT_MM, 0.5, floor]]])
        scene.add_line_segments("/scale/bar", bar, _INK, thickness=4.0, thickness_units="screen")
        scene.add_label("/scale/text", f"{_BAR_MM:.0f} mm", position=bar[0].mean(axis=0), anchor="top-center")


def _turning(before: Floats, after: Floats) -> Rotation:
    """The smallest rotation that takes one direction to another."""
    axis = np.cross(before, after)
    angle = np.arctan2(np.linalg.norm(axis), before @ after)
    return Rotation.from_rotvec(axis * angle / max(float(np.linalg.norm(axis)), 1e-12))


def _quaternion(axes: Floats) -> Floats:
    """(4,) w x y z of a rotation (3, 3); a left-handed one, of a scan stored so, is turned into the nearest."""
    x, y, z, w = Rotation.from_matrix(axes).as_quat()
    return np.array([w, x, y, z])

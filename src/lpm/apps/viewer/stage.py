"""What stands in the page's 3D scene: lungs in millimetres, the patient's sides, a scale. One stage a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lpm.evaluation.scenes import rgb, structure_color
from lpm.geometry.meshes import WorldMesh

if TYPE_CHECKING:
    import viser

UNIT_MM = 100.0  # of the scene: its keys move the camera by two units a second
_FLOOR_MM = -170.0
_SIDES_MM = {"R": (190.0, 0.0, 0.0), "L": (-190.0, 0.0, 0.0)}
_BAR_MM = 100.0


class Stage:
    """A client's scene.

    Args:
        scene: The client's own.
    """

    def __init__(self, scene: viser.SceneApi) -> None:
        self._scene = scene
        self._lungs: dict[str, Any] = {}
        self._furnish()

    def show(self, meshes: Mapping[str, WorldMesh]) -> None:
        """Show lungs, RAS mm; those shown before give way."""
        for index, (name, mesh) in enumerate(meshes.items()):
            vertices, faces = (mesh.vertices / UNIT_MM).astype(np.float32), mesh.faces.astype(np.uint32)
            shown = self._lungs.get(name)
            if shown is not None and np.array_equal(shown.faces, faces):
                shown.vertices = vertices
            else:
                color = np.array(rgb(structure_color(index)))
                self._lungs[name] = self._scene.add_mesh_simple(f"/lungs/{name}", vertices, faces, color=color)

    def _furnish(self) -> None:
        """Light, a floor of 10 mm squares, letters at the patient's sides, a bar of known length."""
        scene, floor = self._scene, _FLOOR_MM / UNIT_MM
        scene.configure_default_lights(enabled=True, cast_shadow=False)
        size, cell, section = (length / UNIT_MM for length in (400.0, 10.0, 100.0))
        scene.add_grid(
            "/floor", size, size, cell_size=cell, section_size=section, shadow_opacity=0.0, position=(0.0, 0.0, floor)
        )
        for letter, place in _SIDES_MM.items():
            scene.add_label(f"/sides/{letter}", letter, position=np.array(place) / UNIT_MM, anchor="center-center")
        start = np.array([-_BAR_MM / 2, 200.0, _FLOOR_MM]) / UNIT_MM
        end = start + np.array([_BAR_MM / UNIT_MM, 0.0, 0.0])
        scene.add_line_segments(
            "/scale/bar", np.array([[start, end]]), (40, 40, 40), thickness=4.0, thickness_units="screen"
        )
        scene.add_label("/scale/text", f"{_BAR_MM:.0f} mm", position=(start + end) / 2, anchor="top-center")

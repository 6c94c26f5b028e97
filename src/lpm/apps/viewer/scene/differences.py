"""Two lungs in correspondence: laid onto each other, and how far one reaches beyond the other."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from lpm.apps.viewer.scene.shown_lungs import Meshes, ShownLungs, centred_on
from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.thickness import vertex_normals

Laying = Literal["middle on middle", "where they lie", "turned onto"]


def laid(lungs: Meshes, others: Meshes, how: Laying) -> dict[str, WorldMesh]:
    """Other lungs, laid onto lungs.

    Args:
        lungs: RAS mm.
        others: RAS mm.
        how: As they are, with their boxes' middles at one place, or by the shift and rotation that bring the same
            places of both nearest to each other.

    Raises:
        InputError: They are to be turned, and are not in correspondence.
    """
    if how == "where they lie":
        return dict(others)
    if how == "middle on middle":
        return centred_on(lungs, others)
    shared = _shared(lungs, others)
    targets, places = (np.concatenate([meshes[name].vertices for name in shared]) for meshes in (lungs, others))
    middle = places.mean(axis=0)
    turn, _ = Rotation.align_vectors(targets - targets.mean(axis=0), places - middle)
    shift = targets.mean(axis=0)
    return {name: WorldMesh(turn.apply(mesh.vertices - middle) + shift, mesh.faces) for name, mesh in others.items()}


def differences_mm(lungs: Meshes, others: Meshes) -> dict[str, Floats]:
    """How far each place of lungs lies beyond the same place of others, along the others' outward normal.

    Args:
        lungs: RAS mm.
        others: With the same triangles, RAS mm.

    Returns:
        (v,) by structure, mm, negative where lungs fall short; NaN of a structure that only one of them has.

    Raises:
        InputError: They are not in correspondence.
    """
    found = {name: np.full(len(mesh.vertices), np.nan) for name, mesh in lungs.items()}
    for name in _shared(lungs, others):
        step = lungs[name].vertices - others[name].vertices
        found[name] = np.einsum("ij,ij->i", step, vertex_normals(others[name]))
    return found


def check_sized(*all_lungs: ShownLungs) -> None:
    """Refuse differences of lungs of unknown size.

    Raises:
        InputError: Some have no size.
    """
    for lungs in all_lungs:
        if not lungs.sized:
            given, hint = f"{lungs.name}, of unknown size", "give mm per px and fit again"
            raise InputError("difference", given, "lungs in mm", hint)


def _shared(lungs: Meshes, others: Meshes) -> list[str]:
    """Structures of both.

    Raises:
        InputError: There are none, or not with the same triangles.
    """
    shared = [name for name in lungs if name in others]
    if not shared or not all(np.array_equal(lungs[name].faces, others[name].faces) for name in shared):
        given, hint = "lungs whose places do not correspond", "colour by error, or fit with an atlas"
        raise InputError("difference", given, "two lungs of one atlas: fits, kept lungs, the mean", hint)
    return shared

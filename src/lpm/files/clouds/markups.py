"""Control points of 3D Slicer's markups (.mrk.json)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lpm.errors import FileError, InputError
from lpm.files.clouds.cloud import Cloud
from lpm.files.mesh_space import Space
from lpm.records import parse_json

_ON_SURFACES = ("fiducial", "pointlist", "curve", "closedcurve")
_SPACES: Mapping[str, Space] = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}
_MM = ("", "mm", "millimeter")


def read_markups(path: Path) -> Cloud:
    """Read the placed control points of all point lists and curves in a file, RAS.

    Args:
        path: Markups as 3D Slicer saves them, in LPS or RAS mm.

    Raises:
        ValueError: No JSON.
        FileError: JSON of something else.
        InputError: Another kind of markup, such as a plane; another space or unit.
    """
    content = parse_json(path, "utf-8-sig")
    markups = content.get("markups") if isinstance(content, dict) else None
    if not markups:
        raise FileError(str(path), "JSON without markups", "markups of 3D Slicer (.mrk.json)")
    placed = [each for markup in markups for each in _placed(path, markup)]
    n_left_out = sum(len(markup["controlPoints"]) for markup in markups) - len(placed)
    notes = (f"{n_left_out} control points without a position were left out",) if n_left_out else ()
    return Cloud(np.array(placed, dtype=np.float64).reshape(-1, 3), space="RAS", notes=notes)


def _placed(path: Path, markup: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """RAS mm of the control points that have been placed."""
    kind = str(markup.get("type", "Fiducial"))
    if kind.lower() not in _ON_SURFACES:
        raise InputError(str(path), f"a markup of type {kind}", "point lists or curves", "save these by themselves")
    name, unit = str(markup.get("coordinateSystem", "LPS")), markup.get("coordinateUnits") or ""
    unit = unit if isinstance(unit, str) else str(unit[0])
    if name not in _SPACES or unit not in _MM:
        raise InputError(str(path), f"coordinates in {name} {unit}", "LPS or RAS, mm", "save it in RAS or LPS")
    turn = np.array([-1.0, -1.0, 1.0]) if _SPACES[name] == "LPS" else 1.0
    for point in markup["controlPoints"]:
        position = point.get("position")
        if point.get("positionStatus", "defined") == "defined" and position is not None:
            yield np.asarray(position, dtype=np.float64) * turn

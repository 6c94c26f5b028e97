"""Which way a mesh file's axes run: the mark that 3D Slicer writes into its headers, and reads.

Without it Slicer takes a mesh for LPS; everything of ours says what it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lpm.geometry.frames import Floats

Space = Literal["RAS", "LPS"]
_MARK = re.compile(rb"SPACE=(RAS|LPS)")
_FIELD = re.compile(rb"\nSPACE 1 1 string\s+(RAS|LPS)")
_FLIP = np.array([-1.0, -1.0, 1.0])  # RAS to LPS and back
_STL_HEADER = 80  # bytes, by the format
_LINES = 200  # of a text file's start in which its comments are looked for


def in_space(points_mm: Floats, space: Space) -> Floats:
    """Take RAS points to a space, or from it: both are the same turn by 180 degrees."""
    return points_mm * _FLIP if space == "LPS" else points_mm


def marked(content: bytes, suffix: str, space: Space) -> bytes:
    """Mark a file's content, as far as its format has a place for it (.ply, .stl, .obj).

    Args:
        content: A binary .stl, or any .ply or .obj.
        suffix: Suffix of the file: .ply, .stl or .obj.
        space: That its coordinates are in.
    """
    mark = f"SPACE={space}".encode()
    match suffix:
        case ".ply":
            format_line = content.index(b"\n", content.index(b"format")) + 1
            return content[:format_line] + b"comment " + mark + b"\n" + content[format_line:]
        case ".stl":
            return b"lungs-parametric-model ".ljust(24) + mark.ljust(_STL_HEADER - 24) + content[_STL_HEADER:]
        case ".obj":
            return b"# " + mark + b"\n" + content
    return content


def space_of(path: Path) -> Space:
    """Read the mark of a .ply, .stl or .obj; a file without one is taken as RAS."""
    return mark_of(path) or "RAS"


def mark_of(path: Path) -> Space | None:
    """Read the mark of a .ply, .stl or .obj; None without one."""
    with path.open("rb") as file:
        if path.suffix.lower() == ".stl":
            head = file.readline(_STL_HEADER)
        else:
            head = b"".join(line for line in (file.readline(_STL_HEADER) for _ in range(_LINES)) if line[:1] in b"c#")
    return _marked(_MARK.search(head))


def space_of_vtk(content: bytes) -> Space | None:
    """Read the mark in the second line of a legacy .vtk, or in its field data; None without one."""
    return _marked(_MARK.search(content.split(b"\n", 2)[1]) or _FIELD.search(content))


def _marked(found: re.Match[bytes] | None) -> Space | None:
    if found is None:
        return None
    return "LPS" if found[1] == b"LPS" else "RAS"


def space_of_fields(data: Any) -> Space:
    """Read the mark of what pyvista read from a .vtp."""
    found = data.field_data.get("SPACE", ["RAS"])
    return "LPS" if str(found[0]) == "LPS" else "RAS"

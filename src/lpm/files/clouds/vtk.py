"""Legacy files of VTK (.vtk) with points or a surface, ASCII and binary, of versions to 5.1."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpm.errors import FileError
from lpm.files.clouds.cloud import Cloud
from lpm.files.mesh_space import Space, space_of_vtk
from lpm.geometry.frames import Floats

_DATA_SETS = ("POLYDATA", "UNSTRUCTURED_GRID")
_TYPES = {"float": ">f4", "double": ">f8", "int": ">i4", "vtktypeint64": ">i8", "long": ">i8", "short": ">i2"}
_TYPES["vtkidtype"] = ">i4"  # as VTK writes it, whatever its own size
_HEADER = re.compile(rb"# vtk DataFile Version (\d+)\S*\s*\n[^\n]*\n\s*(ASCII|BINARY)\s*\n\s*DATASET\s+(\w+)[^\n]*\n")
_WORD = re.compile(rb"\n\s*[A-Z_]{4,}")  # numbers end before it


def read_vtk_points(path: Path) -> Cloud:
    """Read the points of a data set; see `read_vtk_surface`."""
    file = _opened(path)
    return Cloud(file.points(), space=space_of_vtk(file.content))


def read_vtk_surface(path: Path) -> tuple[Floats, NDArray[np.int64], Space]:
    """Read points and polygons, cut into triangles.

    Returns:
        (v, 3) vertices, (f, 3) triangles, and the space of the vertices.

    Raises:
        FileError: Cut off, or another data set.
        ValueError: No VTK file.
    """
    file = _opened(path)
    faces = [face for cells in file.polygons() for face in cells]
    return file.points(), np.array(faces, dtype=np.int64).reshape(-1, 3), space_of_vtk(file.content) or "RAS"


@dataclass(frozen=True)
class _Legacy:
    """Content of a file."""

    path: Path
    content: bytes
    version: int
    is_binary: bool

    def points(self) -> Floats:
        """(n, 3) in the file's space."""
        found = self._sections("POINTS")
        n, kind, at = next(found, (b"0", b"float", 0))
        return np.asarray(self._values(at, 3 * int(n), kind)[0], dtype=np.float64).reshape(-1, 3)

    def polygons(self) -> Iterator[Iterator[tuple[int, int, int]]]:
        """Triangles of all polygons."""
        for n, size, at in self._sections("POLYGONS"):
            yield _fans(self._cells(int(n), int(size), at))
        for n, size, at in self._sections("TRIANGLE_STRIPS"):
            yield _strips(self._cells(int(n), int(size), at))

    def _sections(self, name: str) -> Iterator[tuple[bytes, bytes, int]]:
        """The two words behind a section's name, and where its numbers begin."""
        for match in re.finditer(rb"\n\s*%b\s+(\d+)\s+(\w+)[^\n]*\n" % name.encode(), self.content):
            yield match[1], match[2], match.end()

    def _cells(self, n: int, size: int, at: int) -> Iterator[list[int]]:
        if self.version < 5:
            values, _ = self._values(at, size, b"int")
            yield from _counted(values.tolist(), n)
            return
        kinds = re.compile(rb"\s*(?:OFFSETS|CONNECTIVITY)\s+(\w+)[^\n]*\n")
        arrays = []
        for count in (n, size):
            kind = kinds.match(self.content, at)
            if kind is None:
                raise ValueError("polygons without offsets")
            values, at = self._values(kind.end(), count, kind[1])
            arrays.append(values.tolist())
        offsets, corners = arrays
        yield from (corners[a:b] for a, b in itertools.pairwise(offsets))

    def _values(self, at: int, n: int, kind: bytes) -> tuple[NDArray[Any], int]:
        """Numbers of a section, and where they end."""
        dtype = np.dtype(_TYPES[kind.decode().lower()])
        if self.is_binary:
            end = at + n * dtype.itemsize
            self._check(len(self.content) - at, n * dtype.itemsize, "bytes")
            return np.frombuffer(self.content, dtype, n, at), end
        word = _WORD.search(self.content, max(at - 1, 0))
        end = word.start() if word else len(self.content)
        values = self.content[at:end].split()
        self._check(len(values), n, "numbers")
        return np.array(values[:n], dtype=dtype.newbyteorder("=")), end

    def _check(self, held: int, announced: int, what: str) -> None:
        if held < announced:
            raise FileError(str(self.path), f"{held} of {announced} {what}", "an intact file", "copy it again")


def _opened(path: Path) -> _Legacy:
    content = path.read_bytes()
    header = _HEADER.match(content)
    if header is None:
        raise ValueError("no header of a legacy VTK file")
    if header[3].decode() not in _DATA_SETS:
        expected, hint = f"one of {', '.join(_DATA_SETS)}", "save its points or its surface"
        raise FileError(str(path), f"a data set {header[3].decode()}", expected, hint)
    return _Legacy(path, content, int(header[1]), header[2] == b"BINARY")


def _counted(values: list[int], n: int) -> Iterator[list[int]]:
    """Corners of n polygons, each behind its number of corners."""
    at = 0
    for _ in range(n):
        count = values[at]
        yield values[at + 1 : at + 1 + count]
        at += 1 + count


def _fans(polygons: Iterator[list[int]]) -> Iterator[tuple[int, int, int]]:
    for corners in polygons:
        yield from ((corners[0], b, c) for b, c in itertools.pairwise(corners[1:]))


def _strips(strips: Iterator[list[int]]) -> Iterator[tuple[int, int, int]]:
    for corners in strips:
        for i, (a, b, c) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
            yield (b, a, c) if i % 2 else (a, b, c)

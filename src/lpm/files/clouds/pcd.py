"""Clouds of the Point Cloud Library (.pcd), ASCII and binary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lpm.errors import FileError
from lpm.files.clouds.cloud import Cloud
from lpm.geometry.frames import Floats

_HEADER = 8192  # bytes in which the header must end
_KINDS = {"F": "f", "I": "i", "U": "u"}
_UPRIGHT = ["0", "0", "0", "1", "0", "0", "0"]


def read_pcd(path: Path) -> Cloud:
    """Read x, y and z; points that the sensor did not see, which are NaN, are left out.

    Raises:
        FileError: Cut off, compressed, or without x, y and z.
        ValueError: No PCD.
    """
    content = path.read_bytes()
    header, start = _header(content)
    kind, n = header["DATA"][0], int(header["POINTS"][0])
    if not {"x", "y", "z"} <= set(header["FIELDS"]):
        raise FileError(str(path), f"fields {' '.join(header['FIELDS'])}", "x, y and z")
    match kind:
        case "ascii":
            points = _ascii(path, content[start:], header["FIELDS"], n)
        case "binary":
            points = _binary(path, content[start:], header, n)
        case _:
            hint = "pcl_convert_pcd_ascii_binary IN.pcd OUT.pcd 1, or save it as .ply"
            raise FileError(str(path), f"DATA {kind}", "ascii or binary", hint)
    seen = np.isfinite(points).all(axis=1)
    notes = [f"{n - seen.sum()} points that are NaN were left out"] if not seen.all() else []
    if header.get("VIEWPOINT", _UPRIGHT) != _UPRIGHT:
        notes.append("its viewpoint was not applied")
    return Cloud(points[seen], notes=tuple(notes))


def _header(content: bytes) -> tuple[Mapping[str, list[str]], int]:
    """Words of each line by its first, and where the points begin."""
    mark = content.find(b"\nDATA ", 0, _HEADER)
    end = content.find(b"\n", mark + 1)
    if mark < 0 or end < 0:
        raise ValueError("no header of a PCD file")
    lines = (line.split() for line in content[:end].decode("ascii").splitlines() if not line.startswith("#"))
    return {line[0]: line[1:] for line in lines if line}, end + 1


def _ascii(path: Path, content: bytes, fields: list[str], n: int) -> Floats:
    lines = content.decode("ascii").splitlines()[:n]
    if len(lines) < n:
        raise FileError(str(path), f"{len(lines)} of {n} points", "an intact file", "copy it again")
    columns = [fields.index(name) for name in "xyz"]
    return np.array([[float(line.split()[column]) for column in columns] for line in lines]).reshape(-1, 3)


def _binary(path: Path, content: bytes, header: Mapping[str, list[str]], n: int) -> Floats:
    counts = header.get("COUNT", ["1"] * len(header["FIELDS"]))
    sizes = zip(header["FIELDS"], header["TYPE"], header["SIZE"], counts, strict=True)
    dtype = np.dtype(
        [
            (
                name if name in "xyz" else f"{name} {i}",
                f"<{_KINDS[kind]}{size}",
                (int(count),) if int(count) > 1 else (),
            )
            for i, (name, kind, size, count) in enumerate(sizes)
        ]
    )
    if n * dtype.itemsize > len(content):
        raise FileError(str(path), f"{len(content)} of {n * dtype.itemsize} bytes", "an intact file", "copy it again")
    records = np.frombuffer(content, dtype, n)
    return np.stack([records[name].astype(np.float64) for name in "xyz"], axis=1)

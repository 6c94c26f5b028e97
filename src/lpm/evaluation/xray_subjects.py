"""Subjects of `lpm evaluate-xray`: true lungs, and radiographs placed in their world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lpm.errors import FileError, InputError
from lpm.files.volumes import read_volume
from lpm.geometry.meshes import WorldMesh
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.records import parse_json
from lpm.structures import DEFAULT_STRUCTURES
from lpm.xray.files.reading import read_xray
from lpm.xray.files.views import read_views
from lpm.xray.radiograph import Radiograph

Meshes = Mapping[str, WorldMesh]
Side = Literal["frontal", "lateral"]
Split = Literal["train", "test", "all"]
SIDES: tuple[Side, ...] = ("frontal", "lateral")


@dataclass(frozen=True)
class XraySubject:
    """True lungs, and radiographs placed in their world."""

    name: str
    lungs: Meshes
    radiographs: Mapping[Side, Radiograph]

    @property
    def volume_ml(self) -> float:
        """Of both lungs."""
        return volume_ml(self.lungs)


def subjects_of(folder: Path, split: Split) -> list[str]:
    """Names of the subjects of a split that have radiographs.

    Args:
        folder: With `split.json`, and for each subject a folder of `labels.nii.gz`, `frontal.png`, `lateral.png` and
            `views.json`, as `lpm xray` writes them.
        split: Split of `split.json`; without that file all subjects count as test.

    Raises:
        FileError: The folder or its `split.json` cannot be read.
        InputError: No subject of the split has radiographs.
    """
    if not folder.is_dir():
        raise FileError(str(folder), "no such folder", "a folder of subjects with radiographs")
    known = {path.parent.name for path in folder.glob("*/views.json")}
    named = _split(folder, known)
    chosen = sorted(name for name, part in named.items() if split in ("all", part) and name in known)
    if not chosen:
        given = f"{len(known)} subjects with radiographs, none of split {split!r}"
        raise InputError("evaluate-xray", given, "at least one", "`lpm xray CT --out SUBJECT` makes them; --split all")
    return chosen


def _split(folder: Path, known: set[str]) -> dict[str, str]:
    path = folder / "split.json"
    if not path.exists():
        return dict.fromkeys(known, "test")
    try:
        found = parse_json(path)
        return {str(name): part for part in ("train", "test") for name in found.get(part, [])}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        expected = '{"train": [names], "test": [names]}'
        raise FileError(str(path), f"no split ({error})", expected, "write it again") from error


def read_subject(folder: Path) -> XraySubject:
    """Read a subject's labels and radiographs.

    Raises:
        FileError: Missing or damaged files.
        InputError: A lung is missing, or the pictures have no views.
    """
    views = read_views(folder / "views.json")
    sides = [side for side in SIDES if side in views]
    if "frontal" not in sides:
        raise InputError(str(folder / "views.json"), f"views {', '.join(views)}", "frontal, and lateral")
    pictures: dict[Side, Radiograph] = {}
    for side in sides:
        pixels = read_xray(folder / f"{side}.png").pixels
        pictures[side] = Radiograph(pixels, side, view=views[side], name=f"{side}.png")
    return XraySubject(folder.name, true_lungs(folder), pictures)


def true_lungs(folder: Path) -> dict[str, WorldMesh]:
    """Meshes of a subject's `labels.nii.gz` (1 left, 2 right)."""
    labels = read_volume(folder / "labels.nii.gz")
    masks = clean_labels(labels, dict(DEFAULT_STRUCTURES), folder.name, need_all=True).masks
    return {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in masks.items()}


def volume_ml(meshes: Meshes) -> float:
    """Of all meshes together."""
    return sum(mesh.volume_ml for mesh in meshes.values())


def known_subjects(names: Sequence[str], of_model: Sequence[str], of_reader: Sequence[str]) -> str:
    """A warning where subjects to be scored are among those that were learned from; empty where none is."""
    parts = []
    for what, training in (("the model", of_model), ("the reader", of_reader)):
        n = len(set(names) & set(training))
        if n:
            parts.append(f"{what} was trained on {n} of the {len(names)} subjects")
    return f"{' and '.join(parts)}: they are not unseen" if parts else ""

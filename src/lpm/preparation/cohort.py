"""A cohort on disk: prepared subjects, the manifest that describes them, and the split."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lpm.calibration import number
from lpm.errors import FileError, InputError
from lpm.files.arrays import read_arrays
from lpm.files.atomic import inside, write_text
from lpm.files.meshes import read_mesh
from lpm.geometry.frames import WorldFromModel
from lpm.geometry.meshes import WorldMesh
from lpm.preparation.config import PreparationConfig
from lpm.preparation.gate import Verdict
from lpm.preparation.sampling import SdfSamples, StructureSurfaces
from lpm.records import PlainName, StrictModel, parse_json, read_json_model

COHORT_SCHEMA = 2  # of cohort.json: raised when older programs cannot read it
UNIT_BALL_MARGIN = number("preparation.unit_ball_margin")
Split = Literal["train", "test"]


class StructureQuality(StrictModel):
    """What preparation did to one structure of a case, and what to know before trusting it.

    Args:
        volume_ml: Enclosed by the mesh.
        mask_ml: Volume of the clean mask's voxels.
        removed_islands: Pieces that were taken away.
        removed_ml: Their volume.
        filled_ml: Volume of the holes that were filled.
        sigma_mm: Width of the adaptive Gaussian along each voxel axis.
        smoothing_change_percent: Volume gained or lost by the smoothing of the mesh alone.
        volume_change_percent: Volume gained or lost from mask to finished mesh.
        faces: Triangles of the mesh.
    """

    volume_ml: float
    mask_ml: float
    removed_islands: int
    removed_ml: float
    filled_ml: float
    cut_cm2: dict[str, float] = Field(description="area in the image's outermost slices: the lung goes on beyond")
    sigma_mm: tuple[float, ...]
    smoothing_change_percent: float
    volume_change_percent: float
    faces: int


class Quality(StrictModel):
    """`quality.json` of a subject.

    Args:
        subject: Name of the case.
        source: Name of the file or folder that it was made of.
        verdict: Verdict of the quality gate.
        flags: Findings of the quality gate, in words.
        center_mm: Centre of the enclosed volume, RAS mm.
        radius_mm: Distance from there to the farthest vertex.
        structures: Quality of each structure, by name.
    """

    subject: PlainName
    source: str
    digest: str = Field(description="of the input's bytes, the subject's name and every parameter")
    content: str = Field(description="of the clean label map: equal for duplicates")
    labels_from: str = Field(description="labels as given, or the segmenter")
    notes: tuple[str, ...] = Field(description="what had to be mended in the scan")
    verdict: Verdict
    flags: tuple[str, ...]
    center_mm: tuple[float, float, float]
    radius_mm: float
    structures: dict[PlainName, StructureQuality]


class Manifest(StrictModel):
    """`cohort.json`.

    Args:
        schema_version: Schema version of this file.
        structures: Names, in the order of every index.
        scale: One for all subjects, or one for each.
        scale_mm: Millimetres of a model unit.
        config: Config of the preparation.
        split: Split (train or test) by subject.
        split_source: A file's name, or the seed.
        failed: Reasons of failure, by case.
    """

    schema_version: int
    structures: tuple[PlainName, ...]
    scale: Literal["cohort", "subject"]
    scale_mm: float
    config: PreparationConfig
    split: dict[PlainName, Split]
    split_source: str
    subjects: dict[PlainName, Quality] = Field(description="all that were prepared; those in no split were rejected")
    attributes: dict[str, dict[str, str]] = Field(description="further columns of the table that named the cases")
    failed: dict[str, str]


class Cohort:
    """Prepared subjects in a folder.

    Args:
        folder: Folder that `lpm prepare` wrote.

    Raises:
        FileError: There is no manifest, or it is damaged.
        SchemaError: The manifest is of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_json_model(folder / "cohort.json", Manifest, COHORT_SCHEMA)

    @property
    def structures(self) -> tuple[str, ...]:
        """Structure names, in the order of every index."""
        return self.manifest.structures

    def subjects(self, split: Split | Literal["all"] = "all") -> list[str]:
        """Names of the subjects of a split, sorted."""
        return sorted(
            s for s, of in self.manifest.split.items() if split in ("all", of) and s in self.manifest.subjects
        )

    def world_from_model(self, subject: str) -> WorldFromModel:
        """The subject's own centre, and the cohort's (or the subject's) scale."""
        quality = self.manifest.subjects[subject]
        own = quality.radius_mm * UNIT_BALL_MARGIN
        scale = self.manifest.scale_mm if self.manifest.scale == "cohort" else own
        return WorldFromModel(np.full(3, scale), np.array(quality.center_mm))

    def path(self, subject: str, name: str) -> Path:
        """Path of one of a subject's files."""
        return inside(self.folder, "subjects", subject, name)

    def mesh(self, subject: str, structure: str) -> WorldMesh:
        """Read a structure's mesh."""
        return read_mesh(self.path(subject, f"{structure}.ply"))

    def meshes(self, subject: str) -> dict[str, WorldMesh]:
        """Read all meshes of a subject, by structure."""
        return {structure: self.mesh(subject, structure) for structure in self.structures}

    def surface(self, subject: str) -> StructureSurfaces:
        """Read the surface points."""
        data = read_arrays(self.path(subject, "surface.npz"), ("points_mm", "normals", "structure"))
        return StructureSurfaces(
            data["points_mm"].astype(np.float64), data["normals"].astype(np.float64), data["structure"]
        )

    def off_surface(self, subject: str) -> SdfSamples:
        """Read the off-surface points."""
        data = read_arrays(self.path(subject, "off_surface.npz"), ("points_mm", "signed_distance_mm"))
        return SdfSamples(data["points_mm"].astype(np.float64), data["signed_distance_mm"].astype(np.float64))


def split_at_random(subjects: list[str], seed: int, train_share: float = 0.75) -> dict[str, Split]:
    """Split subjects 75/25 (paper IV.A) by a seed; the order in which they are given does not matter."""
    ordered: NDArray[np.str_] = np.array(sorted(subjects))
    shuffled = np.random.default_rng(seed).permutation(ordered).tolist()
    n_train = max(round(train_share * len(shuffled)), 1)
    return {subject: "train" if index < n_train else "test" for index, subject in enumerate(shuffled)}


def read_split(path: Path, subjects: list[str]) -> dict[str, Split]:
    """Read ``{"train": [...], "test": [...]}`` and check that it places every subject once.

    Raises:
        FileError: Missing or not such a JSON.
        InputError: A subject is in no part or in both.
    """
    try:
        data = parse_json(path)
        train, test = set(data["train"]), set(data["test"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(str(path), f"not a split ({error})", '{"train": [names], "test": [names]}') from error
    if both := sorted(train & test):
        raise InputError(str(path), f"{both} in train and in test", "each subject once")
    if missing := sorted(set(subjects) - train - test):
        raise InputError(str(path), f"does not place {missing}", "every subject", "add them, or split by --seed")
    return {subject: "train" if subject in train else "test" for subject in subjects}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `cohort.json` whole or not at all."""
    write_text(folder / "cohort.json", manifest.model_dump_json(indent=1) + "\n")

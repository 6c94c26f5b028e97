"""Every reader of a file that a stranger may have made, by the kind of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lpm.apps.configuration import build_config
from lpm.apps.viewer.fits.upload import read_truth
from lpm.files.arrays import read_arrays
from lpm.files.meshes import read_mesh
from lpm.files.points import read_points
from lpm.files.scans import read_labels, read_scan, scan_files
from lpm.files.segments.nnunet import read_dataset_labels
from lpm.model.bundle import read_bundle
from lpm.preparation.cohort import Cohort, read_split
from lpm.preparation.config import PreparationConfig
from lpm.xray.bundle import read_xray_bundle
from lpm.xray.files.reading import read_field, read_xray
from lpm.xray.files.views import read_placed_views


def _volume(path: Path) -> None:
    scan_files(path)
    read_scan(path)


def _labels(path: Path) -> None:
    scan_files(path)
    read_labels(path)


def _mesh(path: Path) -> None:
    read_mesh(path)
    read_truth(path)


def _bundle(path: Path) -> None:
    read_bundle(path.parent)


def _cohort(path: Path) -> None:
    cohort = Cohort(path.parent)
    for subject in cohort.subjects("all"):
        cohort.path(subject, "labels.nii.gz")


READERS: dict[str, Callable[[Path], object]] = {
    "volume": _volume,
    "labels": _labels,
    "points": read_points,
    "mesh": _mesh,
    "arrays": lambda path: read_arrays(path, ("points_mm", "normals", "structure")),
    "bundle": _bundle,
    "reader": lambda path: read_xray_bundle(path.parent),
    "dataset": read_dataset_labels,
    "cohort": _cohort,
    "split": lambda path: read_split(path, ["a", "b"]),
    "views": read_placed_views,
    "radiograph": read_xray,
    "field": read_field,
    "config": lambda path: build_config(PreparationConfig, path),
}

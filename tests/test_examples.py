"""The examples run, and what they make is right."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from lpm.files.meshes import read_mesh
from lpm.files.volumes import read_volume
from lpm.geometry.volumes import Volume

KIDNEYS = Path(__file__).resolve().parents[1] / "examples" / "kidneys.py"


def dice(found: Volume, true: Volume, value: int) -> float:
    a, b = found.voxels == value, true.voxels == value
    return float(2.0 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.slow
def test_another_organ_goes_all_the_way(tmp_path: Path) -> None:
    """Kidneys: nothing says lung where it should say structure, and unseen ones are found with their poles."""
    spec = importlib.util.spec_from_file_location("kidneys", KIDNEYS)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(tmp_path, n=6, voxel_mm=3.0)
    said = json.loads((tmp_path / "fit" / "fit.json").read_text())
    assert set(said["volume_ml"]) == {"left_kidney", "right_kidney"}
    assert not [note for note in said["notes"] if "unlike" in note or "mirrored" in note]
    for name in said["volume_ml"]:
        assert read_mesh(tmp_path / "fit" / f"{name}.ply").is_closed
    subject = next(iter((tmp_path / "fit-mask").glob("parts.nii.gz")))
    found = read_volume(subject)
    test = [path for path in sorted((tmp_path / "labels").iterdir()) if _shape_fits(path, found)]
    best = max(np.mean([dice(found, read_volume(path), value) for value in (1, 2, 3, 4)]) for path in test)
    assert best > 0.93
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())["methods"]
    assert summary["LPM"]["assd_mm"]["mean"] < 1.0
    assert summary["LPM"]["assd_mm"]["mean"] < 0.5 * summary["mean shape"]["assd_mm"]["mean"]


def _shape_fits(path: Path, found: Volume) -> bool:
    return read_volume(path).voxels.shape == found.voxels.shape

"""Small inputs of every verb, made by the package itself: phantoms, their scans, a cohort, models, fits."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from runs import lpm

from lpm.files.points import write_points
from lpm.files.volumes import write_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.geometry.volumes import Volume
from lpm.lung_model import BUNDLED

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dicom_writing import write_scan

_SUBJECTS = 4
_PATIENTS = 3  # the fewest that a breath is learned from
_QUICK = "[sampling]\nn_surface = 2000\nn_off_surface = 2000\n"
_TINY = """[decoder]
latent_size = 8
width = 32
layers = 4
skip_at = 2
output = "linear"
frequencies = 2
[augmentation]
copies = 1
faces = 2000
[training]
epochs = 40
checkpoint_every = 2
shapes_per_step = 4
surface_points = 128
off_surface_points = 128
"""
_SMALL_ATLAS = """spacing_mm = 12.0
margin_mm = 24.0
[registration]
rounds = 1
"""


def make_world(folder: Path, *, fits: bool = True) -> Path:
    """Write the inputs of all drills; those that an earlier run wrote are kept.

    Args:
        folder: New, or written before.
        fits: Whether those that are fits, cohorts and models are written, too.
    """
    if (folder / "whole").exists():
        return folder
    for index in range(_SUBJECTS):
        lungs, rng = random_lungs(rng=np.random.default_rng(index)), np.random.default_rng(index)
        write_volume(folder / "masks" / f"case{index}.nii.gz", to_labels(lungs, 6.0))
        if index < 2:
            write_volume(folder / "pair" / f"case{index}.nii.gz", to_labels(lungs, 6.0))
            ct, _ = render_scan(PhantomScan(lungs, spacing_mm=(5.0, 5.0, 5.0)), rng=rng)
            write_volume(folder / "scans" / f"case{index}.nii.gz", ct)
        if index == 0:
            write_scan(folder / "dicom", ct, rng=rng)
    _write_breaths(folder)
    _write_parts(folder / "parts.nii.gz")
    (folder / "quick.toml").write_text(_QUICK)
    (folder / "tiny.toml").write_text(_TINY)
    (folder / "atlas.toml").write_text(_SMALL_ATLAS)
    if not fits:
        return folder
    shutil.copytree(BUNDLED, folder / "atlas", dirs_exist_ok=True)
    made = {
        "cohort": "prepare masks --out cohort --config quick.toml --jobs 1",
        "model": "train cohort --preset lite --config tiny.toml --jobs 1 --out model",
        "radiographs": "xray scans/case0.nii.gz --out radiographs --mm-per-px 3",
        "expiration": "fit mask masks/case1.nii.gz --out expiration --points 300 --spacing-mm 8 --no-report",
        "inspiration": "fit mask masks/case0.nii.gz --out inspiration --points 300 --spacing-mm 8 --no-report",
        "breaths": "fit mask states --out breaths --points 300 --spacing-mm 8 --no-report --jobs 1",
    }
    for name, command in made.items():
        if not (folder / name).exists():
            lpm(command.split(), folder).check_returncode()
    _write_points(folder)
    (folder / "whole").touch()
    return folder


def _write_breaths(folder: Path) -> None:
    """Patients in both states: masks, the table of a study, and which fit is of which state."""
    subjects, pairs = ["case,state,age"], ["expiration,inspiration"]
    for patient in range(_PATIENTS):
        full = random_lungs(rng=np.random.default_rng(100 + patient))
        for state, share in (("expiration", 0.85), ("inspiration", 1.0)):
            lungs = replace(full, height_mm=share * full.height_mm)
            write_volume(folder / "states" / f"p{patient}_{state}.nii.gz", to_labels(lungs, 6.0))
            subjects.append(f"p{patient}_{state},{state},{50 + 7 * patient}")
        pairs.append(f"breaths/p{patient}_expiration,breaths/p{patient}_inspiration")
    (folder / "subjects.csv").write_text("\n".join(subjects) + "\n")
    (folder / "breaths.csv").write_text("\n".join(pairs) + "\n")


def _write_parts(path: Path) -> None:
    """Each lung in two parts, 1 and 3, 2 and 4."""
    labels = to_labels(random_lungs(rng=np.random.default_rng(0)), 6.0)
    voxels = labels.voxels.copy()
    upper = np.arange(voxels.shape[2]) > voxels.shape[2] // 2
    voxels[(voxels > 0) & upper] += 2
    write_volume(path, Volume(voxels, labels.world_from_voxel))


def _write_points(folder: Path) -> None:
    from lpm.files.meshes import read_mesh

    (folder / "clouds").mkdir(exist_ok=True)
    for name, number in (("inspiration", 0), ("expiration", 1)):
        vertices = [read_mesh(path).vertices[::10] for path in sorted((folder / name).glob("*.ply"))]
        write_points(folder / "clouds" / f"case{number}.csv", np.concatenate(vertices))
    inner = read_mesh(folder / "expiration" / "left_lung.ply").vertices[::100]
    write_points(folder / "landmarks.csv", inner)
    (folder / "split.json").write_text(json.dumps({"train": ["case0", "case1", "case2"], "test": ["case3"]}))

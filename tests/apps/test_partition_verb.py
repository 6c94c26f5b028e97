from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lpm.apps.cli import run
from lpm.files.meshes import read_mesh
from lpm.files.volumes import read_volume, write_volume
from lpm.model.bundle import ModelBundle, read_bundle, write_bundle
from lpm.preparation.cohort import Cohort

LABELS = ("--labels", "left_lung=1+2,right_lung=3+4")
PARTS = ("--parts", "left_top=1,left_bottom=2,right_top=3,right_bottom=4")


@pytest.fixture(scope="module")
def given(tiny_atlas: ModelBundle, tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and two subjects' lungs, each cut in two by a level plane."""
    folder, cohort = tmp_path_factory.mktemp("parts"), Cohort(tiny_cohort)
    write_bundle(folder / "model", tiny_atlas)
    for subject in cohort.subjects("train")[:2]:
        labels = read_volume(cohort.path(subject, "labels.nii.gz"))
        at = np.argwhere(labels.voxels > 0)
        is_high = labels.to_world(at)[:, 2] > labels.to_world(at)[:, 2].mean()
        found = np.zeros_like(labels.voxels)
        found[tuple(at.T)] = 2 * labels.voxels[tuple(at.T)] - is_high
        write_volume(folder / subject / "parts.nii.gz", labels.with_voxels(found))
    return folder


@pytest.mark.slow
def test_a_model_learns_parts_and_a_fit_writes_them(given: Path, tmp_path: Path) -> None:
    files = sorted(map(str, given.glob("*/parts.nii.gz")))
    out, model = tmp_path / "fit", tmp_path / "with-parts"
    known = ("--points", "800", "--model", str(given / "model"))
    assert run(["partition", *files, *LABELS, *PARTS, *known, "--out", str(model)]) == 0
    assert read_bundle(model).manifest.parts_from == tuple(Path(file).parent.name for file in files)
    how = ("--points", "500", "--spacing-mm", "6", "--no-report", "--model", str(model), "--parts", "--out", str(out))
    assert run(["fit", "mask", files[0], *LABELS, *how]) == 0
    volumes = json.loads((out / "fit.json").read_text())["part_volume_ml"]
    assert list(volumes) == ["left_top", "left_bottom", "right_top", "right_bottom"]
    for name, volume in volumes.items():
        assert read_mesh(out / f"{name}.ply").volume_ml == pytest.approx(volume, rel=1e-3)
    found, true = read_volume(out / "parts.nii.gz"), read_volume(Path(files[0]))
    assert (found.voxels == true.voxels)[true.voxels > 0].mean() > 0.9


def test_misuse_is_refused(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(next(given.glob("*/parts.nii.gz")))
    model, new = ("--model", str(given / "model")), ("--out", str(tmp_path / "new"))
    wrong = ("--parts", "left_top=1,left_bottom=2,right_top=3")
    assert run(["partition", file, *LABELS, *wrong, *model, *new]) == 2
    assert "--parts: the parts of right_lung are two or more" in capsys.readouterr().err
    assert run(["partition", file, *LABELS, *PARTS, *model, "--out", str(given / "model")]) == 1
    assert "is an input of this run" in capsys.readouterr().err
    assert run(["partition", file, file, *LABELS, *PARTS, *model, *new]) == 1
    assert "partition: files of one name" in capsys.readouterr().err
    assert run(["fit", "mask", file, *LABELS, *model, "--points", "200", "--spacing-mm", "8", "--parts", *new]) == 1
    assert "knows of no parts" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()

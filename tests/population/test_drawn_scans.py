from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lpm.batch.cases import find_cases
from lpm.files.volumes import read_volume, write_volume
from lpm.geometry.volumes import Volume
from lpm.population.scans import ct_around, write_scans
from lpm.xray.files.views import read_views


def test_lungs_are_air_in_a_body(phantom_labels: Volume) -> None:
    ct = ct_around(phantom_labels, rng=np.random.default_rng(0))
    places = phantom_labels.to_world(np.argwhere(phantom_labels.voxels > 0).astype(float))
    indices = np.rint(ct.to_voxel(places)).astype(int)
    lung = ct.voxels[tuple(indices.T)]
    assert -900 < np.median(lung) < -800
    assert np.median(ct.voxels[ct.voxels > -300]) > -120


@pytest.mark.slow
def test_radiographs_lie_on_the_lungs(phantom_labels: Volume, tmp_path: Path) -> None:
    write_volume(tmp_path / "labels.nii.gz", phantom_labels)
    write_scans(tmp_path, phantom_labels, xray_mm_per_px=4.0, rng=np.random.default_rng(0))
    views = read_views(tmp_path / "views.json")
    assert set(views) == {"frontal", "lateral"}
    places = phantom_labels.to_world(np.argwhere(phantom_labels.voxels == 1).astype(float))
    row, column = views["frontal"].to_pixels(places).mean(axis=0)
    assert 0 < row < views["frontal"].shape[0]
    assert column > views["frontal"].shape[1] / 2  # the patient's left on the picture's right
    (case,) = find_cases([tmp_path])
    assert case.path.name == "labels.nii.gz"
    assert read_volume(tmp_path / "ct.nii.gz").spacing_mm == pytest.approx([2.0] * 3)

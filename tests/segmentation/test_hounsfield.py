from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from lpm.errors import InputError
from lpm.files.volumes import read_volume_file
from lpm.geometry.volumes import Volume
from lpm.segmentation.hounsfield import hounsfield, normalised


def chest() -> np.ndarray:
    voxels = np.full((20, 20, 20), 40.0, dtype=np.float32)
    voxels[5:15, 5:15] = -850.0
    voxels[:, :2] = -2048.0
    voxels[0, 10, 10] = 5000.0
    return voxels


def volume(voxels: np.ndarray) -> Volume:
    return Volume(voxels, np.eye(4))


def test_padding_is_air_and_values_are_those_of_twelve_bits() -> None:
    scan = hounsfield(volume(chest()), "x")
    assert scan.padding_share == pytest.approx(0.1)
    assert scan.volume.voxels[0, 0, 0] == -1000.0
    assert scan.volume.voxels[0, 10, 10] == 3071.0
    assert scan.volume.voxels[10, 10, 10] == -850.0


def test_the_papers_normalisation_maps_air_to_minus_one() -> None:
    values = normalised(hounsfield(volume(chest()), "x"))
    assert values[0, 0, 0] == -1.0
    assert values[10, 10, 10] == pytest.approx(-0.85)
    assert values.max() == 1.0


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.where(chest() < -1200, 0, chest() + 1024), "like stored values without their intercept"),
        ((chest() < 0).astype(np.float32) * 2, "like a label map"),
        (np.clip((chest() + 1000) / 2000, 0, 1), "like a scaled picture"),
        (np.where(chest() < -700, 30.0, chest()), "with no air"),
        (np.where(chest() > 0, 900.0, chest()), "with no soft tissue"),
        (np.full((5, 5, 5), -3024.0), "all values are below -1200"),
        (chest().clip(-1024) % 65536, "like int16 read as uint16.*subtract 65536 from values above 32767"),
        (chest().clip(-1000) - 1024, "like an intercept that was subtracted twice.*add 1024"),
        (chest().clip(-1000) + 2048, "like an intercept that was added with the wrong sign.*subtract 2048"),
    ],
)
def test_what_is_no_ct_is_refused_with_a_reason(voxels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hounsfield(volume(voxels), "case 7")


def test_nan_around_the_patient_is_padding_and_nan_within_is_refused(tmp_path: Path) -> None:
    around, within = chest(), chest()
    around[:, :2] = np.nan
    within[10, 10, 10] = np.nan
    for name, voxels in (("around", around), ("within", within)):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / f"{name}.nii.gz")
    read = read_volume_file(tmp_path / "around.nii.gz")
    assert read.notes == ("800 voxels around the patient are NaN: padding",)
    assert hounsfield(read.volume, "x").padding_share == pytest.approx(0.1)
    with pytest.raises(InputError, match="1 voxels are NaN or infinite"):
        read_volume_file(tmp_path / "within.nii.gz")

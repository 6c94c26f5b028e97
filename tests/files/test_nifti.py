"""What headers of NIfTI mean: as nibabel and the standard have it, or noted, or refused."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from lpm.errors import FileError, InputError
from lpm.files.volumes import VolumeFile, count_voxels, read_volume, read_volume_file, write_volume
from lpm.geometry.volumes import Volume

VOXELS = np.arange(20 * 24 * 12).reshape(20, 24, 12).astype(np.int16)


def oblique(seed: int = 0, mirror: float = 1.0) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(None, np.random.default_rng(seed)).as_matrix() * [0.7 * mirror, 0.8, 2.5]
    affine[:3, 3] = (-120.5, 33.25, 800.0)
    return affine


def saved(path: Path, *, sform: np.ndarray, qform: np.ndarray, codes: tuple[int, int] = (1, 1)) -> Path:
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_zooms(np.linalg.norm(qform[:3, :3], axis=0))
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    nib.save(image, path)
    return path


def read(path: Path) -> VolumeFile:
    found = read_volume_file(path)
    np.testing.assert_allclose(found.volume.world_from_voxel, nib.load(path).affine, atol=1e-4)
    np.testing.assert_array_equal(found.volume.voxels, VOXELS)
    return found


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 2), (4, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_sform_is_preferred_whatever_its_code_and_a_difference_is_told(
    tmp_path: Path, codes: tuple[int, int], seed: int
) -> None:
    found = read(saved(tmp_path / "x.nii.gz", sform=oblique(seed, -1.0), qform=oblique(seed + 5), codes=codes))
    assert len(found.notes) == 1
    assert found.notes[0].startswith("sform and qform differ by up to")


@pytest.mark.parametrize("moved_mm", [0.5, 3.0])
def test_forms_less_than_a_voxel_apart_are_the_same(tmp_path: Path, moved_mm: float) -> None:
    qform = oblique()
    qform[1, 3] += moved_mm
    found = read(saved(tmp_path / "x.nii", sform=oblique(), qform=qform))
    assert bool(found.notes) == (moved_mm > 2.5)


def test_forms_that_differ_at_the_far_corner_only(tmp_path: Path) -> None:
    turned = oblique()
    turned[:3, :3] = Rotation.from_euler("x", 12, degrees=True).as_matrix() @ turned[:3, :3]
    found = read(saved(tmp_path / "x.nii", sform=oblique(), qform=turned))
    assert "differ by up to" in found.notes[0]


@pytest.mark.parametrize("codes", [(0, 1), (1, 0)])
def test_one_form_is_enough(tmp_path: Path, codes: tuple[int, int]) -> None:
    assert read(saved(tmp_path / "x.nii.gz", sform=oblique(2, -1.0), qform=oblique(2, -1.0), codes=codes)).notes == ()


def test_without_a_form_nibabels_axes_are_taken_and_told(tmp_path: Path) -> None:
    found = read(saved(tmp_path / "x.nii.gz", sform=oblique(), qform=oblique(), codes=(0, 0)))
    assert found.notes[0].startswith("neither sform nor qform: axes are taken to run LAS")


@pytest.mark.parametrize("qform_code", [0, 1])
@pytest.mark.parametrize("shear", [0.35, -0.02])
def test_shear_is_refused_though_a_qform_stands_upright(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], qform_code: int, shear: float
) -> None:
    """As a tilted gantry is left by some converters."""
    sform = oblique()
    sform[:3, 2] += shear * sform[:3, 1] / 0.8 * 2.5
    path = saved(tmp_path / "x.nii.gz", sform=sform, qform=oblique(), codes=(1, qform_code))
    with pytest.raises(InputError, match=r"not at right angles .*tilted gantry.* give the DICOM series, or resample"):
        read_volume_file(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_shear_is_refused_in_every_format(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(VOXELS)
    image.SetDirection((1, 0, 0, 0, 1, 0, 0.3, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
    with pytest.raises(InputError, match="not at right angles"):
        read_volume_file(tmp_path / f"x{suffix}")


def test_what_was_rounded_off_is_no_shear_and_can_be_written(tmp_path: Path) -> None:
    affine = oblique()
    affine[:3, 1] += 5e-4 * affine[:3, 0]
    write_volume(tmp_path / "x.nii.gz", Volume(VOXELS, affine))
    np.testing.assert_allclose(read_volume(tmp_path / "x.nii.gz").world_from_voxel, affine, atol=5e-3)


def test_an_sform_of_unit_vectors_takes_its_size_from_pixdim(tmp_path: Path) -> None:
    unit = oblique()
    unit[:3, :3] /= [0.7, 0.8, 2.5]
    found = read_volume_file(saved(tmp_path / "x.nii", sform=unit, qform=oblique(), codes=(1, 0)))
    np.testing.assert_allclose(found.volume.world_from_voxel, oblique(), atol=1e-4)
    assert found.notes == ("the sform has no voxel size, pixdim's is used (0.7 x 0.8 x 2.5)",)


def test_sizes_that_differ_are_told(tmp_path: Path) -> None:
    larger = oblique()
    larger[:3, :3] *= 2.0
    assert "the sform is used" in read(saved(tmp_path / "x.nii", sform=larger, qform=oblique(), codes=(1, 0))).notes[0]


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0)])
def test_units_of_the_header(tmp_path: Path, unit: str, factor: float) -> None:
    affine = oblique()
    affine[:3] *= factor
    image = nib.Nifti1Image(VOXELS, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "x.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "x.nii.gz").world_from_voxel, oblique(), atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_itk_and_nibabel_see_the_same_place(tmp_path: Path, seed: int, mirror: float) -> None:
    """A volume goes from ITK's NRRD to a NIfTI, and back, without moving."""
    write_volume(tmp_path / "x.nrrd", Volume(VOXELS, oblique(seed, mirror)))
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "x.nrrd")), str(tmp_path / "x.nii"))
    by_itk, by_nibabel = read_volume(tmp_path / "x.nrrd"), read_volume(tmp_path / "x.nii")
    np.testing.assert_allclose(by_itk.world_from_voxel, by_nibabel.world_from_voxel, atol=1e-4)
    np.testing.assert_array_equal(by_itk.voxels, by_nibabel.voxels)


def test_nifti_2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(VOXELS, oblique(4)), tmp_path / "x.nii.gz")
    assert read(tmp_path / "x.nii.gz").notes == ()
    assert count_voxels(tmp_path / "x.nii.gz") == VOXELS.size


def test_compression_is_seen_from_the_bytes(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, oblique()), tmp_path / "good.nii.gz")
    shutil.copy(tmp_path / "good.nii.gz", tmp_path / "zipped.nii")
    (tmp_path / "plain.nii.gz").write_bytes(gzip.decompress((tmp_path / "good.nii.gz").read_bytes()))
    for name in ("zipped.nii", "plain.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, VOXELS)


@pytest.mark.parametrize("name", ["x.img", "x.hdr"])
def test_a_pair_is_named(tmp_path: Path, name: str) -> None:
    nib.save(nib.Nifti1Pair(VOXELS, oblique()), tmp_path / "x.img")
    with pytest.raises(FileError, match=r"half of a pair .hdr and .img .* convert the pair to .nii.gz"):
        read_volume(tmp_path / name)
    shutil.copy(tmp_path / "x.hdr", tmp_path / "x.nii")
    with pytest.raises(FileError, match="a header without its voxels"):
        read_volume(tmp_path / "x.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_an_array_that_was_saved_without_a_place_is_told(tmp_path: Path, suffix: str) -> None:
    write_volume(tmp_path / f"x{suffix}", Volume(VOXELS, np.diag([-1.0, -1.0, 1.0, 1.0])))
    assert "no geometry: 1 mm voxels whose axes run LPS" in read_volume_file(tmp_path / f"x{suffix}").notes[0]
    with pytest.warns(UserWarning, match=r"x.n?.*: the header holds no geometry"):
        read_volume(tmp_path / f"x{suffix}")


@pytest.mark.parametrize(("dtype", "expected"), [("int16", "float32"), ("uint8", "float32"), ("int32", "float64")])
def test_scaled_values(tmp_path: Path, dtype: str, expected: str) -> None:
    raw = nib.Nifti1Image((VOXELS % 200).astype(dtype), oblique())
    raw.header.set_slope_inter(0.5, -100.0)
    nib.save(raw, tmp_path / "x.nii.gz")
    found = read_volume(tmp_path / "x.nii.gz").voxels
    assert found.dtype == expected
    np.testing.assert_allclose(found, (VOXELS % 200) * 0.5 - 100.0)


def test_complex_values_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS.astype(np.complex64), oblique()), tmp_path / "x.nii")
    with pytest.raises(InputError, match="2 values a voxel"):
        read_volume(tmp_path / "x.nii")


def test_a_header_that_nibabel_cannot_mend(tmp_path: Path) -> None:
    raw = bytearray(nib.Nifti1Image(VOXELS, oblique()).to_bytes())
    raw[70:72] = (4321).to_bytes(2, "little")  # its type of values
    (tmp_path / "x.nii").write_bytes(raw)
    with pytest.raises(FileError, match=r"header cannot be read \(.*4321"):
        read_volume(tmp_path / "x.nii")


def test_an_sform_of_zeros_leaves_the_qform(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.nii", sform=np.zeros((4, 4)), qform=oblique())
    found = read_volume_file(path)
    np.testing.assert_allclose(found.volume.world_from_voxel, oblique(), atol=1e-4)
    assert found.notes == ("the sform is all zeros: the qform is used",)


def test_a_qform_without_numbers_leaves_the_sform(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.nii", sform=oblique(), qform=oblique())
    content = bytearray(path.read_bytes())
    content[256:260] = np.float32(np.nan).tobytes()  # quatern_b
    path.write_bytes(content)
    found = read_volume_file(path)
    np.testing.assert_allclose(found.volume.world_from_voxel, oblique(), atol=1e-4)
    assert found.notes == ("the qform is no place in space: the sform is used",)

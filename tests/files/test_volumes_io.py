from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from full_disk import room_for
from lpm.errors import FileError, InputError
from lpm.files.volumes import count_voxels, is_volume_name, read_volume, write_volume
from lpm.geometry.volumes import Volume

KINDS = (".nii.gz", ".nii", ".nrrd", ".mha")


def oblique(seed: int = 0, mirror: float = 1.0) -> np.ndarray:
    affine = np.eye(4)
    rotation = Rotation.random(None, np.random.default_rng(seed)).as_matrix()
    affine[:3, :3] = rotation @ np.diag([mirror, 1.0, 1.0]) * [0.7, 0.8, 2.5]
    affine[:3, 3] = (-120.5, 33.25, 800.0)
    return affine


def numbered(dtype: str = "int16") -> np.ndarray:
    return np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_round_trip(tmp_path: Path, kind: str, mirror: float) -> None:
    volume = Volume(numbered(), oblique(3, mirror))
    write_volume(tmp_path / f"x{kind}", volume)
    back = read_volume(tmp_path / f"x{kind}")
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.world_from_voxel, volume.world_from_voxel, atol=2e-5)
    assert np.linalg.det(back.world_from_voxel[:3, :3]) * mirror > 0


@pytest.mark.parametrize("seed", range(5))
def test_nibabel_reads_the_same_affine(tmp_path: Path, seed: int) -> None:
    nib.save(nib.Nifti1Image(numbered(), oblique(seed, (-1.0) ** seed)), tmp_path / "x.nii.gz")
    ours, theirs = read_volume(tmp_path / "x.nii.gz"), nib.load(tmp_path / "x.nii.gz")
    np.testing.assert_allclose(ours.world_from_voxel, theirs.affine, atol=1e-4)
    np.testing.assert_array_equal(ours.voxels, np.asarray(theirs.dataobj))


def test_nibabel_reads_what_we_write(tmp_path: Path) -> None:
    volume = Volume(numbered(), oblique(1))
    write_volume(tmp_path / "x.nii.gz", volume)
    theirs = nib.load(tmp_path / "x.nii.gz")
    np.testing.assert_allclose(theirs.affine, volume.world_from_voxel, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), volume.voxels)
    assert not np.allclose(theirs.affine, np.diag([-1, -1, 1, 1]) @ volume.world_from_voxel, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_types_survive(tmp_path: Path, dtype: str) -> None:
    write_volume(tmp_path / "x.nii.gz", Volume(numbered(dtype), np.eye(4)))
    assert read_volume(tmp_path / "x.nii.gz").voxels.dtype == dtype


def test_a_mask_is_stored_as_bytes(tmp_path: Path) -> None:
    write_volume(tmp_path / "x.nrrd", Volume(numbered() > 60, np.eye(4)))
    back = read_volume(tmp_path / "x.nrrd").voxels
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, numbered() > 60)


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_both_byte_orders(tmp_path: Path, is_big: bool, name: str) -> None:
    header = nib.Nifti1Header(endianness=">" if is_big else "<")
    header.set_data_dtype(np.float32)
    nib.save(nib.Nifti1Image(numbered("float32"), oblique(2), header), tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, numbered())


def test_a_fourth_axis_of_one_is_dropped(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(numbered()[..., None], np.eye(4)), tmp_path / "x.nii.gz")
    assert read_volume(tmp_path / "x.nii.gz").voxels.shape == (4, 5, 6)


def test_names() -> None:
    assert is_volume_name(Path("a.NII.GZ"))
    assert not is_volume_name(Path("a.gz"))


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none.nii: no such file; expected a volume \(.nii.gz"):
        read_volume(tmp_path / "none.nii")


@pytest.mark.parametrize("act", [read_volume, lambda path: write_volume(path, Volume(numbered(), np.eye(4)))])
def test_unknown_kind(tmp_path: Path, act: Callable[[Path], object]) -> None:
    (tmp_path / "x.jpg").write_text("x")
    with pytest.raises(FileError, match=r"(unknown kind|no volume is written as) '.jpg'; expected one of .nii.gz"):
        act(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"garbage" * 200])
def test_garbage(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / f"x{kind}"
    path.write_bytes(content)
    with pytest.raises(FileError, match="header cannot be read"):
        read_volume(path)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x{kind}"
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype(np.uint8)
    write_volume(path, Volume(noise, np.eye(4)))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(FileError, match=r"damaged|holds (at most )?\d+ of 8000 bytes|\d+ bytes for 8000 voxels"):
        read_volume(path)


def test_flipped_bits_in_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 60)).astype(np.uint8)
    write_volume(path, Volume(noise, np.eye(4)))
    content = bytearray(path.read_bytes())
    content[150_000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"damaged|cannot be read"):
        read_volume(path)


def patched(path: Path, offset: int, form: str, *values: float) -> Path:
    """Change bytes of a NIfTI-1 header behind the back of its writer."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(form, raw, offset, *values)
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


def nifti(tmp_path: Path) -> Path:
    nib.save(nib.Nifti1Image(numbered(), np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "x.nii.gz")
    return tmp_path / "x.nii.gz"


@pytest.mark.parametrize("size", [(30_000, 30_000, 30_000), (2049, 2048, 2048)])
def test_a_header_that_claims_a_huge_size_takes_no_memory(tmp_path: Path, size: tuple[int, int, int]) -> None:
    path = patched(nifti(tmp_path), 40, "<4h", 3, *size)
    with pytest.raises(FileError, match=r"header claims .* voxels; expected at most"):
        read_volume(path)


def test_voxels_are_counted_without_reading_them(tmp_path: Path) -> None:
    assert count_voxels(patched(nifti(tmp_path), 40, "<4h", 3, 1500, 1500, 1500)) == 1500**3
    with pytest.raises(FileError, match="header cannot be read"):
        count_voxels(tmp_path / "no.nii.gz")


def test_a_header_that_claims_more_than_is_there(tmp_path: Path) -> None:
    path = patched(nifti(tmp_path), 40, "<4h", 3, 1500, 1500, 1500)
    with pytest.raises(FileError, match="holds at most 264192 of 6750000000 bytes of voxels"):
        read_volume(path)


@pytest.mark.parametrize("row", [(0.0, 0.0, 0.0, 0.0), (2.0, 0.0, 0.0, 0.0)])
def test_a_broken_sform_is_refused(tmp_path: Path, row: tuple[float, ...]) -> None:
    path = patched(nifti(tmp_path), 252, "<2h", 0, 1)
    with pytest.raises(InputError, match=r"sform: affine .* cannot be inverted"):
        read_volume(patched(path, 296, "<4f", *row))


def test_an_sform_of_nan_is_refused(tmp_path: Path) -> None:
    path = patched(nifti(tmp_path), 252, "<2h", 0, 1)
    with pytest.raises(InputError, match=r"nan.* expected a finite 4 x 4 matrix"):
        read_volume(patched(path, 300, "<f", np.nan))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2)])
def test_2d_and_4d(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), tmp_path / "x.nii.gz")
    with pytest.raises(InputError, match=rf"{len(shape)}-D image of size .* expected 3-D"):
        read_volume(tmp_path / "x.nii.gz")


def test_colour(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True), str(tmp_path / "x.mha"))
    with pytest.raises(InputError, match="3 values a voxel; expected one"):
        read_volume(tmp_path / "x.mha")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_nan(tmp_path: Path, kind: str, value: float) -> None:
    voxels = numbered("float32")
    voxels[1, 2, 3] = value
    write_volume(tmp_path / f"x{kind}", Volume(voxels, np.eye(4)))
    with pytest.raises(InputError, match="1 voxels are NaN or infinite; expected finite values"):
        read_volume(tmp_path / f"x{kind}")


def test_sheared_axes_are_not_written(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.5
    with pytest.raises(InputError, match=r"axes are not at right angles .* expected an orthogonal affine"):
        write_volume(tmp_path / "x.nii.gz", Volume(numbered(), affine))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.nrrd"
    write_volume(path, Volume(numbered(), np.eye(4)))

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("sitk::ERROR: \n ITK ERROR: No space left on device")

    monkeypatch.setattr(sitk, "WriteImage", refuse)
    with pytest.raises(FileError, match=r"cannot be written \(ITK ERROR: No space left on device\)"):
        write_volume(path, Volume(numbered() + 1, np.eye(4)))
    monkeypatch.undo()
    np.testing.assert_array_equal(read_volume(path).voxels, numbered())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_file_that_ends_early_never_gets_its_name(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 250, (40, 40, 40)).astype(np.uint8)
    write_volume(tmp_path / name, Volume(noise, np.diag([2.0, 2.0, 2.0, 1.0])))
    size = (tmp_path / name).stat().st_size
    (tmp_path / name).unlink()
    with room_for(int(share * size)), pytest.raises(FileError, match="written"):
        write_volume(tmp_path / name, Volume(noise, np.diag([2.0, 2.0, 2.0, 1.0])))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.mhd", "x.nhdr", "x.png"])
def test_no_volume_is_written_in_two_files_or_as_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=r"no volume is written as .*\.nii\.gz"):
        write_volume(tmp_path / name, Volume(numbered(), np.eye(4)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [RuntimeError("a\n\nITK ERROR: no memory")])
def test_what_itk_cannot_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    path = tmp_path / "x.nrrd"
    write_volume(path, Volume(numbered(), np.diag([2.0, 2.0, 2.0, 1.0])))

    def refuse(_: str) -> None:
        raise failure

    monkeypatch.setattr(sitk, "ReadImage", refuse)
    with pytest.raises(FileError, match=r"x.nrrd: damaged \(ITK ERROR: no memory\)"):
        read_volume(path)

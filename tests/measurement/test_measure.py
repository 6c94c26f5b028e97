from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from skimage.measure import marching_cubes

from lpm.errors import FileError, InputError
from lpm.files.meshes import write_mesh
from lpm.files.volumes import to_itk, write_volume
from lpm.geometry.meshes import WorldMesh, joined
from lpm.geometry.phantoms import Box, Ellipsoid, stored_as, to_mask
from lpm.geometry.surfaces import extract_surface
from lpm.geometry.volumes import Volume
from lpm.measurement import measure
from lpm.measurement.measure import OUTLINE, Measured, compared, measure_subjects
from lpm.measurement.shapes import measure_shapes
from lpm.measurement.subjects import Shapes, Subject, checked_shapes, find_subjects, read_shapes
from lpm.measurement.table import AttributeTable
from lpm.measurement.written import as_csv, as_json
from lpm.structures import DEFAULT_STRUCTURES


def labelled(mask: Volume, value: int = 1) -> Volume:
    return mask.with_voxels(mask.voxels.astype(np.uint8) * value)


def measured(tmp_path: Path, labels: Volume) -> dict[str, float]:
    write_volume(tmp_path / "one" / "labels.nii.gz", labels)
    (found,) = measure_subjects(find_subjects([tmp_path / "one"]))
    assert not found.error
    return found.values


@pytest.fixture(scope="module")
def lungs(phantom_labels: Volume) -> dict[str, WorldMesh]:
    pairs = DEFAULT_STRUCTURES.items()
    inside = {name: phantom_labels.with_voxels(phantom_labels.voxels == value) for name, (value,) in pairs}
    return {name: extract_surface(mask, 0.5).largest_piece() for name, mask in inside.items()}


# --- Label maps against what is known exactly -------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [12.0, 12.3, 12.5])
@pytest.mark.parametrize("radii", [(40.0, 40.0, 40.0), (35.0, 50.0, 70.0)])
def test_an_ellipsoid_of_1_mm_voxels(radii: tuple[float, float, float], margin: float, tmp_path: Path) -> None:
    """Wherever its ends lie between the voxels' centres."""
    shape = Ellipsoid((3.3, -8.1, 20.7), radii)
    values = measured(tmp_path, labelled(to_mask(shape, 1.0, margin_mm=margin)))
    assert values["total_volume_ml"] == pytest.approx(shape.volume_ml, rel=2e-3)
    sizes = [values["width_mm"], values["depth_mm"], values["height_mm"]]
    assert sizes == pytest.approx([2.0 * radius for radius in radii], abs=0.5)
    assert values["left_lung_section_50_cm2"] == pytest.approx(np.pi * radii[0] * radii[1] / 100.0, rel=1e-2)


def test_a_box_of_1_mm_voxels(tmp_path: Path) -> None:
    shape = Box((0.5, 0.5, 0.5), (60.0, 80.0, 120.0))
    values = measured(tmp_path, labelled(to_mask(shape, 1.0, margin_mm=12.5)))
    assert values["total_volume_ml"] == pytest.approx(shape.volume_ml, rel=2e-3)
    lower, upper = shape.bounds_mm
    assert [values["width_mm"], values["depth_mm"], values["height_mm"]] == pytest.approx(upper - lower, abs=0.5)


def test_turned_and_mirrored_axes_measure_the_same(tmp_path: Path) -> None:
    labels = labelled(to_mask(Ellipsoid((3.0, -8.0, 20.0), (25.0, 35.0, 50.0)), (1.0, 1.5, 2.0)))
    expected = measured(tmp_path, labels)
    again = measured(tmp_path, stored_as(labels, (2, 0, 1), (True, False, True)))
    assert again == pytest.approx(expected, rel=1e-3, abs=0.05)


def test_voxels_finer_than_needed_are_gathered_without_loss(tmp_path: Path) -> None:
    shape = Ellipsoid((0.0, 0.0, 0.0), (20.0, 25.0, 30.0))
    values = measured(tmp_path, labelled(to_mask(shape, (0.5, 0.5, 1.0))))
    assert values["total_volume_ml"] == pytest.approx(shape.volume_ml, rel=2e-3)
    assert values["height_mm"] == pytest.approx(60.0, abs=0.5)


def test_as_the_label_statistics_of_itk(phantom_labels: Volume, tmp_path: Path) -> None:
    values = measured(tmp_path, phantom_labels)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(to_itk(phantom_labels))
    spacing = phantom_labels.spacing_mm
    for value, name in enumerate(DEFAULT_STRUCTURES, start=1):
        assert values[f"{name}_volume_ml"] == pytest.approx(statistics.GetPhysicalSize(value) / 1000.0, rel=2e-3)
        box = np.array(statistics.GetBoundingBox(value)[3:]) * spacing
        sizes = [values[f"{name}_{size}_mm"] for size in ("width", "depth", "height")]
        assert sizes == pytest.approx(box.tolist(), abs=spacing.max())


@pytest.mark.real
def test_real_lungs_as_the_label_statistics_of_itk(real_lungs: Path) -> None:
    folder = real_lungs / "luna16_0576"
    (found,) = measure_subjects(find_subjects([folder]))
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(sitk.ReadImage(str(folder / "labels.nii.gz")))
    for value, name in enumerate(DEFAULT_STRUCTURES, start=1):
        size = statistics.GetPhysicalSize(value) / 1000.0
        assert found.values[f"{name}_volume_ml"] == pytest.approx(size, rel=3e-3)
        area = statistics.GetPerimeter(value) / 100.0
        assert found.values[f"{name}_area_cm2"] == pytest.approx(area, rel=0.05)


# --- What files hold --------------------------------------------------------------------------------------------------


def test_meshes_of_a_folder_are_one_subject(lungs: dict[str, WorldMesh], tmp_path: Path) -> None:
    for name, mesh in lungs.items():
        write_mesh(tmp_path / "someone" / f"{name}.ply", mesh)
    by_folder, by_files = (
        find_subjects([tmp_path]),
        find_subjects(sorted((tmp_path / "someone").glob("*.ply"))),
    )
    assert by_folder == by_files == [Subject("someone", by_files[0].files)]
    assert read_shapes(by_folder[0], {}).meshes.keys() == lungs.keys()


@pytest.mark.parametrize("names", [("LEFT LUNG", "RIGHT LUNG"), ("lung_L", "lung_R"), ("LeftLung", "right-lung")])
def test_lungs_of_a_folder_are_one_subject_however_they_are_spelt(
    lungs: dict[str, WorldMesh], names: tuple[str, str], tmp_path: Path
) -> None:
    for name, mesh in zip(names, lungs.values(), strict=True):
        write_mesh(tmp_path / f"{name}.stl", mesh)
    (subject,) = find_subjects([tmp_path])
    assert subject.name == tmp_path.name
    found = read_shapes(subject).meshes
    assert {name: mesh.volume_ml for name, mesh in found.items()} == pytest.approx(
        {name: mesh.volume_ml for name, mesh in lungs.items()}, rel=1e-6
    )


@pytest.mark.parametrize("names", [("LEFT LUNG.stl", "lung_L.stl"), ("left_lung.ply", "left_lung.stl")])
def test_two_meshes_of_one_lung_are_refused(
    lungs: dict[str, WorldMesh], names: tuple[str, str], tmp_path: Path
) -> None:
    for name in names:
        write_mesh(tmp_path / name, lungs["left_lung"])
    write_mesh(tmp_path / "RIGHT_LUNG.ply", lungs["right_lung"])
    (subject,) = find_subjects([tmp_path])
    with pytest.raises(InputError, match=f"{names[0]} and {names[1]} are both the left lung; .* give one of them"):
        read_shapes(subject)
    (alone,) = find_subjects([tmp_path / names[1]])
    assert read_shapes(alone).meshes.keys() == {"left_lung"}


def test_one_mesh_of_two_pieces_is_left_and_right(lungs: dict[str, WorldMesh], tmp_path: Path) -> None:
    write_mesh(tmp_path / "both.ply", joined([lungs["right_lung"], lungs["left_lung"]]))
    found = read_shapes(find_subjects([tmp_path / "both.ply"])[0], {})
    assert found.meshes["left_lung"].volume_ml == pytest.approx(lungs["left_lung"].volume_ml, rel=1e-6)
    assert found.meshes["right_lung"].volume_ml == pytest.approx(lungs["right_lung"].volume_ml, rel=1e-6)


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj", ".glb"])
def test_a_mesh_with_split_corners_measures_the_same(lungs: dict[str, WorldMesh], tmp_path: Path, suffix: str) -> None:
    both = joined([lungs["right_lung"], lungs["left_lung"]])
    noise = np.random.default_rng(0).normal(0.0, 2e-5, (3 * len(both.faces), 3))
    split = WorldMesh(both.corners.reshape(-1, 3) + noise, np.arange(3 * len(both.faces)).reshape(-1, 3))
    write_mesh(tmp_path / f"both{suffix}", split)
    found = read_shapes(find_subjects([tmp_path / f"both{suffix}"])[0], {})
    assert found.flags == ()
    for name, mesh in lungs.items():
        assert found.meshes[name].volume_ml == pytest.approx(mesh.volume_ml, rel=1e-4)


def test_what_a_mesh_holds_beside_both_lungs_is_said(lungs: dict[str, WorldMesh]) -> None:
    island = extract_surface(to_mask(Ellipsoid((0.0, 0.0, 400.0), (15.0, 15.0, 15.0)), 2.0), 0.5)
    x, y, z = lungs["right_lung"].centroid.tolist()
    cavity = extract_surface(to_mask(Ellipsoid((x, y, z), (12.0, 12.0, 12.0)), 2.0), 0.5).flipped()
    found = checked_shapes({"shape": joined([island, *lungs.values(), cavity])}, "someone")
    assert found.flags == ("the mesh has 2 more pieces (21 ml), which were left out",)
    assert found.meshes["left_lung"].volume_ml == pytest.approx(lungs["left_lung"].volume_ml)


def test_lungs_that_touch_are_told_from_one_lung() -> None:
    x, y, z = 4.0 * (np.indices((60, 50, 64)) - np.array([29.5, 24.5, 31.5])[:, None, None, None])
    inside = ((abs(x) - 53.0) / 55.0) ** 2 + (y / 80.0) ** 2 + (z / 110.0) ** 2 < 1.0
    fused = extract_surface(Volume(inside.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0])), 0.5)
    for name in ("shape", "left_lung"):
        with pytest.raises(InputError, match="ml with a waist between left and right: lungs that touch"):
            checked_shapes({name: fused}, "someone")
    beside = extract_surface(to_mask(Ellipsoid((-220.0, 0.0, 0.0), (50.0, 80.0, 110.0)), 4.0), 0.5)
    found = checked_shapes({"left_lung": beside, "right_lung": fused}, "someone")  # lungs may have waists of their own
    assert set(found.meshes) == {"left_lung", "right_lung"}


def test_bodies_that_are_no_lungs_are_refused(lungs: dict[str, WorldMesh]) -> None:
    left, right = lungs["left_lung"], lungs["right_lung"]
    third = WorldMesh(left.vertices + np.array([0.0, 0.0, 500.0]), left.faces)
    with pytest.raises(InputError, match=r"3 bodies of .* ml; expected one lung or two"):
        checked_shapes({"shape": joined([left, right, third])}, "someone")
    with pytest.raises(InputError, match=r"left_lung: bodies of .* side by side: both lungs\?; expected one lung"):
        checked_shapes({"left_lung": joined([left, right]), "right_lung": right}, "someone")
    found = checked_shapes({"left_lung": joined([left, right])}, "someone")
    assert found.flags == ("left_lung held both lungs, which were told apart",)
    assert found.meshes["right_lung"].volume_ml == pytest.approx(right.volume_ml)


def test_both_lungs_of_a_mesh_on_a_grid_are_kept(tmp_path: Path) -> None:
    """Raw marching cubes: coordinates of one lung occur in the other as well, in other vertices."""
    left, right = (Ellipsoid((x, 0.0, 0.0), (radius,) * 3) for x, radius in ((-60.0, 52.8), (72.0, 57.6)))
    grid = Volume(
        np.zeros((120, 60, 60)), np.array([[2.4, 0, 0, -143], [0, 2.4, 0, -71], [0, 0, 2.4, -71], [0, 0, 0, 1]])
    )
    places = grid.to_world(np.argwhere(grid.voxels == 0).astype(float))
    inside = np.minimum(left.field(places), right.field(places)).reshape(grid.voxels.shape) < 0
    vertices, faces, _, _ = marching_cubes(inside.astype(np.float32), 0.5, allow_degenerate=False)
    write_mesh(tmp_path / "both.ply", WorldMesh(grid.to_world(vertices), faces[:, ::-1]).outward())
    (found,) = measure_subjects(find_subjects([tmp_path / "both.ply"]))
    assert found.flags == ()
    assert found.values["left_lung_volume_ml"] == pytest.approx(left.volume_ml, rel=0.02)
    assert found.values["right_lung_volume_ml"] == pytest.approx(right.volume_ml, rel=0.02)


def test_a_mask_of_one_value_is_both_lungs(phantom_labels: Volume, tmp_path: Path) -> None:
    plain = measured(tmp_path, phantom_labels.with_voxels((phantom_labels.voxels > 0).astype(np.uint8)))
    both = measured(tmp_path, phantom_labels)
    assert plain.keys() == both.keys()
    for name in ("left_lung_volume_ml", "right_lung_volume_ml", "right_share_percent"):
        assert plain[name] == pytest.approx(both[name], rel=2e-3)
    assert plain["height_mm"] == pytest.approx(both["height_mm"], abs=2.5)


def test_inside_out_is_mended_and_said(lungs: dict[str, WorldMesh]) -> None:
    found = checked_shapes({name: mesh.flipped() for name, mesh in lungs.items()}, "someone")
    assert found.flags == ("left_lung was inside out", "right_lung was inside out")
    assert measure_shapes(found.meshes) == pytest.approx(measure_shapes(lungs))


def test_exchanged_sides_are_said(lungs: dict[str, WorldMesh]) -> None:
    found = checked_shapes({"left_lung": lungs["right_lung"], "right_lung": lungs["left_lung"]}, "someone")
    assert found.flags == ("the left lung lies on the patient's right",)


def test_islands_are_left_out_and_said(lungs: dict[str, WorldMesh]) -> None:
    island = extract_surface(to_mask(Ellipsoid((0.0, 0.0, 400.0), (15.0, 15.0, 15.0)), 2.0), 0.5)
    found = checked_shapes({**lungs, "left_lung": joined([lungs["left_lung"], island])}, "someone")
    assert found.flags == ("left_lung has 1 more pieces (14 ml), which were left out",)
    assert found.meshes["left_lung"].n_pieces == 1


def test_open_meshes_and_other_units_are_refused(lungs: dict[str, WorldMesh]) -> None:
    left = lungs["left_lung"]
    with pytest.raises(InputError, match="someone, left_lung: an open mesh, which has no volume"):
        checked_shapes({"left_lung": left.with_faces(left.faces[1:])}, "someone")
    with pytest.raises(InputError, match="metres"):
        checked_shapes({"left_lung": WorldMesh(left.vertices / 1000.0, left.faces)}, "someone")


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no such file"):
        find_subjects([tmp_path / "nowhere.ply"])
    with pytest.raises(FileError, match="holds nothing to measure"):
        find_subjects([tmp_path / "empty"])


def test_labels_that_are_none_are_refused(tmp_path: Path) -> None:
    voxels = np.zeros((20, 20, 20), dtype=np.uint8)
    for what, value, match in (("empty", 0, "an empty mask"), ("other", 7, r"one lung of value 7")):
        voxels[5:15, 5:15, 5:15] = value
        write_volume(tmp_path / what / "labels.nii.gz", Volume(voxels, 12.0 * np.eye(4) - np.diag([0, 0, 0, 11.0])))
        (found,) = measure_subjects(find_subjects([tmp_path / what]))
        assert not found.values
        assert match.replace("\\", "") in found.error


def test_a_scan_is_no_label_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "ct.nii.gz", Volume(rng.normal(-800, 30, (16, 16, 16)).astype(np.float32), np.eye(4)))
    (found,) = measure_subjects(find_subjects([tmp_path / "ct.nii.gz"]))
    assert "give the mask, not the scan" in found.error


def test_one_bad_subject_does_not_stop_the_others(phantom_labels: Volume, tmp_path: Path) -> None:
    write_volume(tmp_path / "good" / "labels.nii.gz", phantom_labels)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "labels.nii.gz").write_bytes(b"no volume")
    found = {one.subject: one for one in measure_subjects(find_subjects([tmp_path]))}
    assert found["bad"].error
    assert found["good"].values


def test_what_does_not_fit_into_memory_fails_alone(
    phantom_labels: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_volume(tmp_path / "good" / "labels.nii.gz", phantom_labels)
    write_volume(tmp_path / "huge" / "labels.nii.gz", phantom_labels)
    right = measure.read_shapes

    def read(subject: Subject, structures: object) -> Shapes:
        if subject.name == "huge":
            raise MemoryError("59 GiB")
        return right(subject, structures)

    monkeypatch.setattr(measure, "read_shapes", read)
    found = {one.subject: one for one in measure_subjects(find_subjects([tmp_path]))}
    assert "does not fit into memory (59 GiB)" in found["huge"].error
    assert found["good"].values


def test_a_map_in_metres_is_named_as_such(phantom_labels: Volume, tmp_path: Path) -> None:
    affine = phantom_labels.world_from_voxel / 1000.0
    affine[3, 3] = 1.0
    write_volume(tmp_path / "metres.nii.gz", Volume(phantom_labels.voxels, affine))
    (found,) = measure_subjects(find_subjects([tmp_path / "metres.nii.gz"]))
    assert "multiply by 1000, they look like metres" in found.error


def test_lungs_larger_than_any_are_doubted(phantom_labels: Volume, tmp_path: Path) -> None:
    affine = phantom_labels.world_from_voxel * 1.6
    affine[3, 3] = 1.0
    write_volume(tmp_path / "large.nii.gz", Volume(phantom_labels.voxels, affine))
    (found,) = measure_subjects(find_subjects([tmp_path / "large.nii.gz"]))
    assert any("outside 1,000 to 11,000 ml: is the unit mm?" in flag for flag in found.flags)


def test_drawn_slices_are_no_whole_lungs(phantom_labels: Volume, tmp_path: Path) -> None:
    drawn = np.zeros_like(phantom_labels.voxels)
    n = drawn.shape[2]
    for k in (n // 3, n // 2, n // 2 + 4):
        drawn[:, :, k] = phantom_labels.voxels[:, :, k]
    write_volume(tmp_path / "drawn.nii.gz", phantom_labels.with_voxels(drawn))
    (found,) = measure_subjects(find_subjects([tmp_path / "drawn.nii.gz"]))
    assert any("only 3 drawn slices" in flag for flag in found.flags)


def test_a_folder_of_organs_is_a_subject(phantom_labels: Volume, tmp_path: Path) -> None:
    folder = tmp_path / "s0011" / "segmentations"
    for value, name in ((1, "lung_upper_lobe_left"), (2, "lung_upper_lobe_right")):
        write_volume(
            folder / f"{name}.nii.gz", phantom_labels.with_voxels((phantom_labels.voxels == value) * np.uint8(1))
        )
    (found,) = measure_subjects(find_subjects([tmp_path]))
    assert (found.subject, found.error) == ("s0011", "")
    both = measured(tmp_path, phantom_labels)
    assert found.values["left_lung_volume_ml"] == pytest.approx(both["left_lung_volume_ml"], rel=1e-6)


# --- In a population --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def population() -> AttributeTable:
    rng = np.random.default_rng(3)
    rows = {f"subject{i}": dict(zip(OUTLINE, rng.normal(100.0, 10.0, len(OUTLINE)), strict=True)) for i in range(60)}
    return AttributeTable.of(rows)


def test_the_middle_of_a_population_is_usual(population: AttributeTable) -> None:
    found = compared(Measured("one", dict.fromkeys(OUTLINE, 100.0)), population)
    assert found.mahalanobis < 1.0
    assert found.flags == ()
    assert all(30 < percentile < 70 for percentile in found.percentiles.values())


def test_what_is_no_lung_is_flagged(population: AttributeTable) -> None:
    found = compared(Measured("toe", dict.fromkeys(OUTLINE, 20.0)), population)
    assert found.mahalanobis > 8.0
    assert "unlike the population's" in found.flags[0]
    assert set(found.percentiles.values()) == {0.0}


def test_other_structures_are_not_compared(population: AttributeTable) -> None:
    found = compared(Measured("one", {"spleen_volume_ml": 200.0}), population)
    assert found.percentiles == {}
    assert np.isnan(found.mahalanobis)


def test_intervals_of_a_fit_are_read(lungs: dict[str, WorldMesh], tmp_path: Path) -> None:
    for name, mesh in lungs.items():
        write_mesh(tmp_path / f"{name}.ply", mesh)
    (tmp_path / "fit.json").write_text(json.dumps({"total_volume_95_ml": [4000.0, 4400.0]}))
    (found,) = measure_subjects(find_subjects([tmp_path]))
    assert found.intervals == {"total_volume_ml": (4000.0, 4400.0)}
    own = {"left_lung": [1900.0, 2100.0], "right_lung": [2050.0, 2350.0]}
    (tmp_path / "fit.json").write_text(json.dumps({"total_volume_95_ml": [4000.0, 4400.0], "volume_95_ml": own}))
    (each,) = measure_subjects(find_subjects([tmp_path]))
    assert each.intervals["left_lung_volume_ml"] == (1900.0, 2100.0)
    assert each.intervals["right_lung_volume_ml"] == (2050.0, 2350.0)
    (tmp_path / "fit.json").write_text(json.dumps({"total_volume_95_ml": None, "volume_95_ml": None}))
    (unsized,) = measure_subjects(find_subjects([tmp_path]))
    assert unsized.intervals == {}
    (tmp_path / "fit.json").write_text("{")
    (broken,) = measure_subjects(find_subjects([tmp_path]))
    assert "cannot be read" in broken.error


def test_csv_and_json_hold_the_same() -> None:
    one = Measured("a", {"height_mm": 210.5}, {"height_mm": (200.0, 220.0)}, {"height_mm": 40.0}, 1.5, ("odd",))
    failed = Measured("b", error="no lungs")
    rows = list(csv.DictReader(io.StringIO(as_csv([one, failed]))))
    assert rows[0] == {
        "subject": "a",
        "height_mm": "210.5",
        "height_mm_95_low": "200",
        "height_mm_95_high": "220",
        "mahalanobis": "1.5",
        "flags": "odd",
        "error": "",
    }
    assert rows[1]["error"] == "no lungs"
    first, second = json.loads(as_json([one, failed]))
    assert first["values"]["height_mm"] == {"value": 210.5, "interval_95": [200.0, 220.0], "percentile": 40.0}
    assert second == {"subject": "b", "flags": [], "error": "no lungs", "mahalanobis": None, "values": {}}


def test_a_refusal_says_what_was_assumed_of_the_file(tmp_path: Path, phantom_labels: Volume) -> None:
    """An array without a form is read as LAS, as nibabel does: here that exchanges the sides."""
    image = nib.Nifti1Image(phantom_labels.voxels.astype(np.uint8), None)
    image.header.set_zooms(phantom_labels.spacing_mm)
    nib.save(image, tmp_path / "x.nii.gz")
    (found,) = measure_subjects(find_subjects([tmp_path / "x.nii.gz"]))
    assert "the left lung lies on the patient's right" in str(found.error)
    assert "neither sform nor qform: axes are taken to run LAS" in str(found.error)

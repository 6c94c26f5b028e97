from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lpm.batch.cases import Case, find_cases
from lpm.errors import FileError, InputError
from lpm.files.volumes import read_volume, write_volume
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import PhantomLungs, stored_as, to_labels
from lpm.geometry.volumes import Volume
from lpm.preparation import prepare
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import MeshingConfig, PreparationConfig, SamplingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.preparation.prepare import CaseOutcome, finish_cohort, prepare_case, prepare_cases
from lpm.structures import DEFAULT_STRUCTURES

Order = tuple[int, int, int]
Flips = tuple[bool, bool, bool]
FILES = [
    "labels.nii.gz",
    "left_lung.ply",
    "off_surface.npz",
    "preview.png",
    "quality.json",
    "right_lung.ply",
    "surface.npz",
]


def meshes_of(volume: Volume) -> dict[str, WorldMesh]:
    masks = clean_labels(volume, DEFAULT_STRUCTURES, "phantom").masks
    return {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in masks.items()}


# --- Orientation -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def round_labels(coarse_labels: Volume) -> Volume:
    """With an origin that is exact in the single precision of NIfTI."""
    affine = coarse_labels.world_from_voxel.copy()
    affine[:3, 3] = np.round(affine[:3, 3] * 4) / 4
    return Volume(coarse_labels.voxels, affine)


@pytest.fixture(scope="module")
def reference(round_labels: Volume) -> dict[str, WorldMesh]:
    return meshes_of(round_labels)


def check_same(found: dict[str, WorldMesh], expected: dict[str, WorldMesh]) -> None:
    assert found.keys() == expected.keys()
    for name, mesh in found.items():
        np.testing.assert_allclose(mesh.vertices, expected[name].vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, expected[name].faces)


@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_48_orientations_on_disk_give_the_same_meshes(
    tmp_path: Path, round_labels: Volume, reference: dict[str, WorldMesh], order: Order, flips: Flips
) -> None:
    write_volume(tmp_path / "x.nii.gz", stored_as(round_labels, order, flips))
    check_same(meshes_of(read_volume(tmp_path / "x.nii.gz")), reference)


@pytest.mark.parametrize("kind", [".nrrd", ".mha", ".nii"])
@pytest.mark.parametrize(("order", "flips"), [((2, 0, 1), (True, False, False)), ((1, 0, 2), (True, True, True))])
def test_other_formats_give_the_same_meshes(
    tmp_path: Path, round_labels: Volume, reference: dict[str, WorldMesh], kind: str, order: Order, flips: Flips
) -> None:
    write_volume(tmp_path / f"x{kind}", stored_as(round_labels, order, flips))
    check_same(meshes_of(read_volume(tmp_path / f"x{kind}")), reference)


def test_left_is_left_smaller_and_outward(reference: dict[str, WorldMesh], phantom: PhantomLungs) -> None:
    left, right = reference["left_lung"], reference["right_lung"]
    assert left.vertices[:, 0].max() < phantom.center_mm[0] < right.vertices[:, 0].min()
    assert 1000 < left.volume_ml < right.volume_ml < 3500
    for name, mesh in reference.items():
        assert mesh.is_closed
        assert np.abs(phantom.implicit(name, mesh.vertices)).mean() < 1.5


def test_without_the_affine_the_meshes_differ(round_labels: Volume, reference: dict[str, WorldMesh]) -> None:
    moved = stored_as(round_labels, (0, 1, 2), (False, True, False))
    forgotten = meshes_of(Volume(moved.voxels, round_labels.world_from_voxel))
    assert abs(forgotten["left_lung"].centroid[1] - reference["left_lung"].centroid[1]) > 1.0


@pytest.mark.parametrize("angles", [(15, -10, 20), (-25, 5, -12)])
def test_an_oblique_affine_gives_the_rotated_meshes(
    tmp_path: Path, round_labels: Volume, reference: dict[str, WorldMesh], angles: tuple[int, int, int]
) -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    turn[:3, 3] = (30.0, -40.0, 500.0)
    write_volume(tmp_path / "x.mha", Volume(round_labels.voxels, turn @ round_labels.world_from_voxel))
    for name, mesh in meshes_of(read_volume(tmp_path / "x.mha")).items():
        expected = reference[name].vertices @ turn[:3, :3].T + turn[:3, 3]
        np.testing.assert_allclose(mesh.vertices, expected, atol=1e-3)
        assert mesh.volume_ml == pytest.approx(reference[name].volume_ml, rel=1e-6)
        assert not np.allclose(mesh.vertices, reference[name].vertices, atol=1.0)


# --- One case --------------------------------------------------------------------------------------------------------


def write_case(folder: Path, name: str, volume: Volume) -> Case:
    write_volume(folder / f"{name}.nii.gz", volume)
    return Case(name, folder / f"{name}.nii.gz")


def test_a_case_is_written_whole(tmp_path: Path, coarse_labels: Volume, quick_config: PreparationConfig) -> None:
    quality = prepare_case(write_case(tmp_path, "a", coarse_labels), tmp_path / "out", quick_config)
    folder = tmp_path / "out" / "subjects" / "a"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert quality.flags == ("slices 8.0 mm apart",)
    assert json.loads((folder / "quality.json").read_text())["structures"].keys() == {"left_lung", "right_lung"}
    for structure in quality.structures.values():
        assert abs(structure.volume_change_percent) < 1.0


def test_a_mask_cut_by_the_border_gives_a_closed_mesh_and_a_flag(
    tmp_path: Path, phantom_labels: Volume, quick_config: PreparationConfig
) -> None:
    cut = Volume(phantom_labels.voxels[:, :, : phantom_labels.voxels.shape[2] // 2], phantom_labels.world_from_voxel)
    case = write_case(tmp_path, "cut", cut)
    quality = prepare_case(case, tmp_path / "out", quick_config)
    assert quality.verdict == "rejected"
    for value, (name, structure) in enumerate(quality.structures.items(), start=1):
        area_cm2 = np.count_nonzero(cut.voxels[:, :, -1] == value) * 0.25
        assert f"{name} cut by the image's superior border ({area_cm2:.0f} cm2)" in quality.flags
        assert structure.cut_cm2 == {"superior": pytest.approx(area_cm2)}
        assert area_cm2 > 50
        (outcome,) = prepare_cases([case], tmp_path / "out", quick_config, jobs=1, resume=True)
        finish_cohort([outcome], tmp_path / "out", quick_config, None, keep_rejected=True)
        mesh = Cohort(tmp_path / "out").mesh("cut", name)
        assert mesh.is_closed
        assert mesh.volume_ml == pytest.approx(np.count_nonzero(cut.voxels == value) * 0.125, rel=0.01)


@pytest.mark.real
def test_a_real_case(tmp_path: Path, real_lungs: Path, quick_config: PreparationConfig) -> None:
    case = find_cases([real_lungs / "luna16_2827"])[0]
    quality = prepare_case(case, tmp_path, quick_config)
    assert quality.subject == "luna16_2827"
    for structure in quality.structures.values():
        assert 800 < structure.volume_ml < 4000
        assert abs(structure.volume_change_percent) < 0.5


# --- Finding cases ---------------------------------------------------------------------------------------------------


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_folders_and_subject_folders(tmp_path: Path) -> None:
    touch(tmp_path, "one.nii.gz", "flat/two.nrrd", "flat/notes.txt", "deep/three/labels.nii.gz", "deep/three/ct.nii.gz")
    touch(tmp_path, "deep/four/mask.mha", "deep/many/a.mha", "deep/many/b.mha", "five/labels.mha", "five/ct.mha")
    found = find_cases([tmp_path / name for name in ("one.nii.gz", "flat", "deep", "five")])
    assert [(case.subject, case.path.name) for case in found] == [
        ("five", "labels.mha"),
        ("four", "mask.mha"),
        ("one", "one.nii.gz"),
        ("three", "labels.nii.gz"),
        ("two", "two.nrrd"),
    ]


def test_hidden_files_and_left_overs_are_not_cases(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "._a.nii.gz", ".0f.part.b/labels.nii.gz", "c/labels.nii.gz", "c/._labels.nii.gz")
    assert [case.subject for case in find_cases([tmp_path])] == ["a", "c"]


def test_an_input_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="none: no such file or folder; expected label maps"):
        find_cases([tmp_path / "none"])


def test_a_folder_without_volumes(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(FileError, match=r"holds no label maps and no scans; expected files ending in .nii.gz"):
        find_cases([tmp_path])


def test_two_cases_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "a/p/x.nii.gz", "b/p/x.nrrd")
    with pytest.raises(InputError, match=r"cases: \['p'\] stand for more than one file; expected one file a subject"):
        find_cases([tmp_path / "a" / "p" / "x.nii.gz", tmp_path / "b" / "p" / "x.nrrd"])


def test_files_of_one_name_are_called_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a/ct.nii.gz", "b/ct.nii.gz", "c/scan.nii.gz")
    found = find_cases([tmp_path / "*" / "ct.nii.gz", tmp_path / "c" / "scan.nii.gz"])
    assert [(case.subject, case.path.parent.name) for case in found] == [
        ("a", "a"),
        ("b", "b"),
        ("scan", "c"),
    ]


# --- Many cases ------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_cases(tmp_path: Path, coarse_labels: Volume) -> list[Case]:
    other = Volume(coarse_labels.voxels[:, ::-1], coarse_labels.world_from_voxel)
    return [write_case(tmp_path, "a", coarse_labels), write_case(tmp_path, "b", other)]


def run(cases: list[Case], out: Path, config: PreparationConfig, *, resume: bool = False) -> dict[str, CaseOutcome]:
    return {o.subject: o for o in prepare_cases(cases, out, config, jobs=1, resume=resume)}


def statuses(outcomes: dict[str, CaseOutcome]) -> dict[str, str]:
    return {name: outcome.status for name, outcome in outcomes.items()}


def test_one_bad_case_never_stops_the_rest(
    tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig, coarse_labels: Volume
) -> None:
    empty = write_case(tmp_path, "empty", coarse_labels.with_voxels(np.zeros_like(coarse_labels.voxels)))
    mirrored = write_case(tmp_path, "mirrored", coarse_labels.with_voxels(coarse_labels.voxels[::-1]))
    (tmp_path / "broken.nii.gz").write_bytes(b"x")
    cases = [empty, two_cases[0], Case("broken", tmp_path / "broken.nii.gz"), mirrored, two_cases[1]]
    outcomes = run(cases, tmp_path / "out", quick_config)
    assert statuses(outcomes) == {"a": "done", "b": "done", "empty": "failed", "broken": "failed", "mirrored": "failed"}
    for name, reason in (("empty", "an empty mask"), ("broken", "header"), ("mirrored", "on the patient's right")):
        assert name in outcomes[name].message
        assert reason in outcomes[name].message
        assert outcomes[name].trace == ""
    manifest = finish_cohort(list(outcomes.values()), tmp_path / "out", quick_config, None)
    assert sorted(manifest.subjects) == ["a", "b"]
    assert manifest.failed.keys() == {"empty", "broken", "mirrored"}
    assert sorted(path.name for path in (tmp_path / "out" / "subjects").iterdir()) == ["a", "b"]
    assert Cohort(tmp_path / "out").manifest == manifest


def test_what_nobody_foresaw_is_a_failed_case_with_its_trace(
    tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(prepare, "mesh_structure", fail)
    outcome = run(two_cases[:1], tmp_path / "out", quick_config)["a"]
    assert (outcome.status, outcome.message) == ("failed", "a: ZeroDivisionError: oops")
    assert "Traceback" in outcome.trace


@pytest.mark.parametrize("kind", ["absent", "older"])
def test_folders_that_workers_wrote_elsewhere_are_missed(
    tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig, kind: str
) -> None:
    out = tmp_path / "out"
    outcomes = run(two_cases, out, quick_config)
    folder = out / "subjects" / "b"
    if kind == "absent":
        folder.rename(tmp_path / "on another machine")
    else:
        text = (folder / "quality.json").read_text()
        (folder / "quality.json").write_text(text.replace('"digest": "', '"digest": "0'))
    expected = r"out: lacks what workers prepared of b; expected .* share with this machine, or --jobs"
    with pytest.raises(FileError, match=expected):
        finish_cohort(list(outcomes.values()), out, quick_config, None)
    assert not (out / "cohort.json").exists()


def test_a_cohort_of_failures_only(tmp_path: Path, quick_config: PreparationConfig) -> None:
    outcome = CaseOutcome("x", "failed", 0.0, "x: broken")
    with pytest.raises(InputError, match="prepare: none of 1 cases succeeded"):
        finish_cohort([outcome], tmp_path, quick_config, None)


def test_resume_keeps_what_is_finished(tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig) -> None:
    out = tmp_path / "out"
    first = run(two_cases, out, quick_config)
    before = (out / "subjects" / "a" / "surface.npz").stat().st_mtime_ns
    again = run(two_cases, out, quick_config, resume=True)
    assert statuses(again) == {"a": "kept", "b": "kept"}
    assert again["a"].quality == first["a"].quality
    assert (out / "subjects" / "a" / "surface.npz").stat().st_mtime_ns == before
    assert statuses(run(two_cases, out, quick_config)) == {"a": "done", "b": "done"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "quality.json").unlink(),
        lambda folder: (folder / "quality.json").write_text("{}"),
        lambda folder: (folder / "quality.json").write_text("{"),
        lambda folder: (folder / "off_surface.npz").unlink(),
        lambda folder: (folder / "left_lung.ply").unlink(),
    ],
)
def test_resume_redoes_what_is_damaged(
    tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig, spoil: Callable[[Path], object]
) -> None:
    run(two_cases, tmp_path / "out", quick_config)
    spoil(tmp_path / "out" / "subjects" / "a")
    assert statuses(run(two_cases, tmp_path / "out", quick_config, resume=True)) == {"a": "done", "b": "kept"}
    assert sorted(path.name for path in (tmp_path / "out" / "subjects" / "a").iterdir()) == FILES


def test_resume_redoes_what_was_made_otherwise(
    tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig, coarse_labels: Volume
) -> None:
    run(two_cases, tmp_path / "out", quick_config)
    write_volume(two_cases[0].path, coarse_labels.with_voxels(np.roll(coarse_labels.voxels, 1, axis=2)))
    assert statuses(run(two_cases, tmp_path / "out", quick_config, resume=True)) == {"a": "done", "b": "kept"}
    other = PreparationConfig(sampling=SamplingConfig(n_surface=1000, n_off_surface=1000))
    assert statuses(run(two_cases, tmp_path / "out", other, resume=True)) == {"a": "done", "b": "done"}


def test_workers_and_order_change_nothing(
    tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig
) -> None:
    list(prepare_cases(two_cases, tmp_path / "one", quick_config, jobs=1, resume=False))
    list(prepare_cases(two_cases[::-1], tmp_path / "two", quick_config, jobs=2, resume=False))
    for case in two_cases:
        folders = [tmp_path / name / "subjects" / case.subject for name in ("one", "two")]
        for name in ("surface.npz", "off_surface.npz"):
            one, two = (np.load(folder / name) for folder in folders)
            assert one.files == two.files
            for array in one.files:
                np.testing.assert_array_equal(one[array], two[array])
        for name in ("left_lung.ply", "right_lung.ply", "quality.json"):
            assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    a, b = (np.load(tmp_path / "one" / "subjects" / name / "surface.npz")["points_mm"] for name in "ab")
    assert not np.array_equal(a, b)


def test_the_seed_changes_samples(tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig) -> None:
    points = []
    for seed in (0, 1):
        config = quick_config.model_copy(update={"seed": seed})
        run(two_cases[:1], tmp_path / str(seed), config)
        points.append(np.load(tmp_path / str(seed) / "subjects" / "a" / "surface.npz")["points_mm"])
    assert not np.array_equal(*points)


# --- Interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["write_mesh", "write_arrays"])
def test_a_full_disk_leaves_no_folder_and_the_old_one(
    tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run(two_cases[:1], tmp_path / "out", quick_config)
    monkeypatch.setattr(prepare, stage, fill)
    outcomes = run(two_cases, tmp_path / "out", quick_config)
    assert statuses(outcomes) == {"a": "failed", "b": "failed"}
    assert "No space left on device" in outcomes["b"].message
    assert [path.name for path in (tmp_path / "out" / "subjects").iterdir()] == ["a"]
    assert sorted(path.name for path in (tmp_path / "out" / "subjects" / "a").iterdir()) == FILES


STUCK = """
import sys, time
from pathlib import Path
from lpm.preparation import prepare
from lpm.preparation.config import PreparationConfig

def stuck(path, arrays):
    path.write_bytes(b"half")
    Path(sys.argv[3]).touch()
    time.sleep(600)

prepare.write_arrays = stuck
prepare.prepare_case(prepare.Case("a", Path(sys.argv[1])), Path(sys.argv[2]), PreparationConfig.model_validate(
    {"sampling": {"n_surface": 2000, "n_off_surface": 2000}}))
"""


def test_kill_in_the_middle_leaves_no_half_folder(
    tmp_path: Path, two_cases: list[Case], quick_config: PreparationConfig
) -> None:
    out, mark = tmp_path / "out", tmp_path / "mark"
    command = [sys.executable, "-c", STUCK, str(two_cases[0].path), str(out), str(mark)]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 240
        while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert mark.exists()
    left_over = [path.name for path in (out / "subjects").iterdir()]
    assert len(left_over) == 1
    assert left_over[0].startswith(".")
    assert statuses(run(two_cases[:1], out, quick_config, resume=True)) == {"a": "done"}
    assert sorted(path.name for path in (out / "subjects" / "a").iterdir()) == FILES


def test_random_lungs_go_through(tmp_path: Path, quick_config: PreparationConfig) -> None:
    labels = to_labels(PhantomLungs(gap_mm=8.0), (3.0, 3.0, 6.0))
    quality = prepare_case(write_case(tmp_path, "a", labels), tmp_path / "out", quick_config)
    assert quality.radius_mm < 220

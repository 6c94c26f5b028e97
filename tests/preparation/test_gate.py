from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lpm.batch.cases import find_cases
from lpm.files.volumes import read_volume, write_volume
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import PhantomLungs, random_lungs, to_labels
from lpm.geometry.volumes import Volume, cropped
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import PreparationConfig, SamplingConfig
from lpm.preparation.gate import Finding, judge_cohort, judge_gas, verdict
from lpm.preparation.prepare import finish_cohort, prepare_cases
from lpm.segmentation.hounsfield import hounsfield

QUICK = PreparationConfig(sampling=SamplingConfig(n_surface=500, n_off_surface=500))


def prepared(folder: Path, out: Path, *, keep_rejected: bool = False) -> Cohort:
    outcomes = list(prepare_cases(find_cases([folder]), out, QUICK, jobs=1, resume=False))
    finish_cohort(outcomes, out, QUICK, None, keep_rejected=keep_rejected)
    return Cohort(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good lungs, the same twice, a collapsed one, and one cut below."""
    folder = tmp_path_factory.mktemp("masks")
    lungs = PhantomLungs()
    labels = to_labels(lungs, (4.0, 4.0, 4.0))
    write_volume(folder / "a_good.nii.gz", labels)
    write_volume(folder / "b_twice.nii.gz", labels)
    write_volume(folder / "c_other.nii.gz", to_labels(PhantomLungs(height_mm=228.0), 4.0))
    small = labels.voxels.copy()
    inside = np.flatnonzero((small == 1).any(axis=(0, 1)))
    small[:, :, : int(inside[0] + 0.8 * len(inside))][small[:, :, : int(inside[0] + 0.8 * len(inside))] == 1] = 0
    write_volume(folder / "d_collapsed.nii.gz", labels.with_voxels(small))
    write_volume(folder / "e_cut.nii.gz", Volume(labels.voxels[:, :, 28:].copy(), labels.world_from_voxel))
    return folder


def test_rejected_cases_stay_out_of_the_split(folder: Path, tmp_path: Path) -> None:
    cohort = prepared(folder, tmp_path / "out")
    found = cohort.manifest.subjects
    assert {name: quality.verdict for name, quality in found.items()} == {
        "a_good": "good",
        "b_twice": "rejected",
        "c_other": "good",
        "d_collapsed": "rejected",
        "e_cut": "rejected",
    }
    assert found["b_twice"].flags == ("the same lungs as a_good",)
    assert any("left_lung collapsed or missing" in flag for flag in found["d_collapsed"].flags)
    assert any(re.search(r"right_lung cut by the image's inferior border \(\d+ cm2\)", f) for f in found["e_cut"].flags)
    assert cohort.subjects() == ["a_good", "c_other"]


def test_rejected_cases_can_be_kept(folder: Path, tmp_path: Path) -> None:
    assert len(prepared(folder, tmp_path / "out", keep_rejected=True).subjects()) == 5


def test_the_sheet_shows_the_worst_first_and_needs_no_other_file(folder: Path, tmp_path: Path) -> None:
    prepared(folder, tmp_path / "out")
    text = (tmp_path / "out" / "sheet.html").read_text(encoding="utf-8")
    places = [text.index(f"<h2>{name}:") for name in ("e_cut", "d_collapsed", "b_twice", "a_good")]
    assert max(places[:3]) < places[3]
    assert text.count("data:image/png;base64,") == 5
    assert "src='http" not in text
    assert "lungs-parametric-model" in text[text.index("Provenance") :]


def test_a_scan_becomes_a_subject(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ct, true = render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(3.0, 3.0, 3.0)), rng=rng)
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in" / "scan.nii.gz", ct)
    (tmp_path / "in" / "cases.csv").write_text("subject,path,age\nann,scan.nii.gz,61\n")
    (case,) = find_cases([tmp_path / "in" / "cases.csv"])
    (outcome,) = prepare_cases([case], tmp_path / "out", QUICK, jobs=1, resume=False)
    assert outcome.quality is not None, outcome.message
    manifest = finish_cohort([outcome], tmp_path / "out", QUICK, None)
    assert manifest.attributes == {"ann": {"age": "61"}}
    assert manifest.subjects["ann"].labels_from == "segmented by thresholds"
    volume = sum(each.volume_ml for each in manifest.subjects["ann"].structures.values())
    assert volume == pytest.approx(float((true.voxels > 0).sum()) * true.voxel_ml, rel=0.03)


def test_lobes_are_not_found_in_a_scan(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ct, _ = render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(6.0, 6.0, 6.0)), rng=rng)
    write_volume(tmp_path / "scan.nii.gz", ct)
    lobes = QUICK.model_copy(update={"structures": {"left_upper_lobe": (1,), "left_lower_lobe": (2,)}})
    (outcome,) = prepare_cases(find_cases([tmp_path / "scan.nii.gz"]), tmp_path / "out", lobes, jobs=1, resume=False)
    assert outcome.status == "failed"
    assert "expected left_lung and right_lung, which segmenters find" in outcome.message


def test_gas_in_the_mask_is_found() -> None:
    rng = np.random.default_rng(1)
    ct, true = render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(3.0, 3.0, 3.0)), rng=rng)
    assert list(judge_gas(ct, true)) == []
    pieces, _ = ndimage.label((ct.voxels < -960.0) & (true.voxels == 0))
    beside = {int(n) for face in (pieces[0], pieces[-1], pieces[:, 0]) for n in np.unique(face)}
    sizes = [(int((pieces == n).sum()), n) for n in range(1, pieces.max() + 1) if n not in beside]
    number = max(sizes)[1]  # the airway: the largest air that is neither lung nor room
    with_airway = np.where(pieces == number, 1, true.voxels)
    (finding,) = judge_gas(ct, true.with_voxels(with_airway))
    assert "trachea or bowel included" in finding.what
    assert not finding.rejects


@pytest.fixture(scope="module", params=[(3.0, 3.0, 3.0), (2.0, 2.0, 5.0)], ids=str)
def scan(request: pytest.FixtureRequest) -> tuple[Volume, Volume]:
    """A CT and the labels of its lungs."""
    rng = np.random.default_rng(1)
    return render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=request.param), rng=rng)


@pytest.mark.parametrize(("gas_ml", "verdicts"), [(10.0, []), (60.0, [False]), (200.0, [True])])
def test_much_gas_in_the_mask_rejects(scan: tuple[Volume, Volume], gas_ml: float, verdicts: list[bool]) -> None:
    ct, true = scan
    left = ct.to_world(np.argwhere(true.voxels == 1))
    center = np.array([*left[:, :2].mean(axis=0), left[:, 2].min()])  # a stomach under the left dome
    radii_mm = (3000.0 * gas_ml / (4.0 * np.pi)) ** (1 / 3) * np.array([1.5, 1.0, 1 / 1.5])
    places = ct.to_world(np.indices(ct.voxels.shape).reshape(3, -1).T)
    stomach = ((((places - center) / radii_mm) ** 2).sum(axis=1) < 1.0).reshape(ct.voxels.shape)
    noisy = np.random.default_rng(2).normal(-1000.0, 25.0, ct.voxels.shape)
    image = np.where(stomach, noisy, ct.voxels)
    found = list(judge_gas(ct.with_voxels(image), true.with_voxels(np.where(stomach, 1, true.voxels))))
    assert [finding.rejects for finding in found] == verdicts
    for finding in found:
        assert float(finding.what.split(": ")[1].split(" ml")[0]) == pytest.approx(gas_ml, rel=0.06)


@pytest.mark.slow
@pytest.mark.real
def test_good_lungs_of_a_real_scan_hold_no_gas(real_lungs: Path) -> None:
    folder = real_lungs.parent / "ct" / "LIDC-IDRI-0001"
    scan = hounsfield(read_volume(folder / "ct.nii.gz"), "LIDC")
    lobes = read_volume(folder / "totalsegmentator_labels.nii.gz")
    left, right = (np.isin(lobes.voxels, values) for values in ((10, 11), (12, 13, 14)))
    lungs = cropped(lobes.with_voxels(np.where(left, 1, np.where(right, 2, 0))), left | right, margin=6)
    ct = cropped(scan.volume, left | right, margin=6)
    assert list(judge_gas(ct, lungs)) == []
    stomach = np.zeros(ct.voxels.shape, dtype=bool)
    stomach[40:140, 40:120, 0:20] = True  # 198 ml
    with_gas = ct.with_voxels(np.where(stomach, -1000.0, ct.voxels))
    (finding,) = judge_gas(with_gas, lungs.with_voxels(np.where(stomach, 1, lungs.voxels)))
    assert finding.rejects


def test_a_shape_far_from_all_others_is_named() -> None:
    rng = np.random.default_rng(0)
    sizes = {f"s{n}": np.exp(rng.normal([7.0, 5.0], 0.1)) for n in range(12)}
    sizes["giant"] = sizes["s0"] * 4.0
    found = dict(judge_cohort({name: name for name in sizes}, sizes))
    assert list(found) == ["giant"]
    assert not found["giant"].rejects
    few = {name: sizes[name] for name in ("s0", "s1", "giant")}
    assert list(judge_cohort({name: name for name in few}, few)) == []


def test_verdicts() -> None:
    assert verdict([]) == "good"
    assert verdict([Finding("small")]) == "doubtful"
    assert verdict([Finding("small"), Finding("open", rejects=True)]) == "rejected"


def test_an_open_mesh_is_rejected() -> None:
    from lpm.preparation.gate import judge_case

    mesh = WorldMesh(np.eye(3) * 100.0, np.array([[0, 1, 2]]))
    labels = Volume(np.ones((30, 30, 30), dtype=np.uint8), np.eye(4))
    found = list(judge_case({"organ": mesh}, {"organ": {}}, labels))
    assert [finding.what for finding in found] == ["organ mesh is not closed"]
    assert found[0].rejects

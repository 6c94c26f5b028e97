"""`lpm segment` on a real CT, beside TotalSegmentator's lobes, and on generated CTs whose lungs are known.

Disease is painted into the real CT, and into generated CTs that hold the test subjects' lungs. The real CT is written
as DICOM and in other formats and orientations, and read again.

python benchmarks/segmentation.py --ct DATA/ct --lungs DATA/lungs --model W/atlas --out segmentation.raw.json
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import numpy as np
import torch
from scipy import ndimage, signal

from lpm.files.atomic import write_text
from lpm.files.scans import read_scan
from lpm.files.volumes import read_volume, write_volume
from lpm.fitting.ct.disease import fill_disease
from lpm.geometry.phantom_scans import LabelLungs, PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs, stored_as
from lpm.geometry.volumes import Volume, as_stored, canonical
from lpm.model.bundle import read_bundle
from lpm.segmentation.find import LungPolicy, find_lungs
from lpm.segmentation.hounsfield import Scan, hounsfield
from lpm.segmentation.thresholds import ThresholdSegmenter

LOBES = {1: (10, 11), 2: (12, 13, 14)}
COARSE_MM = (3.0, 3.0, 5.0)
STORED = (
    (".nii.gz", (0, 1, 2), (False, True, False)),
    (".nrrd", (2, 0, 1), (True, False, True)),
    (".mha", (1, 2, 0), (False, False, True)),
    (".nii", (0, 2, 1), (True, True, True)),
)
SICK_SHARE, SICK_HU, SICK_NOISE_HU = 0.3, 35.0, 25.0
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no table": {"with_table": False},
    "no gas in the stomach": {"with_gas": False},
    "arms down": {"with_arms": True},
    "padding -2048": {"padding_hu": -2048.0},
    "padding -3024, arms": {"padding_hu": -3024.0, "with_arms": True},
    "noise 60 HU": {"noise_hu": 60.0},
    "noise 90 HU": {"noise_hu": 90.0},
    "no noise": {"noise_hu": 0.0},
    "emphysema, -930 HU": {"lung_hu": -930.0},
    "dense lung, -700 HU": {"lung_hu": -700.0},
    "lungs that touch": {"touching": True},
    "lungs that touch, noise 60 HU": {"touching": True, "noise_hu": 60.0},
    "slices 5 mm apart": {"spacing_mm": (1.0, 1.0, 5.0)},
    "slices 8 mm apart": {"spacing_mm": (1.0, 1.0, 8.0)},
    "voxels of 3 mm": {"spacing_mm": (3.0, 3.0, 3.0)},
    "cut above the bases": {"cropped_mm": 70.0},
    "cut in the middle": {"cropped_mm": 140.0},
    "5 % consolidated": {"consolidated": 0.05},
    "30 % consolidated": {"consolidated": 0.3},
    "touching, emphysema, arms": {"touching": True, "lung_hu": -930.0, "with_arms": True},
    "all but consolidation": {"with_arms": True, "noise_hu": 60.0, "padding_hu": -2048.0, "lung_hu": -900.0},
}


def dice(found: Volume, true: Volume) -> dict[str, float]:
    pairs = {name: (found.voxels == side, true.voxels == side) for side, name in ((1, "left"), (2, "right"))}
    return {name: 2.0 * float((a & b).sum()) / float(a.sum() + b.sum()) for name, (a, b) in pairs.items()}


def generated(index: int, name: str, model: Path) -> tuple[str, dict[str, float]]:
    rng = np.random.default_rng((7, index))
    spacing: dict[str, Any] = {"spacing_mm": (1.5, 1.5, 2.0)}
    ct, true = render_scan(PhantomScan(random_lungs(rng=rng), **(spacing | VARIANTS[name])), rng=rng)
    plain, found = before_and_after(model, hounsfield(ct, name), name)
    exchanged = found.with_voxels(np.array([0, 2, 1], dtype=np.uint8)[found.voxels])
    plain_dice = {f"{side}_plain": value for side, value in dice(plain, true).items()}
    return name, dice(found, true) | plain_dice | {"if_exchanged": max(dice(exchanged, true).values())}


def sides_of_lobes(folder: Path, scan: Scan) -> Volume:
    lobes = read_volume(folder / "totalsegmentator_labels.nii.gz").voxels
    sides = sum(side * np.isin(lobes, values) for side, values in LOBES.items())
    return scan.volume.with_voxels(np.asarray(sides, dtype=np.uint8))


def real(folder: Path) -> dict[str, float]:
    """In this process, alone: its peak memory is the segmenter's."""
    started = time.perf_counter()
    scan = hounsfield(read_volume(folder / "ct.nii.gz"), folder.name)
    found = as_stored(ThresholdSegmenter().segment(scan, folder.name), scan.volume)
    seconds = time.perf_counter() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return dice(found, sides_of_lobes(folder, scan)) | {"seconds": seconds, "peak_gib": peak_gib}


def coarse(folder: Path) -> dict[str, float]:
    """The CT with large voxels, made by cutting off frequencies: its edges ring."""
    scan = hounsfield(read_volume(folder / "ct.nii.gz"), folder.name)
    true = sides_of_lobes(folder, scan)
    voxels, affine = scan.volume.voxels, scan.volume.world_from_voxel.copy()
    for axis, (step, wanted) in enumerate(zip(scan.volume.spacing_mm, COARSE_MM, strict=True)):
        n = round(voxels.shape[axis] * step / wanted)
        affine[:3, axis] *= voxels.shape[axis] / n
        voxels = signal.resample(voxels, n, axis=axis)
    small = Volume(voxels.astype(np.float32), affine)
    found = lungs_of(hounsfield(small, folder.name), folder.name)
    to_fine = np.linalg.inv(affine) @ scan.volume.world_from_voxel
    factors, shape = np.diag(to_fine)[:3], scan.volume.voxels.shape
    shares = [
        ndimage.affine_transform((found.voxels == side) * 1.0, factors, output_shape=shape, order=1, mode="nearest")
        for side in (1, 2)
    ]
    labels = 1 * (shares[0] >= 0.5) + 2 * (shares[1] >= 0.5)
    return dice(true.with_voxels(labels.astype(np.uint8)), true)


def painted(scan: Scan, true: Volume, side: int, *, rng: np.random.Generator) -> Scan:
    """The lowest and hindmost part of a lung as dense as tissue."""
    places = np.argwhere(true.voxels == side)
    depth = true.to_world(places.astype(np.float64)) @ np.array([0.0, 0.75, 0.65])
    sick = tuple(places[depth < np.quantile(depth, SICK_SHARE)].T)
    voxels = scan.volume.voxels.copy()
    voxels[sick] = SICK_HU + rng.normal(0.0, SICK_NOISE_HU, len(sick[0]))
    return Scan(scan.volume.with_voxels(voxels), scan.padding_share)


def before_and_after(model: Path, scan: Scan, name: str) -> tuple[Volume, Volume]:
    """Labels without and with what disease hides."""
    torch.set_num_threads(1)
    plain = find_lungs(scan, LungPolicy(), name)
    hidden = {side: lung for side, lung in plain.ribs.items() if lung.is_hidden}
    if not hidden:
        return plain.labels, plain.labels
    filled = fill_disease(read_bundle(model), scan, plain.upright, hidden, rng=np.random.default_rng(0))
    return plain.labels, as_stored(filled, scan.volume)


def lungs_of(scan: Scan, name: str) -> Volume:
    return find_lungs(scan, LungPolicy(), name).labels


def compared(model: Path, scan: Scan, true: Volume, name: str) -> dict[str, Any]:
    plain, filled = before_and_after(model, scan, name)
    return {"plain": dice(plain, true), "filled": dice(filled, true)}


def sick_lungs(lungs: Path, model: Path, subject: str, side: int) -> tuple[str, dict[str, Any]]:
    """A generated CT around a real subject's lungs; side 0 is in good health."""
    rng = np.random.default_rng((11, side))
    shape = LabelLungs(read_volume(lungs / subject / "labels.nii.gz"))
    ct, true = render_scan(PhantomScan(shape), rng=rng)  # type: ignore[arg-type]
    scan = hounsfield(ct, subject)
    scan = painted(scan, true, side, rng=rng) if side else scan
    return f"{subject}, {('healthy', 'left', 'right')[side]}", compared(model, scan, true, subject)


def sick_ct(folder: Path, model: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The real CT with disease painted into either lung."""
    scan = hounsfield(read_volume(folder / "ct.nii.gz"), folder.name)
    true = sides_of_lobes(folder, scan)
    for side, name in ((0, "healthy"), (1, "left"), (2, "right")):
        sick = painted(scan, true, side, rng=np.random.default_rng(side)) if side else scan
        yield f"{folder.name} (the CT), {name}", compared(model, sick, true, folder.name)


def written_and_read(folder: Path) -> dict[str, Any]:
    """The CT in other formats and orientations, and as DICOM: files in no order, another series, a slice missing."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from dicom_writing import Writing, write_scan

    ct, rng = canonical(read_volume(folder / "ct.nii.gz")), np.random.default_rng(0)
    expected = canonical(lungs_of(hounsfield(ct, folder.name), folder.name)).voxels
    rows: dict[str, Any] = {}

    def look(name: str, path: Path) -> None:
        scan = read_scan(path)
        found = canonical(lungs_of(hounsfield(scan.volume, name), name)).voxels
        rows[name] = {"differ": int((found != expected).sum()), "notes": list(scan.notes)}
        print(name, rows[name], flush=True)

    with TemporaryDirectory() as name:
        place = Path(name)
        for number, (suffix, order, flips) in enumerate(STORED):
            write_volume(place / f"{number}{suffix}", stored_as(ct, order, flips))
            look(f"{suffix[1:]}, axes {order}, flipped {flips}", place / f"{number}{suffix}")
        thick = ct.with_voxels(ct.voxels[:, :, ::4])
        for left_out in ((), (ct.voxels.shape[2] // 2,)):
            patient = place / f"dicom{len(left_out)}"
            write_scan(patient, ct, Writing(left_out=left_out), rng=rng)
            write_scan(patient, Volume(thick.voxels, ct.world_from_voxel @ np.diag([1, 1, 4, 1])), Writing(3), rng=rng)
            look("DICOM, two series" + ", a slice missing" * len(left_out), patient)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path, required=True, help="folder of folders with ct.nii.gz and lobes")
    parser.add_argument("--lungs", type=Path, required=True, help="folder of label maps, with split.json")
    parser.add_argument("--model", type=Path, required=True, help="trained on the train split")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    folders = [folder for folder in sorted(given.ct.iterdir()) if (folder / "ct.nii.gz").exists()]
    scans = {
        folder.name: real(folder) | {"coarse": coarse(folder), "written": written_and_read(folder)}
        for folder in folders
    }
    print(scans, flush=True)
    tasks = (joblib.delayed(generated)(index, name, given.model) for index, name in enumerate(VARIANTS))
    found = {}
    for name, scores in joblib.Parallel(n_jobs=given.jobs, return_as="generator")(tasks):
        found[name] = scores
        print(name, {key: round(value, 4) for key, value in scores.items()}, flush=True)
    filled = {name: scores for folder in folders for name, scores in sick_ct(folder, given.model)}
    print(filled, flush=True)
    test = json.loads((given.lungs / "split.json").read_text())["test"]
    sides = [(name, side) for number, name in enumerate(test) for side in (0, 1 + number % 2)]
    sick = (joblib.delayed(sick_lungs)(given.lungs, given.model, name, side) for name, side in sides)
    for name, scores in joblib.Parallel(n_jobs=given.jobs, return_as="generator")(sick):
        filled[name] = scores
        print(name, scores, flush=True)
    n_training = read_bundle(given.model).manifest.training_shapes
    found_all = {"real": scans, "generated": found, "filled": filled, "n_training": n_training}
    write_text(given.out, json.dumps(found_all, indent=1) + "\n")


if __name__ == "__main__":
    main()

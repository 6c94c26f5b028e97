"""Peak memory of each verb for the largest usual input; writes its section of docs/reliability.md.

python benchmarks/resources.py --work runs/resources
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from cells import Json, machine, stamp, stamped
from lpm.evaluation.tables import markdown
from lpm.files.points import write_points
from lpm.files.volumes import write_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs, to_labels
from marked import write_section
from processes import machine as this_machine
from processes import run_lpm
from reliability import PAGE

_SHAPE = (512, 512, 1000)
_COARSE_MM = 4.0
_POINTS = 2_000_000
_MANY = (20, 100)  # label maps of a batch: memory must not grow with them
_CT, _MASK = "CT of 512 x 512 x 1000", "label map of 512 x 512 x 1000"


def make_inputs(work: Path) -> None:
    """A large CT and label map, many points and many label maps, made of phantoms."""
    if (work / "whole").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    ct, labels = render_scan(
        PhantomScan(random_lungs(rng=np.random.default_rng(0)), spacing_mm=(_COARSE_MM,) * 3),
        rng=np.random.default_rng(0),
    )
    _write_large(work / "ct.nii.gz", ct.voxels, ct.world_from_voxel, np.int16, order=1)
    _write_large(work / "labels.nii.gz", labels.voxels, labels.world_from_voxel, np.uint8, order=0)
    lungs = random_lungs(rng=np.random.default_rng(1))
    places = np.argwhere(labels.voxels > 0)
    inside = labels.to_world(places[np.random.default_rng(0).integers(0, len(places), _POINTS)].astype(float))
    write_points(work / "points.npy", inside + np.random.default_rng(1).normal(0, 1, inside.shape))
    small = to_labels(lungs, 3.0)
    for n in _MANY:
        for index in range(n):
            write_volume(work / f"many{n}" / f"case{index:03d}.nii.gz", small)
    (work / "whole").touch()


def _write_large(path: Path, voxels: np.ndarray, affine: np.ndarray, kind: type, *, order: int) -> None:
    zoom = np.array(_SHAPE) / voxels.shape
    large = ndimage.zoom(voxels.astype(np.float32), zoom, order=order, grid_mode=True, mode="nearest").astype(kind)
    scaled = affine.copy()
    scaled[:3, :3] /= zoom
    nib.save(nib.Nifti1Image(large, scaled), path)  # type: ignore[no-untyped-call]


def steps(work: Path) -> dict[tuple[str, str], Callable[[], Json]]:
    """What is measured: command and input, and how it is run."""
    out, ct, labels, points = work / "out", work / "ct.nii.gz", work / "labels.nii.gz", work / "points.npy"
    fit = ("--spacing-mm", "3", "--no-report")
    found: dict[tuple[str, str], Callable[[], Json]] = {
        ("lpm segment", _CT): partial(run_lpm, "segment", ct, "--out", out / "s.nii.gz"),
        ("lpm fit ct", _CT): partial(run_lpm, "fit", "ct", ct, "--out", out / "ct", *fit),
        ("lpm fit mask", _MASK): partial(run_lpm, "fit", "mask", labels, "--out", out / "mask", *fit),
        ("lpm measure", _MASK): partial(run_lpm, "measure", labels, "--csv", out / "m.csv"),
        ("lpm prepare --jobs 1", _CT): partial(run_lpm, "prepare", ct, "--out", out / "cohort", "--jobs", "1"),
        ("lpm xray", _CT): partial(run_lpm, "xray", ct, "--out", out / "xray"),
        ("lpm fit points", f"{_POINTS:,} points"): partial(
            run_lpm, "fit", "points", points, "--out", out / "points", *fit
        ),
    }
    for n in _MANY:
        command = ("measure", work / f"many{n}", "--csv", out / f"{n}.csv", "--jobs", "2")
        found["lpm measure --jobs 2", f"{n} label maps at 3 mm"] = partial(run_lpm, *command)
    return found


def measure(work: Path, *, only_kept: bool) -> Json:
    """Measure each step, or keep what an earlier run measured."""
    (work / "steps").mkdir(exist_ok=True)
    rows = []
    for number, ((verb, given), run) in enumerate(steps(work).items()):
        kept = work / "steps" / f"{number:02d}.json"
        if only_kept and not kept.exists():
            continue
        if not kept.exists():
            shutil.rmtree(work / "out", ignore_errors=True)
            (work / "out").mkdir()
            try:
                kept.write_text(json.dumps(run() | {"verb": verb, "given": given}, indent=1))
            except SystemExit as stop:  # it was refused, or failed: its words
                kept.write_text(json.dumps({"verb": verb, "given": given, "refused": str(stop)[-300:]}, indent=1))
        rows.append(json.loads(kept.read_text()))
    return {"rows": rows, "machine": this_machine(), "stamp": stamp()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/resources"))
    parser.add_argument("--only-kept", action="store_true", help="write the page of what was measured already")
    given = parser.parse_args()
    work = given.work.resolve()
    make_inputs(work)
    data = measure(work, only_kept=given.only_kept)
    rows = [
        [row["verb"], row["given"], *([row["refused"], ""] if "refused" in row else _figures(row))]
        for row in data["rows"]
    ]
    table = markdown(["command", "input", "peak memory, all processes", "of the largest process"], rows)
    write_section(PAGE, "resources", f"{table}\n{machine(data)} {stamped(data)}")


def _figures(row: Json) -> list[str]:
    return [f"{row['peak_all_gib']:.1f} GiB", f"{row['peak_largest_gib']:.1f} GiB"]


if __name__ == "__main__":
    main()

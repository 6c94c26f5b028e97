"""Measurement against known shapes, a thousand generated lungs beside the real ones, conditions and knobs.

python benchmarks/population.py --model ATLAS --lungs FOLDER --work FOLDER --out FILE.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from lpm.batch.workers import LocalWorkers
from lpm.errors import InputError
from lpm.files.atomic import write_text
from lpm.files.meshes import read_mesh
from lpm.files.volumes import write_volume
from lpm.geometry.phantoms import Ellipsoid, to_mask
from lpm.geometry.sides import RIGHT
from lpm.measurement.measure import measure_subjects
from lpm.measurement.subjects import find_subjects
from lpm.model.bundle import read_bundle
from lpm.population.data_set import DataSet, Lungs, Request
from lpm.population.gates import overlap_ml
from lpm.population.generation import Generator, generate
from lpm.population.knobs import KNOBS, Knobs

Json = dict[str, Any]
N_CONDITIONED, N_SHAPES, JOBS = 6, 10, 2
LARGEST_MM = (45.0, 70.0, 70.0)  # half axes of an ellipsoid: a wider one is taken for two lungs that touch
MEASURED = (*KNOBS, "left_lung_volume_ml", "right_lung_volume_ml", "asymmetry_mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "lungs", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1000, help="generated lungs")
    given = parser.parse_args()
    generator = Generator.of(read_bundle(given.model))
    parts = {
        "known_shapes": lambda: known_shapes(given.work),
        "real_lungs": lambda: real_lungs(given.lungs),
        "conditions": lambda: conditions(generator),
        "knobs": lambda: knobs(generator),
        "generated": lambda: generated(generator, given.work / "generated", given.n),
    }
    done: Json = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name, part in parts.items():
        if name not in done:
            print(f"-- {name}", flush=True)
            write_text(given.out, json.dumps(done := done | {name: part()}, indent=1) + "\n")


def known_shapes(work: Path) -> Json:
    """Ellipsoids of the size of a lung, 1 mm voxels, their centres anywhere between voxels."""
    rng, errors = np.random.default_rng(0), []
    for index in range(N_SHAPES):
        shape = Ellipsoid(rng.uniform(-50, 50, 3), rng.uniform(30.0, LARGEST_MM))
        mask = to_mask(shape, 1.0, margin_mm=12.0 + float(rng.uniform()))
        path = work / "shapes" / f"{index}" / "labels.nii.gz"
        write_volume(path, mask.with_voxels(np.where(mask.voxels, RIGHT, 0).astype(np.uint8)))
        (found,) = measure_subjects(find_subjects([path]))
        if found.error:
            raise SystemExit(found.error)
        lower, upper = shape.bounds_mm
        sizes = np.array([found.values[f"{name}_mm"] for name in ("width", "depth", "height")])
        volume = 100.0 * (found.values["total_volume_ml"] / shape.volume_ml - 1.0)
        errors.append({"volume_percent": volume, "length_mm": float(np.abs(sizes - (upper - lower)).max())})
    return {"shapes": errors}


def real_lungs(lungs: Path) -> Json:
    """All subjects, one after the other; processor time, since cores are shared here."""
    subjects = find_subjects(sorted(lungs.glob("*/labels.nii.gz")))
    started = time.process_time()
    found = list(measure_subjects(subjects))
    seconds = time.process_time() - started
    return {"n": len(found), "failed": sum(bool(one.error) for one in found), "cpu_seconds": seconds}


def knobs(generator: Generator) -> Json:
    """Each knob by one standard deviation, the others held; what shape explains."""
    found = Knobs(generator.population)
    table, names = found.disentanglement(), list(found.names)
    refused = {name: why for name in names if (why := refusal(found, name))}
    return {"names": names, "explained": found.explained(), "disentanglement": table.tolist(), "refused": refused}


def refusal(knobs: Knobs, name: str) -> str:
    """What is expected in place of a turn by one standard deviation; empty where it is done."""
    try:
        knobs.turn(name, 1.0)
    except InputError as error:
        return str(error.expected)
    return ""


def conditions(generator: Generator) -> Json:
    """Values a standard deviation below and above the mean; how the other attributes follow."""
    table, result = generator.population.table, {}
    for name in ("total_volume_ml", "height_mm", "width_mm"):
        index, rows = table.index(name), []
        for by_sd in (-1.0, 1.0):
            value = float(table.mean[index] + by_sd * table.sd[index])
            expected = generator.population.expected({name: value})
            lungs = list(generate(generator, N_CONDITIONED, {name: (value, value)}, rng=np.random.default_rng(1)))
            missed = [abs(one.attributes[name] / value - 1.0) for one in lungs]
            off = {
                other: float(np.mean([one.attributes[other] for one in lungs]) - expected[other])
                / float(table.sd[table.index(other)])
                for other in MEASURED
            }
            rows.append({"value": value, "missed_percent": 100.0 * max(missed), "others_off_sd": off})
        result[name] = rows
    return result


def generated(generator: Generator, out: Path, n: int) -> Json:
    """Unconditioned; soundness looked at again, from the files."""
    started = time.perf_counter()
    lungs = list(DataSet(generator, Request(ranges={}, seed=0), out).write_all(n, LocalWorkers(JOBS)))
    seconds = time.perf_counter() - started
    checked = joblib.Parallel(n_jobs=JOBS)(joblib.delayed(_check)(out, one) for one in lungs)
    table = generator.population.table
    spread = {
        name: [
            float(np.std([one.attributes[name] for one in lungs], ddof=1)) / float(table.sd[table.index(name)]),
            float(np.mean([one.attributes[name] for one in lungs]) - table.mean[table.index(name)])
            / float(table.sd[table.index(name)]),
        ]
        for name in table.names
        if name in lungs[0].attributes
    }
    return {
        "n": len(lungs),
        "seconds": seconds,
        "drawn": sum(one.tries for one in lungs),
        "closed_and_one_piece": sum(sound for sound, _ in checked),
        "largest_overlap_ml": max(shared for _, shared in checked),
        "nearest_mm": float(np.mean([one.nearest_training_lungs_mm for one in lungs])),
        "least_nearest_mm": min(one.nearest_training_lungs_mm for one in lungs),
        "real_nearest_mm": float(generator.familiar.nearest_each_mm().mean()),
        "spread_and_shift": spread,
    }


def _check(out: Path, lungs: Lungs) -> tuple[bool, float]:
    left, right = (read_mesh(out / lungs.name / f"{side}_lung.ply") for side in ("left", "right"))
    sound = all(mesh.is_closed and mesh.n_pieces == 1 and mesh.volume_ml > 0 for mesh in (left, right))
    return sound, overlap_ml(left, right)


if __name__ == "__main__":
    main()

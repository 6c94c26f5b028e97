"""Inspiration predicted from expiration and the total volume, of patients that the breath model has not seen.

python benchmarks/breath_one_state.py --data FOLDER --work WORK/breath --out OUT.json

Data and fits as in breath.py. Rivals: axis scaling (each lung about its middle, factors along R, A, S in the proportion
that other patients' boxes grow, so that the volume is met), and other patients' mean displacement as it is. A common
shift is removed before surfaces are compared: the states' relative shift is not known.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t

import lpm
from breath import STATES, fitted
from lpm.files.arrays import read_arrays, write_arrays
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.motion.prediction import Pair, learn_breath, predicted_motion

Lungs = Mapping[str, WorldMesh]
STEPS = 12  # of the search for the common shift
NAMES = ("left_lung", "right_lung")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--data", "--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--model", type=Path, help="Write the breath model of all pairs here, too.")
    given = parser.parse_args()
    model = lpm.load("lungs-v1")  # which knows none of these patients
    split = json.loads((given.data / "split.json").read_text(encoding="utf-8"))
    names = sorted(name for own in split.values() for name in own)
    pairs = {name: pair_of(model, given.data / name, given.work / name) for name in names}
    true = {
        name: {lung: decimate(lpm.read_mesh(given.work / name / "insp" / f"{lung}.ply"), 12000) for lung in NAMES}
        for name in names
    }
    scored = {}
    for kind, train in (("test", split["train"]), ("left out", names)):
        for name in split["test"] if kind == "test" else names:
            others = [pairs[each] for each in train if each != name]
            scored.setdefault(kind, {})[name] = scores(model, others, pairs[name], true[name])
            print(kind, name, scored[kind][name], flush=True)
    summary = {kind: summarised(list(each.values())) for kind, each in scored.items()}
    print(json.dumps(summary, indent=1))
    if given.model:
        learn_breath(model.bundle, list(pairs.values())).write(given.model)
    given.out.write_text(json.dumps({"scores": scored, "summary": summary}, indent=1) + "\n", encoding="utf-8")


def pair_of(model: lpm.LungModel, data: Path, work: Path) -> Pair:
    """Lungs of a patient in both states, kept beside the fits."""
    path, keys = work / "pair.npz", tuple(f"{name}.{key}" for name in NAMES for key in ("faces", *STATES))
    if not path.exists():
        fields = [fitted(model, lpm.read_volume(data / state / "labels.nii.gz"), work / state) for state in STATES]
        pair = Pair.of(*fields)
        parts = [(name, pair.expiration[name], pair.inspiration[name]) for name in NAMES]
        arrays = {f"{name}.faces": exp.faces for name, exp, _ in parts}
        arrays |= {f"{name}.exp": exp.vertices for name, exp, _ in parts}
        write_arrays(path, arrays | {f"{name}.insp": insp.vertices for name, _, insp in parts})
    found = read_arrays(path, keys)
    lungs = [{n: WorldMesh(found[f"{n}.{state}"], found[f"{n}.faces"]) for n in NAMES} for state in STATES]
    return Pair(*lungs)


def scores(model: lpm.LungModel, others: Sequence[Pair], pair: Pair, true: Lungs) -> dict[str, object]:
    """Of each way to predict: ASSD in mm, and the mean error of a lung's volume in ml."""
    total = sum(mesh.volume_ml for mesh in true.values())
    breath = learn_breath(model.bundle, others)
    smooth = predicted_motion(model.bundle, breath, pair.expiration, total)
    moved = {n: np.mean([each.displacement_mm[n] for each in others], axis=0) for n in NAMES}
    ways = {
        "LPM": {n: WorldMesh(smooth[n](m.vertices), m.faces) for n, m in pair.expiration.items()},
        "axis scaling": scaled(others, pair.expiration, total),
        "mean displacement": {n: WorldMesh(m.vertices + moved[n], m.faces) for n, m in pair.expiration.items()},
    }
    root = np.sqrt(np.log(total / sum(mesh.volume_ml for mesh in pair.expiration.values())))
    sd = {n: root * breath.sd_mm[n] for n in NAMES}
    off = {way: error_mm(lungs, true) for way, lungs in ways.items()}
    volumes = {way: [abs(m.volume_ml - true[n].volume_ml) for n, m in lungs.items()] for way, lungs in ways.items()}
    inside = [np.abs(off["LPM"][1][n]) <= 1.96 * sd[n] for n in NAMES]
    return {
        "assd_mm": {way: found[0] for way, found in off.items()},
        "volume_ml": {way: float(np.mean(each)) for way, each in volumes.items()},
        "within_95_percent": float(100.0 * np.mean(np.concatenate(inside))),
    }


def scaled(others: Sequence[Pair], lungs: Lungs, total_ml: float) -> Lungs:
    growth = [np.log(box(pair.inspiration) / box(pair.expiration)) for pair in others]
    shares = np.mean([each / each.sum() for each in growth], axis=0)

    def at(power: float) -> Lungs:
        middle = {name: mesh.vertices.mean(axis=0) for name, mesh in lungs.items()}
        return {
            n: WorldMesh(middle[n] + (m.vertices - middle[n]) * np.exp(power * shares), m.faces)
            for n, m in lungs.items()
        }

    return at(brentq(lambda power: sum(m.volume_ml for m in at(power).values()) - total_ml, -2.0, 4.0))


def box(lungs: Lungs) -> Floats:
    return np.ptp(np.concatenate([mesh.vertices for mesh in lungs.values()]), axis=0)


def error_mm(lungs: Lungs, true: Lungs) -> tuple[float, dict[str, Floats]]:
    """ASSD after the best common shift, and each vertex's distance to the truth."""
    shift = np.zeros(3)
    for _ in range(STEPS):
        away = []
        for name, mesh in lungs.items():
            here = WorldMesh(mesh.vertices + shift, mesh.faces)
            points, back = here.vertices[::10], true[name].vertices[::16]
            away += [closest_points(true[name], points).point - points, back - closest_points(here, back).point]
        step = np.concatenate(away).mean(axis=0)
        shift = shift + 1.5 * step
        if np.linalg.norm(step) < 0.05:
            break
    here = {name: WorldMesh(mesh.vertices + shift, mesh.faces) for name, mesh in lungs.items()}
    there = {name: closest_points(true[name], mesh.vertices).distance for name, mesh in here.items()}
    back = [closest_points(here[name], mesh.vertices[::3]).distance.mean() for name, mesh in true.items()]
    return float(np.mean([*(each.mean() for each in there.values()), *back])), there


def summarised(each: Sequence[dict[str, object]]) -> dict[str, object]:
    """Means, and 95 % intervals (Student) of how much better LPM is than each rival."""
    found: dict[str, object] = {"within_95_percent": float(np.mean([one["within_95_percent"] for one in each]))}
    for key in ("assd_mm", "volume_ml"):
        values = {way: np.array([one[key][way] for one in each]) for way in each[0][key]}
        found[key] = {way: float(own.mean()) for way, own in values.items()}
        better = {way: own - values["LPM"] for way, own in values.items() if way != "LPM"}
        half = {way: t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d)) for way, d in better.items()}
        found[f"{key}_better"] = {
            way: [float(d.mean() - half[way]), float(d.mean() + half[way])] for way, d in better.items()
        }
        found[f"{key}_wins"] = {way: int((d > 0).sum()) for way, d in better.items()}
    return found


if __name__ == "__main__":
    main()

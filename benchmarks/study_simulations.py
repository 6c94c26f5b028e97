"""Simulated studies: how often something is found where nothing is, and where something is, and what a study costs.

python benchmarks/study_simulations.py --work WORK/studies --out OUT.json [--null 500] [--effect 200] [--page PAGE]
python benchmarks/study_simulations.py --work WORK/studies --out OUT.json --measures-only [--page PAGE]

Lungs are drawn once from the population of `lungs-v1`, with their meshes in correspondence and their measures; each
study draws its subjects from them. The effect is a knob of the model turned by one standard deviation of the
population, with the other knobs held, added to every lung of the second group. Seeds are fixed. PAGE gets the table.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

import lpm
from lpm.batch.subjects import SubjectTable
from lpm.fitting.corresponding import average_surfaces
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.shapes import measure_shapes
from lpm.population.knobs import Knobs
from lpm.population.population import Population
from lpm.studies.alignment import align, normals_of
from lpm.studies.cohort import Cohort, Lungs, find_fits
from lpm.studies.design import Asked, design_of
from lpm.studies.measures import effects, measured
from lpm.studies.study import Study, StudyConfig, study_of
from lpm.workflows.studying import StudyRun, run_study
from marked import write_section

MODEL = "lungs-v1"  # its population has no expiration
KNOBS = ("height_mm", "width_mm")
FACES = 2000
POOL, SHIFTED = 240, 90
CONFIG = StudyConfig(permutations=1000, direction_permutations=0, keep_doubtful=True)
LEVEL = 0.05


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--null", type=int, default=500, help="studies without an effect; 0 keeps OUT's")
    parser.add_argument("--effect", type=int, default=200, help="studies with one; 0 keeps OUT's")
    parser.add_argument("--measures-only", action="store_true", help="of OUT's studies only what measures find")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--fits", type=Path, help="a batch of fits: what it costs to compare them is measured")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    population = Population.of(lpm.load(MODEL).bundle)
    pool = drawn(population, np.zeros(0), POOL, given.work / "pool.npz", 1)
    result = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    if given.measures_only:
        result |= {name: result[name] | found for name, found in measures_alone(pool, given).items()}
        given.null = given.effect = 0
    if given.null:
        result["null"] = nothing(pool, given.null)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for number, knob in enumerate(KNOBS if given.effect else ()):
        step = turned(population, knob, given.work / f"{knob}.npy")
        shifted = drawn(population, step, SHIFTED, given.work / f"{knob}.npz", 100 + number)
        true = true_map(population, step)
        result[knob] = something(pool, shifted, true, given.effect // len(KNOBS), 1000 + number)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if given.fits:
        result["cost"] = cost(given.fits, given.work)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if given.page:
        write_table(result, given.page)


def turned(population: Population, knob: str, path: Path) -> Floats:
    """Coordinates that a knob adds to the average."""
    if not path.exists():
        knobs = Knobs.of(population.decode.model)
        np.save(path, knobs.turn(knob, 1.0).coordinates)
    return np.asarray(np.load(path))


def drawn(population: Population, step: Floats, n: int, path: Path, seed: int) -> list[Lungs]:
    """Lungs of the population, moved by a step; kept in a file."""
    model = population.decode.model
    surfaces = average_surfaces(model, FACES)
    if not path.exists():
        vertices, measures = [], []
        for rng in np.random.default_rng(seed).spawn(n):
            coordinates = np.clip(rng.standard_normal(population.n_shown + len(population.mean)), -3.0, 3.0)
            coordinates[: len(step)] += step
            meshes = decoded(population, coordinates)
            vertices.append([mesh.vertices for mesh in meshes.values()])
            measures.append(measure_shapes(meshes))
            print(path.stem, len(vertices), flush=True)
        names = list(measures[0])
        table = np.array([[each[name] for name in names] for each in measures])
        stacked = {name: np.stack([each[i] for each in vertices]) for i, name in enumerate(model.structures)}
        np.savez(path, names=np.array(names), measures=table, **stacked)
    with np.load(path) as kept:
        names, table = kept["names"].tolist(), kept["measures"]
        places = {name: kept[name] for name in model.structures}
    faces = dict(zip(model.structures, surfaces.faces, strict=True))
    return [
        Lungs(
            f"{path.stem}_{i}",
            {name: WorldMesh(places[name][i], faces[name]) for name in places},
            dict(zip(names, row.tolist(), strict=True)),
        )
        for i, row in enumerate(table)
    ]


def true_map(population: Population, step: Floats) -> Floats:
    """(v,) what a step does to the average lungs, along their normals, mm."""
    coordinates = np.zeros(population.n_shown + len(population.mean))
    meshes = [decoded(population, coordinates)]
    coordinates[: len(step)] += step
    meshes.append(decoded(population, coordinates))
    both = np.stack([np.concatenate([mesh.vertices for mesh in each.values()]) for each in meshes])
    aligned = align(both, np.arange(2), "keep", "whole", np.zeros(both.shape[1], bool)).shapes
    return np.asarray(((aligned[1] - aligned[0]) * normals_of(meshes[0])).sum(axis=1))


def decoded(population: Population, coordinates: Floats) -> dict[str, WorldMesh]:
    import torch

    model = population.decode.model
    latent = model.latents.to_latent(torch.tensor(population.beta(coordinates)).float())
    return average_surfaces(model, FACES).meshes(latent, model.world_from_model(np.zeros(3)), model.structures)


def simulated(first: list[Lungs], second: list[Lungs], seed: int) -> Study:
    """One study of two groups."""
    return study_of(*cohort_of(first, second), Asked("group"), CONFIG.model_copy(update={"seed": seed}))


def cohort_of(first: list[Lungs], second: list[Lungs]) -> tuple[Cohort, SubjectTable]:
    """Lungs of two groups, and their table."""
    lungs = [*first, *second]
    rows = {each.name: {"group": "a" if i < len(first) else "b"} for i, each in enumerate(lungs)}
    return Cohort(tuple(lungs)), SubjectTable("simulated", rows)


def nothing(pool: list[Lungs], n: int) -> dict[str, float]:
    """Studies of 20 + 20 lungs of one population: how often anything is called found."""
    found: dict[str, list[bool]] = {"measures": [], "shape": [], "map": [], "measures_fdr": [], "map_fdr": []}
    started = time.perf_counter()
    for seed in range(n):
        chosen = np.random.default_rng([7, seed]).choice(len(pool), 40, replace=False)
        answer = simulated([pool[i] for i in chosen[:20]], [pool[i] for i in chosen[20:]], seed).answers[0]
        for name, tested in (
            ("measures", answer.measures.tested),
            ("shape", answer.shape.tested),
            ("map", answer.place),
        ):
            found[name].append(bool(tested.p_corrected.min() < LEVEL))
            if name != "shape":
                found[f"{name}_fdr"].append(bool(tested.q.min() < LEVEL))
        if seed % 20 == 19:
            print(seed + 1, {name: float(np.mean(each)) for name, each in found.items()}, flush=True)
    shares = {name: float(np.mean(each)) for name, each in found.items()}
    return {"n": n, "seconds_each": (time.perf_counter() - started) / n, **shares}


def measures_alone(pool: list[Lungs], given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The measures of the same studies, with the same permutations: what the whole studies would say of them."""
    found: dict[str, list[bool]] = {"null": [], **{knob: [] for knob in KNOBS}}
    for seed in range(given.null):
        chosen = np.random.default_rng([7, seed]).choice(len(pool), 40, replace=False)
        found["null"].append(any_measure([pool[i] for i in chosen[:20]], [pool[i] for i in chosen[20:]], seed))
    for place, knob in enumerate(KNOBS):
        shifted = drawn(Population.of(lpm.load(MODEL).bundle), np.zeros(0), SHIFTED, given.work / f"{knob}.npz", 0)
        for number in range(given.effect // len(KNOBS)):
            rng = np.random.default_rng([1000 + place, number])
            first, second = ([each[i] for i in rng.choice(len(each), 30, replace=False)] for each in (pool, shifted))
            found[knob].append(any_measure(first, second, number))
        print(knob, np.mean(found[knob]), flush=True)
    return {name: {"measures": float(np.mean(each))} for name, each in found.items()}


def any_measure(first: list[Lungs], second: list[Lungs], seed: int) -> bool:
    """Whether measures differ, corrected for all, in one study of two groups."""
    cohort, table = cohort_of(first, second)
    design = design_of(Asked("group"), table, cohort.names)
    vertices = cohort.vertices
    sizes = align(vertices, np.arange(len(vertices)), "keep", "whole", np.zeros(vertices.shape[1], bool)).sizes_mm
    values, _ = measured(cohort, design, sizes, without_size=False)
    (stream,) = np.random.default_rng(seed).spawn(len(design.questions))
    tested = effects(values, design.questions[0], CONFIG.permutations, rng=stream.spawn(4)[0]).tested
    return bool(tested.p_corrected.min() < LEVEL)


def something(pool: list[Lungs], shifted: list[Lungs], true: Floats, n: int, seed: int) -> dict[str, object]:
    """Studies of 30 + 30 lungs, the second moved: how often it is found, and where."""
    found: dict[str, list[float]] = {"measures": [], "map": [], "either": [], "knob": []}
    size: list[float] = []
    place: dict[str, list[float]] = {"same_sign": [], "effect_where_found": [], "correlation": []}
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        groups = [[each[i] for i in rng.choice(len(each), 30, replace=False)] for each in (pool, shifted)]
        study = simulated(groups[0], groups[1], number)
        answer = study.answers[0]
        measures, chances = answer.measures.tested.p_corrected, answer.place.p_corrected
        knob = answer.measures.names.index(shifted[0].name.rpartition("_")[0])
        found["measures"].append(measures.min() < LEVEL)
        found["map"].append(chances.min() < LEVEL)
        found["either"].append(min(measures.min(), chances.min()) < LEVEL)
        found["knob"].append(answer.measures.tested.p[knob] < LEVEL)
        size.append(float(answer.measures.size[knob]))
        here = chances < LEVEL
        place["correlation"].append(float(np.corrcoef(true, answer.place.estimate)[0, 1]))
        if here.any():
            place["same_sign"].append(float((np.sign(true) == np.sign(answer.place.estimate))[here].mean()))
            place["effect_where_found"].append(float(np.abs(true[here]).mean() / np.abs(true).mean()))
        if number % 10 == 9:
            told = found | place
            print(number + 1, {key: round(float(np.mean(each)), 3) for key, each in told.items()}, flush=True)
    shares = {name: float(np.mean(each)) for name, each in (found | place).items()}
    return {"n": n, **shares, "hedges_g_of_the_knob": float(np.mean(size))}


def cost(fits: Path, work: Path) -> dict[str, float]:
    """Seconds of one core and memory of a whole study with its report: groups and two confounders, by chance."""
    rng, names = np.random.default_rng(0), list(find_fits([fits]))
    rows = [f"{name},{'ab'[i % 2]},{rng.normal():.3f},{rng.normal():.3f}" for i, name in enumerate(names)]
    (work / "table.csv").write_text("\n".join(["case,group,x,y", *rows]) + "\n", encoding="utf-8")
    asked, config = Asked("group", ("x", "y")), StudyConfig(keep_doubtful=True)
    started = time.process_time()
    run_study(StudyRun(lpm.load(MODEL).bundle, [fits], work / "table.csv", asked, config), work / "study")
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return {"n": len(names), "seconds_of_a_core": time.process_time() - started, "memory_mb": memory_mb}


def write_table(result: dict[str, dict[str, float]], page: Path) -> None:
    """Write the table between the marks of a page."""
    null = result["null"]
    lines = [
        "| simulated studies | measures | shape parameters | maps |",
        "|---|---|---|---|",
        f"| {null['n']:.0f} without an effect, 20 + 20 lungs: anything found at 5 % | {null['measures']:.1%} | "
        f"{null['shape']:.1%} | {null['map']:.1%} |",
    ]
    for knob in (name for name in KNOBS if name in result):
        row = result[knob]
        lines.append(
            f"| {row['n']:.0f} with `{knob}` turned by 1 SD, 30 + 30 lungs: found | {row['measures']:.0%} | | "
            f"{row['map']:.0%}; {row['same_sign']:.0%} of the places found have the sign that the knob gives the "
            f"average lungs, and {row['effect_where_found']:.1f} times the mean effect |"
        )
    if "cost" in result:
        row = result["cost"]
        lines.append("")
        lines.append(
            f"A study of {row['n']:.0f} fits, two groups with two confounders, from folders to the report: "
            f"{row['seconds_of_a_core']:.0f} s of one core, {row['memory_mb'] / 1000:.1f} GB at most."
        )
    write_section(page, "simulations", "\n".join(lines))


if __name__ == "__main__":
    main()

"""Lobes of unseen lungs from points on the lungs' surface alone.

python benchmarks/lobes.py --cohort WORK/cohort --lungs LUNGS --model WORK/atlas --work WORK/lobes --out lobes.raw.json

The atlas of the training lungs is taught lobes by those training subjects that have a `lobes.nii.gz`. Each of them is
also left out once. Beside it stands the plain way: an atlas with five structures, of the same few subjects.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np

from lpm.batch.cases import find_cases
from lpm.evaluation.evaluate import EvaluationConfig, observed_points, subject_rng
from lpm.evaluation.metrics import dice
from lpm.files.atomic import write_text
from lpm.files.volumes import read_volume
from lpm.fitting.evidence.points import fit_points
from lpm.fitting.fit import Fit
from lpm.fitting.partition.by_atlas import labels_by_atlas
from lpm.fitting.partition.learning import CarriedParts, PartitionConfig, carry_parts, with_parts
from lpm.geometry.grids import voxelise_on
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume, canonical
from lpm.model.atlas_build import AtlasBuild
from lpm.model.bundle import ModelBundle, bundle_of_atlas, read_bundle, write_bundle
from lpm.model.config import AtlasConfig, RegistrationConfig
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import PreparationConfig, SamplingConfig
from lpm.preparation.prepare import finish_cohort, prepare_cases

LOBES = {
    "left_upper_lobe": (1,),
    "left_lower_lobe": (2,),
    "right_upper_lobe": (3,),
    "right_middle_lobe": (4,),
    "right_lower_lobe": (5,),
}
OF = {"left_lung": tuple(LOBES)[:2], "right_lung": tuple(LOBES)[2:]}
CONFIG = PartitionConfig(structures={"left_lung": (1, 2), "right_lung": (3, 4, 5)}, parts=LOBES)
PLAIN = AtlasConfig(registration=RegistrationConfig(rounds=1))
N_POINTS, SPACING_MM, VOXEL_MM = 5000, 1.5, 2.0
Row = dict[str, float]


def coarser(volume: Volume) -> Volume:
    """Every second or third voxel, so that the rest lies about 2 mm apart."""
    step = np.maximum(np.round(VOXEL_MM / volume.spacing_mm), 1).astype(int)
    affine = volume.world_from_voxel.copy()
    affine[:3, :3] *= step
    return Volume(volume.voxels[tuple(slice(None, None, n) for n in step)], affine)


def overlaps(found: Volume, true: Volume) -> Row:
    """Dice of each lobe."""
    pairs = {name: (found.voxels == value, true.voxels == value) for name, (value,) in LOBES.items()}
    return {name: dice(*pair) for name, pair in pairs.items()}


def misfits(parts: Mapping[str, WorldMesh], lungs: Mapping[str, WorldMesh], grid: Volume) -> Row:
    """What of the lungs no lobe claims, and what several claim, ml."""
    claims = np.sum([voxelise_on(mesh, grid) for mesh in parts.values()], axis=0)
    whole = np.any([voxelise_on(mesh, grid) for mesh in lungs.values()], axis=0)
    return {"gap_ml": (whole & (claims == 0)).sum() * grid.voxel_ml, "overlap_ml": (claims > 1).sum() * grid.voxel_ml}


def seen(model: ModelBundle, cohort: Cohort, subject: str) -> Fit:
    """A fit to points on the lungs' surface; sides unknown."""
    points, _ = observed_points(cohort, subject, EvaluationConfig(points=N_POINTS))
    return fit_points(model, points, spacing_mm=SPACING_MM)


def by_partition(model: ModelBundle, cohort: Cohort, subject: str, true: Volume) -> Row:
    fit = seen(model, cohort, subject)
    return overlaps(fit.part_labels(true), true) | misfits(fit.parts(SPACING_MM), fit.lungs, true)


def by_structures(model: ModelBundle, cohort: Cohort, subject: str, true: Volume) -> Row:
    """Five structures that know nothing of each other; the gap is what of the true lungs' voxels lies between them."""
    fit = seen(model, cohort, subject)
    claims = np.sum([voxelise_on(mesh, true) for mesh in fit.meshes.values()], axis=0)
    gap_ml = ((true.voxels > 0) & (claims == 0)).sum() * true.voxel_ml
    return overlaps(fit.labels(true), true) | {"gap_ml": gap_ml, "overlap_ml": (claims > 1).sum() * true.voxel_ml}


def by_both(lungs: ModelBundle, lobes: ModelBundle, cohort: Cohort, subject: str, true: Volume) -> Row:
    """The lungs of the one fit, divided by that of the five structures; label maps alone."""
    return overlaps(labels_by_atlas(seen(lungs, cohort, subject), seen(lobes, cohort, subject), OF, true), true)


def left_out(
    model: ModelBundle, carried: Mapping[str, CarriedParts], cohort: Cohort, subject: str, true: Volume
) -> Row:
    """A training subject by the lobes of the others; the atlas of the lungs knows its shape, which is a little kind."""
    others = {name: each for name, each in carried.items() if name != subject}
    return overlaps(seen(with_parts(model, others, CONFIG), cohort, subject).part_labels(true), true)


def plain_atlas(lungs: Path, split: Mapping[str, str], work: Path) -> ModelBundle:
    """An atlas of five structures of the training subjects that have lobes."""
    if not (work / "plain" / "bundle.json").exists():
        table = work / "lobes.csv"
        rows = [("subject", "path"), *((name, lungs.resolve() / name / "lobes.nii.gz") for name in split)]
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        write_text(
            work / "split.json", json.dumps({of: [n for n in split if split[n] == of] for of in ("train", "test")})
        )
        config = PreparationConfig(structures=LOBES, sampling=SamplingConfig(n_surface=20_000, n_off_surface=1000))
        outcomes = list(prepare_cases(find_cases([table]), work / "cohort", config, jobs=1, resume=True))
        finish_cohort(outcomes, work / "cohort", config, work / "split.json", keep_rejected=True)
        cohort = Cohort(work / "cohort")
        build = AtlasBuild(cohort, cohort.subjects("train"), PLAIN, work / "plain" / "registration")
        for _ in build.steps():
            pass
        write_bundle(work / "plain", bundle_of_atlas(build, "see docs/model-card.md"))
    return read_bundle(work / "plain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("cohort", "lungs", "model", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    cohort, model = Cohort(given.cohort), read_bundle(given.model)
    split = {n: of for n, of in cohort.manifest.split.items() if (given.lungs / n / "lobes.nii.gz").exists()}
    true = {name: canonical(read_volume(given.lungs / name / "lobes.nii.gz")) for name in sorted(split)}
    known = [name for name in true if split[name] == "train"]
    carried = {name: carry_parts(model, name, true[name], CONFIG, rng=subject_rng(name, 7)) for name in known}
    taught = with_parts(model, carried, CONFIG)
    write_bundle(given.work / "taught", taught)
    unseen = [name for name in true if split[name] == "test"]
    found: dict[str, dict[str, Row]] = json.loads(given.out.read_text())["runs"] if given.out.exists() else {}
    plain = cache(partial(plain_atlas, given.lungs, split, given.work))

    runs: dict[str, tuple[list[str], Callable[[str, Volume], Row]]] = {
        "partition": (unseen, lambda name, volume: by_partition(taught, cohort, name, volume)),
        "left out": (known, lambda name, volume: left_out(model, carried, cohort, name, volume)),
        "five structures": (unseen, lambda name, volume: by_structures(plain(), cohort, name, volume)),
        "both": (unseen, lambda name, volume: by_both(model, plain(), cohort, name, volume)),
    }
    for kind, (names, run) in runs.items():
        for name in [name for name in names if name not in found.setdefault(kind, {})]:
            found[kind][name] = {key: float(value) for key, value in run(name, coarser(true[name])).items()}
            write_text(given.out, json.dumps({"runs": found, "taught_by": known}, indent=1) + "\n")
            print(kind, name, {key: round(value, 3) for key, value in found[kind][name].items()}, flush=True)


if __name__ == "__main__":
    main()

"""Do more lungs help, and do generated ones? Atlases of 10, 20 and 29 real lungs, with drawn lungs added and without.

python benchmarks/does_it_help.py --cohort WORK/cohort --atlas WORK/atlas --work WORK/does_it_help --out OUT.json

The atlas of all training lungs is the one of the other benchmarks; the others are registered more coarsely (the average
made anew once, 100 functions of the shorter length instead of 220), which is in their disfavour. Generated lungs are
draws from the prior of the atlas of the same real lungs. What the folder holds already is not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import torch

from lpm.batch.workers import LocalWorkers
from lpm.evaluation.evaluate import EvaluationConfig, observed_points, subject_rng
from lpm.evaluation.metrics import surface_scores
from lpm.files.atomic import write_text
from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig
from lpm.fitting.evidence.points import fit_points
from lpm.model.atlas import AtlasDecoder
from lpm.model.atlas_build import AtlasBuild
from lpm.model.bundle import ModelBundle, bundle_of_atlas, read_bundle, write_bundle
from lpm.model.config import AtlasConfig, RegistrationConfig
from lpm.model.latents import LatentSpace
from lpm.model.registration.components import whitened_components
from lpm.model.warp import Box, WarpScale
from lpm.preparation.cohort import Cohort

COARSE = AtlasConfig(
    registration=RegistrationConfig(rounds=1, scales=(WarpScale(12.0, 60.0, 60), WarpScale(5.0, 28.0, 100)))
)
N_REAL = (10, 20, 29)
N_GENERATED = 30
FIT_SPACING_MM = 2.0
N_SURFACE = 20_000
PRIOR_ONLY = FitConfig(residual=ResidualConfig(sd_mm=0.0))
KINDS: dict[str, tuple[int, FitConfig]] = {
    "5,000 points, prior only": (5000, PRIOR_ONLY),
    "500 points": (500, FitConfig()),
    "100 points": (100, FitConfig()),
}


def some(cohort: Cohort, n: int, seed: int) -> list[str]:
    """Some of the training subjects; more of them hold the fewer."""
    names = cohort.subjects("train")
    return sorted(np.random.default_rng(seed).permutation(names).tolist()[:n])


def built(cohort: Cohort, subjects: Sequence[str], folder: Path, jobs: int) -> ModelBundle:
    """The atlas of some subjects; one made before is kept."""
    if not (folder / "bundle.json").exists():
        build = AtlasBuild(cohort, subjects, COARSE, folder / "registration")
        for _ in build.steps(LocalWorkers(jobs)):
            pass
        print(f"{folder.name}: {build.seconds:.0f} s, {build.history[-1]}", flush=True)
        write_bundle(folder, bundle_of_atlas(build, "see docs/model-card.md"))
    return read_bundle(folder)


def enlarged(model: ModelBundle, n: int, seed: int) -> ModelBundle:
    """The atlas made anew of its own lungs and of some drawn from its prior.

    What takes a drawn lung to the average is known, so none needs to be registered; the average stays.
    """
    decoder = model.decoder
    if not isinstance(decoder, AtlasDecoder):
        raise TypeError("not an atlas")
    mean, components = decoder.displacements[:, 0], decoder.displacements[:, 1:]
    real = [mean + torch.einsum("k,sk...->s...", code[: decoder.n_components], components) for code in model.codes]
    rng = np.random.default_rng((seed, len(model.codes)))
    latents = torch.from_numpy(rng.standard_normal((n, decoder.latent_size))).float()
    moved = torch.stack([*real, *(displacements(decoder, latent) for latent in latents)])
    average = moved.mean(dim=0)
    found, _ = whitened_components((moved - average).flatten(1).numpy(), COARSE.components)
    fields = torch.cat([average[None], torch.from_numpy(found).reshape(-1, *average.shape)]).transpose(0, 1)
    tensors = {name: getattr(decoder, name) for name in ("template", "lower", "upper", "displaced_lower")}
    tensors |= {name: getattr(decoder, name) for name in ("displaced_upper", "warp_centers", "warp_weights")}
    again = AtlasDecoder(tensors | {"warp_lengths": decoder.warp_lengths, "displacements": fields.contiguous()})
    same = LatentSpace(torch.zeros(again.latent_size), torch.eye(again.latent_size))
    return replace(model, decoder=again.eval(), latents=same)


def displacements(decoder: AtlasDecoder, latent: torch.Tensor) -> torch.Tensor:
    """(s, 3, a, b, c) what takes a shape to each structure's average, on the grids of the atlas."""
    fields = []
    for index in range(len(decoder.template)):
        box = Box(decoder.displaced_lower[index], decoder.displaced_upper[index])
        nodes = box.nodes(decoder.displacements.shape[3:])
        moved = decoder.places(latent[None], nodes)[index] - nodes
        fields.append(moved.T.reshape(3, *decoder.displacements.shape[3:]))
    return torch.stack(fields)


def errors(model: ModelBundle, cohort: Cohort, path: Path, jobs: int) -> dict[str, dict[str, float]]:
    """ASSD of each test subject from each kind of evidence, mm."""
    found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    missing = [(kind, name) for kind in KINDS for name in cohort.subjects("test") if name not in found.get(kind, {})]
    tasks = (joblib.delayed(error_mm)(model, cohort, kind, name) for kind, name in missing)
    for (kind, name), assd_mm in zip(missing, joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks), strict=True):
        found.setdefault(kind, {})[name] = assd_mm
        write_text(path, json.dumps(found, indent=1) + "\n")
    for kind, errors_mm in found.items():
        print(path.parent.name, path.stem, kind, round(float(np.mean(list(errors_mm.values()))), 3), flush=True)
    return found


def error_mm(model: ModelBundle, cohort: Cohort, kind: str, subject: str) -> float:
    """ASSD of one fit, on one core."""
    torch.set_num_threads(1)
    n_points, config = KINDS[kind]
    points, _ = observed_points(cohort, subject, EvaluationConfig(points=n_points))
    fit = fit_points(model, points, config=config, spacing_mm=FIT_SPACING_MM)
    pooled, _ = surface_scores(fit.lungs, cohort.meshes(subject), N_SURFACE, rng=subject_rng(subject, 4))
    return pooled.assd_mm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--atlas", type=Path, required=True, help="of all training subjects")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--real", type=int, nargs="+", default=N_REAL, help="numbers of real lungs")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of subjects and of the draws")
    given = parser.parse_args()
    real, rows = Cohort(given.cohort), []
    for n in given.real:
        subjects, folder = some(real, n, given.seed), given.work / f"real_{n}"
        everyone = len(subjects) == len(real.subjects("train"))
        model = read_bundle(given.atlas) if everyone else built(real, subjects, folder / "atlas", given.jobs)
        rows.append({"real": n, "generated": 0, "errors": errors(model, real, folder / "errors.json", given.jobs)})
        found = errors(
            enlarged(model, N_GENERATED, given.seed), real, folder / "errors_with_generated.json", given.jobs
        )
        rows.append({"real": n, "generated": N_GENERATED, "errors": found})
    write_text(given.out, json.dumps({"rows": rows, "seed": given.seed}, indent=1) + "\n")


if __name__ == "__main__":
    main()

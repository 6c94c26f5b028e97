"""The pictures of the docs, from the work folder of benchmarks/run.py.

    python benchmarks/pictures.py --lungs ../shared/data/lungs --work runs/benchmarks

They show `coronacases_002`, a test subject (CC BY 4.0, docs/model-card.md).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

import lpm
from both_states import KINDS as WORST_OF
from evidence import ERRORS, FITS
from joint import Case, observe
from lobes import LOBES
from lpm.evaluation.evaluate import EvaluationConfig, observed_points
from lpm.evaluation.xray_subjects import read_subject
from lpm.evaluation.xrays import onto
from lpm.files.volumes import read_volume
from lpm.fitting.evidence.points import draw_points, fit_points
from lpm.fitting.extraction import mean_shape, shape_of
from lpm.geometry.frames import Floats
from lpm.geometry.surfaces import extract_surface
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.reports.fit_plots import plot_amounts, plot_cases, plot_certainty, plot_parts, plot_sweep
from lpm.reports.plots import plot_lungs, plot_reconstruction, plot_samples, plot_smoothing
from lpm.structures import DEFAULT_STRUCTURES
from lpm.xray.fit import fit_evidence, fit_xray

SUBJECT = "coronacases_002"
JOINT_SUBJECT = "luna16_7742"  # radiographs are there of LUNA16 subjects only
PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lungs", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    cohort, model = Cohort(arguments.work / "cohort"), read_bundle(arguments.work / "atlas")
    labels = read_volume(arguments.lungs / SUBJECT / "labels.nii.gz")
    mask = clean_labels(labels, DEFAULT_STRUCTURES, SUBJECT).masks["left_lung"]
    plot_smoothing(extract_surface(mask, 0.5), cohort.mesh(SUBJECT, "left_lung"), PICTURES / "smoothing.png")
    surface = cohort.surface(SUBJECT)
    plot_samples(surface, cohort.off_surface(SUBJECT), PICTURES / "samples.png")
    plot_lungs(mean_shape(model, 1.5).meshes, PICTURES / "mean.png")
    points = surface.points_mm[draw_points(surface.points_mm, 5000, rng=np.random.default_rng(0))]
    fit = fit_points(model, points)
    true = cohort.meshes(SUBJECT)
    plot_reconstruction(fit.lungs, true, PICTURES / "reconstruction.png", "5,000 points, sides unknown")
    draw_amounts(model, cohort)
    draw_worst(model, cohort, json.loads((arguments.work / "evidence.json").read_text())["subjects"])
    draw_sweep(lpm.load().bundle)
    draw_lobes(cohort, arguments.lungs, arguments.work)
    draw_xray(model, arguments.lungs, arguments.work / "xray.json")
    draw_joint(model, cohort, arguments.lungs)
    for path in sorted((arguments.work / "model").glob("*.png")):
        shutil.copy(path, PICTURES / path.name)
    methods = arguments.work / "atlas_5000" / "methods.png"
    if methods.exists():  # the step `atlas` has run
        shutil.copy(methods, PICTURES / methods.name)


def observed(cohort: Cohort, subject: str, n_points: int) -> Floats:
    return observed_points(cohort, subject, EvaluationConfig(points=n_points))[0]


def draw_amounts(model: ModelBundle, cohort: Cohort) -> None:
    """From 50 points to 5,000; and how sure the fit of 100 is."""
    true = cohort.meshes(SUBJECT)
    fits = {n: fit_points(model, observed(cohort, SUBJECT, n)) for n in (50, 100, 500, 5000)}
    plot_amounts({f"{n:,} points": fit.lungs for n, fit in fits.items()}, true, PICTURES / "amounts.png")
    fit = fits[100]
    sigma = {name: fit.sigma_mm(name) for name in fit.lungs}
    plot_certainty(fit.lungs, sigma, true, PICTURES / "certainty.png")


def draw_worst(model: ModelBundle, cohort: Cohort, measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """The test subject with the largest error from each kind of evidence.

    Args:
        model: The atlas that was measured.
        cohort: With the test subjects.
        measured: What benchmarks/evidence.py found, by subject and kind.
    """
    cases = {}
    for kind in WORST_OF:
        error = ERRORS.get(kind, "assd_mm")
        name = max((name for name in measured if kind in measured[name]), key=lambda name: measured[name][kind][error])
        lungs, true = FITS[kind](model, cohort, name).lungs, cohort.meshes(name)
        title = f"{kind.replace(', ', chr(10), 1)}\n{name}\n{measured[name][kind][error]:.2f} mm"
        cases[title] = (lungs, true)
    plot_cases(cases, PICTURES / "worst.png")


def draw_xray(model: ModelBundle, lungs: Path, measured: Path) -> None:
    """The test subject with the median overlap from two radiographs."""
    cases = json.loads(measured.read_text())["cases"]
    own = [case for case in cases if (case["method"], case["views"]) == ("LPM", "frontal + lateral")]
    name = sorted(own, key=lambda case: case["dice"])[len(own) // 2]["subject"]
    subject = read_subject(lungs / name)
    fit = fit_xray(model, list(subject.radiographs.values()))
    title = f"{name}, frontal and lateral radiograph"
    plot_reconstruction(onto(fit.lungs, subject.lungs), subject.lungs, PICTURES / "xray.png", title)


def draw_joint(model: ModelBundle, cohort: Cohort, lungs: Path) -> None:
    """One test subject from 50 points, from a frontal radiograph, from three slices, and from several of them."""
    case = Case(model, cohort, JOINT_SUBJECT, read_subject(lungs / JOINT_SUBJECT).radiographs)
    kinds = ("50 points", "frontal", "50 points + frontal", "three slices", "three slices + frontal + lateral")
    found = {kind: fit_evidence(model, observe(case, kind)).lungs for kind in kinds}
    found["frontal"] = onto(found["frontal"], case.true)
    titles = {kind: kind.replace(" + ", "\n+ ", 1) for kind in kinds}
    plot_amounts({titles[kind]: lungs for kind, lungs in found.items()}, case.true, PICTURES / "joint.png")


def draw_lobes(cohort: Cohort, lungs: Path, work: Path) -> None:
    """Lobes from points on the lungs' surface, by the model that benchmarks/lobes.py taught."""
    fit = fit_points(read_bundle(work / "lobes" / "taught"), observed(cohort, SUBJECT, 5000))
    labels = clean_labels(read_volume(lungs / SUBJECT / "lobes.nii.gz"), LOBES, SUBJECT)
    true = {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in labels.masks.items()}
    plot_parts(fit.parts(), true, PICTURES / "lobes.png", f"{SUBJECT}, 5,000 points on the lungs' surface")


def draw_sweep(model: ModelBundle) -> None:
    """What the first ten shape parameters of the bundled model do, from -2 to 2 standard deviations."""
    rows = []
    for index in range(10):
        lungs = []
        for value in (-2.0, 0.0, 2.0):
            beta = torch.zeros(model.latents.n_modes)
            beta[index] = value
            lungs.append(shape_of(model, beta, 3.0).meshes)
        rows.append((f"beta {index + 1}", lungs))
    plot_sweep(rows, ("-2", "0", "+2"), PICTURES / "sweep.png")


if __name__ == "__main__":
    main()

"""The whole story on generated scans: prepare, train briefly, evaluate, reconstruct; ends in one report."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from lpm.apps.demo_xray import xray_blocks
from lpm.apps.verbs.evaluate import EvaluationRun, evaluate_to_folder
from lpm.apps.verbs.prepare import PreparationRun, prepare_to_folder
from lpm.apps.verbs.train import TrainingRun, train_model
from lpm.errors import FileError
from lpm.evaluation.evaluate import EvaluationConfig
from lpm.evaluation.metrics import MetricsConfig
from lpm.files.points import write_points
from lpm.files.volumes import read_volume, write_volume
from lpm.fitting.evidence.points import draw_points
from lpm.fitting.extraction import mean_shape
from lpm.fitting.fit import Fit
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import random_lungs, stored_as, to_labels
from lpm.geometry.surfaces import extract_surface
from lpm.model.bundle import ModelBundle
from lpm.model.config import ModelConfig, preset
from lpm.preparation.augmentation import AugmentationConfig
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import PreparationConfig, SamplingConfig
from lpm.reports.compared import compared_view
from lpm.reports.document import Block, Figure, Section, Table, Text, write_report
from lpm.reports.plots import plot_lungs, plot_reconstruction, plot_samples, plot_smoothing
from lpm.reports.provenance import provenance
from lpm.structures import DEFAULT_STRUCTURES
from lpm.workflows.evidence import fit_labels_file, fit_points_file
from lpm.workflows.outcome import FitRun, OutcomeFiles, write_outcome

N_SUBJECTS = 16
DATA = "generated lung-like shapes (lpm.geometry.phantoms); no patient data"
_ORDERS = ((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1))
_SPACINGS = ((2.0, 2.0, 2.0), (1.4, 1.4, 3.0), (1.8, 1.8, 2.5))


@dataclass(frozen=True)
class _Demo:
    out: Path
    seed: int

    @property
    def scans(self) -> Path:
        return self.out / "scans"

    @property
    def cohort(self) -> Path:
        return self.out / "cohort"

    @property
    def model(self) -> Path:
        return self.out / "model"

    @property
    def evaluation(self) -> Path:
        return self.out / "evaluation"

    @property
    def pictures(self) -> Path:
        return self.out / "pictures"


def run_demo(out: Path, seed: int, bar: Progress) -> Path:
    """Run every stage on generated lungs and write a report.

    Args:
        out: A new or empty folder, or one that an earlier demo left.
        seed: Seed of the generated lungs and of everything after.
        bar: Progress bar.

    Returns:
        Path of `report.html`.

    Raises:
        FileError: The folder holds something else.
    """
    demo = _Demo(out, seed)
    if out.exists() and any(out.iterdir()) and not demo.scans.exists():
        raise FileError(str(out), "is not empty and not a demo", "a new folder", "another --out")
    _write_scans(demo)
    cohort = _prepare(demo, bar)
    model = train_model(
        TrainingRun(demo.cohort, demo.model, demo_model_config(seed), "cpu", jobs=2, resume=True, data=DATA), bar
    )
    metrics = MetricsConfig(n_surface=20_000, voxel_mm=2.0)
    config = EvaluationConfig(points=1000, spacing_mm=2.5, metrics=metrics, paper_points=(10_000,), seed=seed)
    evaluate_to_folder(
        EvaluationRun(demo.model, demo.cohort, demo.evaluation, "test", ("mean", "nearest", "pca"), config), bar
    )
    unseen = cohort.subjects("test")[0]
    from_points, from_mask = _reconstruct(demo, model, cohort, unseen)
    return _report(demo, model, cohort, {"points": from_points, "mask": from_mask})


def demo_model_config(seed: int) -> ModelConfig:
    """The lite preset, made smaller: generated lungs are simpler than real ones, and minutes have to do."""
    lite = preset("lite")
    return lite.model_copy(
        update={
            "preset": "lite (demo)",
            "decoder": lite.decoder.model_copy(update={"latent_size": 32, "width": 128, "layers": 5, "frequencies": 1}),
            "augmentation": AugmentationConfig(copies=5),
            "training": lite.training.model_copy(
                update={"epochs": 1000, "points_kept": 8000, "seed": seed, "shapes_per_step": 24}
            ),
        }
    )


def _write_scans(demo: _Demo) -> None:
    """Lungs in different orientations and spacings, as scans come."""
    for index in range(N_SUBJECTS):
        path = demo.scans / f"phantom_{index:02d}.nii.gz"
        if path.exists():
            continue
        rng = np.random.default_rng((demo.seed, index))
        labels = to_labels(random_lungs(rng=rng), _SPACINGS[index % len(_SPACINGS)])
        order = _ORDERS[index % len(_ORDERS)]
        flips = tuple(bool(flip) for flip in rng.integers(0, 2, size=3))
        write_volume(path, stored_as(labels, order, (flips[0], flips[1], flips[2])))


def _prepare(demo: _Demo, bar: Progress) -> Cohort:
    config = PreparationConfig(seed=demo.seed, sampling=SamplingConfig(n_surface=40_000, n_off_surface=40_000))
    prepare_to_folder(PreparationRun((demo.scans,), demo.cohort, config, resume=True), bar)
    return Cohort(demo.cohort)


def _reconstruct(demo: _Demo, model: ModelBundle, cohort: Cohort, subject: str) -> tuple[Fit, Fit]:
    """An unseen case from 1,000 points and from its mask, written as `lpm fit` writes them."""
    rng = np.random.default_rng(demo.seed)
    surface = cohort.surface(subject)
    points = surface.points_mm[draw_points(surface.points_mm, 1000, rng=rng)]
    write_points(demo.out / "unseen_points.ply", points)
    run = FitRun(model, seed=demo.seed)
    from_points = fit_points_file(run, demo.out / "unseen_points.ply")
    from_mask = fit_labels_file(run, demo.scans / f"{subject}.nii.gz")
    for name, outcome in (("fit_points", from_points), ("fit_mask", from_mask)):
        write_outcome(demo.out / name, outcome, OutcomeFiles(report=False))
    return from_points.fit, from_mask.fit


def _report(demo: _Demo, model: ModelBundle, cohort: Cohort, fits: Mapping[str, Fit]) -> Path:
    unseen = cohort.subjects("test")[0]
    sections = [
        Section("From a mask to a closed mesh", _draw_preparation(demo, cohort, unseen)),
        Section("Learning the shape", _draw_training(demo, model)),
        Section("An unseen pair of lungs", _draw_fits(demo, cohort.meshes(unseen), fits)),
        Section("A chest X-ray", xray_blocks(demo.out / "xray", rng=np.random.default_rng((demo.seed, N_SUBJECTS)))),
        Section("All unseen pairs, beside simpler methods", _draw_evaluation(demo)),
        Section("What this shows, and what it does not", [Text(_CAVEATS)]),
    ]
    path = demo.out / "report.html"
    lead = (
        f"{N_SUBJECTS} generated pairs of lungs, {len(cohort.subjects('train'))} to learn from and "
        f"{len(cohort.subjects('test'))} kept unseen; {model.manifest.training_seconds / 60:.1f} minutes of training "
        "on the CPU. Everything is in patient millimetres."
    )
    origin = provenance(model, [demo.cohort / "cohort.json"], data=DATA, seed=demo.seed)
    write_report(path, "LPM: the lungs parametric model, from scans to reconstructions", lead, sections, origin)
    return path


_CAVEATS = (
    "The lungs here are generated shapes: smoother and more alike than people's. The errors say that the pipeline "
    "works, not how well it does on patients; docs/benchmarks.md has the figures on real lungs.",
    "Each scan was stored in another axis order, with other flips and voxel sizes; the meshes come out in the "
    "patient's frame all the same (R, A, S in millimetres).",
    "Not for clinical use.",
)


def _draw_preparation(demo: _Demo, cohort: Cohort, subject: str) -> list[Block]:
    raw = clean_labels(read_volume(demo.scans / f"{subject}.nii.gz"), DEFAULT_STRUCTURES, subject).masks["left_lung"]
    smoothing, samples = demo.pictures / "smoothing.png", demo.pictures / "samples.png"
    plot_smoothing(extract_surface(raw, 0.5), cohort.mesh(subject, "left_lung"), smoothing)
    plot_samples(cohort.surface(subject), cohort.off_surface(subject), samples)
    quality = cohort.manifest.subjects[subject].structures
    rows = [
        [name, f"{q.mask_ml:.0f}", f"{q.volume_ml:.0f}", f"{q.volume_change_percent:+.2f}", str(q.faces)]
        for name, q in quality.items()
    ]
    header = ["structure", "mask ml", "mesh ml", "change %", "triangles"]
    return [
        Figure(smoothing, "The mask's own staircase, and the mesh after the adaptive Gaussian filter and smoothing."),
        Table(header, rows, f"{subject}: smoothing keeps the volume"),
        Figure(samples, "Surface and off-surface samples, coloured by signed distance (mm, negative inside)."),
    ]


def _draw_training(demo: _Demo, model: ModelBundle) -> list[Block]:
    mean = demo.pictures / "mean.png"
    plot_lungs(mean_shape(model, 2.0).meshes, mean)
    losses = sorted(demo.model.glob("loss_*.png"))
    with (demo.model / "epochs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first, last = float(rows[0]["total"]), float(rows[-1]["total"])
    text = f"Loss {first:.4f} after the first epoch, {last:.4f} after {len(rows)}."
    return [
        Text((text,)),
        *(Figure(path, path.stem.replace("_", " ").capitalize()) for path in losses),
        Figure(mean, "The mean lungs of the model (all shape parameters 0)."),
    ]


def _draw_fits(demo: _Demo, true: dict[str, WorldMesh], fits: Mapping[str, Fit]) -> list[Block]:
    blocks: list[Block] = []
    rows = []
    for kind, fit in fits.items():
        picture = demo.pictures / f"fit_{kind}.png"
        plot_reconstruction(fit.lungs, true, picture, f"from {fit.observed}")
        caption = f"The reconstruction from {fit.observed}; white is where it is right. Lay the truth over it."
        blocks.append(compared_view(fit.lungs, true, caption, picture, fit))
        rows += [
            [kind, name.replace("_", " "), f"{mesh.volume_ml:.0f}", _range(fit, name), f"{true[name].volume_ml:.0f}"]
            for name, mesh in fit.lungs.items()
        ]
    header = ["observed", "structure", "volume, ml", "95 % interval", "true, ml"]
    return [*blocks, Table(header, rows, "Volumes")]


def _range(fit: Fit, name: str) -> str:
    low, high = fit.interval(f"{name}_volume_ml")
    return f"{max(low, 0.0):.0f} to {high:.0f}"


def _draw_evaluation(demo: _Demo) -> list[Block]:
    summary = json.loads((demo.evaluation / "summary.json").read_text(encoding="utf-8"))
    rows = [
        [name, f"{s['assd_mm']['mean']:.2f}", f"{s['hd95_mm']['mean']:.2f}", f"{s['dice']['mean']:.3f}"]
        for name, s in summary["methods"].items()
    ]
    return [
        Table(["method", "ASSD mm", "HD95 mm", "Dice"], rows, "1,000 surface points each, left and right unknown"),
        Figure(demo.evaluation / "methods.png", "Average surface distance; bars are 95 % intervals of the mean."),
        Figure(demo.evaluation / "reconstruction_worst.png", "The worst of the unseen pairs."),
    ]

"""The pictures of the docs, from the work folder of benchmarks/run.py.

    python benchmarks/pictures.py --lungs ../shared/data/lungs --work runs/benchmarks

They show `coronacases_002`, a test subject (CC BY 4.0, docs/model-card.md).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from lpm.evaluation.plots import plot_lungs, plot_reconstruction, plot_samples, plot_smoothing
from lpm.files.volumes import read_volume
from lpm.fitting.fit import mean_shape
from lpm.fitting.points import draw_points, fit_points
from lpm.geometry.surfaces import extract_surface
from lpm.model.bundle import read_bundle
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import DEFAULT_STRUCTURES

SUBJECT = "coronacases_002"
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
    plot_reconstruction(
        fit.lungs, cohort.meshes(SUBJECT), PICTURES / "reconstruction.png", "5,000 points, sides unknown"
    )
    for path in sorted((arguments.work / "model").glob("*.png")):
        shutil.copy(path, PICTURES / path.name)
    shutil.copy(arguments.work / "atlas_5000" / "methods.png", PICTURES / "methods.png")


if __name__ == "__main__":
    main()

"""Pictures of generated lungs and knobs for the docs, from the work folder of benchmarks/run.py.

python benchmarks/population_pictures.py --work runs/benchmarks
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lpm.files.meshes import read_mesh
from lpm.measurement.table import AttributeTable
from lpm.model.bundle import read_bundle
from lpm.population.data_set import Lungs
from lpm.population.knobs import KNOBS, Knobs
from lpm.population.shape import Shape
from lpm.records import read_json_model
from lpm.reports.fit_plots import plot_sweep
from lpm.reports.population_plots import plot_attributes, plot_many, write_animation

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
MANY = 24
FOLLOWED = ("total_volume_ml", "height_mm", "width_mm", "depth_mm", "dome_height_mm", "base_tilt_deg")
N_FRAMES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"))
    work = parser.parse_args().work
    knobs, folders = Knobs.of(read_bundle(work / "atlas")), sorted((work / "generated").glob("lungs_*"))
    lungs = [{side: read_mesh(at / f"{side}.ply") for side in ("left_lung", "right_lung")} for at in folders[:MANY]]
    plot_many(lungs, PICTURES / "generated.png")
    made = AttributeTable.of({at.name: read_json_model(at / "lungs.json", Lungs).attributes for at in folders})
    plot_attributes(knobs.population.table, made, KNOBS, PICTURES / "generated_attributes.png")
    rows = [(_words(name), [_set(knobs, name, by_sd).lungs for by_sd in (-2.0, 0.0, 2.0)]) for name in FOLLOWED]
    plot_sweep(rows, ("-2 SD", "mean", "+2 SD"), PICTURES / "knobs.png")
    frames = (_set(knobs, "height_mm", by_sd).lungs for by_sd in np.linspace(-2.0, 2.0, N_FRAMES).tolist())
    write_animation(frames, PICTURES / "height.gif")


def _set(knobs: Knobs, name: str, by_sd: float) -> Shape:
    """The most probable lungs whose attribute lies so far from the mean; the others follow."""
    table = knobs.population.table
    return knobs.set({name: float(table.mean[table.index(name)]) + by_sd * knobs.sd(name)})


def _words(name: str) -> str:
    return name.rpartition("_")[0].replace("_", " ")


if __name__ == "__main__":
    main()

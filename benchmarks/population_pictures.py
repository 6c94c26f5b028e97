"""Pictures of generated lungs and knobs for the docs, from the work folder of benchmarks/run.py.

python benchmarks/population_pictures.py --work runs/benchmarks
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lpm.evaluation.fit_plots import plot_sweep
from lpm.evaluation.population_plots import plot_attributes, plot_many, write_animation
from lpm.files.meshes import read_mesh
from lpm.measurement.table import AttributeTable
from lpm.model.bundle import read_bundle
from lpm.population.data_set import Lungs
from lpm.population.knobs import KNOBS, Knobs
from lpm.preparation.cohort import read_json_model

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
MANY = 24
SHOWN = ("height_mm", "width_mm", "right_share_percent", "apex_radius_mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"))
    work = parser.parse_args().work
    knobs, folders = Knobs.of(read_bundle(work / "atlas")), sorted((work / "generated").glob("lungs_*"))
    lungs = [{side: read_mesh(at / f"{side}.ply") for side in ("left_lung", "right_lung")} for at in folders[:MANY]]
    plot_many(lungs, PICTURES / "generated.png")
    made = AttributeTable.of({at.name: read_json_model(at / "lungs.json", Lungs).attributes for at in folders})
    plot_attributes(knobs.population.table, made, KNOBS, PICTURES / "generated_attributes.png")
    rows = [(name, [knobs.turn(name, by_sd).lungs for by_sd in (-0.7, 0.0, 0.7)]) for name in SHOWN]
    plot_sweep(rows, ("-0.7 SD", "mean", "+0.7 SD"), PICTURES / "knobs.png")
    write_animation((shape.lungs for shape in knobs.sweep("height_mm", -2.0, 2.0, 12)), work / "height.gif")


if __name__ == "__main__":
    main()

"""The sections of docs/benchmarks.md about lobes, and about more and generated lungs."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells import bars, machine, mean_interval
from lpm.evaluation.tables import markdown

Json = dict[str, Any]
LOBES = {f"{name}_lobe": name.replace("_", " ") for name in ("left_upper", "left_lower")} | {
    f"right_{name}_lobe": f"right {name}" for name in ("upper", "middle", "lower")
}


def lobes(data: Json) -> str:
    ways = {
        "partition": "partition of the two-lung atlas",
        "both": "the two-lung atlas, divided by the atlas of five structures",
        "five structures": "plain: atlas of five structures",
        "left out": "partition by the other three (training subjects)",
    }
    found = data["runs"]
    mean = {lobe: float(np.mean([row[lobe] for row in found["partition"].values()])) for lobe in LOBES}
    unseen = found["partition"].values()
    most_ml = max(row["gap_ml"] + row["overlap_ml"] for row in unseen)
    met = [(f"mean Dice, {LOBES[lobe]} lobe", ">= 0.90", f"{value:.3f}", value >= 0.9) for lobe, value in mean.items()]
    met.append(("gaps and overlaps of the lobes' meshes, the most", "<= 2 ml", f"{most_ml:.2f} ml", most_ml <= 2))
    if divided := found.get("both", {}).values():
        middle = float(np.mean([row["right_middle_lobe"] for row in divided]))
        aim = "divided by the atlas of five structures: mean Dice, right middle lobe"
        met.append((aim, ">= 0.75", f"{middle:.3f}", middle >= 0.75))
    rows = [
        [name, ways[way], *(f"{row[lobe]:.3f}" for lobe in LOBES)]
        + [f"{row[key]:.2f}" if key in row else "-" for key in ("gap_ml", "overlap_ml")]
        for way in ways
        for name, row in found.get(way, {}).items()
    ]
    header = ["subject", "way", *LOBES.values(), "gap ml", "overlap ml"]
    said = {
        "left out": "The training subjects, each left out of the lobes but not of the atlas, are a little kind.",
        "both": "Both atlases are fitted to the same points; each voxel of the lungs that the one gives belongs to the "
        "lobe of its side that the other says is nearest (`lpm.fitting.partition.by_atlas`).",
        "five structures": "The plain way: an atlas of five structures of the same four subjects, registered with the "
        "average made anew once; its gap is what of the true lungs no lobe claims, so errors of the lungs' own surface "
        "count there.",
    }
    return (
        "5,000 points on the lungs' surface, sides unknown; nothing of a fissure was seen. Dice of each lobe, voxels "
        f"about 2 mm apart; meshes at 1.5 mm. Label maps (`parts.nii.gz`) have no gap and no overlap, by construction. "
        f"Lobes were taught by {', '.join(data['taught_by'])}. {' '.join(said[way] for way in said if way in found)} "
        f"{machine(data)}\n\n{bars(met)}\n{markdown(header, rows)}"
    )


def does_it_help(data: Json) -> str:
    kinds = list(data["rows"][0]["errors"])
    rows = [
        [f"{row['real']} real" + (f" + {row['generated']} generated" if row["generated"] else "")]
        + [mean_interval(list(row["errors"][kind].values())) for kind in kinds]
        for row in data["rows"]
    ]
    return (
        "Atlases of some of the 29 training lungs (the ten are among the twenty), alone and with lungs drawn from the "
        "prior of the same atlas. ASSD of the ten test lungs, mm; sides unknown, meshes at 2 mm. The atlases of fewer "
        "lungs were registered more coarsely than that of all (the average made anew once, 100 functions of the "
        f"shorter length instead of 220). One draw of subjects, seed {data['seed']}. {machine(data)}\n\n"
        + markdown(["trained on", *kinds], rows)
    )

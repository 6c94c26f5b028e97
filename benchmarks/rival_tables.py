"""The sections of docs/benchmarks.md about other packages."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells import bars, machine, mean_interval
from lpm.evaluation.tables import markdown

Json = dict[str, Any]


def deepsdf(data: Json) -> str:
    rows = data["subjects"].values()
    mean = {key: float(np.mean([row[key] for row in rows])) for key in next(iter(rows))}
    ratio, error = mean["own_seconds"] / mean["theirs_seconds"], mean["own"] / mean["theirs"]
    met = [
        ("seconds of our fit over its L-BFGS fit", "<= 1", f"{ratio:.2f}", ratio <= 1),
        ("our ASSD over its", "<= 0.2", f"{error:.2f}", error <= 0.2),
    ]
    table = [
        [name, f"{row['own']:.2f}", f"{row['theirs']:.2f}", f"{row['own_seconds']:.1f}", f"{row['theirs_seconds']:.1f}"]
        for name, row in data["subjects"].items()
    ]
    header = ["subject", "LPM, mm", "DeepSDF, mm", "LPM, s", "DeepSDF, s"]
    return (
        "The same 5,000 points of the ten test lungs, no normals, sides unknown; both lungs' surface taken as one, for "
        "DeepSDF is trained on their union (its package has one output). Seconds are of the fits alone, on idle "
        f"cores. DeepSDF: 6 x 256, latent 64, {data['training_seconds'] / 60.0:.0f} minutes of training on the same 29 "
        f"lungs, far less than it would like. {machine(data)}\n\n{bars(met)}\n{markdown(header, table)}"
    )


def pyssam(data: Json) -> str:
    rows, own = [], data["own_mm"]
    for n in data["counts"]:
        cases = [row for case, row in data["cases"].items() if case.endswith(f" {n}")]
        found = [mean_interval([row[key] for row in cases]) for key in ("assd_mm", "hd95_mm", "dice")]
        seconds = float(np.median([row["seconds"] for row in cases]))
        rows.append([f"{n:,}", *found, f"{seconds:.1f}", *([f"{own[str(n)]:.2f}"] if own else [])])
    header = ["points", "ASSD mm", "HD95 mm", "Dice", "seconds", *(["LPM's ASSD mm"] if own else [])]
    return (
        f"The same points of the ten test lungs, sides unknown. {data['landmarks']:,} corresponding points of both "
        "lungs of each of the 29 training lungs: vertices of the atlas's average, carried by its registration and put "
        f"on the lung's surface; {data['modes']} modes, made in {data['training_seconds']:.1f} s, peak memory "
        f"{data['peak_gib']:.1f} GiB. pyssam 0.2.3 has no search: pose (a similarity) and modes follow nearest points "
        "in turn, the modes within three standard deviations. It pins vedo <= 2023.4.6 and scikit-image 0.19.2, which "
        "this Python cannot have; newer ones stand in, which its model does not use. Seconds are of cores shared with "
        f"other work. LPM's figures from the same points stand in the sections above. {machine(data)}\n\n"
        f"{markdown(header, rows)}"
    )

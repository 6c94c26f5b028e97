"""The section of docs/benchmarks.md about measurement, generation and knobs."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells import bars, machine
from lpm.evaluation.tables import markdown
from population import MEASURED

Json = dict[str, Any]


def population(data: Json) -> str:
    knobs, made = data["knobs"], data["generated"]
    met = [*_measured(data), *_generated(made), *_conditioned(data["conditions"]), *_turned(knobs)]
    moved = np.array(knobs["disentanglement"])
    rows = [
        [name, f"{knobs['explained'][name]:.2f}", *(f"{value:+.2f}" for value in row)]
        for name, row in zip(knobs["names"], moved, strict=True)
    ]
    header = ["knob, +1 SD", "R2", *(_short(name) for name in knobs["names"])]
    return (
        f"The atlas of the 29 training lungs; real lungs are those 29. {made['n']:,} lungs generated without "
        f"conditions, seed 0, {made['drawn']:,} drawn. "
        f"{machine(data)}\n\n{bars(met)}\n"
        "Spread of each attribute of generated lungs by that of real ones, and how far the mean is off, in the real "
        f"ones' standard deviations:\n\n{_spread_table(made)}\n"
        "Knobs, one at a time: what turning each by one standard deviation does to all, in theirs. R2: what shape "
        "explains of the attribute over the training lungs, each left out of the regression once.\n\n"
        f"{markdown(header, rows)}\n"
        "Conditions of one standard deviation below and above the mean; the other attributes' mean beside the real "
        f"lungs' regression, in standard deviations, the largest too:\n\n{_condition_table(data['conditions'])}"
    ).rstrip()


def _measured(data: Json) -> list[tuple[str, str, str, bool]]:
    volume = max(abs(one["volume_percent"]) for one in data["known_shapes"]["shapes"])
    length = max(one["length_mm"] for one in data["known_shapes"]["shapes"])
    real, n = data["real_lungs"], len(data["known_shapes"]["shapes"])
    seconds = real["cpu_seconds"] / 2.0
    return [
        (f"{n} ellipsoids of 1 mm voxels: volume, largest error", "<= 0.2 %", f"{volume:.2f} %", volume <= 0.2),
        ("their lengths, largest error", "<= 0.5 mm", f"{length:.2f} mm", length <= 0.5),
        (f"{real['n']} label maps, processor time by two", "< 60 s", f"{seconds:.0f} s", seconds < 60),
    ]


def _generated(made: Json) -> list[tuple[str, str, str, bool]]:
    n, sound, shared = made["n"], made["closed_and_one_piece"], made["largest_overlap_ml"]
    near, real = made["nearest_mm"], made["real_nearest_mm"]
    within = [name for name in MEASURED if abs(made["spread_and_shift"][name][0] - 1.0) <= 0.15]
    return [
        (f"{n:,} generated: closed, one piece each", "100 %", f"{sound / n:.1%}", sound == n),
        ("their largest overlap", "< 1 ml", f"{shared:.2f} ml", shared < 1.0),
        (
            "mean distance from the nearest real lungs",
            f"<= {real:.2f} mm, as real ones",
            f"{near:.2f} mm",
            near <= real,
        ),
        (
            f"spread within 15 % of the real one, of {len(MEASURED)} attributes",
            "all",
            f"{len(within)}",
            len(within) == len(MEASURED),
        ),
    ]


def _conditioned(conditions: Json) -> list[tuple[str, str, str, bool]]:
    return [
        (f"conditioned on `{name}`: largest miss", "<= 1 %", f"{missed:.2f} %", missed <= 1.0)
        for name, rows in conditions.items()
        for missed in [max(row["missed_percent"] for row in rows)]
    ]


def _turned(knobs: Json) -> list[tuple[str, str, str, bool]]:
    """Of the knobs that are not refused; a refusal is right where no lungs were found."""
    moved, refused = np.array(knobs["disentanglement"]), knobs["refused"]
    done = [index for index, name in enumerate(knobs["names"]) if name not in refused]
    own = np.abs(np.diag(moved)[done] - 1.0).max()
    others = np.abs(moved - np.diag(np.diag(moved)))[done].max()
    nearest = "; ".join(f"{name}: {why.split(',')[0]}" for name, why in refused.items())
    return [
        (f"{len(done)} knobs + 1 SD: attribute moves as said, largest error", "<= 5 %", f"{own:.1%}", own <= 0.05),
        (f"{len(done)} knobs + 1 SD: held ones move, at most", "< 0.1 SD", f"{others:.3f} SD", others < 0.1),
        (
            "the other knobs are refused, with the nearest that can be",
            "all",
            nearest or "none",
            "less" not in refused.values(),
        ),
    ]


def _spread_table(made: Json) -> str:
    rows = [[name, f"{spread:.2f}", f"{off:+.2f}"] for name, (spread, off) in made["spread_and_shift"].items()]
    half = -(-len(rows) // 2)
    right = [*rows[half:], ["", "", ""]][:half]
    return markdown(["attribute", "spread", "mean"] * 2, [a + b for a, b in zip(rows[:half], right, strict=True)])


def _condition_table(conditions: Json) -> str:
    rows = []
    for name, values in conditions.items():
        for row in values:
            off = {other: value for other, value in row["others_off_sd"].items() if other != name}
            worst = max(off, key=lambda other: abs(off[other]))
            mean = np.mean(np.abs(list(off.values())))
            rows.append(
                [
                    name,
                    f"{row['value']:.0f}",
                    f"{row['missed_percent']:.2f} %",
                    f"{mean:.2f}",
                    f"{worst} {off[worst]:+.2f}",
                ]
            )
    return markdown(["condition", "value", "missed by", "others off, mean", "others off, most"], rows)


def _short(name: str) -> str:
    return name.replace("_lung", "").replace("_", " ").rsplit(" ", 1)[0]

"""The sections of docs/benchmarks.md about what comes before a model: scans, lungs in them, cohorts."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells import bars, machine
from lpm.evaluation.tables import markdown

Json = dict[str, Any]
COLUMNS = (("seconds", 0), ("peak_largest_gib", 2), ("peak_all_gib", 2))


def prepare(data: Json) -> str:
    seconds = np.array(list(data["seconds_by_subject"].values()))
    change, smoothing = (np.abs(data[key]) for key in ("volume_change_percent", "smoothing_change_percent"))
    slowest = max(data["seconds_by_subject"], key=data["seconds_by_subject"].get)
    flags = "; ".join(f"{name}: {', '.join(flags)}" for name, flags in data["flags"].items()) or "none"
    rows = [
        ("seconds a subject, slowest", "< 25", f"{seconds.max():.1f} ({slowest})", seconds.max() < 25),
        ("peak memory, all processes", "< 3 GiB", f"{data['peak_all_gib']:.2f} GiB", data["peak_all_gib"] < 3),
        ("volume change, mask to mesh, largest", "< 0.5 %", f"{change.max():.2f} %", change.max() < 0.5),
        (
            "volume change of the Laplacian smoothing alone, largest",
            "< 0.5 %",
            f"{smoothing.max():.3f} %",
            smoothing.max() < 0.5,
        ),
    ]
    return (
        f"{data['n_subjects']} subjects, {data['n_surface']:,} surface and {data['n_off_surface']:,} off-surface "
        f"points each, one case at a time: {data['seconds']:.0f} s in all, mean {seconds.mean():.1f} s a subject. "
        f"{machine(data)} Flagged: {flags}.\n\n{bars(rows)}"
    )


def segmentation(data: Json) -> str:
    (name, real), *_ = data["real"].items()
    found, filled = data["generated"], data["filled"]
    worst = {key: min(row["left"], row["right"]) for key, row in found.items()}
    swapped = max(row["if_exchanged"] for row in found.values())
    lowest = min(real["left"], real["right"])
    n_met = sum(value >= 0.96 for value in worst.values())
    sick = {key: min(row["filled"].values()) for key, row in filled.items() if not key.endswith("healthy")}
    grown = max(
        row["plain"][side] - row["filled"][side]
        for key, row in filled.items()
        for side in ("left", "right")
        if not key.endswith(side)
    )
    n_sick = sum(value >= 0.96 for value in sick.values())
    coarse = min(real["coarse"].values())
    differ = {key: row["differ"] for key, row in real["written"].items() if "missing" not in key}
    gap = next(row for key, row in real["written"].items() if "missing" in key)
    missing = [note for note in gap["notes"] if "missing" in note]
    met = [
        (f"{name}: Dice with TotalSegmentator's lobes", ">= 0.975", f"{lowest:.3f}", lowest >= 0.975),
        ("its seconds, reading included", "< 30", f"{real['seconds']:.1f}", real["seconds"] < 30),
        ("its peak memory", "< 4 GiB", f"{real['peak_gib']:.1f} GiB", real["peak_gib"] < 4),
        (f"{len(worst)} generated CTs: Dice of each lung", ">= 0.96 on all", f"{n_met} of them", n_met == len(worst)),
        ("Dice if sides were exchanged, at most", "0: never swapped", f"{swapped:.2f}", swapped < 0.5),
        (f"{name} at 3 x 3 x 5 mm, ringing: Dice", ">= 0.94", f"{coarse:.3f}", coarse >= 0.94),
        (
            f"{name} written as {len(differ)} other files, DICOM too: voxels of other labels",
            "0",
            f"{max(differ.values())}",
            not any(differ.values()),
        ),
        ("with a DICOM slice missing: it is named", "yes", "; ".join(missing) or "no", bool(missing)),
        (
            f"{len(sick)} CTs with 30 % of a lung painted dense: Dice of each lung",
            ">= 0.96 on all",
            f"{n_sick} of them, lowest {min(sick.values()):.3f}",
            n_sick == len(sick),
        ),
        ("what healthy lungs lose by it, Dice at most", "<= 0.002", f"{grown:.3f}", grown <= 0.002),
    ]
    rows = [[key, *(f"{row[side]:.3f}" for side in ("left", "right", "right_plain"))] for key, row in found.items()]
    table = markdown(["generated CT", "left lung", "right lung", "right, `--no-fill`"], rows)
    each = [
        [key] + [f"{row[when][side]:.3f}" for side in ("left", "right") for when in ("plain", "filled")]
        for key, row in filled.items()
    ]
    columns = [f"{side}{when}" for side in ("left", "right") for when in (", `--no-fill`", "")]
    fill = markdown(["30 % of a lung painted dense", *columns], each)
    return (
        "`lpm segment` with the built-in segmenter. Generated CTs hold body, ribs, spine, heart, airway and, unless "
        "the name says otherwise, a table, gas in the stomach and noise of 25 HU, at 1.5 x 1.5 x 2 mm; disease is in "
        f"the right lung, from behind and below. {machine(data)}\n\n{bars(met)}\n{table}\n"
        f"Disease painted into the real CT, and into generated CTs around the test subjects' lungs, filled by an atlas "
        f"of {data['n_training']} training lungs.\n\n{fill}"
    )


def throughput(data: Json) -> str:
    rows = {(row["kind"], row["workers"], row["cases"]): row for row in data["rows"]}
    n_cases = max(cases for _, _, cases in rows)
    one, two = (rows["local", n, n_cases]["seconds"] for n in (1, 2))
    gain, alone = one / two, rows["one core", 1, n_cases]["seconds"] / two
    few = min(cases for _, _, cases in rows)
    all_gib, few_gib = (rows["local", 2, n]["peak_largest_gib"] for n in (n_cases, few))
    met = [
        (
            f"{n_cases} cases: two jobs over one, which uses the second core in parts",
            ">= 1.7",
            f"{gain:.2f}",
            gain >= 1.7,
        ),
        (f"{n_cases} cases: two jobs over one that has one core", ">= 1.7", f"{alone:.2f}", alone >= 1.7),
        (
            f"largest process, {n_cases} cases against the {few} largest",
            "no growth",
            f"{all_gib:.2f}, {few_gib:.2f} GiB",
            all_gib < 1.15 * few_gib,
        ),
    ]
    table = [
        [kind, str(n), str(cases), *(f"{row[key]:.{d}f}" for key, d in COLUMNS)]
        for (kind, n, cases), row in rows.items()
    ]
    return (
        "`lpm prepare` on label maps, 250,000 points on and off the surface each; a Dask worker has one thread. Memory "
        f"is resident, of the largest process and of all together, the Dask scheduler's too. {machine(data)}\n\n"
        f"{bars(met)}\n"
        + markdown(["workers", "number", "cases", "seconds", "largest process, GiB", "all, GiB"], table)
    )

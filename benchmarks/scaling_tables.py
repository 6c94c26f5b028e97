"""The section of docs/large-cohorts.md that benchmarks/scaling.py writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cells import Json, bars, machine, stamped
from lpm.evaluation.tables import markdown

MANY = 100_000
CORE_HOUR_DOLLARS = 0.05  # a vCPU hour of a large cloud, on demand, about; stated on the page
GB_MONTH_DOLLARS = 0.02  # of object storage, likewise
STAGES = {
    "measure the training shapes": "measure",
    "signed distances of the training shapes": "signed distances",
    "register the training shapes": "register, three rounds",
    "averages": "averages",
    "components": "components",
}
ALONE = "train, atlas: the command itself"
NO_ATLAS = "No atlas of generated lungs has been timed yet."
MOST_GIB, WITHIN = 3.0, 0.2


def section(work: Path) -> str:
    """All that was measured so far."""
    atlases = [read(path) for path in sorted(work.glob("atlas_*.json"), key=lambda path: int(path.stem[6:]))]
    parts = [aims(atlases, processes(work)), atlas_table(atlases)] if atlases else [NO_ATLAS]
    parts.append(extrapolated(work, atlases))
    if found := processes(work):
        parts.append(processes_table(found))
    return "\n\n".join(part.strip() for part in parts if part)


def read(path: Path) -> Json:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def processes(work: Path) -> Json | None:
    path = work / "processes.json"
    return read(path) if path.exists() else None


def a_lung(found: Json) -> float:
    """Processor seconds of an atlas, by lung."""
    return float(sum(found["seconds"].values()) / found["n"])


def aims(atlases: list[Json], two: Json | None) -> str:
    first, last = atlases[0], atlases[-1]
    ratio, most = a_lung(last) / a_lung(first), max(found["peak_gib"] for found in atlases)
    rows = [
        (
            f"seconds a lung of {last['n']} lungs, beside {first['n']}",
            "within 20 %",
            f"{100 * (ratio - 1):+.0f} %",
            abs(ratio - 1) <= WITHIN and last is not first,
        ),
        ("peak memory of any process", f"<= {MOST_GIB:g} GiB", f"{most:.2f} GiB", most <= MOST_GIB),
    ]
    if two:
        differ, times, *_ = compared(two)
        rows += [
            ("training by two processes: losses of twenty epochs", "to 1e-4", f"to {differ:.1e}", differ <= 1e-4),
            ("training by two processes: time, beside one of one thread", "<= 0.7", f"{times:.2f}", times <= 0.7),
        ]
    return bars(rows)


def atlas_table(atlases: list[Json]) -> str:
    header = ["lungs", *STAGES.values(), "in all, s a lung", "peak GiB", "MB a lung meanwhile", "kB a lung kept"]
    header += ["components", "error left, right mm"]
    rows = []
    for found in atlases:
        seconds, n, last = found["seconds"], found["n"], found["history"][-1]
        rows.append(
            [
                str(n),
                *(f"{seconds.get(stage, 0.0) / n:.2f}" for stage in STAGES),
                f"{a_lung(found):.1f}",
                f"{found['peak_gib']:.2f}",
                f"{found['bytes_meanwhile'] / n / 1e6:.1f}",
                f"{found['bytes_kept'] / n / 1e3:.0f}",
                str(found["components"]),
                ", ".join(f"{last[key]:.2f}" for key in ("left_lung_error_mm", "right_lung_error_mm")),
            ]
        )
    stamps = " ".join(dict.fromkeys(stamped(found) for found in atlases))
    return (
        "Atlases of lungs that `lpm generate` drew, label maps of 4 mm, by one process of one thread; processor "
        f"seconds a lung by\nstage.\n\n{markdown(header, rows)}\n{machine(atlases[-1])} {stamps}"
    )


def extrapolated(work: Path, atlases: list[Json]) -> str:
    """What many lungs would take, by stage, if every lung took what one of the largest run did."""
    rows = stages(work, atlases)
    if not rows:
        return ""
    header = ["stage", "lungs measured", "s a lung", "core hours", "dollars", "bytes a lung", "TB", "dollars a month"]
    table = [
        [
            stage,
            str(n),
            f"{seconds:.2f}",
            f"{seconds * MANY / 3600:,.0f}",
            f"{seconds * MANY / 3600 * CORE_HOUR_DOLLARS:,.0f}",
            f"{size:,.0f}",
            f"{size * MANY / 1e12:.3f}",
            f"{size * MANY / 1e9 * GB_MONTH_DOLLARS:,.0f}",
        ]
        for stage, n, seconds, size in rows
    ]
    text = (
        f"**{MANY:,} lungs, extrapolated and not run**: processor seconds and bytes of those that were measured, label "
        f"maps of 4 mm,\ntimes their number. A core hour at {CORE_HOUR_DOLLARS:.2f} dollars, a GB kept for a month at "
        f"{GB_MONTH_DOLLARS:.2f} dollars; both are assumptions of this page.\n\n{markdown(header, table)}"
    )
    if kept := sorted(work.glob("cohort_*.json")):
        text += f"\nPreparing: {machine(read(kept[-1]))} {stamped(read(kept[-1]))}"
    hours = [seconds * MANY / 3600 for stage, _, seconds, _ in rows if stage == ALONE]
    if hours:
        text += (
            "\nThe command itself averages lungs one after the other, on one core: "
            f"{hours[0]:,.0f} hours of it, whatever the number of workers."
        )
    return text


def stages(work: Path, atlases: list[Json]) -> list[tuple[str, int, float, float]]:
    """Name, lungs measured, processor seconds and bytes a lung of each stage that was measured."""
    rows: list[tuple[str, int, float, float]] = []
    if kept := sorted(work.glob("cohort_*.json"), key=lambda path: int(path.stem[7:])):
        found = read(kept[-1])["prepare"] | {"n": read(kept[-1])["n"]}
        rows.append(("prepare", found["n"], found["cpu_seconds"] / found["n"], found["bytes"] / found["n"]))
    for found in atlases[-1:]:
        n, alone = found["n"], found["seconds"].get("averages", 0.0) + found["seconds"].get("components", 0.0)
        rows.append(("train, atlas: workers", n, a_lung(found) - alone / n, found["bytes_meanwhile"] / n))
        rows.append((ALONE, n, alone / n, found["bytes_kept"] / n))
    if (work / "fits.json").exists():
        found = read(work / "fits.json")
        rows.append(("fit mask", found["n"], found["cpu_seconds"] / found["n"], found["bytes"] / found["n"]))
    return rows


def apart(one: Json, other: Json) -> float:
    """Largest difference of two runs' losses."""
    return float(np.abs(np.array(one["total"]) - np.array(other["total"])).max())


def compared(found: Json) -> tuple[float, float, float]:
    """Largest difference of the losses; time of two processes beside one of one thread, and beside one of two."""
    one, threads, two = found["runs"].values()
    seconds = [float(np.median(each["seconds"])) for each in (one, threads, two)]
    return apart(one, two), seconds[2] / seconds[0], seconds[2] / seconds[1]


def processes_table(found: Json) -> str:
    """A log beside the other."""
    differ, times, of_threads = compared(found)
    one, threads, two = found["runs"].values()
    chosen = [0, 4, 9, 14, 19]
    header = ["processes", *(f"loss, epoch {index + 1}" for index in chosen), "seconds an epoch", "load at its start"]
    rows = [
        [
            name,
            *(f"{run['total'][index]:.6f}" for index in chosen),
            f"{np.median(run['seconds']):.1f}",
            f"{run['load']:.1f}",
        ]
        for name, run in found["runs"].items()
    ]
    first = abs(one["total"][0] - two["total"][0])
    return (
        f"**Training by two processes.** `paper`, 29 lungs, twenty short epochs in float32, on two cores (gloo).\n\n"
        f"{markdown(header, rows)}\nLosses of one and of two processes differ by {differ:.1e} at most, in the first "
        f"epoch by {first:.1e};\nthose of one process with one and with two threads by {apart(one, threads):.1e}: sums "
        "are rounded otherwise, which grows while the loss falls fast.\n"
        f"Two processes take {times:.2f} of the time of one with one thread, {of_threads:.2f} of that of one with two "
        f"threads.\n{machine(found)} {stamped(found)}"
    )

"""The sections of docs/benchmarks.md about several kinds of evidence in one fit, and about golden fits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cells import Json, bars, machine, mean_interval
from lpm.evaluation.tables import markdown

Values = Callable[[str, str], list[float]]
Mean = Callable[[str, str], float]
# kind, column, largest value
AIMS = (
    ("50 points + frontal", "assd_mm", 2.2),
    ("three slices + frontal + lateral", "assd_mm", 1.9),
    ("three slices + unplaced frontal", "assd_mm", 2.2),
    ("left lung's 1,000 points + frontal", "right_mm", 4.0),
)


def joint(data: Json) -> str:
    subjects: dict[str, dict[str, dict[str, float]]] = data["subjects"]
    kinds = list(dict.fromkeys(kind for found in subjects.values() for kind in found))

    def values(kind: str, key: str) -> list[float]:
        return [found[kind][key] for found in subjects.values() if kind in found]

    def mean(kind: str, key: str) -> float:
        return float(np.mean(values(kind, key)))

    met = [
        (
            f"{kind}: ASSD" + " of the right lung" * (key == "right_mm"),
            f"<= {most} mm",
            f"{mean(kind, key):.2f} mm",
            mean(kind, key) <= most,
        )
        for kind, key, most in AIMS
    ]
    met.append(_interval(values, mean))
    met.append(_seconds(mean))
    rows = [
        [
            kind,
            mean_interval(values(kind, "assd_mm"), 2),
            mean_interval(values(kind, "right_mm"), 2),
            f"{sum(values(kind, 'covered')):.0f} of {len(values(kind, 'covered'))}",
            mean_interval(values(kind, "width_percent"), 1),
            f"{mean(kind, 'seconds'):.1f}",
        ]
        for kind in kinds
    ]
    each = [
        [name, *(f"{found[kind]['assd_mm']:.2f}" if kind in found else "-" for kind in kinds)]
        for name, found in subjects.items()
    ]
    header = ["evidence", "ASSD mm", "right lung mm", "interval holds", "its width %", "seconds of one core"]
    return (
        f"The atlas of the training lungs, the {len(subjects)} test subjects that have radiographs, one fit from all "
        "of the evidence. Points without sides or normals, but for those of the left lung; the radiographs are "
        "computed from CT by parallel projection and read by the bundled reader, which knows training subjects only; "
        "their place in the patient is known, but for the unplaced one, whose world is moved by up to 100 mm along its "
        "rows and columns and whose place is fitted. Radiographs alone are compared after their centroid is laid on "
        "the true one's; nothing else is moved. "
        f"{machine(data)}\n\n{bars(met)}\n{markdown(header, rows)}\n"
        f"ASSD of each subject, mm\n\n{markdown(['subject', *kinds], each)}"
    )


def _interval(values: Values, mean: Mean) -> tuple[str, str, str, bool]:
    """Of 50 points and a frontal radiograph: holds the volume, and is narrower than either's."""
    kind, parts = "50 points + frontal", ("50 points", "frontal")
    holds, n = sum(values(kind, "covered")), len(values(kind, "covered"))
    own, others = mean(kind, "width_percent"), [mean(part, "width_percent") for part in parts]
    told = f"{holds:.0f} of {n}, {own:.1f} % wide; {others[0]:.1f} and {others[1]:.1f} % alone"
    what = f"{kind}: interval of the volume holds, and is narrower than either's"
    return what, ">= 9 of 10", told, holds / n >= 0.9 and own < min(others)


def _seconds(mean: Mean) -> tuple[str, str, str, bool]:
    """Of a joint fit by the sum of its parts."""
    share = mean("5,000 points + frontal + lateral", "seconds") / (
        mean("5,000 points", "seconds") + mean("frontal + lateral", "seconds")
    )
    return "5,000 points + frontal + lateral: seconds by the sum of its parts'", "<= 1.5", f"{share:.2f}", share <= 1.5


def golden(data: Json) -> str:
    """Fits before and after the engine was rewritten."""
    before, now = data["before"], data["now"]
    subjects, rows = list(now), []
    for kind in now[subjects[0]]:
        old, new = (
            {key: float(np.mean([each[name][kind][key] for name in subjects])) for key in ("assd_mm", "interval_ml")}
            for each in (before, now)
        )
        change = new["assd_mm"] / old["assd_mm"] - 1.0
        rows.append(
            [
                kind,
                f"{old['assd_mm']:.3f}",
                f"{new['assd_mm']:.3f}",
                f"{change:+.1%}",
                f"{old['interval_ml']:.0f}",
                f"{new['interval_ml']:.0f}",
            ]
        )
    header = ["evidence", "ASSD before, mm", "now, mm", "change", "interval before, ml", "now, ml"]
    return (
        f"Fits of {len(subjects)} training subjects ({', '.join(subjects)}) by `lungs-v1`, which knows them: "
        "they say whether fits have changed, and nothing of accuracy. Before: commit 0546a6d, frozen in "
        f"`benchmarks/golden.json`. Repeated by `python benchmarks/golden.py`. "
        f"{machine(data)}\n\n{markdown(header, rows)}"
    )

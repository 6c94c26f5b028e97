"""The sections of docs/benchmarks.md about radiographs."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells import bars, machine, mean_interval
from lpm.evaluation.tables import markdown

Json = dict[str, Any]
BARS = {"frontal": (0.90, 0.06), "frontal + lateral": (0.93, 0.04)}


def xray(data: Json) -> str:
    methods = {label: {key: row["mean"] for key, row in rows.items()} for label, rows in data["methods"].items()}
    ours = {views: methods[f"LPM, {views}"] for views in BARS}
    met = []
    for views, (dice, volume) in BARS.items():
        found, off = ours[views]["dice"], ours[views]["volume"]
        met.append((f"{views}: Dice", f">= {dice:.2f}", f"{found:.3f}", found >= dice))
        met.append((f"{views}: volume error", f"<= {volume:.0%}", f"{off:.1%}", off <= volume))
    depth = ours["frontal"]["depth"]
    met.append(("frontal: depth error", "<= 8 %", f"{depth:.1%}", depth <= 0.08))
    met += [_gain(methods, views) for views in BARS]
    cases = [case for case in data["cases"] if case["method"] == "LPM"]
    holds = np.mean([case["holds"] for case in cases])
    met.append(("95 % intervals that hold the total volume", ">= 90 %", f"{holds:.0%}", holds >= 0.9))
    slowest = max(case["seconds"] for case in cases)
    met.append(("seconds of one core, pictures to meshes, slowest", "<= 20 on two", f"{slowest:.0f}", slowest <= 20))
    return (
        f"Radiographs of {data['n_subjects']} test subjects, computed from their CT by parallel projection; reader and "
        "atlas know the training subjects only. Centroids are laid on each other before lungs are compared, and "
        "nothing else is done. Errors of volume and size are relative and without sign. The scaled mean shape has the "
        "width and height of the field that was read; the regression knows the field's height and area; the principal "
        "components of signed distances, of the training subjects with radiographs, are fitted as the atlas is. "
        f"{machine(data)}\n\n{bars(met)}\n{_methods(data)}\nDice, volume and depth of each\n\n{_cases(cases)}"
    )


def _gain(methods: Json, views: str) -> tuple[str, str, str, bool]:
    """How much less our error is than that of the best baseline that saw the same pictures, or the frontal one."""
    seen = (views, "frontal")
    others = {label: row["assd_mm"] for label, row in methods.items() if "assd_mm" in row and label[:3] != "LPM"}
    best = min(
        (label for label in others if label.endswith(tuple(f", {each}" for each in seen))), key=others.__getitem__
    )
    gain = 1.0 - methods[f"LPM, {views}"]["assd_mm"] / others[best]
    return f"{views}: less ASSD than the best baseline ({best})", ">= 25 %", f"{gain:.0%}", gain >= 0.25


COLUMNS = {"dice": 3, "assd_mm": 1, "hd95_mm": 1, "volume": 3, "width": 3, "depth": 3, "height": 3, "interval": 2}


def _methods(data: Json) -> str:
    rows = []
    for label, numbers in data["methods"].items():
        cells = [
            "-" if key not in numbers else "{mean:.{d}f} [{low:.{d}f}, {high:.{d}f}]".format(**numbers[key], d=digits)
            for key, digits in COLUMNS.items()
        ]
        rows.append([label, *cells, f"{numbers['volume']['p95']:.3f}"])
    names = [
        key.replace("_mm", " mm").replace("dice", "Dice").replace("assd", "ASSD").replace("hd95", "HD95")
        for key in COLUMNS
    ]
    return markdown(["method", *names, "95 % of volume errors below"], rows)


def _cases(cases: list[Json]) -> str:
    found: Json = {}
    for case in cases:
        cell = f"{case['dice']:.3f} / {case['volume']:+.1%} / {case['depth']:+.1%}"
        found.setdefault(case["subject"], {})[case["views"]] = cell
    return markdown(["subject", *BARS], [[name, *(row[views] for views in BARS)] for name, row in found.items()])


def xray_field(data: Json) -> str:
    both, others = data["real"]["both"], {name: row for name, row in data["real"].items() if name != "both"}
    changes = {key: value for key, value in both.items() if key.endswith("difference of mean")}
    worst = max(changes.values(), key=abs)
    met = [
        ("mean Dice", ">= 0.955", f"{both['mean Dice']:.3f}", both["mean Dice"] >= 0.955),
        ("images with Dice >= 0.90", ">= 95 %", f"{both['share >= 0.90']:.1%}", both["share >= 0.90"] >= 0.95),
        ("inverted, 16-bit, portrait, cropped: change of the mean", "<= 0.01", f"{worst:+.4f}", abs(worst) <= 0.01),
        ("seconds an image, one core", "<= 1", f"{both['median seconds']:.2f}", both["median seconds"] <= 1),
    ]
    keys = ("images", "mean Dice", "median Dice", "left", "right", "share >= 0.90", "share with doubts")
    rows = [[name, *(f"{row[key]:.4g}" for key in keys)] for name, row in {"both": both, **others}.items()]
    paths = [
        [
            view,
            mean_interval([abs(row["volume error"]) for row in data["paths"] if row["view"] == view], 3),
            f"{np.mean([row['path error mm'] for row in data['paths'] if row['view'] == view]):.1f}",
        ]
        for view in ("frontal", "lateral")
    ]
    return (
        f"The reader's lung field on {both['images']:.0f} real chest X-rays that it was not trained on. {machine(data)}"
        f"\n\n{bars(met)}\n{markdown(['hospital', *keys], rows)}\n"
        "What it says of the lungs' depth, on the radiographs of the test subjects\n\n"
        f"{markdown(['view', 'volume error', 'path length error, mm'], paths)}"
    )


def xray_real(data: Json) -> str:
    rows = {name: row for name, row in data.items() if name != "machine"}
    fitted = np.array([row["fitted"] for row in rows.values()])
    # every unsized fit carries one note; more are doubts
    silent = sum(row["fitted"] < 0.75 and len(row["notes"]) < 2 for row in rows.values())
    flagged = sum(len(row["notes"]) > 1 for row in rows.values())
    low = sorted(rows, key=lambda name: rows[name]["fitted"])[:5]
    met = [
        (
            "Dice of the fitted lungs' visible field and the mask, median",
            ">= 0.92",
            f"{np.median(fitted):.3f}",
            np.median(fitted) >= 0.92,
        ),
        ("images below 0.75 without a warning", "0", f"{silent}", silent == 0),
    ]
    worst = ", ".join(f"{name} {rows[name]['fitted']:.3f}" for name in low)
    return (
        f"{len(rows)} real frontal X-rays, of unknown pixel spacing, that the reader was not trained on; lungs by the "
        f"bundled model. {flagged} carry a warning. The worst: {worst}. {machine(data)}\n\n{bars(met)}"
    )

"""The sections of docs/benchmarks.md about radiographs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpm.evaluation.tables import markdown
from tables import bars, machine, mean_interval

Json = dict[str, Any]
FITTED = {"frontal": (0.90, 0.06), "frontal + lateral": (0.93, 0.04)}
METHODS = (*FITTED, "mean shape", "mean shape, scaled", "regression")


def xray(data: Json) -> str:
    subjects = data["subjects"]

    def values(method: str, key: str) -> list[float]:
        return [abs(one[method][key]) for one in subjects.values() if key in one[method]]

    met = []
    for method, (dice, volume) in FITTED.items():
        found, off = np.mean(values(method, "dice")), np.mean(values(method, "volume"))
        met.append((f"{method}: Dice", f">= {dice:.2f}", f"{found:.3f}", found >= dice))
        met.append((f"{method}: volume error", f"<= {volume:.0%}", f"{off:.1%}", off <= volume))
    depth = np.mean(values("frontal", "depth"))
    met.append(("frontal: depth error", "<= 8 %", f"{depth:.1%}", depth <= 0.08))
    for method in FITTED:
        gain = 1.0 - np.mean(values(method, "assd_mm")) / np.mean(values("mean shape, scaled", "assd_mm"))
        met.append((f"{method}: less ASSD than the best baseline", ">= 25 %", f"{gain:.0%}", gain >= 0.25))
    holds = np.mean([value for method in FITTED for value in values(method, "holds")])
    met.append(("95 % intervals that hold the total volume", ">= 90 %", f"{holds:.0%}", holds >= 0.9))
    slowest = max(value for method in FITTED for value in values(method, "seconds"))
    met.append(("seconds, pictures to meshes, slowest, one core", "<= 20 on two", f"{slowest:.0f}", slowest <= 20))
    columns = {"dice": 3, "assd_mm": 1, "hd95_mm": 1, "volume": 3, "width": 3, "depth": 3, "height": 3, "interval": 2}
    rows = []
    for method in METHODS:
        cells = [values(method, key) for key in columns]
        rows.append(
            [method, *(mean_interval(c, d) if c else "-" for c, d in zip(cells, columns.values(), strict=True))]
        )
    each = [
        [name, *(f"{one[m]['dice']:.3f} / {one[m]['volume']:+.1%} / {one[m]['depth']:+.1%}" for m in FITTED)]
        for name, one in subjects.items()
    ]
    names = ["method", "Dice", "ASSD mm", "HD95 mm", "volume", "width", "depth", "height", "interval's width"]
    return (
        f"Radiographs of {len(subjects)} test subjects, computed from their CT by parallel projection; reader and "
        "atlas know the training subjects only. Lungs are moved onto the true ones before they are compared, no more. "
        "Errors of volume and size are relative and without sign. The scaled mean shape has the width and height of "
        "the field that was read; the regression knows the field's height and area. "
        f"{machine(data)}\n\n{bars(met)}\n{markdown(names, rows)}\nDice, volume and depth of each\n\n"
        f"{markdown(['subject', *FITTED], each)}"
    )


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

"""The sections of docs/paper.md, from what benchmarks/paper.py kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cells import Json, bars, machine, mean_interval, stamped
from lpm.evaluation.tables import markdown
from paper_pictures import PICTURES, draw, draw_tested
from paper_runs import RUNS, Run

Tested = Mapping[tuple[str, str], list[Json]]  # by network, and by what was fitted
TABLE_I = {"paper-initial": 0.2196, "paper": 0.0225}
PARTS = ("total", "surface", "off_surface", "eikonal", "latent", "normal")
POINTS = ("10000", "30000", "100000")
KINDS = {"latent": "latent and place", "prior": "prior only", "residual": "with the residual"}
SIZES = {"paper-initial": "64, 4 x 512", "paper": "256, 8 x 1024"}
UNIT_MM = 220  # of the cohort of the benchmarks
N_TEST = 10
NOTHING = "Nothing measured yet."
MOST_MM = 2.0  # bar of `paper` with separate outputs


def sections(work: Path) -> dict[str, str]:
    """Text of each section by the name in its marks, of what WORK holds; the pictures are drawn."""
    trained = {name: read(work / name / "training.json") for name in RUNS if (work / name / "training.json").exists()}
    models = {name: found["model"] for name, found in trained.items()}
    tested = {
        (name, kind): rows
        for name in [*RUNS, "atlas"]
        for kind in KINDS
        if (rows := tests(work / name / kind, models.get(name)))
    }
    taught = {name for name in trained if RUNS[name].copies}
    found = {}
    if own := {name: each for name, each in trained.items() if name not in taught}:
        found |= of_the_paper(work, own, {key: rows for key, rows in tested.items() if key[0] not in taught})
    if own := {name: trained[name] for name in trained if name in taught}:
        found["copies"] = copies(work, own, {key: rows for key, rows in tested.items() if key[0] in {*taught, "atlas"}})
    return found


def of_the_paper(work: Path, trained: Mapping[str, Json], tested: Tested) -> dict[str, str]:
    """The sections on networks that learnt from the training lungs alone."""
    shaped = {name: read(work / name / "shapes.json") for name in trained if (work / name / "shapes.json").exists()}
    draw(work, trained, [*tested], [*shaped])
    return {
        "aims": aims(trained, tested),
        "table-1": table_1(trained),
        "table-2": table_2(trained, tested),
        "merge": merge(trained, tested, shaped),
        "normal": normal(trained, tested, shaped),
        "curves": curves(trained),
        "reconstructions": reconstructions(tested),
    }


def copies(work: Path, trained: Mapping[str, Json], tested: Tested) -> str:
    """Networks that learnt from deformed copies of the training lungs besides, and the atlas."""
    draw_tested(work, [*tested], PICTURES / "paper_copies.png")
    picture = "![A test lung by what was tested, coloured by its distance from the truth](pictures/paper_copies.png)"
    parts = [bars([prior_aim(name, trained, tested) for name in trained]), table_1(trained), table_2(trained, tested)]
    return "\n\n".join([*(part.strip() for part in parts), picture])


def read(path: Path) -> Json:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def tests(folder: Path, model: str | None) -> list[Json]:
    """What was measured of each test lung, by the network as it is now."""
    rows = [read(path) | {"subject": path.stem} for path in sorted(folder.glob("*.json"))]
    return [row for row in rows if model in (None, row["model"])]


def title(name: str) -> str:
    """Name of a network in tables."""
    if name == "atlas":
        return "the atlas"
    run = RUNS[name]
    output = "one output (union)" if run.structures == "union" else "an output each"
    besides = (", normal loss" if run.normal else "") + (f", {run.copies} deformed copies a lung" if run.copies else "")
    return f"{SIZES[run.preset]}, {output}{besides}"


def state(found: Json) -> str:
    """How far a training is, and whether its loss has stopped falling."""
    fell = f"{found['fell_percent']:.1f} % over its last {found['fell_over']} epochs"
    if found["ended"]:
        return f"its schedule of {found['scheduled']} epochs ended; the loss fell by {fell}"
    return f"**stopped** after {found['epochs']} of {found['scheduled']} epochs, the loss still falling, by {fell}"


def table_1(trained: Mapping[str, Json]) -> str:
    if not trained:
        return NOTHING
    header = ["network", "the paper", "ours, whole loss", *[each.replace("_", "-") for each in PARTS[1:]], "training"]
    rows = [
        [
            title(name),
            f"{TABLE_I[RUNS[name].preset]}" if is_papers(RUNS[name]) else "-",
            *(f"{found['losses'][part]:.3g}" for part in PARTS),
            state(found),
        ]
        for name, found in trained.items()
    ]
    weights = next(iter(trained.values()))["weights"]
    whole = " + ".join(f"{weights[key]:g} {key.replace('_', '-')}" for key in PARTS[1:-1])
    seconds = "\n".join(f"- {title(name)}: {found['seconds_an_epoch']:.1f}" for name, found in trained.items())
    return (
        f"{markdown(header, rows)}\nMeans over the last 20 epochs at most, each part without its weight; lengths in "
        f"model units of {UNIT_MM} mm.\nThe whole loss is {whole}; with the normal loss, {normal_weight():g} of it "
        f"besides.\nSeconds an epoch, on a machine that did other work as well:\n\n{seconds}\n\n"
        f"{stamps(trained.values())}"
    )


def is_papers(run: Run) -> bool:
    return run.structures == "union" and not run.normal


def normal_weight() -> float:
    return max(run.normal for run in RUNS.values())


def stamps(found: Sequence[Json] | Mapping[str, Json]) -> str:
    """Machine, commits and dates of measurements."""
    each = list(found.values() if isinstance(found, Mapping) else found)
    return "\n".join(sorted({f"{machine(one)} {stamped(one)}" for one in each}))


def mean(rows: Sequence[Json], key: str) -> float:
    return float(np.mean([row["scores"][key] for row in rows if row["scores"] and row["scores"][key] is not None]))


def point_number(rows: Sequence[Json], points: str, key: str, side: int) -> float:
    """Mean of the reconstruction's number (side 0) or of its sampling floor (side 1)."""
    return float(np.mean([row["paper"][points][side][key] for row in rows if row["paper"]]))


def table_2(trained: Mapping[str, Json], tested: Tested) -> str:
    if not tested:
        return NOTHING
    header = ["network", "what is fitted", "done / tested", *(f"F-score, {int(n):,}" for n in POINTS)]
    header += [f"Chamfer, {int(n):,}" for n in POINTS]
    rows = [
        [title(name), KINDS[kind], count(found), *cells(found, "unit_f_score"), *cells(found, "unit_chamfer")]
        for (name, kind), found in tested.items()
    ]
    some = next(iter(tested.values()))
    floor = [f"{point_number(some, n, key, 1):.4f}" for key in ("unit_f_score", "unit_chamfer") for n in POINTS]
    rows.append(["*sampling floor*", "", "", *floor])
    rows += [["*the paper*", "latent", "-", "0.7047", "-", "-", "0.016", "-", "-"]]
    rows += [["*the paper*", "latent", "-", "0.8235", "-", "-", "0.015", "-", "-"]]
    header_mm = [
        "network",
        "what is fitted",
        "done / tested",
        "ASSD mm",
        "HD95 mm",
        "Dice",
        "closed",
        "merged",
        "seconds",
    ]
    rows_mm = [
        [
            title(name) + ("" if name == "atlas" or trained[name]["ended"] else " (stopped)"),
            KINDS[kind],
            count(found),
            mean_interval([row["scores"]["assd_mm"] for row in found if row["scores"]]),
            f"{mean(found, 'hd95_mm'):.1f}",
            f"{mean(found, 'dice'):.3f}",
            f"{sum(bool(row['scores'] and row['scores']['dice'] is not None) for row in found)}/{len(found)}",
            merged_of(found),
            f"{np.median([row['seconds'] for row in found]):.0f}",
        ]
        for (name, kind), found in tested.items()
        if any(row["scores"] for row in found)
    ]
    last = [found[-1] for found in tested.values()]
    return f"{markdown(header, rows)}\n\n{markdown(header_mm, rows_mm)}\n{stamps(last)}"


def count(rows: Sequence[Json]) -> str:
    return f"{sum(row['scores'] is not None for row in rows)}/{len(rows)}"


def cells(rows: Sequence[Json], key: str) -> list[str]:
    return [f"{point_number(rows, n, key, 0):.4f}" for n in POINTS]


def merged_of(rows: Sequence[Json]) -> str:
    known = [row["merged"] for row in rows if row["merged"] is not None]
    return f"{sum(known)}/{len(known)}" if known else "cannot"


def merge(trained: Mapping[str, Json], tested: Tested, shaped: Mapping[str, Json]) -> str:
    if not shaped:
        return NOTHING
    header = ["network", "training lungs merged", "ASSD of training lungs mm", "test lungs merged", "training"]
    rows = []
    for name, found in shaped.items():
        own = found["rows"]
        errors = [row["assd_mm"] for row in own if row["assd_mm"] is not None]
        seen = tested.get((name, "latent"), [])
        rows.append(
            [
                title(name),
                merged_of(own),
                mean_interval(errors) if errors else "no surface",
                merged_of(seen) if seen else "not tested",
                state(trained[name]),
            ]
        )
    picture = "![Training lungs as the networks have learnt them, each piece in a colour](pictures/paper_merge.png)"
    return f"{markdown(header, rows)}\n{stamps(shaped)}\n\n{picture}"


def normal(trained: Mapping[str, Json], tested: Tested, shaped: Mapping[str, Json]) -> str:
    """With the normal loss beside without."""
    header = ["network", "normal loss", "eikonal", "surface", "off-surface", "test ASSD mm", "test normals"]
    header += ["training lungs ASSD mm"]
    rows = []
    for name, with_it in (("initial-union", "initial-union-normal"), ("paper-union", "paper-union-normal")):
        for each in (name, with_it) if with_it in trained and name in trained else ():
            seen, losses = tested.get((each, "latent"), []), trained[each]["losses"]
            errors = [row["assd_mm"] for row in shaped.get(each, {"rows": []})["rows"] if row["assd_mm"] is not None]
            rows.append(
                [
                    title(each),
                    f"{losses['normal']:.4f}",
                    f"{losses['eikonal']:.3f}",
                    f"{losses['surface']:.5f}",
                    f"{losses['off_surface']:.5f}",
                    f"{mean(seen, 'assd_mm'):.2f}" if seen else "not tested",
                    f"{mean(seen, 'normal_consistency'):.3f}" if seen else "not tested",
                    mean_interval(errors) if errors else "-",
                ]
            )
    picture = "\n\n![A test lung without and with the normal loss, coloured by its error](pictures/paper_normal.png)"
    both = all((name, "latent") in tested for name in ("initial-union", "initial-union-normal"))
    return markdown(header, rows) + picture * both if rows else NOTHING


def reconstructions(tested: Tested) -> str:
    return "![A test lung by each network and by the atlas](pictures/paper_test.png)" if tested else NOTHING


def curves(trained: Mapping[str, Json]) -> str:
    if not trained:
        return NOTHING
    done = [f"{title(name)}: {state(found)}" for name, found in trained.items()]
    return "![Losses by epoch](pictures/paper_losses.png)\n\n" + "\n".join(f"- {each}" for each in done)


def aims(trained: Mapping[str, Json], tested: Tested) -> str:
    """Bars; what was stopped before its schedule ended, or not tested on all lungs, meets none."""
    rows = []
    for name, bar in (("paper-union", TABLE_I["paper"]), ("initial-union", TABLE_I["paper-initial"])):
        shown, met = "not measured", False
        if name in trained:
            total, ended = trained[name]["losses"]["total"], trained[name]["ended"]
            shown, met = f"{total:.4f}" + early(ended), ended and total <= bar
        rows.append((f"{title(name)}: whole loss", f"<= {bar}", shown, met))
    return bars([*rows, prior_aim("paper-separate", trained, tested)])


def prior_aim(name: str, trained: Mapping[str, Json], tested: Tested) -> tuple[str, str, str, bool | None]:
    """A row of bars: how near a network's own shapes come to unseen lungs."""
    aim, bar = f"{title(name)}: ASSD, prior only", f"<= {MOST_MM:g} mm"
    done = [row for row in tested.get((name, "prior"), []) if row["scores"]]
    if not done:
        return aim, bar, "not measured", None
    ended, error_mm = trained[name]["ended"], mean(done, "assd_mm")
    shown = f"{error_mm:.2f} mm, {len(done)} of {N_TEST} lungs" + early(ended)
    return aim, bar, shown, ended and error_mm <= MOST_MM and len(done) == N_TEST


def early(ended: bool) -> str:
    return "" if ended else ", stopped before its end"

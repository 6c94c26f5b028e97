"""docs/benchmarks.md from the JSONs of benchmarks/run.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from breath_tables import both_states, breath, breath_one_state, correspondence
from cells import Json, bars, machine, mean_interval, stamped
from joint_tables import golden, joint
from lpm.apps.viewer.debounce import REST_S
from lpm.evaluation.tables import markdown
from lpm.files.atomic import write_text
from marked import write_section
from population_tables import population
from preparation_tables import prepare, segmentation, throughput
from results import summary
from rival_tables import deepsdf, pyssam
from structure_tables import does_it_help, lobes
from xray_tables import xray, xray_field, xray_real


def write_page(work: Path, page: Path) -> None:
    """Write the page from the steps that have run; of one that has not, the page keeps what it said.

    That is marked as stale if it does not say when it was measured.
    """
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    before = dict(part.partition("\n\n")[::2] for part in text.split("\n## ")[1:])
    parts = [
        f"## {title}\n\n{_body(work / f'{name}.json', section, before.get(title, ''))}"
        for name, title, section in SECTIONS
    ]
    write_text(page, "\n\n".join([INTRODUCTION, *parts]) + "\n")
    if (page.parent / "results.md").is_file():  # its summary keeps step
        write_section(page.parent / "results.md", "results", summary(page.read_text(encoding="utf-8")))


def _body(path: Path, section: Callable[[Json], str], before: str) -> str:
    """What is measured, with its stamp; else what the page said before."""
    if path.exists():
        data = json.loads(path.read_text(encoding="utf-8"))
        return f"{section(data).strip()}\n\n{stamped(data)}"
    kept = before.strip()
    if STAMPED in kept or kept.startswith(STALE):
        return kept
    return f"{STALE}\n\n{kept}" if kept and kept != NOT_MEASURED else NOT_MEASURED


STAMPED = "\nMeasured on "
NOT_MEASURED = "Not measured yet."
STALE = "**STALE:** not measured again when this page was written; text and figures are those of an earlier page."
INTRODUCTION = """# Benchmarks

Written by `python benchmarks/run.py --lungs FOLDER` from what it measured; no number in the sections is typed.
`make benchmarks` repeats every section, but that beside DeepSDF only if `LPM_DEEPSDF_PYTHON` names a Python that has
DeepSDFStruct. Each section ends with the commit and the date at which it was measured; one that was measured before
stamps were kept is marked STALE.
The lungs are 39 real ones (docs/model-card.md says where they come from), 29 to train on and 10 to test on, split by
subject. Choices were made by cross-validation inside the 29; the ten test lungs decided nothing. Distances
are from points to triangles, in mm; brackets are 95 % bootstrap intervals of the mean over the ten. The figures of
`lite` were measured before noise and outliers were estimated by a mixture; those of the atlas beside other methods,
and beside DeepSDF, before searches started from turned lungs, too; those of filled disease and of lobes, before the
residual was conditioned until its points settle."""


def signed_distances(data: Json) -> str:
    first = data["runs"][0]
    header = ["points", "method", "us a point", "times LPM", "max error mm", "mean error mm", "wrong signs"]
    rows = [
        [
            f"{run['points']:,}",
            row["method"],
            f"{row['us_per_point']:.1f}",
            f"{row['times_lpm']:.0f}",
            f"{row['max_error_mm']:.2g}",
            f"{row['mean_error_mm']:.2g}",
            str(row["wrong_signs"]),
        ]
        for run in data["runs"]
        for row in run["rows"]
    ]
    met = []
    for run in data["runs"]:
        others = run["rows"][1:]
        fastest = min(row["times_lpm"] for row in others)
        own, best = run["rows"][0]["mean_error_mm"], min(row["mean_error_mm"] for row in others)
        n = f"{run['points']:,} points"
        met.append((f"{n}: times as fast as the fastest mesh-to-sdf method", ">= 50", f"{fastest:.0f}", fastest >= 50))
        met.append((f"{n}: mean error, LPM / best of mesh-to-sdf", "smaller", f"{own:.1g} / {best:.1g} mm", own < best))
    return (
        f"Points about `coronacases_002`'s `{first['mesh']}` ({first['faces']:,} triangles), the paper's library "
        f"mesh-to-sdf in the same process; errors against brute force in float64 at {first['exact_points']} points. "
        "mesh-to-sdf pays for its scans of the mesh once, so its time a point falls with their number. "
        f"{machine(data)}\n\n{markdown(header, rows)}\n{bars(met)}"
    )


def train(data: Json) -> str:
    names = ("epoch", "total", "surface", "off_surface", "eikonal", "latent")
    rows = [[f"{row[name]:.4g}" for name in names] for row in data["losses"]]
    met = [
        ("`lpm train`, whole", "<= 30 min on 2 cores", f"{data['seconds'] / 60:.1f} min", data["seconds"] <= 1800),
    ]
    return (
        f"`lite`: {data['network']}, {data['training_shapes']} shapes (29 lungs and their deformed copies), "
        f"{data['epochs']} epochs, {data['megabytes']:.1f} MB; peak memory {data['peak_all_gib']:.1f} GiB. "
        f"{machine(data)} Lengths in the losses are in model "
        f"units of {data['scale_mm']:.0f} mm.\n\n{markdown(names, rows)}\n{bars(met)}"
    )


def evaluate(data: Json) -> str:
    own = data["methods"]["LPM"]
    whole = own["n_pieces"]["mean"] == 2 and own["is_closed"]["mean"] == 1
    met = [
        ("ASSD", "<= 2.5 mm", f"{own['assd_mm']['mean']:.2f} mm", own["assd_mm"]["mean"] <= 2.5),
        ("Dice", ">= 0.93", f"{own['dice']['mean']:.3f}", own["dice"]["mean"] >= 0.93),
        ("closed, one piece a lung, left and right apart", "10 of 10", "all" if whole else "not all", whole),
    ]
    return (
        "`lpm evaluate MODEL COHORT --split test --points 5000`: no normals, sides unknown, the prior only (shape "
        "and pose are fitted; nothing follows the points beyond the model). The baselines of the section above saw the "
        f"same points. {machine(data)}\n\n"
        f"{bars(met)}\n{data['tables']}"
    )


def extraction(data: Json) -> str:
    met = [
        ("network evaluations over the dense grid's", "<= 6 %", f"{data['share']:.2%}", data["share"] <= 0.06),
        (
            "largest difference of a vertex from the dense grid's",
            "<= 0.01 voxel",
            f"{data['largest_difference_voxels']:.2g} voxel, same triangles: {data['same_triangles']}",
            data["largest_difference_voxels"] <= 0.01,
        ),
    ]
    ratio = data["dense_seconds"] / data["sparse_seconds"]
    return (
        f"Both lungs of the mean shape, 256 cells along each side of the cube [-1, 1] of the model: "
        f"{data['evaluated']:,} of {data['nodes']:,} nodes evaluated, {data['sparse_seconds']:.1f} s against "
        f"{data['dense_seconds']:.0f} s dense "
        f"({ratio:.0f} times). {machine(data)}\n\n{bars(met)}"
    )


def paper_presets(data: Json) -> str:
    blocks = [
        "No GPU was at hand: these are short runs on the CPU that show both presets working end to end (train, then "
        "reconstruct two unseen lungs from 500 points at 5 mm), not trained models: their errors say nothing of the "
        "presets. The paper's figures stand beside `lite`'s, above."
    ]
    for name in ("paper", "paper-initial"):
        run = data[name]
        first, last = run["losses"][0], run["losses"][-1]
        falling = last["total"] < 0.7 * first["total"]
        cases = (f"{s} {v:.1f} mm" if isinstance(v, float) else f"{s}: {v}" for s, v in run["assd_mm"].items())
        found = f"ASSD of unseen lungs: {', '.join(cases)}."
        columns = ("epoch", "total", "surface", "off_surface", "eikonal")
        rows = [[f"{row[column]:.4g}" for column in columns] for row in run["losses"]]
        blocks.append(
            f"**`{name}`** ({run['network']}), {run['epochs']} epochs in {run['training_seconds']:.0f} s: loss "
            f"{first['total']:.3f} to {last['total']:.3f} ({'falling' if falling else 'not falling'}). {found}\n\n"
            f"{markdown(columns, rows)}"
        )
    return "\n\n".join(blocks)


def atlas(data: Json) -> str:
    limits = {"5000": ("<= 0.35 mm", 0.35), "500": ("<= 1.1 mm", 1.1), "100": ("<= 2.3 mm", 2.3)}
    met, tables = [], []
    for points, (bar, limit) in limits.items():
        run = data["runs"][points]
        own = run["methods"]["LPM"]
        assd = own["assd_mm"]["mean"]
        met.append((f"ASSD from {int(points):,} points", bar, f"{assd:.2f} mm", assd <= limit))
        if points == "5000":
            hd95, dice = own["hd95_mm"]["mean"], own["dice"]["mean"]
            met.append(("its HD95", "<= 1.2 mm", f"{hd95:.2f} mm", hd95 <= 1.2))
            met.append(("its Dice", ">= 0.988", f"{dice:.4f}", dice >= 0.988))
        tables.append(f"### From {int(points):,} points\n\n{run['tables'].replace('Methods side by side: m', 'M')}")
    return (
        "The atlas (docs/train.md) of the 29 training lungs, fitted with the residual (docs/fit.md): as the bundled "
        "model is fitted, which knows all 39 lungs and cannot be scored on them. `lpm evaluate`, no normals, "
        f"sides unknown. Training takes {data['training_seconds'] / 60.0:.1f} min on 2 cores, the weights "
        f"{data['megabytes']:.1f} MB. Baselines see the same points; Dice and volume are of closed meshes only, of "
        f"which Poisson makes few. Seconds are of cores shared with other work. {machine(data)}\n\n{bars(met)}\n"
        + "\n\n".join(tables)
    )


EVIDENCE_BARS = (
    ("5,000 points", "assd_mm", 0.35),
    ("500 points", "assd_mm", 1.1),
    ("100 points", "assd_mm", 2.3),
    ("5,000 points, 2 mm noise and 5 % outliers", "assd_mm", 0.8),
    ("full mask", "assd_mm", 0.25),
    ("mask without the lowest quarter", "seen_mm", 0.5),
    ("mask without the lowest quarter", "unseen_mm", 4.0),
    ("three orthogonal slices", "assd_mm", 2.0),
)
EVIDENCE_WORDS = {"assd_mm": "ASSD", "seen_mm": "ASSD of the seen part", "unseen_mm": "ASSD of the unseen part"}


def evidence(data: Json) -> str:
    found = EvidenceResults(data["subjects"])
    columns = {"assd_mm": 2, "hd95_mm": 2, "dice": 3, "covered": 2, "width_percent": 1, "spearman": 2}
    rows = [[kind, *(found.cell(kind, key, digits) for key, digits in columns.items())] for kind in found.kinds]
    names = ["evidence", "ASSD mm", "HD95 mm", "Dice", "interval holds", "its width %", "Spearman"]
    each = [[name, *(f"{one[kind]['assd_mm']:.2f}" for kind in found.kinds)] for name, one in data["subjects"].items()]
    return (
        f"The atlas of the training lungs, {len(each)} test lungs, no normals, sides unknown, meshes at 1.5 mm. Noise "
        "is normal along each axis; outliers lie anywhere in the points' box; turned points are turned by 20 degrees "
        "about any axis and moved by up to 300 mm. The image of the cut mask ends above the diaphragm. The slices are "
        "axial and coronal through the middle of both lungs, and sagittal through that of the right one. Of the left "
        f"lung alone, the ASSD is the right lung's. {machine(data)}\n\n{bars(found.bars())}\n{markdown(names, rows)}\n"
        f"ASSD of each subject, mm\n\n{markdown(['subject', *found.kinds], each)}"
    )


class EvidenceResults:
    """What benchmarks/evidence.py measured, by subject and kind of evidence."""

    def __init__(self, subjects: dict[str, dict[str, dict[str, float]]]) -> None:
        self.subjects, self.kinds = subjects, list(next(iter(subjects.values())))

    def values(self, kind: str, key: str) -> list[float]:
        """Every subject's value."""
        return [one[kind][key] for one in self.subjects.values() if key in one[kind]]

    def mean(self, kind: str, key: str = "assd_mm") -> float:
        """Mean over the subjects."""
        return float(np.mean(self.values(kind, key)))

    def every(self, key: str) -> list[float]:
        """Values over all kinds and subjects."""
        return [value for kind in self.kinds for value in self.values(kind, key)]

    def cell(self, kind: str, key: str, digits: int) -> str:
        """Mean and interval, or a dash where it was not measured."""
        values = self.values(kind, key)
        return mean_interval(values, digits) if values else "-"

    def bars(self) -> list[tuple[str, str, str, bool]]:
        """What was aimed at."""
        rows = []
        for kind, key, bar in EVIDENCE_BARS:
            mean = self.mean(kind, key)
            rows.append((f"{kind}: {EVIDENCE_WORDS[key]}", f"<= {bar} mm", f"{mean:.2f} mm", mean <= bar))
        for kind in ("5,000 points", "100 points"):
            ratio = self.mean(f"{kind}, turned by 20 degrees") / self.mean(kind)
            rows.append((f"{kind}, turned by 20 degrees over posed", "<= 1.1", f"{ratio:.2f}", ratio <= 1.1))
        own, mean, mirrored = (self.mean(LEFT_ONLY, key) for key in ("assd_mm", "mean_shape_mm", "mirrored_left_mm"))
        measured = f"{own:.2f} against {mean:.2f} and {mirrored:.2f} mm"
        rows.append(
            ("right lung by the left: against mean shape, mirroring", "smaller", measured, own < min(mean, mirrored))
        )
        covered, rank = float(np.mean(self.every("covered"))), float(np.mean(self.every("spearman")))
        n = len(self.every("covered"))
        rows.append(
            (f"95 % intervals that hold the total volume, {n} fits", ">= 90 %", f"{covered:.0%}", covered >= 0.9)
        )
        doubted, n = self.every("doubted"), len(self.every("doubted"))
        rows.append(
            (f"good lungs, {n} fits: doubted as unlike lungs or mirrored", "0", f"{sum(doubted):.0f}", not any(doubted))
        )
        rows.append(("sigma against the left lung's true error: Spearman", ">= 0.4", f"{rank:.2f}", rank >= 0.4))
        return rows


LEFT_ONLY = "left lung's 1,000 points"


def shape_space(data: Json) -> str:
    rows = [
        [
            row["name"],
            str(row["n_modes"]),
            mean_interval(row["generalisation_mm"]),
            mean_interval(row["specificity_mm"]),
            f"{row['variance_share']:.0%}",
        ]
        for row in data["rows"]
    ]
    mean = {(row["name"], row["n_modes"]): float(np.mean(row["generalisation_mm"])) for row in data["rows"]}
    met = [
        (
            f"generalisation with {n} modes, against PCA of SDF grids",
            "smaller",
            f"{mean['LPM', n]:.2f} against {mean['PCA of SDF grids', n]:.2f} mm",
            mean["LPM", n] < mean["PCA of SDF grids", n],
        )
        for n in sorted({n for _, n in mean})
    ]
    return (
        "Models of the 29 training lungs cut down to their first shape parameters. Generalisation: ASSD of the test "
        "lungs fitted to 5,000 points by these modes alone. Specificity: mean distance of 20 drawn lungs from the "
        "nearest training lungs, between clouds of 1,500 points a lung. Compactness: share of the model's own "
        "variance. LPM fits (and draws) axis scales and rotation beside its modes, as in every fit; without them it "
        f"has a translation only, as PCA has. {machine(data)}\n\n{bars(met)}\n"
        + markdown(["model", "modes", "generalisation mm", "specificity mm", "variance"], rows)
    )


def speed(data: Json) -> str:
    best = {key: float(np.median(data[key])) for key in ("fit", "mesh", "load")}
    met = [
        ("fit of 5,000 points", "<= 5 s", f"{best['fit']:.1f} s", best["fit"] <= 5),
        ("both meshes at 1.5 mm", "<= 5 s", f"{best['mesh']:.1f} s", best["mesh"] <= 5),
        ("`lpm.load()` after torch is imported", "<= 1 s", f"{best['load']:.2f} s", best["load"] <= 1),
    ]
    first = data["first"]
    return (
        "The bundled model; medians of three runs after a first one in the same process, which took "
        f"{first['fit']:.1f} and {first['mesh']:.1f} s. {machine(data)}\n\n{bars(met)}"
    )


def viewer(data: Json) -> str:
    drag, final = (float(np.percentile(data[key], 90)) for key in ("drag_ms", "final_ms"))
    usual = [f"{float(np.median(data[key])):.0f}" for key in ("drag_ms", "final_ms")]
    first = data["first_picture_s"]
    met = [
        ("first lungs on the page after `lpm view`, cold", "<= 8 s", f"{first:.1f} s", first <= 8),
        ("slider to new lungs, while dragging (9 of 10)", "<= 150 ms", f"{drag:.0f} ms", drag <= 150),
        ("slider to final lungs (9 of 10)", "<= 2 s", f"{final:.0f} ms", final <= 2000),
    ]
    return (
        f"Headless Chromium at 1280 x 800, which draws in software on the same cores; {len(data['drag_ms'])} keys on "
        "the first slider, timed in the page from the key to the frame after both lungs' new vertices were handed to "
        f"the graphics library. Medians: {usual[0]} ms while dragging, {usual[1]} ms final, of which "
        f"{1000 * REST_S:.0f} ms wait for the hand to rest. {machine(data)}\n\n{bars(met)}"
    )


SECTIONS = (
    ("evidence", "Unseen lungs from every kind of evidence", evidence),
    ("both_states", "An atlas that knows expiration", both_states),
    ("joint", "Several kinds of evidence in one fit", joint),
    ("golden", "Golden fits, before and after", golden),
    ("atlas", "Unseen lungs: the atlas, as bundled", atlas),
    ("deepsdf", "Beside DeepSDF, as DeepSDFStruct packages it", deepsdf),
    ("pyssam", "Beside a statistical shape model, as pyssam packages it", pyssam),
    ("lobes", "Lobes of unseen lungs", lobes),
    ("breath", "Lungs that breathe", breath),
    ("breath_one_state", "Inspiration from expiration", breath_one_state),
    ("correspondence", "Meshes in correspondence", correspondence),
    ("does_it_help", "Do more lungs help, and do generated ones?", does_it_help),
    ("xray", "Lungs from radiographs", xray),
    ("xray_field", "The lung field of real X-rays", xray_field),
    ("xray_real", "Lungs from real X-rays", xray_real),
    ("population", "Measuring, generating, knobs", population),
    ("segmentation", "Lungs in a CT", segmentation),
    ("speed", "Speed", speed),
    ("viewer", "The viewer", viewer),
    ("shape_space", "The shape space with few modes", shape_space),
    ("evaluate", "Unseen lungs from 5,000 points: the network `lite`, prior only", evaluate),
    ("train", "Training", train),
    ("extraction", "Extraction", extraction),
    ("prepare", "Preparation", prepare),
    ("throughput", "Many cases", throughput),
    ("signed_distances", "Signed distances", signed_distances),
    ("paper_presets", "The paper's presets", paper_presets),
)  # step, title, text; in the order of the page

"""Inputs as tools of the field hand them over: what comes of each, as docs/field-inputs.md.

python benchmarks/field_inputs.py --cases CASES --work W --page docs/field-inputs.md
CASES is what the generators of 34 kinds of trouble wrote (NN/...). What was found of an input is kept in W, so that a
run that was stopped goes on; --again measures anew. The CTs of all sizes and views are put into segment.md beside PAGE.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np

from cells import Json, stamp, stamped
from field_pictures import write_sizes_and_views
from field_rows import ROWS, Input, Right, labels, ml
from lpm.apps.terminal import parse_labels
from lpm.errors import LpmError
from lpm.evaluation.tables import markdown
from lpm.files.atomic import write_text
from lpm.files.points import read_points
from lpm.files.scans import read_labels, read_scan
from lpm.files.volumes import read_volume, write_volume
from lpm.fitting.evidence.masks import MaskFitConfig, observe_mask
from lpm.geometry.volumes import Volume, canonical
from lpm.lung_model import fill_hidden, find_model
from lpm.measurement.subjects import find_subjects, read_shapes
from lpm.preparation.cleaning import clean_labels
from lpm.segmentation.find import LungPolicy, find_lungs
from lpm.segmentation.hounsfield import hounsfield
from lpm.structures import DEFAULT_STRUCTURES
from lpm.workflows.batch.fits import loaded
from lpm.workflows.evidence import fit_points_file, told_labels
from lpm.workflows.outcome import FitRun
from lpm.workflows.radiographs import PictureOptions, read_radiograph
from lpm.xray.reader import load_reader

NEAR_ML, NEAR_MM, NEAR_HU, LEAST_ML = 0.04, 0.06, 60.0, 100.0
SHOWN = 110  # characters of a note


def volumes(found: Mapping[str, float]) -> Json:
    return {"ml": [float(found.get(name, 0.0)) for name in DEFAULT_STRUCTURES]}


def measured(path: Path, said: str) -> Json:
    shapes = read_shapes(find_subjects([path])[0], parse_labels(said) if said else None)
    return volumes({name: mesh.volume_ml for name, mesh in shapes.meshes.items()}) | {"notes": list(shapes.flags)}


def observed(path: Path, said: str) -> Json:
    """As `lpm fit mask` reads a label map, before it fits; volumes are not known yet."""
    notes: list[str] = []
    run = FitRun(loaded(find_model()), tell=lambda text, share: notes.append(text))
    read, meaning = told_labels(run, path, MaskFitConfig(structures=parse_labels(said) if said else None, n_points=500))
    seen = observe_mask(run.model, read, rng=np.random.default_rng(0), config=meaning)
    return {
        "structures": sorted({run.model.structures[n] for n in np.unique(seen.structure) if n >= 0}),
        "notes": [*notes, *seen.notes],
    }


def cleaned(path: Path, said: str, *, need_all: bool) -> Json:
    """As `lpm prepare` and the viewer (which takes one lung, too) read a label map."""
    read = read_labels(path)
    with read.explaining():
        clean = clean_labels(
            read.volume, read.meaning(parse_labels(said) if said else None, path.name), path.name, need_all=need_all
        )
    ml_of = {name: float(mask.voxels.sum()) * mask.voxel_ml for name, mask in clean.masks.items()}
    return volumes(ml_of) | {"notes": [*read.notes, *clean.notes]}


def of_labels(path: Path, said: str) -> Json:
    """A label map as every command reads it."""
    found = tried(lambda: measured(path, said))
    found["others"] = {
        "fit mask": tried(lambda: observed(path, said)),
        "prepare": tried(lambda: cleaned(path, said, need_all=True)),
        "viewer": tried(lambda: cleaned(path, said, need_all=False)),
    }
    return found


def of_ct(path: Path, kept: Path) -> Json:
    read = read_scan(path)
    found = find_lungs(hounsfield(read.volume, path.name), LungPolicy(filler=fill_hidden), path.name)
    write_volume(kept, found.labels)
    voxels = {name: float((found.labels.voxels == value).sum()) for name, (value,) in DEFAULT_STRUCTURES.items()}
    return volumes({name: n * found.labels.voxel_ml for name, n in voxels.items()}) | {
        "notes": [*read.notes, *found.notes]
    }


def of_hu(path: Path) -> Json:
    """How far the HU of a DICOM series lie from those of the reference, at the same places."""
    read = read_scan(path)
    hounsfield(read.volume, path.name)
    true = read_volume(path.parent / "reference_ct.nii.gz")
    rng = np.random.default_rng(0)
    places = true.to_world(rng.uniform(10, np.array(true.voxels.shape) - 10, (20_000, 3)).round())
    return {"hu": float(np.median(np.abs(at(read.volume, places) - at(true, places)))), "notes": list(read.notes)}


def at(volume: Volume, places: np.ndarray) -> np.ndarray:
    index = np.clip(volume.to_voxel(places).round().astype(int), 0, np.array(volume.voxels.shape) - 1)
    return np.maximum(volume.voxels[tuple(index.T)].astype(float), -1000.0)


def of_points(path: Path) -> Json:
    read = read_points(path)
    true, own = np.load(path.parent / "truth.npy"), read.points_mm
    same = len(own) == len(true)
    return {"mm": float(np.abs(own - true).max()) if same else None, "n": len(own), "notes": list(read.notes)}


def of_fitted_points(path: Path) -> Json:
    outcome = fit_points_file(FitRun(loaded(find_model()), spacing_mm=5.0), path, n_points=1000)
    return volumes({name: mesh.volume_ml for name, mesh in outcome.fit.meshes.items()}) | {
        "notes": list(outcome.fit.notes)
    }


def of_radiograph(path: Path) -> Json:
    radiograph, notes = read_radiograph(path, "frontal", PictureOptions())
    doubts = load_reader().frontal(radiograph.pixels, radiograph.mm_per_px).doubts
    return {"notes": [*notes, *doubts]}


def tried(work: Callable[[], Json]) -> Json:
    try:
        return work()
    except LpmError as error:
        return {"refused": str(error), "notes": []}


def look_at(number: int, one: Input, cases: Path, work: Path, *, again: bool) -> None:
    """Find out what comes of an input, and keep it."""
    kept = work / f"{name_of(number, one)}.json"
    if kept.exists() and not again:
        return
    path = cases / one.path
    ways: dict[str, Callable[[], Json]] = {
        "labels": lambda: of_labels(path, one.labels),
        "ct": lambda: of_ct(path, _kept_labels(kept)),
        "hu": lambda: of_hu(path),
        "points": lambda: of_points(path),
        "fit points": lambda: of_fitted_points(path),
        "meshes": lambda: measured(path, ""),
        "radiograph": lambda: of_radiograph(path),
    }
    try:
        found = tried(ways[one.kind])
    except Exception as error:  # what nobody foresaw is a finding, too
        found = {"broken": f"{type(error).__name__}: {error}", "notes": []}
    write_text(kept, json.dumps(found | {"stamp": stamp()}))


def kept_finding(kept: Path, one: Input, cases: Path) -> Json:
    found: Json = json.loads(kept.read_text(encoding="utf-8"))
    if one.kind == "ct" and "ml" in found:
        found["dice"] = {each.truth: dice(_kept_labels(kept), cases / each.truth) for each in one.right if each.truth}
    return found


def _kept_labels(kept: Path) -> Path:
    return kept.with_name(f"{kept.name.split('.')[0]}_found.nii.gz")


def name_of(number: int, one: Input) -> str:
    return re.sub(r"[^\w.-]+", "_", f"{number:02d}_{one.path}{f'_{one.labels}' if one.labels else ''}")


def dice(found: Path, truth: Path) -> list[float | None]:
    """Of each lung that is in view with 100 ml and more."""
    own, true = canonical(read_volume(found)), canonical(read_volume(truth))  # of scaled CTs the affines differ
    pairs = [(own.voxels == side, true.voxels == side) for side in (1, 2)]
    in_view = [float(b.sum()) * true.voxel_ml >= LEAST_ML for _, b in pairs]
    return [
        2.0 * float((a & b).sum()) / float(a.sum() + b.sum()) if seen else None
        for (a, b), seen in zip(pairs, in_view, strict=True)
    ]


def holds(right: Right, found: Json) -> bool:
    """Whether what was found is right."""
    if right.refused:
        return re.search(right.refused, found.get("refused", "")) is not None
    if "refused" in found or "broken" in found:
        return False
    notes = "; ".join(found["notes"])
    are_told = not right.told or re.search(right.told, notes) is not None
    near = right.ml is None or all(
        abs(own - true) <= NEAR_ML * true + 0.5 for own, true in zip(found["ml"], right.ml, strict=True)
    )
    agree = not right.truth or min(each for each in found["dice"][right.truth] if each is not None) >= right.dice
    same = not right.same or (
        found["hu"] <= NEAR_HU if "hu" in found else (found["mm"] or 0.0 if found["mm"] is not None else 1e9) <= NEAR_MM
    )
    return are_told and near and agree and same


def verdict(one: Input, found: Json) -> str:
    """Right, refused or told as it should be; else wrong, and whether silently."""
    if any(holds(right, found) for right in one.right):
        asked = any(each.told not in {"", "^$"} for each in one.right)
        return "refused, rightly" if "refused" in found else "right, told" if asked else "right"
    if "broken" in found:
        return "**breaks**"
    return (
        "**refused otherwise**"
        if "refused" in found
        else "**wrong, told**"
        if found["notes"]
        else "**wrong in silence**"
    )


def alike(found: Json) -> str:
    """Whether commands that read label maps agree."""
    differ = []
    for name, other in found["others"].items():
        if "refused" in found or "refused" in other:
            first, second = (subjectless(each.get("refused", "")) for each in (found, other))
            one_lung = name == "prepare" and "ml" in found and min(found["ml"]) == 0.0 and "refused" in other
            differ += [] if first == second or one_lung else [name]
        elif "ml" in other:
            differ += [] if np.allclose(found["ml"], other["ml"], rtol=0.03, atol=2.0) else [name]
        else:
            own = [name for name, volume in zip(DEFAULT_STRUCTURES, found["ml"], strict=True) if volume > 0]
            differ += [] if sorted(own) == other["structures"] else [name]
    return f"**differs: {', '.join(differ)}**" if differ else "same"


def subjectless(message: str) -> str:
    """The first words of a refusal after the name of what is refused."""
    return message.partition(": ")[2][:40]


def short(text: str) -> str:
    one_line = text.replace("\n", " ").replace("|", "\\|")
    return one_line if len(one_line) <= SHOWN else f"{one_line[:SHOWN].rsplit(' ', 1)[0]} ..."


def in_words(found: Json) -> str:
    if "refused" in found or "broken" in found:
        return short(found.get("refused", "").partition(": ")[2] or found.get("broken", ""))
    parts = []
    if "ml" in found:
        parts.append(" / ".join(f"{volume:,.0f}" for volume in found["ml"]) + " ml")
    agreed = found.get("dice", {}).values()
    parts += ["Dice " + " / ".join("-" if each is None else f"{each:.3f}" for each in values) for values in agreed]
    if "hu" in found:
        parts.append(f"{found['hu']:.1f} HU off")
    if "n" in found:
        parts.append(f"{found['n']:,} points" + ("" if found["mm"] is None else f", {found['mm']:.2f} mm off"))
    return "; ".join([*parts, *([short("; ".join(found["notes"]))] if found["notes"] else [])]) or "nothing is told"


def expected(one: Input) -> str:
    return " or ".join(_expected(right) for right in one.right)


def _expected(right: Right) -> str:
    parts = [f"{right.ml[0]:,.0f} / {right.ml[1]:,.0f} ml"] if right.ml else []
    parts += [f"Dice {right.dice:g}"] if right.truth else []
    parts += ["as the reference"] if right.same else []
    parts += ["refused"] if right.refused else []
    parts += ["no doubt" if right.told == "^$" else "a note"] if right.told else []
    return ", ".join(parts)


def page(found: Mapping[tuple[int, int], Json]) -> str:
    first, second, n_silent = [], [], 0
    for number, row in ROWS.items():
        verdicts = []
        for index, one in enumerate(row.inputs):
            result = found[number, index]
            said = verdict(one, result)
            verdicts.append(said)
            same = alike(result) if one.kind == "labels" else ""
            call = f"`{one.path}`" + (f" `--labels {one.labels}`" if one.labels else "")
            second.append([str(number), call, expected(one), in_words(result), said, same])
        n_silent += sum(said == "**wrong in silence**" for said in verdicts)
        good = sum("**" not in said for said in verdicts)
        first.append(
            [
                str(number),
                row.people,
                row.before,
                f"{good} of {len(verdicts)} as they should be",
                "met" if good == len(verdicts) else "**see below**",
            ]
        )
    head = ["row", "what people met", "before", "now", ""]
    each = ["row", "input", "expected (left / right)", "found", "verdict", "measure, fit mask, prepare, viewer"]
    stamps = "\n".join(sorted({stamped(each) for each in found.values()}))
    return (
        f"{INTRODUCTION}\n\n{markdown(head, first)}\nWrong in silence: {n_silent}.\n\n"
        f"## Each input\n\n{markdown(each, second)}\n{stamps}\n"
    )


INTRODUCTION = """# Inputs of the field

What people met with tools of this job, from public reports, rebuilt as 34 kinds of inputs from one real CT
(`LIDC-IDRI-0001`), its masks, points, meshes and pictures, and what comes of each. Written by
`python benchmarks/field_inputs.py --cases CASES --work W --page docs/field-inputs.md`; no finding is typed. "Before" is
the state at which the kinds were collected. An input is as it should be if its volumes are right within 4 %, its lungs
agree with the truth, its points or Hounsfield units are those of the reference, or if it is refused or doubted with
the word that fits. [Label maps](labels.md), [formats](formats.md), [segment](segment.md) and [radiographs](xray.md) say
what is read how. The SEG and the RTSTRUCT of row 32 are stubs; [DICOM](dicom.md) tells of whole ones."""


def names(cases: Path) -> list[Input]:
    """Row 34: what lies in folders with names of all kinds."""
    paths = (path for ending in ("*.gz", "*.GZ") for path in sorted((cases / "14").rglob(ending)))
    visible = (str(path.relative_to(cases)) for path in paths if not path.name.startswith("."))
    return [labels(path, ml(1738, 1954)) for path in visible]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--rows", default="", help="such as 1,2,10; all by default")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    ROWS[34] = replace(ROWS[34], inputs=names(given.cases))
    wanted = {int(number) for number in given.rows.split(",") if number} or set(ROWS)
    todo = [(number, one) for number in sorted(wanted) for one in ROWS[number].inputs]
    joblib.Parallel(n_jobs=given.jobs)(
        joblib.delayed(look_at)(number, one, given.cases, given.work, again=given.again) for number, one in todo
    )
    found = {
        (number, index): kept_finding(kept, one, given.cases)
        for number, row in ROWS.items()
        for index, one in enumerate(row.inputs)
        if (kept := given.work / f"{name_of(number, one)}.json").exists()
    }
    for number in sorted(wanted):
        for index, one in enumerate(ROWS[number].inputs):
            result = found[number, index]
            print(
                number,
                one.path,
                one.labels,
                verdict(one, result),
                in_words(result),
                alike(result) if one.kind == "labels" else "",
                sep=" | ",
            )
    if given.page and len(found) == sum(len(row.inputs) for row in ROWS.values()):
        write_text(given.page, page(found))
        by_path = {one.path: (number, index) for number in (10, 11) for index, one in enumerate(ROWS[number].inputs)}
        label_maps = {
            path: _kept_labels(given.work / f"{name_of(number, ROWS[number].inputs[index])}.json")
            for path, (number, index) in by_path.items()
        }
        cts = {path: found[key] for path, key in by_path.items()}
        write_sizes_and_views(cts, label_maps, given.cases, given.page.with_name("segment.md"))


if __name__ == "__main__":
    main()

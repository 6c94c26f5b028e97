"""Lungs from real chest X-rays beside the lungs of a CT of the same person: LIDC-IDRI holds both of some subjects.

python benchmarks/lidc_radiographs.py LIDC-IDRI --out lidc.json

LIDC-IDRI is what the NBIA Data Retriever writes (The Cancer Imaging Archive, CC BY 3.0): a folder a subject, CT series
and radiographs (modality CR or DX) at any depth below it. True lungs are those found in the CT. Each subject's lungs
are fitted to its radiographs, and to radiographs drawn from its own CT with the same beam: the second tells what the
views leave open, and the first what real pictures add to that. Beside them stand the model's mean lungs.

Lungs are compared after a translation, as by `lpm evaluate-xray`. X-rays are taken standing, CTs lying, days or months
apart, each in a breath of its own: what differs between them is in the error, and no number here is without it.

Subjects whose size is that of lungs which the model was trained on are left out: LUNA16 is a part of LIDC-IDRI. What
was measured before is kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lpm
from lpm.errors import InputError, LpmError
from lpm.evaluation.xray_subjects import SIDES, Meshes, Side
from lpm.evaluation.xrays import compare
from lpm.files.atomic import write_text
from lpm.files.dicom.folder import visible_files
from lpm.files.dicom.headers import read_header
from lpm.files.scans import read_scan
from lpm.geometry.projection import turned_view
from lpm.geometry.volumes import Volume
from lpm.lung_model import LungModel
from lpm.measurement.shapes import measure_shapes
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.segmentation.find import LungPolicy, find_lungs
from lpm.segmentation.hounsfield import hounsfield
from lpm.structures import DEFAULT_STRUCTURES
from lpm.workflows.radiographs import PictureOptions, read_radiograph
from lpm.xray.drr import ExposureConfig, box_of, exposed, radiograph
from lpm.xray.radiograph import VIEW_DEGREES, Radiograph

MODALITIES = ("CR", "DX")
WORDS: Mapping[Side, str] = {"lateral": "LAT", "frontal": "PA"}  # of series' descriptions, where files name no view
DRAWN_MM = 0.8  # pixels on the detector of a drawn picture
MARGIN_PX = 25  # of a drawn picture around the scan
SPACING_MM = 2.0
SAME = {"total_volume_ml": 0.05, "height_mm": 0.03, "width_mm": 0.03, "depth_mm": 0.03}  # relative: the same lungs
NUMBERS = ("volume", "width", "depth", "height", "dice", "assd_mm")
HEADER = ("seen", "n", "volume", "depth", "Dice", "ASSD mm", "interval held")
Json = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lidc", type=Path, help="folder of LIDC-IDRI, a folder a subject")
    parser.add_argument("--out", type=Path, required=True, help=".json: a subject each; the table is printed")
    parser.add_argument("--model", default="lungs-v1", help="default: lungs-v1")
    given = parser.parse_args()
    model, found = lpm.load(given.model), json.loads(given.out.read_text()) if given.out.exists() else {}
    for folder in sorted(path for path in given.lidc.iterdir() if path.is_dir()):
        if folder.name in found or not (files := radiographs_in(folder)):
            continue
        try:
            found[folder.name] = measured(model, folder, by_side(files))
        except LpmError as error:
            found[folder.name] = {"error": str(error)}
        write_text(given.out, json.dumps(found, indent=1) + "\n")
        print(folder.name, summary(found[folder.name]), flush=True)
    print(table(found))


def radiographs_in(folder: Path) -> dict[Path, str]:
    """Radiographs below a subject's folder, and how their series are described."""
    headers = {path: read_header(path) for path in visible_files(folder)}
    return {
        path: str(header.get("SeriesDescription", "")).upper()
        for path, header in headers.items()
        if header is not None and header.get("Modality") in MODALITIES
    }


def by_side(files: Mapping[Path, str]) -> dict[Side, Path]:
    """The first frontal and the first lateral one, as the file says, or else as its series is described."""
    found: dict[Side, Path] = {}
    for path, described in files.items():
        view = lpm.read_xray(path).view or next((side for side, word in WORDS.items() if word in described), None)
        if view is None:
            hint = "write ViewPosition into the file"
            raise InputError(str(path), f"no view, and series {described!r}", "PA or LAT in it", hint)
        found.setdefault(view, path)
    if "frontal" not in found:
        raise InputError(
            str(next(iter(files)).parent), "lateral radiographs", "a frontal one", "leave this subject out"
        )
    return {side: found[side] for side in SIDES if side in found}


def measured(model: LungModel, folder: Path, pictures: Mapping[Side, Path]) -> Json:
    """Errors of each method on one subject."""
    scan, true = lungs_of_ct(folder)
    if known := like_training(model, true):
        return {"left_out": f"of the size of {known}, which the model was trained on"}
    real = [read_radiograph(path, side, PictureOptions())[0] for side, path in pictures.items()]
    drawn = [drawn_as(one, scan) for one in real]
    mean = compare(model.mean(SPACING_MM), true)
    rows: Json = {"mean lungs": {name: getattr(mean, name) for name in NUMBERS}}
    for what, every in (("drawn from the CT", drawn), ("real", real)):
        for seen in ([every[0]], every)[: len(every)]:
            rows[f"{what}, {' + '.join(one.side for one in seen)}"] = scored(model, seen, true)
    return {"rows": rows}


def lungs_of_ct(folder: Path) -> tuple[Volume, Meshes]:
    """A subject's CT, and the meshes of the lungs that are found in it."""
    scan = hounsfield(read_scan(folder).volume, folder.name)
    labels = find_lungs(scan, LungPolicy(), folder.name).upright  # nothing that a model expects is filled in
    masks = clean_labels(labels, dict(DEFAULT_STRUCTURES), folder.name, need_all=True).masks
    return scan.volume, {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in masks.items()}


def like_training(model: LungModel, true: Meshes) -> str | None:
    """The training subject whose lungs have the size of these, if there is one."""
    own, attributes = measure_shapes(true), model.bundle.manifest.attributes
    if not attributes:
        raise InputError("model", "no sizes of its training lungs", "a bundle that has them", "train it again")
    for subject, known in attributes.items():
        if all(abs(known[name] / own[name] - 1.0) < near for name, near in SAME.items()):
            return subject
    return None


def drawn_as(real: Radiograph, scan: Volume) -> Radiograph:
    """A radiograph of the CT from the side of a real one, with its beam."""
    lower, upper = box_of(scan)
    size = np.ptp(np.stack([lower, upper]), axis=0) / DRAWN_MM + 2 * MARGIN_PX
    shape = int(size[2]), int(size[0] if real.side == "frontal" else size[1])
    middle = np.mean([lower, upper], axis=0)
    view = turned_view(shape, (DRAWN_MM, DRAWN_MM), VIEW_DEGREES[real.side], middle, real.beam)
    pixels = exposed(radiograph(scan, view), ExposureConfig(), rng=np.random.default_rng(0))
    return Radiograph(pixels, real.side, mm_per_px=(DRAWN_MM, DRAWN_MM), beam=real.beam, name="drawn from the CT")


def scored(model: LungModel, seen: Sequence[Radiograph], true: Meshes) -> Json:
    """Errors of lungs that were fitted to radiographs."""
    fit = model.fit_xray(seen, spacing_mm=SPACING_MM)
    if not fit.sized:
        raise InputError(seen[0].name, "no pixel spacing", "one in the header", "leave this subject out")
    found, (low, high) = compare(fit.lungs, true), fit.interval("total_volume_ml")
    volume = sum(mesh.volume_ml for mesh in true.values())
    return {name: getattr(found, name) for name in NUMBERS} | {"holds": low <= volume <= high, "notes": fit.notes}


def summary(found: Json) -> str:
    """One line of a subject."""
    rows = found.get("rows", {})
    errors = (f"{name}: volume {row['volume']:+.1%}, ASSD {row['assd_mm']:.1f} mm" for name, row in rows.items())
    return "; ".join(errors) or str(found.get("error") or found.get("left_out"))


def table(found: Mapping[str, Json]) -> str:
    """Mean errors of each method, with 95 % intervals over subjects, and how often its own interval held."""
    rows = [one["rows"] for one in found.values() if "rows" in one]
    lines = [f"{len(rows)} of {len(found)} subjects", "", f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    for name in dict.fromkeys(name for row in rows for name in row):
        own = [row[name] for row in rows if name in row]
        held = f"{sum(one['holds'] for one in own)} of {len(own)}" if "holds" in own[0] else ""
        cells = [*cells_of(own), held]
        lines.append(f"| {name} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cells_of(own: Sequence[Json]) -> Iterator[str]:
    rng = np.random.default_rng(0)
    for key, scale, unit in (("volume", 100, " %"), ("depth", 100, " %"), ("dice", 1, ""), ("assd_mm", 1, "")):
        values = scale * np.abs([one[key] for one in own])
        means = rng.choice(values, (2000, len(values))).mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        yield f"{values.mean():.3g}{unit} [{low:.3g}, {high:.3g}]"


if __name__ == "__main__":
    main()

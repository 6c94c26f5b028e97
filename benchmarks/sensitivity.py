"""What half and twice of a calibrated number do to fits of training subjects.

python benchmarks/sensitivity.py --cohort WORK/cohort --model WORK/atlas fitting.certain_points

The model knows the subjects, so only differences from the fit as it is count. What the file holds already is not
measured again. Numbers of `model` and `preparation` act before a fit, and need an atlas or a cohort of their own.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

from lpm.calibration import calibration
from lpm.files.atomic import write_text

Numbers = dict[str, float]
Results = dict[str, dict[str, dict[str, Numbers]]]  # by change, kind of evidence and subject
KINDS = ("500 points", "noise and outliers", "cut mask")
FACTORS = (0.5, 2.0)
AS_IS = "as it is"


def changed(name: str, factor: float) -> None:
    """Change a number for the rest of this process, before a module has taken it."""
    entry = calibration()[name]
    values = entry.value if isinstance(entry.value, tuple) else (entry.value,)
    scaled = tuple(type(one)(round(factor * one) if isinstance(one, int) else factor * one) for one in values)
    value = scaled if isinstance(entry.value, tuple) else scaled[0]
    calibration()[name] = entry.model_copy(update={"value": value})


def measured(change: tuple[str, float] | None, kind: str, subject: str, cohort: Path, model: Path) -> Numbers:
    """Fit one subject in a process of its own."""
    if change is not None:
        changed(*change)
    import torch

    import evidence
    from lpm.model.bundle import read_bundle
    from lpm.preparation.cohort import Cohort

    torch.set_num_threads(1)
    runs = {
        "500 points": lambda *given: evidence.from_points(*given, 500, evidence.unchanged),
        "noise and outliers": lambda *given: evidence.from_points(*given, 5000, evidence.both),
        "cut mask": evidence.cut_mask,
    }
    return dict(runs[kind](read_bundle(model), Cohort(cohort), subject))


def missing(found: Results, names: Sequence[str], kinds: Sequence[str], subjects: Sequence[str]) -> Iterator[tuple]:
    """Changes, kinds and subjects that were not measured yet."""
    changes = [None, *((name, factor) for name in names for factor in FACTORS)]
    for subject, change, kind in itertools.product(subjects, changes, kinds):
        if subject not in found.get(title(change), {}).get(kind, {}):
            yield change, kind, subject


def title(change: tuple[str, float] | None) -> str:
    return AS_IS if change is None else f"{change[0]} x {change[1]:g}"


def row(found: Results, change: str) -> str:
    """Mean differences from the fits as they are: error, and width of the volume's interval in per cent of itself."""
    parts = []
    for kind, by_subject in found[change].items():
        as_is = found[AS_IS][kind]
        pairs = [(by_subject[subject], as_is[subject]) for subject in by_subject if subject in as_is]
        key = "unseen_mm" if kind == "cut mask" else "assd_mm"
        error = mean(one[key] - other[key] for one, other in pairs)
        width = mean(one["width_percent"] / other["width_percent"] for one, other in pairs)
        parts.append(f"{kind}: {error:+.2f} mm, interval x {width:.2f} (n = {len(pairs)})")
    return f"{change}: {'; '.join(parts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(calibration()), metavar="NAME")
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--out", type=Path, default=Path("sensitivity.raw.json"))
    given = parser.parse_args()
    split = json.loads((given.cohort / "cohort.json").read_text(encoding="utf-8"))["split"]
    train = sorted(subject for subject, part in split.items() if part == "train")
    subjects = train[:: max(len(train) // given.subjects, 1)][: given.subjects]
    found: Results = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    context = get_context("spawn")
    for change, kind, subject in list(missing(found, given.names, given.kinds, subjects)):
        with ProcessPoolExecutor(1, mp_context=context) as pool:  # a process each: modules take numbers once
            numbers = pool.submit(measured, change, kind, subject, given.cohort, given.model).result()
        found.setdefault(title(change), {}).setdefault(kind, {})[subject] = numbers
        write_text(given.out, json.dumps(found, indent=1) + "\n")
        print(title(change), kind, subject, {key: round(value, 3) for key, value in numbers.items()}, flush=True)
    for change in found:
        print(row(found, change))


if __name__ == "__main__":
    main()

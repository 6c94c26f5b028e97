"""From what a person names on the command line to cases: files, folders, patterns, or a table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lpm.errors import FileError, InputError
from lpm.files.dicom.folder import holds_dicom, series_uid
from lpm.files.scans import is_dicom_file, is_dicom_folder, is_scan_name
from lpm.files.segments.organ_folder import organ_subject, organs_beside
from lpm.files.volumes import VOLUME_SUFFIXES, is_volume_name
from lpm.records import is_plain_name

_KNOWN = ", ".join(VOLUME_SUFFIXES)


@dataclass(frozen=True)
class Case:
    """One subject to prepare.

    Args:
        subject: Its name.
        path: A label map or a scan: a volume file, a DICOM folder, a zip of one, a DICOM file (for its series).
        attributes: Attributes of the subject from a table, such as age or height.
    """

    subject: str
    path: Path
    attributes: dict[str, str] = field(default_factory=dict)


def find_cases(inputs: Sequence[Path]) -> list[Case]:
    """Turn files, folders, patterns and tables into cases.

    A file is a case, and so is a DICOM folder. Another folder holds files and DICOM folders, each a case, or subject
    folders with a ``labels.*`` (or a single volume, or DICOM). A ``.csv`` names cases in columns ``subject`` and
    ``path`` (relative to the table); further columns are kept as attributes.

    DICOM files that are named one by one or by a pattern are slices, not cases: those of one folder are one case of
    that folder's name, made of their series if they are all of one, else of the folder as if it had been named.
    Files of one name, as ``scans/*/ct.nii.gz`` finds them, are called by their folders.

    Raises:
        FileError: An input does not exist or holds no volume.
        InputError: Two cases have the same name, or a table lacks its columns.
    """
    paths = [path for given in inputs for path in _matches(given)]
    slices = {path for path in paths if _is_slice(path)}
    cases, tabled = list(_cases_of_slices(sorted(slices))), list[Case]()
    for path in (path for path in paths if path not in slices):
        found = list(_cases_of(path))
        if not found:
            raise FileError(str(path), "holds no label map and no scan", f"files ending in {_KNOWN}, or DICOM")
        (tabled if path.suffix.lower() == ".csv" else cases).extend(found)
    cases = _told_apart(cases) + tabled
    names = [case.subject for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            "cases",
            f"{twice} stand for more than one file",
            "one file a subject",
            "rename them, or name them in a .csv",
        )
    return sorted(cases, key=lambda case: case.subject)


def _told_apart(cases: Sequence[Case]) -> list[Case]:
    """Files of one name in different folders get their folders' names."""
    counts = Counter(case.subject for case in cases)
    return [
        replace(case, subject=case.path.resolve().parent.name)
        if counts[case.subject] > 1 and case.path.is_file() and _stem(case.path) == case.subject
        else case
        for case in cases
    ]


def _is_slice(path: Path) -> bool:
    return path.suffix.lower() != ".csv" and is_dicom_file(path)


def _cases_of_slices(slices: Sequence[Path]) -> Iterator[Case]:
    """One for each folder that DICOM files lie in."""
    by_folder: dict[Path, list[Path]] = {}
    for path in slices:
        by_folder.setdefault(path.parent.resolve(), []).append(path)
    for folder, files in by_folder.items():
        first_of = {uid: path for path in reversed(files) if (uid := series_uid(path))}
        yield Case(folder.name, next(iter(first_of.values())) if len(first_of) == 1 else files[0].parent)


def _matches(given: Path) -> list[Path]:
    """The path itself, or what a pattern stands for; like a shell's, a pattern leaves hidden files alone."""
    if given.exists():
        return [given]
    root = Path(given.anchor)
    matches = sorted(path for path in root.glob(str(given.relative_to(root))) if not path.name.startswith("."))
    if not matches:
        raise FileError(str(given), "no such file or folder", "label maps, scans, folders of them, or a .csv")
    return matches


def _cases_of(path: Path) -> Iterator[Case]:
    if path.is_file() and path.suffix.lower() == ".csv":
        yield from _cases_in_table(path)
    elif path.is_file():
        yield Case(_stem(path), path)
    else:
        yield from _cases_in_folder(path)


def _cases_in_table(table: Path) -> Iterator[Case]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(str(table), f"cannot be read ({error})", "a .csv in UTF-8") from error
    if missing := {"subject", "path"} - set(columns):
        raise InputError(str(table), f"no column {' and '.join(sorted(missing))}", "columns subject and path")
    for number, row in enumerate(rows, start=2):
        subject, named = (row["subject"] or "").strip(), (row["path"] or "").strip()
        if not named or not is_plain_name(subject):
            raise InputError(
                f"{table}, line {number}", f"subject {subject!r}, path {named!r}", "a plain name and a path"
            )
        path = table.parent / named
        if not path.exists():
            raise FileError(
                f"{table}, line {number}", f"no such file or folder: {named}", "a path from the table's folder"
            )
        kept = {key: value.strip() for key, value in row.items() if key not in {"subject", "path", None} and value}
        yield Case(subject, path, kept)


def _cases_in_folder(folder: Path) -> Iterator[Case]:
    files = _scans_in(folder)
    if labels := _labels_of_subject(files):
        yield Case(folder.resolve().name, labels)
        return
    if organs := organs_beside(folder):
        yield Case(organ_subject(organs), organs)
        return
    if not files and _is_plain_dicom(folder):
        yield Case(folder.resolve().name, folder)
        return
    for path in files:
        yield Case(_stem(path), path)
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        volumes = _scans_in(child)
        chosen = _labels_of_subject(volumes) or (volumes[0] if len(volumes) == 1 else None)
        if organs := None if _labels_of_subject(volumes) else organs_beside(child):
            yield Case(organ_subject(organs), organs)
        elif chosen is not None:
            yield Case(child.name, chosen)
        elif not volumes and is_dicom_folder(child):
            yield Case(child.name, child)


def _is_plain_dicom(folder: Path) -> bool:
    """Whether the DICOM files lie in the folder itself, and not in folders of several subjects."""
    return holds_dicom(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _scans_in(folder: Path) -> list[Path]:
    """Hidden files are not cases: macOS leaves `._name` beside each, and a killed run leaves temporary ones."""
    found = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in found if is_scan_name(path))


def _labels_of_subject(files: Sequence[Path]) -> Path | None:
    return next((path for path in files if is_volume_name(path) and _stem(path) == "labels"), None)


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (*VOLUME_SUFFIXES, ".zip"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem

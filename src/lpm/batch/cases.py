"""From what a person names on the command line to cases: files, folders, patterns, or a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lpm.batch.kinds import SCANS, Kind
from lpm.batch.table import is_case_table, rows_of_table
from lpm.errors import FileError, InputError
from lpm.files.dicom.folder import holds_dicom, patient_of, series_uid, visible_files
from lpm.files.scans import is_dicom_file, is_dicom_folder, is_scan_name
from lpm.files.segments.organ_folder import is_organ_folder, organ_subject, organs_beside
from lpm.files.volumes import VOLUME_SUFFIXES
from lpm.records import is_plain_name

_FORBIDDEN = re.compile(r'[<>"|?*\x00-\x1f]')  # in names of folders, by Windows
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows
_LONGEST = 150  # bytes: file systems take 255, and temporary names are longer by 40


@dataclass(frozen=True)
class Case:
    """One subject to work on.

    Args:
        subject: Its name, which is that of its output folder.
        path: Its file: a volume file, a DICOM folder, a zip of one, a DICOM file (for its series), points, a picture.
        attributes: Further columns of a table by name, such as age or height.
        files: All of its files by column, where it may have several.
    """

    subject: str
    path: Path
    attributes: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def find_cases(inputs: Sequence[Path], kind: Kind = SCANS) -> list[Case]:
    """Turn files, folders, patterns and tables into cases.

    A file is a case, and so is a DICOM folder. Another folder holds files and DICOM folders, each a case, or subject
    folders with a file of the kind's name (``labels.*``) or a single one, or DICOM. A ``.csv`` names cases in columns
    ``case`` (or ``subject``) and ``path`` (relative to the table), or those that the kind has.

    DICOM files that are named one by one or by a pattern are slices, not cases: those of one folder are one case of
    that folder's name, made of their series if they are all of one, else of the folder as if it had been named.
    Files of one name, as ``scans/*/ct.nii.gz`` finds them, are called by their folders.

    Args:
        inputs: What was named.
        kind: What counts as a case; default label maps and CTs.

    Returns:
        Cases, sorted by name.

    Raises:
        FileError: An input does not exist or holds no case.
        InputError: Two cases have the same name, a name cannot be a folder's, or a table lacks its columns.
    """
    paths = list(dict.fromkeys(path for given in inputs for path in _matches(given, kind)))
    slices = {path for path in paths if kind.has_dicom and _is_slice(path)}
    cases, tabled = list(_cases_of_slices(sorted(slices))), list[Case]()
    for path in (path for path in paths if path not in slices):
        is_table = path.is_file() and is_case_table(path, kind)
        found = list(_cases_in_table(path, kind) if is_table else _cases_of(path, kind))
        if not found:
            raise FileError(str(path), f"holds no {kind.what.replace(', ', ' and no ')}", kind.known)
        (tabled if is_table else cases).extend(found)
    once = {case.path.resolve(): case for case in reversed(cases)}  # given by itself and in its folder
    return _checked([*_told_apart(list(once.values())), *tabled])


def is_one_case(inputs: Sequence[Path], kind: Kind) -> bool:
    """Whether the inputs are one file, or one folder that is one case by itself, as a DICOM folder is.

    What does not exist counts as one, unless it is a pattern.
    """
    if len(inputs) != 1:
        return False
    (given,) = inputs
    if given.is_dir():
        is_organs = kind.has_organs and is_organ_folder(given)
        return is_organs or (kind.has_dicom and _is_dicom_of_one_patient(given))
    return not is_case_table(given, kind) if given.is_file() else not set("*?[") & set(str(given))


def _is_dicom_of_one_patient(folder: Path) -> bool:
    if _is_plain_dicom(folder):
        return True
    if not is_dicom_folder(folder) or any(is_scan_name(path) for path in visible_files(folder)):
        return False
    children = (child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    first = (next(filter(is_dicom_file, visible_files(child)), None) for child in children)
    return len({patient_of(path) for path in first if path is not None}) == 1


def _checked(cases: Sequence[Case]) -> list[Case]:
    """Cases in the order of their names.

    Raises:
        InputError: A name stands twice, whatever its capitals, or cannot be that of a folder.
    """
    for case in cases:
        _check_name(case)
    counts = Counter(case.subject.casefold() for case in cases)
    if twice := sorted({case.subject for case in cases if counts[case.subject.casefold()] > 1}):
        hint = "rename them, or name them in a .csv"
        raise InputError("cases", f"{twice} stand for more than one file", "one file a subject", hint)
    return sorted(cases, key=lambda case: case.subject)


def _check_name(case: Case) -> None:
    name = case.subject
    is_reserved = bool(_DEVICES.fullmatch(name)) or name.casefold().endswith((".csv", "."))
    is_long = len(name.encode()) > _LONGEST
    if is_reserved or is_long or _FORBIDDEN.search(name) or not is_plain_name(name):
        hint = "rename it, or name it in a .csv"
        raise InputError(f"case of {case.path}", f"the name {name!r}", "one that a folder can have", hint)


def _told_apart(cases: Sequence[Case]) -> list[Case]:
    """Files of one name get their folders' names, or keep their endings where they lie in one folder."""
    names = Counter(case.subject for case in cases)
    beside = Counter((case.subject, _folder(case.path)) for case in cases)
    found = []
    for case in cases:
        named = case
        if names[case.subject] > 1 and case.path.is_file() and _stem(case.path) == case.subject:
            folder = _folder(case.path)
            own = case.path.name if beside[case.subject, folder] > 1 else folder.name
            named = replace(case, subject=own)
        found.append(named)
    return found


def _folder(path: Path) -> Path:
    """Where a file lies by its name; a link's own place, not that of what it leads to."""
    return path.parent.resolve()


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


def _matches(given: Path, kind: Kind) -> list[Path]:
    """The path itself, or what a pattern stands for; like a shell's, a pattern leaves hidden files alone."""
    if given.exists():
        return [given]
    root = Path(given.anchor)
    matches = sorted(path for path in root.glob(str(given.relative_to(root))) if not path.name.startswith("."))
    if not matches:
        raise FileError(str(given), "no such file or folder", f"{kind.what}, folders of them, or a .csv")
    return matches


def _cases_in_table(table: Path, kind: Kind) -> Iterator[Case]:
    for row in rows_of_table(table, kind):
        yield Case(row.name, next(iter(row.files.values())), row.values, row.files)


def _cases_of(path: Path, kind: Kind) -> Iterator[Case]:
    if path.is_file():
        yield _case(_stem(path), {kind.files[0]: path})
    else:
        yield from _cases_in_folder(path, kind)


def _case(name: str, files: Mapping[str, Path]) -> Case:
    return Case(name, next(iter(files.values())), files=dict(files))


def _cases_in_folder(folder: Path, kind: Kind) -> Iterator[Case]:
    files = _files_in(folder, kind)
    if own := _files_of_subject(files, kind):
        yield _case(folder.resolve().name, own)
        return
    if organs := organs_beside(folder) if kind.has_organs else None:
        yield Case(organ_subject(organs), organs)
        return
    if kind.has_dicom and not files and _is_plain_dicom(folder):
        yield Case(folder.resolve().name, folder)
        return
    for path in files:
        yield _case(_stem(path), {kind.files[0]: path})
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        inside = _files_in(child, kind)
        chosen = _files_of_subject(inside, kind)
        own = chosen or ({kind.files[0]: inside[0]} if len(inside) == 1 else {})
        if organs := organs_beside(child) if kind.has_organs and not chosen else None:
            yield Case(organ_subject(organs), organs)
        elif own:
            yield _case(child.name, own)
        elif kind.has_dicom and not inside and is_dicom_folder(child):
            yield Case(child.name, child)


def _is_plain_dicom(folder: Path) -> bool:
    """Whether the DICOM files lie in the folder itself, and not in folders of several subjects."""
    return holds_dicom(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _files_in(folder: Path, kind: Kind) -> list[Path]:
    """Hidden files are not cases: macOS leaves `._name` beside each, and a killed run leaves temporary ones."""
    found = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in found if kind.is_name(path) and _stem(path) not in kind.not_called)


def _files_of_subject(files: Sequence[Path], kind: Kind) -> dict[str, Path]:
    """By column, the files of a folder that is one subject's; none of another folder."""
    if own := next((path for path in files if _stem(path) in kind.called), None):
        return {kind.files[0]: own}
    return {column: path for column in kind.files for path in files if _stem(path) == column}


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (*VOLUME_SUFFIXES, ".zip"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem

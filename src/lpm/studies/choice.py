"""Who takes part in a study: fits that its table names, which the quality gate does not doubt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lpm.batch.subjects import SubjectTable, listed
from lpm.errors import InputError, MisuseError
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.doubts import unlike_others
from lpm.studies.cohort import Cohort, find_fits
from lpm.studies.design import Asked, Design, design_of


def named_fits(folders: Sequence[Path], table: SubjectTable, asked: Asked) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Find the fits that a table names, by name, and the names of the others, without reading any.

    What cannot be asked is refused here already.

    Args:
        folders: Folders of fits, or that hold them at any depth.
        table: What is known of the subjects.
        asked: Groups, covariates or pairs.

    Raises:
        FileError: There are no fits.
        InputError: The table and the fits do not go together, or the design cannot be tested.
        MisuseError: Nothing asked for.
    """
    asked.check(table)
    found = find_fits(folders)
    rows = table.called_as(found)[0]
    _designed(asked, rows, list(found), _unmatched(list(found), rows))
    named = {name: path for name, path in found.items() if name in rows.rows}
    return named, tuple(name for name in found if name not in named)


def chosen(
    cohort: Cohort, table: SubjectTable, asked: Asked, *, keep_doubtful: bool
) -> tuple[Design, dict[str, str], list[str]]:
    """The design without subjects that are missing, unknown or doubtful; who is left out, and why; and notes.

    Args:
        cohort: Lungs of the subjects.
        table: What is known of them.
        asked: Groups, covariates or pairs.
        keep_doubtful: Whether those that the quality gate doubts take part.

    Raises:
        InputError: The table and the fits do not go together, or the design cannot be tested.
    """
    every = [*cohort.names, *cohort.unread]
    table, renamed = table.called_as(every)
    left_out = _unmatched(every, table)
    doubts = {one.name: "; ".join(one.doubts) for one in cohort.subjects if one.doubts}
    if keep_doubtful:
        design = _designed(asked, table, cohort.names, left_out)
        doubts |= {name: what for name, what in _unlike(cohort, design).items() if name not in doubts}
        kept = [f"{name} takes part, though doubtful: {doubts[name]}" for name in design.all_subjects if name in doubts]
        return design, left_out | dict(design.left_out or {}), [*renamed, *design.notes, *kept]
    design = _without(asked, table, cohort, doubts, left_out)
    if unlike := _unlike(cohort, design):
        doubts |= unlike
        design = _without(asked, table, cohort, doubts, left_out)
    left_out |= {name: f"doubtful: {what}" for name, what in doubts.items() if name in table.rows}
    return design, left_out | dict(design.left_out or {}), [*renamed, *design.notes]


def _unmatched(fits: Sequence[str], table: SubjectTable) -> dict[str, str]:
    """Fits that a table does not name, and names of its that no fit has, with the reason.

    Raises:
        InputError: No name in common.
    """
    if not set(fits) & set(table.rows):
        given = f"subjects {listed(table.rows)}; fits {listed(fits)}"
        raise InputError(table.source, given, "the names of the fits' folders", "rename the subjects in the table")
    left_out = {name: "not in the table" for name in fits if name not in table.rows}
    return left_out | {name: "in the table, but there is no fit of it" for name in table.rows if name not in fits}


def _without(
    asked: Asked, table: SubjectTable, cohort: Cohort, doubts: Mapping[str, str], left_out: Mapping[str, str]
) -> Design:
    """The design without doubtful subjects."""
    usable = [name for name in cohort.names if name not in doubts]
    why = {name: f"doubtful: {what}; --keep-doubtful takes it" for name, what in doubts.items() if name in table.rows}
    return _designed(asked, table, usable, why | dict(left_out))


def _designed(asked: Asked, table: SubjectTable, names: Sequence[str], left_out: Mapping[str, str]) -> Design:
    """The design; where it cannot be tested, the error says who is left out already."""
    try:
        return design_of(asked, table, names)
    except InputError as error:
        if not left_out or isinstance(error, MisuseError):
            raise
        reasons = {why: [name for name in left_out if left_out[name] == why] for why in left_out.values()}
        said = ", ".join(f"{listed(own)} ({why})" for why, own in reasons.items())
        raise InputError(error.subject, f"{error.given}; left out: {said}", error.expected, error.hint) from error


def _unlike(cohort: Cohort, design: Design) -> dict[str, str]:
    """Subjects that the quality gate finds far from all others of their group or state, or to be copies."""
    n, found = len(design.subjects), dict[str, str]()
    states = {name: str(place >= n) for place, name in enumerate(design.all_subjects)}
    groups = states if design.partners else design.labels
    for group in dict.fromkeys(groups.values()):
        lungs = [one for one in cohort.subjects if groups.get(one.name) == group]
        content = {one.name: _content(one.meshes) for one in lungs}
        found |= unlike_others({one.name: one.measures for one in lungs}, content)
    return found


def _content(meshes: Mapping[str, WorldMesh]) -> str:
    return hashlib.sha256(b"".join(np.round(mesh.vertices, 2).tobytes() for mesh in meshes.values())).hexdigest()

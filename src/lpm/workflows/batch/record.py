"""What a finished case leaves in its folder, so that a later run knows that it is finished, and with what result."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lpm.errors import FileError
from lpm.files.atomic import write_text
from lpm.records import StrictModel, read_json_model

RECORD = "case.json"
_SCHEMA = 1  # of case.json


class CaseRecord(StrictModel):
    """A finished case."""

    schema_version: int = Field(_SCHEMA, description="of this file")
    case: str = Field(description="its name")
    input: tuple[str, ...] = Field(description="what it was made from")
    digest: str = Field(description="SHA-256 over the input's bytes, its name, all options and the model")
    files: dict[str, int] = Field(description="files of the folder by name, with their bytes")
    notes: tuple[str, ...] = Field(description="what a reader must know")
    seconds: float = Field(description="wall time")
    shape: dict[str, float] = Field(description="the row of shapes.csv")


def write_record(folder: Path, record: CaseRecord) -> None:
    """Write the record of a case into its folder, as the last of its files."""
    write_text(folder / RECORD, record.model_dump_json(indent=1) + "\n")


def read_record(folder: Path) -> CaseRecord | None:
    """Read the record of a finished case.

    Returns:
        The record, or None if the case is not finished: no record, one of another version, or a file is missing or has
        another length.
    """
    try:
        record = read_json_model(folder / RECORD, CaseRecord, _SCHEMA)
    except FileError:
        return None
    return record if files_of(folder) == record.files else None


def files_of(folder: Path) -> dict[str, int]:
    """Bytes of the files of a case's folder by name, without the record's own."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}

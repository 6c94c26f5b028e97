from __future__ import annotations

from pathlib import Path

import pytest

from lpm.batch.subjects import SubjectTable, read_subject_table
from lpm.errors import FileError, InputError


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "case,age,sex\na,61.5,F\nb,,M\nc,70,F\n",
        "case;age;sex\na;61,5;F\nb;;M\nc;70;F\n",
        "sex\tsubject\tage\nF\ta\t61.5\nM\tb\tNA\nF\tc\t70\n",
    ],
)
def test_numbers_are_read_whatever_the_separator(tmp_path: Path, text: str) -> None:
    table = read_subject_table(written(tmp_path / "t.csv", text))
    assert table.numbers("age", ["a", "b", "c"])[0] == {"a": 61.5, "c": 70.0}
    assert table.text("sex") == {"a": "F", "b": "M", "c": "F"}
    assert table.numbers("sex", ["a", "b", "c"]) == ({"a": 0.0, "b": 1.0, "c": 0.0}, ["sex: F counts as 0, M as 1"])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Case;age;sex;;\r\n\r\na;61,5;F;;\r\nb;;M;;\r\nc;70;F;;\r\n", "utf-8-sig"),
        ("sep=;\r\ncase;age;sex\r\na;61,5;F\r\nb;;M\r\nc;70;F\r\n", "cp1252"),
        ("case\tage\tsex\r\na\t61,5\tF\r\nb\t\tM\r\nc\t70\tF\r\n", "utf-16"),
        (',case,age,sex\n0,"a",61.5,F\n1, b ,,M\n2,c,70,F\n', "utf-8"),
    ],
)
def test_tables_of_spreadsheets(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    table = read_subject_table(tmp_path / "t.csv")
    assert table.numbers("age", "abc")[0] == {"a": 61.5, "c": 70.0}
    assert table.text("sex") == {"a": "F", "b": "M", "c": "F"}


def test_the_column_case_names_fits_and_subject_may_name_patients(tmp_path: Path) -> None:
    table = read_subject_table(written(tmp_path / "t.csv", "subject,case\np,p_exp\np,p_insp\n"))
    assert table.text("subject") == {"p_exp": "p", "p_insp": "p"}


@pytest.mark.parametrize(
    ("row", "fits", "meant"),
    [
        ("7", ["007", "008"], "007"),
        ("p1.nii.gz", ["p1"], "p1"),
        ("P1", ["p1", "p2"], "p1"),
        ("masks/p1.nrrd", ["p1"], "p1"),
        ("C:\\masks\\p1.mha", ["p1"], "p1"),
        ("p1", ["site/p1"], "site/p1"),
        ("p1", ["a/p1", "b/p1"], None),
        ("7", ["7", "007"], "7"),
        ("1.5", ["1"], None),
    ],
)
def test_names_that_are_spelt_a_little_otherwise(row: str, fits: list[str], meant: str | None) -> None:
    table, notes = SubjectTable("t.csv", {row: {"age": "1"}}).called_as(fits)
    assert list(table.rows) == [meant or row]
    assert notes == (
        [f"subjects of the table that are spelt otherwise than fits: {row!r} is {meant!r}"] * (meant not in (None, row))
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,age\n", "no rows; expected a header, and a line a subject"),
        ("name,age\na,1\n", "columns name, age; expected a column case or subject"),
        ("case,age\na,1\na,2\n", "'a' twice; expected a row a subject"),
        ("case,age,age\na,1,2\n", "several columns 'age'"),
        ("case,age\na,61,5\nb,62,5\n", "line 2: 3 cells: decimal commas between commas"),
        ("case,age\na,1\n,2\n", "line 3: names no subject"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_subject_table(written(tmp_path / "t.csv", text))


def test_a_missing_file_and_a_workbook_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04\x00\x00")
    with pytest.raises(FileError, match=r"expected a .csv in UTF-8. Try: save the sheet as .csv"):
        read_subject_table(tmp_path / "t.xlsx")
    with pytest.raises(FileError, match="cannot be read"):
        read_subject_table(tmp_path / "none.csv")


def test_text_among_numbers_is_named(tmp_path: Path) -> None:
    table = read_subject_table(written(tmp_path / "t.csv", "case,age\na,61\nb,old\nc,70\n"))
    with pytest.raises(InputError, match=r"column 'age': text: 'old' of b; expected numbers"):
        table.numbers("age", ["a", "b", "c"])
    with pytest.raises(InputError, match="no column 'sex'; expected one of age"):
        table.check_columns(["sex"])


def test_two_decimal_marks_are_refused(tmp_path: Path) -> None:
    table = read_subject_table(written(tmp_path / "t.csv", "case;age\na;61,5\nb;62.5\n"))
    with pytest.raises(InputError, match=r"decimal commas .* beside decimal points"):
        table.numbers("age", ["a", "b"])

from __future__ import annotations

from pathlib import Path

import pytest
from made_cohorts import written

from lpm.errors import FileError, InputError
from lpm.studies.table import read_subject_table


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
    ("text", "message"),
    [
        ("case,age\n", "1 lines; expected a header, and a line a subject"),
        ("name,age\na,1\n", "columns name, age; expected a column case or subject"),
        ("case,age\na,1\na,2\n", "'a' twice; expected a row a subject"),
        ("case,age,age\na,1,2\n", "several columns 'age'"),
        ("case,age\na,61,5\nb,62,5\n", "row 2 has 3 cells: decimal commas between commas"),
        ("case,age\na,1\n,2\n", "row 3 names no subject"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_subject_table(written(tmp_path / "t.csv", text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
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

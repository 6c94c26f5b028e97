"""Cases of every kind: tables and their columns, names that are folders', what is one case by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_writing import Writing, write_series
from lpm.batch.cases import Case, find_cases, is_one_case
from lpm.batch.kinds import CTS, LABEL_MAPS, POINTS, RADIOGRAPHS, SCANS, Kind
from lpm.errors import FileError, InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x,y,z\n1,2,3\n")


def table(folder: Path, text: str) -> Path:
    (folder / "cases.csv").write_text(text, encoding="utf-8")
    return folder / "cases.csv"


def named(inputs: list[Path], kind: Kind) -> list[tuple[str, str]]:
    return [(case.subject, case.path.name) for case in find_cases(inputs, kind)]


# --- Tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["case,path\nb,b.nii\na,a.nii\n", "\ufeffsubject;path\na;a.nii\n\nb;b.nii\n"])
def test_a_table_names_cases_whatever_separates_its_cells(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "a.nii", "b.nii")
    assert named([table(tmp_path, text)], LABEL_MAPS) == [("a", "a.nii"), ("b", "b.nii")]


def test_radiographs_have_several_files_and_values(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/b.png")
    text = "case,frontal,lateral,mm_per_px,ap\np1,in/a.png,in/b.png,0.4,yes\np2,,in/b.png,,\n"
    first, second = find_cases([table(tmp_path, text)], RADIOGRAPHS)
    assert first.files == {"frontal": tmp_path / "in/a.png", "lateral": tmp_path / "in/b.png"}
    assert first.attributes == {"mm_per_px": "0.4", "ap": "yes"}
    assert (second.subject, second.path, second.attributes) == ("p2", tmp_path / "in/b.png", {})


def test_a_row_without_its_file_is_a_case_that_fails_later(tmp_path: Path) -> None:
    assert named([table(tmp_path, "case,path\na,none.nii\n")], LABEL_MAPS) == [("a", "none.nii")]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (LABEL_MAPS, "name,path\na,a.nii\n", "no column case or subject; expected columns case and path"),
        (LABEL_MAPS, "case,file\na,a.nii\n", "no column path; expected columns case and path"),
        (LABEL_MAPS, "", "no column case or subject and no column path"),
        (LABEL_MAPS, "case,path\n,a.nii\n", "line 2: case ''"),
        (LABEL_MAPS, "case,path\na,\n", "line 2: case 'a'"),
        (LABEL_MAPS, "case,path\na,a.nii,b.nii\n", "line 2: 3 cells; expected 2, as in the header"),
        (RADIOGRAPHS, "case,frontal,mm_per_pixel\na,a.png,1\n", "a column 'mm_per_pixel'; expected mm_per_px"),
        (RADIOGRAPHS, "case,path\na,a.png\n", "no column frontal or lateral or frontal_mask or views"),
        (LABEL_MAPS, "case,path\na,a.nii\nA,b.nii\n", r"\['A', 'a'\] stand for more than one file"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, kind: Kind, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_cases([table(tmp_path, text)], kind)


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_bytes(b"PK\x03\x04\x00\x00case")
    with pytest.raises(FileError, match=r"cases.csv: cannot be read .*expected a .csv in UTF-8"):
        find_cases([tmp_path / "cases.csv"], LABEL_MAPS)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("case;path\r\nJürgen;a.nii\r\n", "cp1252"),
        ("case\tpath\r\nJürgen\ta.nii\r\n", "utf-16"),
        ("sep=;\r\nCase;path;;\r\nJürgen;a.nii;;\r\n;;;\r\n", "utf-8-sig"),
    ],
)
def test_tables_as_spreadsheets_save_them(text: str, encoding: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.nii")
    (tmp_path / "cases.csv").write_bytes(text.encode(encoding))
    assert named([tmp_path / "cases.csv"], LABEL_MAPS) == [("Jürgen", "a.nii")]


@pytest.mark.parametrize(
    "name",
    ["..", ".", "../up", "a/b", "a\\b", "/abs", ".hidden", "a:b", "a|b", "nul", "COM1.x", "cases.csv", "x" * 151, "a."],
)
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a.nii")
    with pytest.raises(InputError, match="expected one that a folder can have"):
        find_cases([table(tmp_path, f'case,path\n"{name}",a.nii\n')], LABEL_MAPS)


def test_a_file_whose_name_would_lead_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "...nii")
    with pytest.raises(InputError, match=r"the name '\.\.'"):
        find_cases([tmp_path / "...nii"], LABEL_MAPS)


# --- Files and folders -----------------------------------------------------------------------------------------------


def test_points_in_a_csv_are_a_case_and_no_table(tmp_path: Path) -> None:
    touch(tmp_path, "p/a.csv", "p/b.ply", "p/notes.json", "p/c.mrk.json", "scan.nii.gz")
    assert named([tmp_path / "p"], POINTS) == [("a", "a.csv"), ("b", "b.ply"), ("c.mrk", "c.mrk.json")]
    given = table(tmp_path, "case,path,grid\nx,p/a.csv,scan.nii.gz\ny,p/b.ply,\n")
    first, second = find_cases([given], POINTS)
    assert first.files == {"path": tmp_path / "p/a.csv", "grid": tmp_path / "scan.nii.gz"}
    assert second.files == {"path": tmp_path / "p/b.ply"}


def test_a_ct_beside_its_labels_is_taken_for_a_ct_and_labels_for_labels(tmp_path: Path) -> None:
    touch(tmp_path, "s1/ct.nii.gz", "s1/labels.nii.gz", "s2/chest.nii.gz", "s2/labels.nii.gz")
    assert named([tmp_path], CTS) == [("s1", "ct.nii.gz"), ("s2", "chest.nii.gz")]
    assert named([tmp_path], LABEL_MAPS) == [("s1", "labels.nii.gz"), ("s2", "labels.nii.gz")]
    assert named([tmp_path], SCANS) == [("s1", "labels.nii.gz"), ("s2", "labels.nii.gz")]


def test_pictures_of_a_patients_folder_belong_together(tmp_path: Path) -> None:
    touch(tmp_path, "s1/frontal.png", "s1/lateral.png", "s2/frontal.jpg", "s3.png")
    found = {
        case.subject: {side: path.name for side, path in case.files.items()}
        for case in find_cases([tmp_path], RADIOGRAPHS)
    }
    assert found == {
        "s1": {"frontal": "frontal.png", "lateral": "lateral.png"},
        "s2": {"frontal": "frontal.jpg"},
        "s3": {"frontal": "s3.png"},
    }


def test_what_is_given_twice_is_one_case(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.nii")
    assert named([tmp_path, tmp_path / "a.nii", tmp_path / "*.nii"], LABEL_MAPS) == [("a", "a.nii"), ("b", "b.nii")]


def test_nothing_of_the_kind_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    with pytest.raises(FileError, match=r"holds no radiographs; expected files ending in \.png"):
        find_cases([tmp_path], RADIOGRAPHS)


def test_what_is_one_case_by_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.nii", "p.csv", "folder/a.nii")
    cases = table(tmp_path, "case,path\na,a.nii\n")
    assert is_one_case([tmp_path / "a.nii"], LABEL_MAPS)
    assert is_one_case([tmp_path / "none.nii"], LABEL_MAPS), "its own message says that it is not there"
    assert is_one_case([tmp_path / "p.csv"], POINTS)
    assert not is_one_case([cases], LABEL_MAPS)
    assert not is_one_case([cases], POINTS)
    assert not is_one_case([tmp_path / "folder"], LABEL_MAPS)
    assert not is_one_case([tmp_path / "*.nii"], LABEL_MAPS)
    assert not is_one_case([tmp_path / "a.nii", tmp_path / "b.nii"], LABEL_MAPS)


def test_a_folder_with_a_mask_an_organ_is_one_case(tmp_path: Path) -> None:
    for subject in ("s1", "s2"):
        touch(tmp_path, *(f"{subject}/segmentations/lung_upper_lobe_{side}.nii.gz" for side in ("left", "right")))
    assert is_one_case([tmp_path / "s1" / "segmentations"], LABEL_MAPS)
    assert not is_one_case([tmp_path], LABEL_MAPS)
    assert named([tmp_path], LABEL_MAPS) == [("s1", "segmentations"), ("s2", "segmentations")]


def test_a_dicom_folder_is_one_case_and_a_folder_of_patients_is_not(tmp_path: Path) -> None:
    for patient in ("A", "B"):
        for number in (1, 2):
            write_series(tmp_path / "all" / patient / f"series{number}", Writing(patient=patient, number=number), n=3)
    assert is_one_case([tmp_path / "all" / "A" / "series1"], CTS)
    assert is_one_case([tmp_path / "all" / "A"], CTS), "two series of one patient"
    assert is_one_case([tmp_path / "all" / "A"], LABEL_MAPS), "one of them may be a mask"
    assert not is_one_case([tmp_path / "all"], CTS)
    assert find_cases([tmp_path / "all"], CTS) == [Case(name, tmp_path / "all" / name) for name in ("A", "B")]

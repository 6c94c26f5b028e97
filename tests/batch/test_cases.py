"""Cases from DICOM: slices that are named one by one or by a pattern, and what their digest covers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dicom_writing import Writing, rewrite, write_series
from lpm.batch.cases import find_cases
from lpm.batch.digests import digest_inputs
from lpm.batch.kinds import CTS
from lpm.errors import FileError, InputError
from lpm.preparation.config import PreparationConfig, digest_case
from lpm.preparation.prepare import prepare_cases


def named(*inputs: Path) -> list[tuple[str, str]]:
    return [(case.subject, case.path.name) for case in find_cases(inputs)]


def test_slices_of_one_series_are_one_case(tmp_path: Path) -> None:
    write_series(tmp_path / "patient", Writing(), n=5)
    assert named(tmp_path / "patient" / "*") == [("patient", "2_000")]
    assert named(tmp_path / "patient" / "2_003") == [("patient", "2_003")]
    assert named(*(tmp_path / "patient").iterdir()) == [("patient", "2_000")]  # a shell expands patterns itself
    assert named(tmp_path / "patient") == [("patient", "patient")]


def test_slices_of_several_series_are_their_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "patient", Writing(), n=5)
    write_series(tmp_path / "patient", Writing(number=3), n=5)
    assert named(tmp_path / "patient" / "*") == [("patient", "patient")]
    assert named(tmp_path / "patient" / "3_*") == [("patient", "3_000")]


def test_slices_of_several_folders_are_a_case_each(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / name, Writing(patient=name), n=5)
    (tmp_path / "c.nii.gz").touch()
    found = named(tmp_path / "*" / "2_*", tmp_path / "c.nii.gz")
    assert found == [("a", "2_000"), ("b", "2_000"), ("c", "c.nii.gz")]


def test_folders_of_one_name_are_told_apart_by_a_table(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / name / "ct", Writing(patient=name), n=5)
    with pytest.raises(InputError, match=r"\['ct'\] stand for more than one file.*Try: rename them, or name them in"):
        find_cases([tmp_path / "*" / "ct" / "*"])
    (tmp_path / "cases.csv").write_text("subject,path\na,a/ct/2_000\nb,b/ct\n")
    assert named(tmp_path / "cases.csv") == [("a", "2_000"), ("b", "ct")]


def test_what_is_dicom_but_no_image_makes_no_case_of_its_own(tmp_path: Path) -> None:
    write_series(tmp_path / "patient", Writing(), n=5)
    shutil.copy(tmp_path / "patient" / "2_000", tmp_path / "patient" / "DICOMDIR")
    rewrite([tmp_path / "patient" / "DICOMDIR"], SeriesInstanceUID=None)
    (tmp_path / "patient" / "._2_000").write_bytes(b"hidden")
    assert named(tmp_path / "patient" / "*") == [("patient", "2_000")]
    assert named(tmp_path / "patient" / "DICOMDIR") == [("patient", "patient")]


def test_a_pattern_of_hidden_files_only_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / ".a.nii.gz").touch()
    with pytest.raises(FileError, match=r"\*: no such file or folder"):
        find_cases([tmp_path / "*"])


def test_a_digest_covers_the_slices_of_the_series_and_no_others(tmp_path: Path) -> None:
    folder, config = tmp_path / "patient", PreparationConfig()
    write_series(folder, Writing(), n=5)
    write_series(folder, Writing(number=3), n=5)

    def digest(name: str = "2_000") -> str:
        return digest_case(folder / name, "s", config)

    before = digest()
    assert before == digest("2_003")  # whichever slice names it
    assert before != digest("3_000")
    rewrite([folder / "3_004"], InstanceNumber=99)
    assert before == digest()
    rewrite([folder / "2_004"], InstanceNumber=99)
    changed = digest()
    assert before != changed
    (folder / "2_004").unlink()
    assert digest() not in {before, changed}


def test_two_patients_deep_in_one_folder_fail_by_name(tmp_path: Path) -> None:
    for name in ("Q7", "Q8"):
        write_series(tmp_path / "in" / "all" / name, Writing(patient=name))
    cases = find_cases([tmp_path / "in"])
    assert [case.subject for case in cases] == ["all"]
    (outcome,) = prepare_cases(cases, tmp_path / "out", PreparationConfig(), jobs=1, resume=False)
    assert outcome.status == "failed"
    assert "series of 2 patients (Q7, Q8); expected one patient a folder" in outcome.message


def test_files_of_one_name_beside_each_other_keep_their_endings(tmp_path: Path) -> None:
    for name in ("a/ct.nii.gz", "b/ct.nii.gz", "b/ct.mha", "b/other.nrrd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_cases([tmp_path / "a/ct.nii.gz", *(tmp_path / "b").iterdir()], CTS)
    assert [case.subject for case in found] == ["a", "ct.mha", "ct.nii.gz", "other"]


def test_links_are_called_by_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    for number in (1, 2):
        (tmp_path / f"store/{number}.nii.gz").touch()
        (tmp_path / f"patient_{number}").mkdir()
        (tmp_path / f"patient_{number}/ct.nii.gz").symlink_to(tmp_path / f"store/{number}.nii.gz")
    found = find_cases([tmp_path / f"patient_{number}/ct.nii.gz" for number in (1, 2)], CTS)
    assert [case.subject for case in found] == ["patient_1", "patient_2"]


def test_a_radiograph_without_a_series_is_its_own_input(tmp_path: Path) -> None:
    write_series(tmp_path, Writing(), n=2)
    one, other = sorted(tmp_path.iterdir())
    rewrite((one, other), SeriesInstanceUID="")
    before = digest_inputs([one])
    other.unlink()
    assert digest_inputs([one]) == before
    rewrite([one], PatientID="another")
    assert digest_inputs([one]) != before

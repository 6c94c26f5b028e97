"""Which of several series is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_writing import Writing, rewrite, write_series
from lpm.errors import InputError
from lpm.files.dicom.folder import find_series
from lpm.files.dicom.series import choose_series
from lpm.files.scans import read_scan


def test_the_thin_axial_chest_ct_is_chosen_of_several(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(number=1, kind=("ORIGINAL", "PRIMARY", "LOCALIZER")), n=40)
    thick = write_series(tmp_path / "d", Writing(number=3, step_mm=8.0), n=30)
    thin = write_series(tmp_path / "d", Writing(number=4), n=30)
    write_series(tmp_path / "d", Writing(number=5, modality="PT"), n=60)
    write_series(tmp_path / "d", Writing(number=6, orientation=(1, 0, 0, 0, 0, -1)), n=50)
    (tmp_path / "d" / "notes.txt").write_text("no DICOM")
    found = find_series(tmp_path / "d")
    assert [series.number for series in found] == [1, 3, 4, 5, 6]
    assert choose_series(found, None, "d").uid == thin
    assert choose_series(found, "3", "d").uid == thick
    assert choose_series(found, thick[-12:], "d").uid == thick
    assert (
        "of 5 series: series 4 (CT, CHEST THIN): 30 slices, 4.00 mm apart, axial" in read_scan(tmp_path / "d").notes[0]
    )
    with pytest.raises(InputError, match=r"--series 9: 0 of these; expected one of them"):
        choose_series(found, "9", "d")


def test_a_folder_without_a_chest_ct_lists_what_it_holds(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(number=7), n=10)
    with pytest.raises(InputError, match=r"(?s)no axial CT series of 20 slices.*--series.*series 7"):
        read_scan(tmp_path / "d")


def write_phases(folder: Path) -> str:
    """Two acquisitions at the same places, the second 10 slices longer."""
    uid = write_series(folder, Writing(), n=25)
    write_series(folder / "second", replace(Writing(), acquisition=2), n=35, uid=uid)
    return uid


def test_an_acquisition_is_named_behind_the_series(tmp_path: Path) -> None:
    uid = write_phases(tmp_path / "d")
    found = find_series(tmp_path / "d")
    assert [len(choose_series(found, wanted, "d").slices) for wanted in ("2:1", "2:2", f"{uid[-9:]}:2")] == [25, 35, 35]
    with pytest.raises(InputError, match=r"(?s)--series 2: 2 of these; expected one .*series 2:1 .*series 2:2 "):
        choose_series(found, "2", "d")
    for wanted in ("2:3", "2:", "2:x", "1:1"):
        with pytest.raises(InputError, match=f"--series {wanted}: 0 of these"):
            choose_series(found, wanted, "d")
    read = read_scan(tmp_path / "d", "2:2")
    assert read.notes[0].startswith("of 2 series: series 2:2 (CT, CHEST THIN, acquisition 2): 35 slices")
    assert read.volume.voxels.shape[2] == 35


def test_a_series_of_one_acquisition_answers_to_it(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(acquisition=3))
    found = find_series(tmp_path / "d")
    assert choose_series(found, "2:3", "d").parts == ()
    with pytest.raises(InputError, match="--series 2:1: 0 of these"):
        choose_series(found, "2:1", "d")


def test_a_localizer_within_the_series_does_not_hide_the_ct(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing())
    write_series(tmp_path / "d" / "scout", Writing(orientation=(1, 0, 0, 0, 0, -1)), n=1, uid=uid)
    found = find_series(tmp_path / "d")
    assert [len(choose_series(found, wanted, "d").slices) for wanted in ("2", uid)] == [30, 30]


def test_series_of_one_number_are_listed(tmp_path: Path) -> None:
    write_series(tmp_path / "d" / "a", Writing())
    write_series(tmp_path / "d" / "b", Writing(orientation=(1, 0, 0, 0, 0, -1)), n=3)
    with pytest.raises(InputError, match="--series 2: 2 of these"):
        choose_series(find_series(tmp_path / "d"), "2", "d")


def test_two_patients_in_one_folder_are_refused_unless_a_series_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "d" / "x" / "y", Writing(patient="Q7"))
    write_series(tmp_path / "d" / "z", Writing(number=3, patient="Q8", step_mm=8.0))
    message = (
        r"(?s)d: series of 2 patients \(Q7, Q8\); expected one patient a folder. Try: .*--series:\n  patient Q7, s"
    )
    with pytest.raises(InputError, match=message):
        read_scan(tmp_path / "d")
    read = read_scan(tmp_path / "d", "3")
    assert read.volume.spacing_mm[2] == 8.0
    assert "Q8" not in "".join(read.notes)


def test_a_uid_that_two_patients_share_is_no_series(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d" / "a", Writing(patient="Q7"))
    write_series(tmp_path / "d" / "b", Writing(patient="Q8"), uid=uid)
    with pytest.raises(InputError, match=r"series of 2 patients \(Q7, Q8\)"):
        read_scan(tmp_path / "d")
    with pytest.raises(InputError, match=r"(?s)--series 2: 2 of these.*patient Q7, series 2 .*patient Q8, series 2 "):
        read_scan(tmp_path / "d", "2")


def test_a_step_is_one_that_occurs(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=3)
    rewrite([tmp_path / "d" / "2_002"], ImagePositionPatient=[-30, 20, -176])  # 4 mm, then 20 mm
    (series,) = find_series(tmp_path / "d")
    np.testing.assert_allclose(series.step_mm, 4.0)

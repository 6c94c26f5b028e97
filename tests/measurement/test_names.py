from __future__ import annotations

from lpm.measurement.names import heading, in_figures, in_words


def test_a_name_ends_in_its_unit() -> None:
    assert in_words("left_lung_area_cm2") == ("left lung area", "cm²")
    assert heading("base_tilt_deg") == "base tilt, degrees"
    assert heading("left_lung_section_10_cm2") == "left lung section at 10 %, cm²"


def test_what_has_no_unit_stays_whole() -> None:
    assert in_words("age") == ("age", "")
    assert heading("left_lung_sphericity") == "left lung sphericity"


def test_a_number_is_written_for_reading() -> None:
    assert [in_figures(value) for value in (20_000.0, 1234.5, 52.366, 0.25)] == ["20,000", "1,234", "52.37", "0.25"]

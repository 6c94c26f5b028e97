"""The calibration file: what is read, what is refused, and that its words are the page's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from lpm.calibration import calibration, count, number, parsed, several, span
from lpm.errors import InputError, SchemaError

ENTRY = '[xray.step_mm]\nvalue = 6.0\nunit = "mm between places on a ray"\nchosen = "by hand"\n'


def test_an_entry_is_read_with_what_nobody_knows_said() -> None:
    found = parsed(ENTRY)["xray.step_mm"]
    assert (found.value, found.unit, found.chosen) == (6.0, "mm between places on a ray", "by hand")
    assert (found.on, found.halved, found.doubled) == ("not recorded", "not measured", "not measured")


def test_an_entry_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parsed(ENTRY)["xray.step_mm"].value = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ENTRY + 'why = "because"\n', "why"),
        (ENTRY.replace('chosen = "by hand"\n', ""), "chosen"),
        (ENTRY.replace('"by hand"', '""'), "chosen"),
        (ENTRY.replace("6.0", '"six"'), "value"),
        (ENTRY.replace("6.0", "true"), "value"),
        ("[xray]\nstep_mm = 6.0\n", "step_mm|Calibrated"),
        ("step_mm = 6.0\n", "no attribute"),
    ],
)
def test_what_does_not_follow_the_schema_is_refused(text: str, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        parsed(text)


def test_numbers_are_taken_by_name_and_kind() -> None:
    assert number("preparation.flat_share") == 0.3
    assert count("preparation.few_slices") == 25
    assert several("segmentation.total_ml") == span("segmentation.total_ml") == (1000.0, 11000.0)


@pytest.mark.parametrize(
    ("take", "name", "said"),
    [
        (number, "preparation.nothing", "no such calibrated number"),
        (number, "preparation.few_slices", "decimal point"),
        (number, "segmentation.total_ml", "decimal point"),
        (count, "preparation.flat_share", "whole number"),
        (several, "preparation.flat_share", "list of numbers"),
        (span, "preparation.few_slices", "list of numbers"),
    ],
)
def test_another_kind_is_refused(take, name: str, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=said):
        take(name)


def test_a_range_goes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    down = calibration()["segmentation.total_ml"].model_copy(update={"value": (2.0, 1.0)})
    monkeypatch.setitem(calibration(), "segmentation.total_ml", down)
    with pytest.raises(InputError, match="a lower and an upper end"):
        span("segmentation.total_ml")


def test_the_page_shows_every_room() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "calibration.md").read_text(encoding="utf-8")
    shown = re.findall(r"```\{calibrated\} (\w+)\n```", page)
    assert set(shown) >= {name.partition(".")[0] for name in calibration()}
    assert len(shown) == len(set(shown))


def test_what_is_said_fits_a_cell_of_a_table() -> None:
    said = [text for entry in calibration().values() for text in entry.model_dump(exclude={"value"}).values()]
    assert [text for text in said if "|" in text or "\n" in text or text != text.strip()] == []

"""Constants that docs/science.md states are the code's defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lpm
from lpm.calibration import number
from lpm.fitting.config import FitConfig
from lpm.model.config import AtlasConfig

SCIENCE = (Path(__file__).resolve().parents[2] / "docs" / "science.md").read_text(encoding="utf-8")
FIT, ATLAS = FitConfig(), AtlasConfig()
_BUNDLED = lpm.load().bundle.decoder


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        (r"with \u03c3 = (\S+) mm", (FIT.residual.sd_mm,)),
        (r"l = (\S+) mm, and ", (FIT.residual.length_mm,)),
        (r"\\log s\}\{(\S+?)\}", (FIT.axis_scale_sd,)),
        (r"e\^T \(K \+ D\).*\\frac\{w\}\{(\S+?)\}", (FIT.rotation_sd,)),
        (r"1 \+ N / (\d+): lungs differ", (FIT.certain_points,)),
        (
            r"its shift \((\S+) mm\), rotation \((\S+) rad\) and, without\sa pixel spacing, log scale \((\S+)\)",
            tuple(number(f"xray.placement_{name}") for name in ("shift_sd_mm", "rotation_sd", "log_scale_sd")),
        ),
        (r"standard deviations in C are (\S+) times", (number("xray.beside_points"),)),
        (r"\(K = (\d+) in the bundled model", (_BUNDLED.n_components,)),
        (
            r"\(\\sigma, l\) = \((\d+), (\d+)\) \\text\{ and \} \((\d+), (\d+)\)",
            tuple(value for scale in ATLAS.warp_scales for value in (scale.sd_mm, scale.length_mm)),
        ),
    ],
)
def test_constants_of_the_equations_are_the_defaults(pattern: str, values: tuple[float, ...]) -> None:
    found = re.search(pattern, SCIENCE)
    assert found, pattern
    assert tuple(float(value) for value in found.groups()) == values


def test_no_search_is_described_that_does_not_exist() -> None:
    assert "times that" not in SCIENCE  # the residual's length is one number, never searched for

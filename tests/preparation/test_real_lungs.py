"""A real lung through the whole preparation: the one whose known fault the data's README names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpm.batch.cases import Case
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import PreparationConfig, SamplingConfig
from lpm.preparation.prepare import finish_cohort, prepare_cases

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_a_lung_cut_at_the_base_is_meshed_closed_and_flagged(real_lungs: Path, tmp_path: Path) -> None:
    config = PreparationConfig(sampling=SamplingConfig(n_surface=2000, n_off_surface=2000))
    case = Case("coronacases_004", real_lungs / "coronacases_004" / "labels.nii.gz")
    outcomes = list(prepare_cases([case], tmp_path, config, jobs=1, resume=False))
    finish_cohort(outcomes, tmp_path, config, None)
    quality = Cohort(tmp_path).manifest.subjects["coronacases_004"]
    assert quality.structures["right_lung"].cut_cm2 == {"inferior": pytest.approx(25.0, abs=3.0)}
    assert any("cut by the image's inferior border" in flag for flag in quality.flags)
    for name, expected_ml in (("left_lung", 2130), ("right_lung", 2411)):
        assert Cohort(tmp_path).mesh("coronacases_004", name).is_closed
        assert quality.structures[name].volume_ml == pytest.approx(expected_ml, rel=0.005)
        assert abs(quality.structures[name].volume_change_percent) < 0.5

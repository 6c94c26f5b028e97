"""The page that generated lungs end in."""

from __future__ import annotations

import re

import pytest

from lpm.model.bundle import ModelBundle
from lpm.population.data_set import DataSet, Request
from lpm.population.generation import GenerationConfig, Generator
from lpm.reports.generated import write_generation_report

ASKED = {"right_share_percent": (0.0, 100.0)}


@pytest.fixture(scope="module")
def page(tiny_atlas: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("generated") / "lungs"
    generator = Generator.of(tiny_atlas, GenerationConfig(least_novelty=0.05))
    data_set = DataSet(generator, Request(ranges=ASKED, seed=3, labels_mm=8.0), out)
    lungs = list(data_set.write_all(2))
    write_generation_report(out / "report.html", data_set, lungs, {"seed": "3"})
    return (out / "report.html").read_text(encoding="utf-8")


def test_it_says_what_was_asked_for_and_what_came(page: str, tiny_atlas: ModelBundle) -> None:
    n = len(tiny_atlas.manifest.training_subjects)
    assert f"2 pairs of lungs that no one has, drawn as the lungs of {n} subjects vary" in page
    assert "right share 0 to 100 %" in page
    assert f"2 generated lungs, and {n} real ones" in page
    assert "<td>total volume, ml</td>" in page
    assert "pairs of lungs drawn until all were sound" in page


def test_lungs_are_shown_in_three_dimensions_and_side_by_side(page: str) -> None:
    assert page.count("lungs_00000, left lung") >= 1
    assert page.count("lungs_00001, right lung") >= 1
    assert page.count("data:image/png;base64,") >= 2


def test_nothing_is_fetched(page: str) -> None:
    assert not re.search(r"""(src|href)=["']?https?:""", page)
    assert "default-src 'none'" in page

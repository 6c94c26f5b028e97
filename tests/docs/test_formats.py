"""The page on file formats has every key."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from doc_blocks import ROOT

import lpm
from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig
from lpm.fitting.fit import Fit
from lpm.xray.fit import XrayFit

PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
NAMED = {word for quoted in re.findall(r"`([^`\n]+)`", PAGE) for word in re.split(r"[^\w]+", quoted)}


@pytest.fixture(scope="module")
def fit() -> Fit:
    """A rough fit: only its keys matter."""
    model = lpm.load()
    points = np.concatenate([mesh.vertices[::40] for mesh in model.mean(8.0).values()])
    config = FitConfig(max_iterations=1, residual=ResidualConfig(sd_mm=0.0))
    return model.fit_points(points, config=config, spacing_mm=8.0)


def keys_of(data: Mapping[str, object], own: tuple[str, ...]) -> Iterator[str]:
    """Keys at all levels, but for those whose children have tables of their own, or are names."""
    for key, value in data.items():
        yield key
        if isinstance(value, Mapping) and key not in own:
            yield from keys_of(value, own)


def test_every_key_of_fit_json_is_on_the_page(fit: Fit, tmp_path: Path) -> None:
    fit.write(tmp_path / "lungs")
    written = json.loads((tmp_path / "lungs" / "fit.json").read_text(encoding="utf-8"))
    missing = set(keys_of(written, own=("fit_config", "volume_ml", "volume_95_ml", "versions"))) - NAMED
    assert missing == set()


def test_samples_are_on_the_page(tiny_cohort: Path) -> None:
    subject = next((tiny_cohort / "subjects").iterdir())
    for name in ("surface.npz", "off_surface.npz"):
        with np.load(subject / name, allow_pickle=False) as arrays:
            assert set(arrays.files) <= NAMED
    assert {path.name for path in subject.iterdir() if path.suffix != ".ply"} <= {
        line.split()[0] for line in PAGE.splitlines() if line.startswith("    ")
    }


def test_models_that_the_page_names_exist() -> None:
    names = re.findall(r"```\{keys\} ([\w.]+):(\w+)", PAGE)
    assert len(names) >= 15
    for module, name in names:
        assert getattr(importlib.import_module(module), name).model_fields


def test_every_key_of_a_radiograph_is_on_the_page() -> None:
    keys = re.findall(r'"(\w+)":', inspect.getsource(XrayFit._picture_summary))
    assert len(keys) > 10
    assert set(keys) - NAMED == set()

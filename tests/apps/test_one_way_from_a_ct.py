"""A CT becomes the same lungs through Python, the command line and the viewer, and no step of the way is made twice."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpm
from lpm.apps.cli import run
from lpm.apps.viewer.fits.upload import Options, fit_upload
from lpm.errors import InputError
from lpm.files.scans import read_scan
from lpm.files.volumes import read_volume, write_volume
from lpm.fitting.ct.fit import CtFitConfig, observe_lungs
from lpm.fitting.evidence.masks import MaskFitConfig
from lpm.geometry.masks import averaged
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs, stored_as
from lpm.geometry.volumes import Volume, canonical
from lpm.lung_model import LungModel, fill_hidden
from lpm.segmentation.body import find_body
from lpm.segmentation.find import FoundLungs, LungPolicy, find_lungs
from lpm.segmentation.hounsfield import hounsfield
from lpm.workflows.outcome import silent

SPACING_MM = 6.0
CONFIG = CtFitConfig(mask=MaskFitConfig(spacing_mm=SPACING_MM))


@pytest.fixture(scope="module")
def model() -> LungModel:
    return lpm.load()


def written(consolidated: float, path: Path) -> Path:
    """A generated CT on disk, its axes out of order; dense disease may hide a part of a lung."""
    rng = np.random.default_rng(1)
    phantom = PhantomScan(random_lungs(rng=rng), spacing_mm=(4.0, 4.0, 4.0), consolidated=consolidated)
    write_volume(path, stored_as(render_scan(phantom, rng=rng)[0], (2, 0, 1), (True, False, True)))
    return path


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(0.3, tmp_path_factory.mktemp("one") / "ct.nii.gz")


@pytest.fixture(scope="module")
def found(ct: Path) -> FoundLungs:
    return find_lungs(hounsfield(read_scan(ct).volume, "ct"), LungPolicy(filler=fill_hidden))


def test_segment_writes_what_python_finds(ct: Path, found: FoundLungs, tmp_path: Path) -> None:
    assert run(["segment", str(ct), "--out", str(tmp_path / "labels.nii.gz")]) == 0
    written = read_volume(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(written.voxels, found.labels.voxels)
    np.testing.assert_allclose(written.world_from_voxel, found.labels.world_from_voxel, atol=1e-4)


@pytest.mark.slow
def test_python_command_line_and_viewer_give_the_same_lungs(
    ct: Path, found: FoundLungs, model: LungModel, tmp_path: Path
) -> None:
    fit = model.fit_ct(read_scan(ct).volume, rng=np.random.default_rng(0), config=CONFIG)
    volumes = {name: mesh.volume_ml for name, mesh in fit.lungs.items()}
    assert fit.notes[: len(found.notes)] == found.notes
    assert fit.observed.startswith("CT, mask of left_lung and right_lung")

    given = ["fit", "ct", str(ct), "--out", str(tmp_path / "lungs"), "--no-report", "--spacing-mm", str(SPACING_MM)]
    assert run(given) == 0
    summary = json.loads((tmp_path / "lungs" / "fit.json").read_text())
    assert summary["volume_ml"] == volumes
    assert summary["notes"] == list(fit.notes)
    assert read_volume(tmp_path / "lungs" / "labels.nii.gz").voxels.shape == read_volume(ct).voxels.shape

    shown = fit_upload(model.bundle, [("ct", ct)], Options(spacing_mm=SPACING_MM), {}, silent)
    assert {name: mesh.volume_ml for name, mesh in shown.fit.lungs.items()} == volumes
    assert shown.fit.notes == fit.notes


@pytest.mark.parametrize("consolidated", [0.0, 0.3], ids=["healthy", "dense"])
def test_no_step_of_segment_is_made_twice(consolidated: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CT is reordered once, and averaged once to each spacing; the body is looked for once on each of two grids."""
    calls: Counter[Any] = Counter()
    ct = written(consolidated, tmp_path / "ct.nii.gz")

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def counting(volume: Volume, *more: float) -> Any:
            calls[work.__name__, *more] += 1
            return work(volume, *more)

        return counting

    steps = {step: counted(step) for step in (canonical, averaged, find_body)}
    for module in [module for name, module in sys.modules.items() if name.startswith("lpm.")]:
        for name, value in list(vars(module).items()):
            if callable(value) and (step := next((step for step in steps if step is value), None)):
                monkeypatch.setattr(module, name, steps[step])
    given = ["segment", str(ct), "--out", str(tmp_path / "labels.nii.gz"), "--preview", str(tmp_path / "labels.png")]
    assert run(given) == 0
    of_disease = {("averaged", 2.0): 1} if consolidated else {}
    once = {("canonical",): 1, ("averaged", 1.5): 1, ("averaged", 3.0): 1, ("find_body", None): 2}
    of_labels = {step: n for step, n in calls.items() if step[0] == "averaged" and step[1] not in (1.5, 2.0, 3.0)}
    assert calls == once | of_disease | of_labels


def test_a_model_of_something_else_is_refused(found: FoundLungs, model: LungModel) -> None:
    config = MaskFitConfig(structures={"left_kidney": (1,), "right_kidney": (2,)})
    with pytest.raises(InputError, match=r"CT: a model of left_kidney \(1\), right_kidney \(2\); expected left_lung"):
        observe_lungs(model.bundle, found, rng=np.random.default_rng(0), config=config)

"""The README's lines of Python, as printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import lpm
from lpm.errors import FileError, InputError
from lpm.fitting.evidence.masks import MaskFitConfig
from lpm.fitting.pose import Pose
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.lung_model import BUNDLED
from lpm.model.bundle import ModelBundle, write_bundle
from lpm.preparation.cohort import Cohort

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
def test_the_readme_runs_as_printed(tiny_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = Cohort(tiny_cohort)
    points_mm = cohort.surface(cohort.subjects("test")[0]).points_mm[:800]
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    exec(code, {"points_mm": points_mm})  # noqa: S102 (our own README)
    assert (tmp_path / "lungs" / "fit.json").is_file()


def test_a_loaded_model_gives_mean_lungs_and_fits_masks(tiny_model: ModelBundle, tmp_path: Path) -> None:
    write_bundle(tmp_path, tiny_model)
    model = lpm.load(tmp_path)
    assert isinstance(model, lpm.LungModel)
    assert model.structures == ("left_lung", "right_lung")
    mean = model.mean(4.0)
    assert all(mesh.is_closed for mesh in mean.values())
    assert mean["left_lung"].centroid[0] < mean["right_lung"].centroid[0]
    labels = to_labels(random_lungs(rng=np.random.default_rng(3)), 6.0)
    fit = model.fit_mask(labels, rng=np.random.default_rng(0), config=MaskFitConfig(n_points=400, spacing_mm=6.0))
    assert set(fit.lungs) == {"left_lung", "right_lung"}


def test_a_bundled_model_is_loaded_by_its_name_unless_a_folder_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, default = lpm.load("lungs-v1").bundle, lpm.load().bundle
    assert lpm.load("lungs-v2").bundle.digest == default.digest != first.digest
    assert len(first.manifest.training_subjects) == 39
    (tmp_path / "lungs-v1").mkdir()
    with pytest.raises(FileError, match="lungs-v1: "):
        lpm.load("lungs-v1")


def test_the_bundled_model_is_small_and_of_lungs() -> None:
    model = lpm.load()
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 7e6
    assert len(model.bundle.manifest.training_subjects) == 53
    mean = model.mean(4.0)
    volumes = {name: mesh.volume_ml for name, mesh in mean.items()}
    assert 1500 < volumes["left_lung"] < volumes["right_lung"] < 3000
    assert all(mesh.is_closed and mesh.n_pieces == 1 for mesh in mean.values())


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"holds no bundle\.json"):
        lpm.load(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = lpm.segment


def test_lungs_of_shape_parameters(tiny_atlas: ModelBundle) -> None:
    model = lpm.LungModel(tiny_atlas)
    mean, same = model.shape(spacing_mm=8.0), model.shape([0.0], spacing_mm=8.0)
    larger = model.shape([2.0], spacing_mm=8.0)
    for name in model.structures:
        assert np.array_equal(mean[name].vertices, same[name].vertices)
    volumes = [sum(mesh.volume_ml for mesh in lungs.values()) for lungs in (mean, larger)]
    assert volumes[1] > 1.02 * volumes[0]


def test_a_pose_turns_stretches_and_moves_lungs(tiny_atlas: ModelBundle) -> None:
    model = lpm.LungModel(tiny_atlas)
    half_turn = Pose(np.array([0.0, 0.0, 500.0]), np.array([1.0, 1.0, 1.5]), np.array([0.0, 0.0, np.pi]))
    here, there = model.shape(spacing_mm=8.0), model.shape(pose=half_turn, spacing_mm=8.0)
    for name in model.structures:
        x, y, z = here[name].centroid
        assert there[name].centroid == pytest.approx([-x, -y, 1.5 * z + 500.0], abs=2.0)
        assert there[name].volume_ml == pytest.approx(1.5 * here[name].volume_ml, rel=0.03)


@pytest.mark.parametrize("beta", [[0.0] * 1000, [np.nan]])
def test_shape_parameters_that_cannot_be_are_refused(tiny_atlas: ModelBundle, beta: list[float]) -> None:
    with pytest.raises(InputError, match=rf"beta: {len(beta)} numbers; expected up to \d+ finite ones"):
        lpm.LungModel(tiny_atlas).shape(beta)

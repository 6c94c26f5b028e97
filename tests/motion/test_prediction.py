"""Breathing from one state: pairs of known motion, and what is predicted of another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lpm.errors import FileError, InputError
from lpm.fitting.corresponding import corresponding
from lpm.fitting.discrepancy.residual import ResidualConfig, ResidualField
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.partition.parts import atlas_of
from lpm.fitting.pose import Pose
from lpm.geometry.frames import Floats
from lpm.geometry.grids import grid_nodes
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.model.partition import Partition, StructureParts, template_box
from lpm.motion import breath as motion_of_breath
from lpm.motion import prediction
from lpm.motion.prediction import BreathModel, Pair, learn_breath, predict_breath, read_breath_model
from lpm.motion.series import Times

FACES = 1000  # fewer than in use: what is asked here does not depend on their number
GROWN = np.array([1.05, 1.12, 1.2])  # no two axes alike


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction, "_FACES", FACES)
        patch.setattr(motion_of_breath, "_NODE_MM", 30.0)
        yield


def field(model: ModelBundle, scale: float) -> FittedField:
    residual = ResidualField.nothing(ResidualConfig(), len(model.structures))
    pose = Pose(np.array([5.0, -8.0, 11.0]), np.full(3, scale), np.zeros(3))
    return FittedField(model, torch.zeros(model.latents.n_modes), pose, residual, model.structures)


def pair(model: ModelBundle, scale: float, grown: Floats = GROWN) -> Pair:
    """Lungs of a size that grow about their middle, and whose scan is shifted: no breath model may learn the shift."""
    lungs = corresponding(field(model, scale), FACES).meshes
    middle = np.concatenate([mesh.vertices for mesh in lungs.values()]).mean(axis=0)
    moved = {n: WorldMesh(middle + (m.vertices - middle) * grown + [40.0, 0.0, 9.0], m.faces) for n, m in lungs.items()}
    return Pair(lungs, moved)


@pytest.fixture(scope="module")
def breath(tiny_atlas: ModelBundle) -> BreathModel:
    return learn_breath(tiny_atlas, [pair(tiny_atlas, scale) for scale in (0.95, 1.0, 1.05)])


def test_lungs_grow_as_those_did_that_were_learned_from(tiny_atlas: ModelBundle, breath: BreathModel) -> None:
    seen = field(tiny_atlas, 1.0)
    true = pair(tiny_atlas, 1.0)
    wanted = sum(mesh.volume_ml for mesh in true.inspiration.values())
    found = predict_breath(seen, breath, wanted)
    end = found.breath.inspiration
    assert sum(mesh.volume_ml for mesh in end.values()) == pytest.approx(wanted, rel=1e-4)
    off = np.concatenate([end[name].vertices - true.inspiration[name].vertices for name in end])
    unmoved = np.concatenate([m.vertices - true.inspiration[n].vertices for n, m in true.expiration.items()])
    left, before = (np.linalg.norm(each - each.mean(axis=0), axis=1).mean() for each in (off, unmoved))
    assert left < 0.2 * before
    tops = [end[n].vertices[:, 2].max() - m.vertices[:, 2].max() for n, m in found.breath.expiration.items()]
    assert np.abs(tops).max() < 5.0  # the tops rest, whatever the scans' shift
    assert [region.structure for region in found.breath.regions()] == ["left_lung"] * 3 + ["right_lung"] * 3
    assert all(low < end[name].volume_ml < high for name, (low, high) in found.volume_95_ml.items())


def divided(model: ModelBundle) -> ModelBundle:
    """The model, whose left lung has a lower and an upper part, apart at the middle of its template's height."""
    box = template_box(atlas_of(model, "test"), 0)
    low, high = (float(each[2]) for each in (box.lower, box.upper))
    height = torch.linspace(low, high, 33).expand(3, 3, 33) - 0.5 * (low + high)
    parts = StructureParts(("lower", "upper"), 0, torch.stack([height.clamp(min=0.0), -height.clamp(max=0.0)]), box)
    return replace(model, partition=Partition({"left_lung": parts}))


def test_parts_grow_as_the_motion_says_within_them(tiny_atlas: ModelBundle, breath: BreathModel) -> None:
    model = divided(tiny_atlas)
    assert predict_breath(field(tiny_atlas, 1.0), breath).breath.parts() == []
    found = predict_breath(field(model, 1.0), replace(breath, model=model.digest)).breath
    lower, upper = found.parts()
    assert [(each.structure, each.name) for each in (lower, upper)] == [("left_lung", "lower"), ("left_lung", "upper")]
    height, own = grid_nodes(found.field.grid)[..., 2], found.field.structure == 1
    box = template_box(atlas_of(model, "test"), 0)
    middle = 0.5 * float(box.lower[2] + box.upper[2]) * model.manifest.scale_mm + 11.0  # the pose lifts by 11 mm
    for part, inside in ((lower, own & (height < middle)), (upper, own & (height > middle))):
        assert part.growth == pytest.approx(found.field.volume_change[inside].mean(), rel=1e-3)
        assert part.along_mm[2] == pytest.approx(found.field.displacement_mm[inside][:, 2].mean(), abs=0.1)
    assert lower.beside_apices_mm > 2.0 * upper.beside_apices_mm  # what is stretched about its top moves most below


def test_the_uncertainty_is_that_of_left_out_pairs(tiny_atlas: ModelBundle) -> None:
    alike = learn_breath(tiny_atlas, [pair(tiny_atlas, 1.0)] * 3)
    grown = [np.array([1.02, 1.05, 1.3]), GROWN, np.array([1.15, 1.12, 1.05])]
    unlike = learn_breath(tiny_atlas, [pair(tiny_atlas, 1.0, each) for each in grown])
    assert max(float(sd.mean()) for sd in alike.sd_mm.values()) < 2.0
    assert min(float(sd.mean()) for sd in unlike.sd_mm.values()) > 5.0


def test_what_was_assumed_is_said(tiny_atlas: ModelBundle, breath: BreathModel) -> None:
    seen = field(tiny_atlas, 1.0)
    usual = predict_breath(seen, breath)
    before, after = (
        sum(m.volume_ml for m in each.values()) for each in (usual.breath.expiration, usual.breath.inspiration)
    )
    assert after / before == pytest.approx(np.prod(GROWN), rel=1e-3)
    assert any("no volume was given" in note for note in usual.notes)
    smaller = predict_breath(seen, breath, 0.8 * before)
    assert any("in the other direction" in note for note in smaller.notes)
    assert any("extrapolated" in note for note in predict_breath(seen, breath, 1.8 * before).notes)


def test_a_breath_model_is_written_and_read(breath: BreathModel, tmp_path: Path) -> None:
    breath.write(tmp_path / "breath.npz")
    again = read_breath_model(tmp_path / "breath.npz")
    for name, moved in breath.displacement_mm.items():
        assert again.displacement_mm[name] == pytest.approx(moved, abs=1e-4)
    assert again.growth == pytest.approx(breath.growth)
    (tmp_path / "other.npz").write_bytes(b"PK")
    with pytest.raises(FileError, match="damaged"):
        read_breath_model(tmp_path / "other.npz")
    nan = {name: np.full_like(moved, np.nan) for name, moved in breath.displacement_mm.items()}
    replace(breath, displacement_mm=nan).write(tmp_path / "nan.npz")
    with pytest.raises(FileError, match="damaged numbers"):
        read_breath_model(tmp_path / "nan.npz")


def test_what_cannot_be_predicted(tiny_atlas: ModelBundle, breath: BreathModel) -> None:
    seen = field(tiny_atlas, 1.0)
    with pytest.raises(InputError, match="at least 3"):
        learn_breath(tiny_atlas, [pair(tiny_atlas, 1.0)] * 2)
    with pytest.raises(InputError, match="of another model"):
        predict_breath(seen, replace(breath, model="other"), 9000.0)
    with pytest.raises(InputError, match="that a breath reaches"):
        predict_breath(seen, breath, 1e9)
    for volume in (-5.0, float("nan")):
        with pytest.raises(InputError, match="above 0"):
            predict_breath(seen, breath, volume)


# --- Times of a series ------------------------------------------------------------------------------------------------


def test_times_of_a_series() -> None:
    assert Times.of(4).at == (0.0, 1.0, 2.0, 3.0)
    assert Times.of(3, (0.0, 1.0, 4.0), periodic=True).period == 6.0
    around = Times.of(10, periodic=True).correlations()
    assert around[0, 9] == pytest.approx(around[0, 1])
    assert Times.of(10).correlations()[0, 9] < 0.01
    with pytest.raises(InputError, match="at least 3"):
        Times.of(2)
    with pytest.raises(InputError, match="one a state"):
        Times.of(3, (0.0, 1.0))
    with pytest.raises(InputError, match="numbers that grow"):
        Times.of(3, (0.0, 2.0, 1.0))

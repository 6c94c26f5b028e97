"""Lungs with sliders: their ends are the model's own shapes, in the file as in memory."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

import lpm
from lpm.errors import InputError, MisuseError
from lpm.files.meshes import read_mesh
from lpm.fitting.discrepancy.residual import ResidualConfig, ResidualField
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.pose import Pose
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.shapes import measure_shapes
from lpm.model.bundle import ModelBundle
from lpm.motion.glb import sliding_glb
from lpm.motion.prediction import read_breath_model
from lpm.motion.sliders import SliderOptions, SlidingLungs, average_field, sliding_lungs
from lpm.population.knobs import Knobs
from lpm.workflows.breathing import BUNDLED_BREATHS
from lpm.workflows.exporting import ExportRun, export

FACES = 800


@pytest.fixture(scope="module")
def bundled() -> SlidingLungs:
    options = SliderOptions(FACES, n_shapes=3, knobs=False, breath=read_breath_model(BUNDLED_BREATHS[0]))
    return sliding_lungs(average_field(lpm.load().bundle), options)


@pytest.fixture(scope="module")
def turned(tiny_atlas: ModelBundle) -> SlidingLungs:
    return sliding_lungs(average_field(tiny_atlas), SliderOptions(FACES, n_shapes=1))


def at(lungs: SlidingLungs, weights: dict[str, float]) -> dict[str, WorldMesh]:
    """The lungs with ends weighted by their names."""
    found = {}
    for name, mesh in lungs.rest.items():
        moved = sum(weights.get(end.name, 0.0) * end.moved_mm[name] for end in lungs.ends)
        found[name] = WorldMesh(mesh.vertices + moved, mesh.faces)
    return found


def test_an_end_is_a_shape_of_the_model(bundled: SlidingLungs) -> None:
    """Beside its extracted surface, which takes another way than meshes in correspondence."""
    model = lpm.load()
    assert [end.name for end in bundled.ends[2:4]] == ["shape 2, -2 sd", "shape 2, +2 sd"]
    truth = model.shape([0.0, 2.0], spacing_mm=4.0)
    for name, mesh in at(bundled, {"shape 2, +2 sd": 1.0}).items():
        distance, _ = cKDTree(truth[name].vertices).query(mesh.vertices)
        assert np.median(distance) < 2.0  # half the lattice
        assert np.abs(bundled.ends[3].moved_mm[name]).max() > 10.0
        assert mesh.volume_ml == pytest.approx(truth[name].volume_ml, rel=0.03)


def test_between_ends_and_with_two_sliders_lungs_are_near_the_models(bundled: SlidingLungs) -> None:
    truth = lpm.load().shape([1.0, -1.0, 1.0], spacing_mm=4.0)
    weights = {"shape 1, +2 sd": 0.5, "shape 2, -2 sd": 0.5, "shape 3, +2 sd": 0.5}
    for name, mesh in at(bundled, weights).items():
        distance, _ = cKDTree(truth[name].vertices).query(mesh.vertices)
        assert np.median(distance) < 2.5
        assert mesh.volume_ml == pytest.approx(truth[name].volume_ml, rel=0.05)


def test_a_breath_ends_at_its_volume(bundled: SlidingLungs) -> None:
    slider = bundled.sliders[-1]
    (end,) = slider.ends
    growth = float(np.exp(np.log(read_breath_model(BUNDLED_BREATHS[0]).growth).mean()))
    rest, out = (sum(mesh.volume_ml for mesh in at(bundled, w).values()) for w in ({}, {end.name: 1.0}))
    assert slider.rest == pytest.approx(rest, rel=1e-3)
    assert out == pytest.approx(rest / growth, rel=0.02)
    assert end.at == pytest.approx(out, rel=1e-3)
    base = np.concatenate([m[np.argsort(bundled.rest[n].vertices[:, 2])[:40]] for n, m in end.moved_mm.items()])
    assert base[:, 2].mean() > 15.0  # the diaphragm rises


@pytest.mark.slow
def test_knobs_end_where_their_names_say_and_others_follow(turned: SlidingLungs, tiny_atlas: ModelBundle) -> None:
    slider = next(each for each in turned.sliders if each.name == "height_mm")
    sd = Knobs.of(tiny_atlas).sd("height_mm")
    for end, sign in zip(slider.ends, (-1.0, 1.0), strict=True):
        measured = measure_shapes(at(turned, {end.name: 1.0}))["height_mm"]
        assert measured == pytest.approx(end.at, abs=0.01)  # vertices are rounded
        assert measured == pytest.approx(slider.rest + sign * 2.0 * sd, abs=0.06 * sd)


def test_a_fit_keeps_its_place_and_its_residual(tiny_atlas: ModelBundle) -> None:
    pose = Pose(np.array([30.0, -60.0, 200.0]), np.array([1.1, 0.9, 1.0]), np.array([0.0, 0.1, 0.2]))
    beta = torch.zeros(tiny_atlas.latents.n_modes)
    beta[0] = 1.0
    nothing = ResidualField.nothing(ResidualConfig(), len(tiny_atlas.structures))
    lungs = sliding_lungs(
        FittedField(tiny_atlas, beta, pose, nothing, tiny_atlas.structures),
        SliderOptions(FACES, n_shapes=1, knobs=False),
    )
    back = at(lungs, {"shape 1, -2 sd": 0.5, "shape 1, +2 sd": 0.0})
    middle = np.concatenate([mesh.vertices for mesh in lungs.rest.values()]).mean(axis=0)
    assert np.linalg.norm(middle - pose.translation_mm) < 40.0
    truth = lpm.LungModel(tiny_atlas).shape([0.0], pose=pose, spacing_mm=4.0)  # from 1, half the way by -2
    for name, mesh in back.items():
        distance, _ = cKDTree(truth[name].vertices).query(mesh.vertices)
        assert np.median(distance) < 3.0


class Glb:
    """A .glb, read as the format's specification says."""

    def __init__(self, data: bytes) -> None:
        magic, version, length, size = struct.unpack_from("<4I", data)
        assert (magic, version, length) == (0x46546C67, 2, len(data))
        self.scene = json.loads(data[20 : 20 + size])
        self._binary = data[28 + size :]

    def array(self, number: int) -> Floats:
        accessor = self.scene["accessors"][number]
        view = self.scene["bufferViews"][accessor["bufferView"]]
        kind = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
        found = np.frombuffer(self._binary, kind, view["byteLength"] // 4, view["byteOffset"]).astype(float)
        found = found.reshape(accessor["count"], -1)
        if "min" in accessor:
            np.testing.assert_allclose(found.min(axis=0), accessor["min"], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(found.max(axis=0), accessor["max"], rtol=1e-6, atol=1e-6)
        return found


def test_the_file_holds_every_end_as_a_morph_target(bundled: SlidingLungs) -> None:
    glb = Glb(sliding_glb(bundled))
    (mesh,) = glb.scene["meshes"]
    names = mesh["extras"]["targetNames"]
    assert names == [end.name for end in bundled.ends]
    assert mesh["weights"] == [0.0] * len(names)
    assert [material["name"] for material in glb.scene["materials"]] == list(bundled.rest)
    for (name, rest), primitive in zip(bundled.rest.items(), mesh["primitives"], strict=True):
        base = glb.array(primitive["attributes"]["POSITION"])
        np.testing.assert_allclose(base, rest.vertices, atol=1e-3)
        np.testing.assert_array_equal(glb.array(primitive["indices"]).ravel(), rest.faces.ravel())
        assert len(primitive["targets"]) == len(names)
        for end, target in zip(bundled.ends, primitive["targets"], strict=True):
            moved = WorldMesh(base + glb.array(target["POSITION"]), rest.faces)
            np.testing.assert_allclose(moved.vertices, at(bundled, {end.name: 1.0})[name].vertices, atol=1e-3)
            normals = glb.array(primitive["attributes"]["NORMAL"]) + glb.array(target["NORMAL"])
            outward = moved.to_trimesh().vertex_normals
            assert np.median(np.einsum("ij,ij->i", normals, outward)) > 0.98


def test_a_breath_is_an_animation(bundled: SlidingLungs) -> None:
    glb = Glb(sliding_glb(bundled))
    (animation,) = glb.scene["animations"]
    (sampler,), (channel,) = animation["samplers"], animation["channels"]
    assert channel["target"] == {"node": 0, "path": "weights"}
    seconds = glb.array(sampler["input"]).ravel()
    weights = glb.array(sampler["output"]).reshape(len(seconds), -1)
    assert weights[:, -1].max() == 1.0
    assert weights[-1, -1] == 0.0
    assert not weights[:, :-1].any()
    frame_1 = 1.0 / 24.0  # where Blender opens a file: the lungs are at rest there
    assert np.interp(frame_1, seconds, weights[:, -1]) == 0.0


def test_others_read_the_resting_lungs(bundled: SlidingLungs, tmp_path: Path) -> None:
    data = sliding_glb(bundled)
    loaded = trimesh.load(io.BytesIO(data), file_type="glb")
    height_m = sum(loaded.extents[axis] for axis in (1,))  # y is up, in metres
    vertices = np.concatenate([mesh.vertices for mesh in bundled.rest.values()])
    assert height_m == pytest.approx(np.ptp(vertices[:, 2]) / 1000.0, abs=1e-4)
    (tmp_path / "x.glb").write_bytes(data)
    again = read_mesh(tmp_path / "x.glb").vertices
    np.testing.assert_allclose(np.sort(again[:, 0]), np.sort(vertices[:, 0]), atol=1e-2)
    np.testing.assert_allclose(again.max(axis=0), vertices.max(axis=0), atol=1e-2)


def test_a_page_holds_the_sliders_and_asks_for_nothing(tiny_atlas: ModelBundle, tmp_path: Path) -> None:
    options = SliderOptions(FACES, n_shapes=2, knobs=False)
    lungs = export(ExportRun(tiny_atlas, options=options), tmp_path / "x.glb", tmp_path / "x.html")
    assert any("breath" in note for note in lungs.notes)  # the bundled one is another model's
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert text.count("data-slider=") == 2
    assert "default-src 'none'" in text
    data = json.loads(text.partition('<script type="application/json">')[2].partition("</script>")[0])
    assert [each["ends"] for each in data["sliders"]] == [[-2.0, 2.0]] * 2
    assert {len(part["ends"]) for part in data["parts"]} == {4}
    assert (tmp_path / "x.glb").stat().st_size < 200_000


def test_wrong_exports_are_refused(tiny_atlas: ModelBundle, tmp_path: Path) -> None:
    run = ExportRun(tiny_atlas)
    with pytest.raises(MisuseError, match=r"nothing to write; expected --glb FILE, --page FILE"):
        export(run, None, None)
    with pytest.raises(MisuseError, match=r"x\.gltf; expected a name that ends in \.glb"):
        export(run, tmp_path / "x.gltf", None)
    with pytest.raises(InputError, match="learned from fits of another model; expected of the same"):
        export(ExportRun(tiny_atlas, breath=BUNDLED_BREATHS[0]), tmp_path / "x.glb", None)
    with pytest.raises(InputError, match=r"999 shape parameters; expected at most"):
        sliding_lungs(average_field(tiny_atlas), SliderOptions(FACES, n_shapes=999))

"""Evaluation by radiographs: what is compared and how, the baselines, and generated subjects from end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from lpm.apps.cli import run
from lpm.errors import FileError, InputError
from lpm.evaluation.cases import MODEL, summaries
from lpm.evaluation.metrics import MetricsConfig
from lpm.evaluation.xray_baselines import XrayBaselines, field_size_mm, pca_model
from lpm.evaluation.xray_subjects import known_subjects, read_subject, subjects_of
from lpm.evaluation.xray_tables import METHODS
from lpm.evaluation.xrays import (
    PCA,
    XrayEvaluationConfig,
    XrayResult,
    XrayScores,
    compare,
    evaluate_xrays,
    onto,
)
from lpm.files.volumes import write_volume
from lpm.fitting.config import FitConfig
from lpm.geometry.distances import signed_distance
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.model.bundle import ModelBundle, write_bundle
from lpm.xray.files.views import read_views
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import Answers, Reading

COARSE = MetricsConfig(n_surface=2000, voxel_mm=5.0)
TRAIN, TEST = ("one", "two", "three"), ("four",)


def ellipsoid(half: tuple[float, float, float], x: float) -> WorldMesh:
    made = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
    return WorldMesh(np.asarray(made.vertices) * half + np.array([x, 0.0, 0.0]), np.asarray(made.faces))


def two(size: float = 1.0) -> dict[str, WorldMesh]:
    """A smaller left lung: no side can pass for the other."""
    half = (40.0 * size, 60.0 * size, 90.0 * size)
    return {
        "left_lung": ellipsoid(half, -60.0 * size),
        "right_lung": ellipsoid((1.1 * half[0], *half[1:]), 60.0 * size),
    }


def changed(meshes: Mapping[str, WorldMesh], factors: object, shift: object = 0.0) -> dict[str, WorldMesh]:
    return {n: WorldMesh(m.vertices * np.asarray(factors) + np.asarray(shift), m.faces) for n, m in meshes.items()}


# --- Comparing -------------------------------------------------------------------------------------------------------


def test_a_translation_is_forgiven_and_nothing_else() -> None:
    true = two()
    moved = compare(changed(true, 1.0, (30.0, -80.0, 12.0)), true, COARSE)
    assert moved.dice == pytest.approx(1.0, abs=0.01)
    assert moved.assd_mm == pytest.approx(0.0, abs=0.05)
    deeper = compare(changed(true, (1.0, 1.2, 1.0), (0.0, -80.0, 0.0)), true, COARSE)
    assert deeper.depth == pytest.approx(0.2, abs=1e-6)
    assert deeper.volume == pytest.approx(0.2, abs=1e-3)
    assert deeper.width == pytest.approx(0.0, abs=1e-6)
    assert deeper.dice is not None
    assert deeper.dice < 0.95
    exchanged = {"left_lung": true["right_lung"], "right_lung": true["left_lung"]}
    assert onto(exchanged, true)["left_lung"].centroid[0] > 50.0


def test_numbers_of_a_table_have_no_sign() -> None:
    flat = XrayScores(-0.1, depth=-0.2, interval_ml=(90.0, 110.0), holds=False).flat()
    assert flat["volume"] == pytest.approx(0.1)
    assert flat["depth"] == pytest.approx(0.2)
    assert flat["interval"] == pytest.approx(0.2)
    assert flat["holds"] == 0.0
    assert flat["dice"] is None
    results = [
        XrayResult(
            str(volume), MODEL, XrayScores(volume, interval_ml=(1.0, 2.0), holds=volume > 0), 1.0, {}, (), "frontal"
        )
        for volume in (-0.1, 0.3)
    ]
    failed = XrayResult("x", MODEL, None, 1.0, {}, ("no lungs",), "frontal")
    summary = summaries([*results, failed], rng=np.random.default_rng(0), p95=("volume",))["LPM, frontal"]
    assert summary["volume"]["mean"] == pytest.approx(0.2)
    assert summary["volume"]["p95"] == pytest.approx(0.29)
    assert summary["holds"]["mean"] == 0.5
    _, rows = METHODS.rows([*results, failed], {"LPM, frontal": summary})
    assert rows[0][:2] == ["LPM, frontal", "2/3"]


# --- Baselines -------------------------------------------------------------------------------------------------------


def test_pca_of_grids_gives_back_the_lungs_it_learned_from(tiny_atlas: ModelBundle) -> None:
    lungs = [two(size) for size in (0.8, 1.0, 1.1, 1.3)]
    pca = pca_model(tiny_atlas, lungs)
    middle = np.concatenate([mesh.vertices for mesh in lungs[3].values()]).mean(axis=0)
    points = np.random.default_rng(0).uniform((-90, -50, -80), (90, 50, 80), (200, 3))
    pose = pca.world_from_model(middle)
    found = pca.distances_mm(pca.codes[3], pose, points)
    true = np.stack([signed_distance(lungs[3][name], points) for name in pca.structures], axis=1)
    near = np.abs(true) < 20.0  # deep inside, distances have a crease between nodes 5 mm apart
    np.testing.assert_allclose(found[near], true[near], atol=1.0)
    one_each = pca.decoder(pca.codes[3].expand(200, -1), torch.zeros(200, 3))
    np.testing.assert_allclose(one_each, pca.decoder(pca.codes[3:], torch.zeros(200, 3)), atol=1e-5)


def test_regression_and_scaled_mean_follow_the_field(tiny_atlas: ModelBundle) -> None:
    sizes = [np.array([250.0, 240.0, 35_000.0]) * (s, s, s * s) for s in (0.8, 1.0, 1.1, 1.3)]
    lungs = [two(s) for s in (0.8, 1.0, 1.1, 1.3)]
    known = XrayBaselines.learn(tiny_atlas, sizes, lungs)
    volume = sum(mesh.volume_ml for mesh in two(1.2).values())
    assert known.volume_ml(np.array([250.0, 240.0, 35_000.0 * 1.2]) * 1.2) == pytest.approx(volume, rel=1e-6)
    wide = known.scaled(known.mean_field_mm * (1.2, 1.0, 1.0))
    for name, mesh in wide.items():
        ratio = np.ptp(mesh.vertices, axis=0) / np.ptp(known.mean[name].vertices, axis=0)
        np.testing.assert_allclose(ratio, (1.2, 1.1, 1.0))


def test_field_size_is_in_the_patient() -> None:
    field = np.zeros((2, 20, 20), np.float32)
    field[0, 5:16, 2:9] = field[1, 5:16, 11:18] = 1.0
    calm = Answers(0.9, 0.1, 0.1, (1.0, 0.0, 0.0, 0.0))
    reading = Reading(field, field, field, 0.1, (2.0, 2.0), True, calm, ())
    radiograph = Radiograph(np.zeros((40, 40), np.float32), mm_per_px=(3.0, 4.0))
    np.testing.assert_allclose(field_size_mm(reading, radiograph), (15 * 8.0, 10 * 6.0, 154 * 48.0))


# --- Whole subjects --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four generated patients with radiographs, as `lpm xray` writes them."""
    folder = tmp_path_factory.mktemp("subjects")
    for number, name in enumerate((*TRAIN, *TEST)):
        lungs = random_lungs(rng=np.random.default_rng(number))
        ct, labels = render_scan(PhantomScan(lungs, spacing_mm=(6.0, 6.0, 6.0)), rng=np.random.default_rng(number))
        write_volume(folder / "ct" / f"{name}.nii.gz", ct)
        ct_path = str(folder / "ct" / f"{name}.nii.gz")
        assert run(["xray", ct_path, "--out", str(folder / "lungs" / name), "--mm-per-px", "3"]) == 0
        write_volume(folder / "lungs" / name / "labels.nii.gz", labels)
    (folder / "lungs" / "split.json").write_text(json.dumps({"train": TRAIN, "test": TEST}))
    return folder / "lungs"


def test_subjects_are_those_of_the_split(subjects: Path, tmp_path: Path) -> None:
    assert subjects_of(subjects, "test") == ["four"]
    assert subjects_of(subjects, "all") == sorted((*TRAIN, *TEST))
    subject = read_subject(subjects / "four")
    assert set(subject.radiographs) == {"frontal", "lateral"}
    assert subject.radiographs["lateral"].view is not None
    view = read_views(subjects / "four" / "views.json")["lateral"]
    np.testing.assert_array_equal(subject.radiographs["lateral"].view.origin_mm, view.origin_mm)
    with pytest.raises(InputError, match="0 subjects with radiographs"):
        subjects_of(tmp_path, "all")
    with pytest.raises(FileError, match="no such folder"):
        subjects_of(tmp_path / "none", "all")
    (tmp_path / "split.json").write_text("[1]")
    with pytest.raises(FileError, match="no split"):
        subjects_of(tmp_path, "all")


def test_a_subject_without_a_frontal_view_is_refused(subjects: Path, tmp_path: Path) -> None:
    views = json.loads((subjects / "four" / "views.json").read_text())
    views["views"].pop("frontal")
    (tmp_path / "views.json").write_text(json.dumps(views))
    with pytest.raises(InputError, match="views lateral"):
        read_subject(tmp_path)


def test_every_method_is_scored_on_every_view_count(subjects: Path, tiny_atlas: ModelBundle) -> None:
    config = XrayEvaluationConfig(spacing_mm=6.0, fit=FitConfig(max_iterations=4), metrics=COARSE)
    results = {result.label: result for result in evaluate_xrays(tiny_atlas, subjects, config)}
    fitted = [f"{method}, {views}" for views in ("frontal", "frontal + lateral") for method in (MODEL, PCA)]
    assert list(results) == [*fitted, "mean shape, frontal", "mean shape, scaled, frontal", "regression, frontal"]
    for label in fitted:
        scores = results[label].scores
        assert scores is not None
        assert scores.dice is not None
        assert scores.dice > 0.7
        assert scores.interval_ml is not None
        low, high = scores.interval_ml
        true = read_subject(subjects / "four").volume_ml
        assert scores.holds == (low <= true <= high)
    regression = results["regression, frontal"].scores
    assert regression is not None
    assert abs(regression.volume) < 0.5
    assert regression.dice is None


@pytest.mark.usefixtures("small_pictures")
@pytest.mark.slow
def test_the_verb_writes_tables_and_pictures(
    subjects: Path,
    tmp_path: Path,
    tiny_atlas: ModelBundle,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = partial(XrayEvaluationConfig, fit=FitConfig(max_iterations=4), metrics=COARSE)  # no options of the verb
    monkeypatch.setattr("lpm.evaluation.xrays.XrayEvaluationConfig", quick)
    write_bundle(tmp_path / "model", tiny_atlas)
    given = ["evaluate-xray", str(subjects), "--model", str(tmp_path / "model"), "--out", str(tmp_path)]
    assert run([*given, "--no-baselines", "--spacing-mm", "8"]) == 0
    printed = capsys.readouterr().err
    assert "four, LPM, frontal + lateral: Dice" in printed
    assert "not unseen" not in printed
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["methods"]) == {"LPM, frontal", "LPM, frontal + lateral"}
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["views"] for row in rows] == ["frontal", "frontal + lateral"]
    assert float(rows[0]["interval_low_ml"]) < float(rows[0]["interval_high_ml"])
    html = (tmp_path / "report.html").read_text()
    assert "four" in html
    assert (tmp_path / "frontal_lateral_worst.png").exists()


def test_known_subjects_are_told() -> None:
    assert known_subjects(["a", "b"], ["c"], ["d"]) == ""
    told = known_subjects(["a", "b"], ["b"], ["a", "b"])
    assert told == (
        "the model was trained on 1 of the 2 subjects and the reader was trained on 2 of the 2 subjects: "
        "they are not unseen"
    )

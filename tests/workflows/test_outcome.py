"""From files to an outcome and its folder; the command line and the viewer add nothing to the lungs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lpm.apps.cli import run
from lpm.apps.viewer.fits.upload import Options, fit_upload
from lpm.errors import MisuseError
from lpm.files.points import write_points
from lpm.files.volumes import write_volume
from lpm.fitting.evidence.masks import MaskFitConfig
from lpm.geometry.meshes import sample_surface
from lpm.geometry.phantoms import PhantomLungs, to_labels
from lpm.geometry.projection import Beam, turned_view
from lpm.lung_model import load
from lpm.workflows.evidence import fit_labels_file, fit_points_file
from lpm.workflows.outcome import FitRun, OutcomeFiles, silent, write_outcome
from lpm.workflows.radiographs import views_for
from lpm.xray.files.views import ViewsFile, record_of, write_views

SPACING_MM = 8.0


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("points") / "p.ply"
    rng = np.random.default_rng(3)
    lungs = load().shape([0.6, -0.3], spacing_mm=8.0)
    write_points(path, np.concatenate([sample_surface(mesh, 40, rng=rng).points for mesh in lungs.values()]))
    return path


def test_one_file_gives_the_same_lungs_by_every_way(points: Path, tmp_path: Path) -> None:
    model = load()
    by_python = model.fit_points(
        np.asarray(fit_points_file(FitRun(model.bundle, spacing_mm=SPACING_MM), points).points_mm),
        spacing_mm=SPACING_MM,
    )
    by_viewer = fit_upload(model.bundle, [("points", points)], Options(spacing_mm=SPACING_MM), {}, silent).fit
    assert run(["fit", "points", str(points), "--out", str(tmp_path / "fit"), "--spacing-mm", str(SPACING_MM)]) == 0
    by_command = json.loads((tmp_path / "fit" / "fit.json").read_text())["volume_ml"]
    for name, mesh in by_python.lungs.items():
        assert by_viewer.lungs[name].volume_ml == mesh.volume_ml == pytest.approx(by_command[name], rel=1e-9)


@pytest.mark.slow
def test_further_evidence_is_read_by_the_name_of_its_file(points: Path, phantom: PhantomLungs, tmp_path: Path) -> None:
    write_volume(tmp_path / "m.nii.gz", to_labels(phantom, 8.0))
    told: list[str] = []
    fit_run = FitRun(load().bundle, None, SPACING_MM, also=(points,), tell=lambda text, _: told.append(text))
    outcome = fit_labels_file(fit_run, tmp_path / "m.nii.gz", MaskFitConfig(n_points=200))
    assert told == ["reading m.nii.gz", "finding the surface of m.nii.gz", f"fitting {outcome.fit.observed}"]
    assert outcome.fit.observed.endswith("; 80 surface points")
    assert outcome.points_mm is not None
    assert len(outcome.points_mm) > 80 + 100
    assert {"input m.nii.gz", "input p.ply", "seed"} <= set(outcome.provenance)


def test_a_folder_holds_what_was_asked_for(points: Path, tmp_path: Path) -> None:
    outcome = fit_points_file(FitRun(load().bundle, spacing_mm=SPACING_MM), points)
    assert write_outcome(tmp_path / "a", outcome, OutcomeFiles(report=False)) == {}
    names = {"fit.json", "residual.npz", "labels.nii.gz", "left_lung.ply", "right_lung.ply"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    write_outcome(tmp_path / "a", outcome, OutcomeFiles())
    assert "80 surface points" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")


def test_views_of_other_pictures_are_refused(tmp_path: Path) -> None:
    assert views_for(None, {"frontal"}) == {}
    view = turned_view((4, 4), (1.0, 1.0), 20.0, np.zeros(3), Beam(1800.0, 300.0))
    record = record_of(view, "a.png", source_detector_mm=1800.0, source_patient_mm=1500.0)
    for name in ("angle20", "frontal"):
        write_views(tmp_path / f"{name}.json", ViewsFile(made_from="ct", content="attenuation", views={name: record}))
    assert views_for(tmp_path / "frontal.json", {"frontal"})["frontal"].source_patient_mm == 1500.0
    with pytest.raises(MisuseError, match=r"^views: angle20\.json has angle20; expected one of frontal"):
        views_for(tmp_path / "angle20.json", {"frontal"})

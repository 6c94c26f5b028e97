"""A real fit in the viewer's helper process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("viser")

import lpm
from lpm.apps.viewer.fits import service as fits
from lpm.apps.viewer.fits.queue import Place
from lpm.apps.viewer.fits.service import FitService, Task
from lpm.apps.viewer.fits.upload import Options
from lpm.files.points import write_points
from lpm.geometry.meshes import sample_surface
from lpm.workflows.outcome import Outcome, silent


@pytest.mark.slow
def test_a_fit_there_is_that_of_here(tmp_path: Path, rng: np.random.Generator) -> None:
    model = lpm.load()
    meshes = model.shape([0.6], spacing_mm=8.0)
    points = np.concatenate([sample_surface(mesh, 60, rng=rng).points for mesh in meshes.values()])
    write_points(tmp_path / "p.ply", points)
    service, told = FitService(model.bundle, 1), list[str]()
    try:
        with Place(service.queue, lambda _: None) as place:
            given = Task([("points", tmp_path / "p.ply")], Options(spacing_mm=8.0))
            there = service.fit(place, given, lambda text, _: told.append(text))
    finally:
        service.end()
    here = fits._fit(model.bundle, given, silent)
    assert isinstance(there, Outcome)
    assert there.fit.model is model.bundle
    torch.testing.assert_close(there.fit.shape.beta, here.fit.shape.beta, atol=1e-4, rtol=0)
    assert "fitting: step 1" in told

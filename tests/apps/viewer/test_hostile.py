"""While one client sends what means harm, the fit of another ends as if it were alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

pytest.importorskip("viser")

from hostile import Hostile, hostile_uploads
from visitor import Visitor

import lpm
from lpm.apps.viewer.fits.upload import Options
from lpm.apps.viewer.server import ViewConfig, ViewServer
from lpm.geometry.meshes import sample_surface

pytestmark = pytest.mark.slow
UPLOADS = hostile_uploads()


@pytest.fixture(scope="module")
def server() -> Iterator[ViewServer]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lpm.apps.viewer.panels.Options", partial(Options, spacing_mm=6.0))
        made = ViewServer(lpm.load().bundle, ViewConfig(port=0, most_mb=2, with_token=False))
        yield made
        made.stop()


@pytest.fixture(scope="module")
def points_csv() -> bytes:
    rng = np.random.default_rng(1)
    lungs = lpm.load().shape([1.0, -0.5], spacing_mm=8.0)
    points = np.concatenate([sample_surface(mesh, 300, rng=rng).points for mesh in lungs.values()])
    return ("x,y,z\n" + "\n".join(f"{x:.2f},{y:.2f},{z:.2f}" for x, y, z in points)).encode()


def test_uploads_that_mean_harm_are_small() -> None:
    assert all(len(each.content) < 2 * 1024**2 for each in UPLOADS.values())


@pytest.mark.parametrize("each", UPLOADS.values(), ids=list(UPLOADS))
def test_another_fit_ends_as_if_alone(server: ViewServer, points_csv: bytes, each: Hostile) -> None:
    with Visitor(server.port) as good, Visitor(server.port) as bad:
        good.heard("total volume")
        sending = threading.Thread(target=bad.upload, args=(each.button, each.name, each.content))
        sending.start()
        good.upload("Surface points", "points.csv", points_csv)
        good.heard("600 surface points: done")
        sending.join()
        assert each.name in bad.heard(each.name)
        assert not any(each.name in said for said in good.texts())

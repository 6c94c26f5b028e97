"""Sessions of a real server, with clients that speak its protocol."""

from __future__ import annotations

import io
import re
import tempfile
import time
import weakref
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import lpm
from lpm.apps.cli import run
from lpm.files.volumes import write_volume
from lpm.geometry.meshes import sample_surface
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs

pytest.importorskip("viser")

from visitor import Visitor

from lpm.apps.viewer.fits.upload import Options
from lpm.apps.viewer.server import ViewConfig, ViewServer
from lpm.apps.viewer.uploads import safe_name

BETA = re.compile(r"model.shape\(\[(.+)\]\)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewServer]:
    """One that keeps temporary files where a test can see them."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("files"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lpm.apps.viewer.panels.Options", partial(Options, spacing_mm=6.0))
        server = ViewServer(lpm.load().bundle, ViewConfig(port=0, most_mb=1, with_token=False))
        yield server
        server.stop()
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def points_csv() -> bytes:
    """Points on lungs that the model knows, far from the origin."""
    rng = np.random.default_rng(1)
    lungs = lpm.load().shape([1.0, -0.5], spacing_mm=8.0)
    points = np.concatenate([sample_surface(mesh, 60, rng=rng).points for mesh in lungs.values()])
    points[:, 2] += 900.0
    return ("x,y,z\n" + "\n".join(f"{x:.2f},{y:.2f},{z:.2f}" for x, y, z in points)).encode()


def test_lungs_come_by_themselves_and_follow_a_slider(server: ViewServer) -> None:
    with Visitor(server.port) as visitor:
        visitor.wait_for(lambda: visitor.surfaces("/lungs/left_lung"))
        visitor.heard("total volume")
        n = len(visitor.surfaces("/lungs/left_lung"))
        visitor.set("beta 1", 2.0)
        visitor.wait_for(lambda: len(visitor.surfaces("/lungs/left_lung")) > n)
        assert "model.shape([2])" in visitor.heard("model.shape([2])")


@pytest.mark.slow
def test_a_knob_makes_lungs_that_measure_it(server: ViewServer) -> None:
    with Visitor(server.port) as visitor:
        visitor.heard("total volume")
        visitor.set("total volume, ml", 6000.0)
        told = visitor.wait_for(lambda: [found for said in visitor.texts() if (found := BETA.search(said))])
        beta = [float(value) for value in told[-1][1].split(",")]
        volume = sum(mesh.volume_ml for mesh in lpm.load().shape(beta, spacing_mm=4.0).values())
        assert volume == pytest.approx(6000.0, rel=0.01)


def test_buttons_set_all_sliders(server: ViewServer) -> None:
    with Visitor(server.port) as visitor:
        visitor.set("Lungs", "random")
        visitor.wait_for(lambda: sum("value" in (m.get("updates") or {}) for m in visitor.told) >= 9)
        visitor.set("Lungs", "mean")
        visitor.heard("model.shape([])")


def test_points_become_lungs_beside_them(server: ViewServer, points_csv: bytes) -> None:
    with Visitor(server.port) as visitor:
        visitor.upload("Surface points", "points.csv", points_csv)
        visitor.heard("120 surface points: done")
        assert visitor.surfaces("/seen/points")
        visitor.heard("fit to 120 surface points")
        visitor.set("colour by", "uncertainty")
        visitor.heard("standard deviation along the surface")
        visitor.set("Save meshes", value=True)
        start = visitor.wait_for(lambda: [m for m in visitor.told if m["type"] == "FileTransferStartDownload"])[0]
        parts = visitor.wait_for(
            lambda: (
                (found := [m for m in visitor.told if m["type"] == "FileTransferPart"])
                and len(found) == start["part_count"]
                and found
            )
        )
        with zipfile.ZipFile(io.BytesIO(b"".join(part["content"] for part in parts))) as archive:
            assert sorted(archive.namelist()) == ["fit.json", "left_lung.ply", "right_lung.ply"]


@pytest.mark.parametrize(
    ("button", "name", "content", "message"),
    [
        ("Label map", "scan.nii.gz", b"no scan" * 50, "scan.nii.gz: header cannot be read"),
        ("Label map", "letter.docx", b"words", "letter.docx: unknown kind"),
        ("Chest CT", "scans.zip", b"no zip", "scans.zip: cannot be unpacked"),
        ("Surface points", "points.csv", b"x,y,z\n1,2,3\n", "at least 10"),
        ("Surface points", "points.npy", b"\x93NUMPY", "points.npy: cannot be read as points"),
        ("Frontal X-ray", "chest.png", b"\x89PNG", "chest.png"),
        ("Frontal X-ray", "empty.png", b"", "empty.png"),
    ],
)
def test_a_bad_upload_is_told_and_the_next_one_is_taken(
    server: ViewServer, button: str, name: str, content: bytes, message: str
) -> None:
    with Visitor(server.port) as visitor:
        visitor.upload(button, name, content, parts=1 if content else 0)
        said = visitor.heard('role="alert"')
        assert message in said
        assert tempfile.gettempdir() not in said
        visitor.upload(button, "again_" + name, content, parts=1 if content else 0)
        visitor.heard(f"again_{name}")


def test_a_file_that_is_too_large_is_refused_before_it_comes(server: ViewServer) -> None:
    with Visitor(server.port) as visitor:
        visitor.upload("Label map", "huge.nii.gz", b"x", claimed=3 * 1024**3)
        assert "3,072 MB; expected one file at a time, of at most 1 MB" in visitor.heard("huge.nii.gz")


def test_a_file_larger_than_it_claims_is_dropped(server: ViewServer, points_csv: bytes) -> None:
    with Visitor(server.port) as visitor:
        visitor.upload("Surface points", "liar.csv", points_csv, claimed=10)
        visitor.upload("Surface points", "honest.csv", points_csv[:30], parts=1)
        visitor.heard("honest.csv")
        assert not any("liar.csv" in text for text in visitor.texts())


def test_what_one_client_brings_never_reaches_another(server: ViewServer, points_csv: bytes) -> None:
    with Visitor(server.port) as one, Visitor(server.port) as other:
        other.heard("total volume")
        one.upload("Surface points", "private name.csv", points_csv)
        one.heard("120 surface points: done")
        other.set("beta 2", 1.0)
        other.heard("model.shape([0, 1])")
        assert not other.surfaces("/seen/points")
        assert not any("private name" in text or "120 surface points" in text for text in other.texts())


def test_lungs_of_who_has_left_are_forgotten(server: ViewServer) -> None:
    server._shared.known.edit.result()  # which early visitors wait for, those who have left, too
    known: list[weakref.ref[object]] = []
    for n_visits in range(1, 10):
        with Visitor(server.port) as visitor:
            visitor.heard("total volume")
            known += [weakref.ref(session) for session in server._sessions.values()]
        until = time.monotonic() + 10.0
        while server._sessions and time.monotonic() < until:
            time.sleep(0.01)
        alive = sum(each() is not None for each in known)
        if n_visits > 3 and alive <= 2:  # one is in the hands of who forgets it, one's last lungs may be on their way
            return
    pytest.fail(f"{alive} of {n_visits} visits are in memory")


@pytest.mark.slow
def test_lungs_of_a_picture_without_pixel_size_never_get_one(server: ViewServer, tmp_path: Path) -> None:
    ct, _ = render_scan(
        PhantomScan(random_lungs(rng=np.random.default_rng(0)), (4.0, 4.0, 4.0)), rng=np.random.default_rng(1)
    )
    write_volume(tmp_path / "ct.nii.gz", ct)
    assert run(["xray", str(tmp_path / "ct.nii.gz"), "--out", str(tmp_path / "x"), "--mm-per-px", "2"]) == 0
    with Visitor(server.port) as visitor:
        visitor.heard("total volume")
        visitor.upload("Frontal X-ray", "chest.png", (tmp_path / "x" / "frontal.png").read_bytes())
        visitor.heard("These lungs have a shape and no size: there is nothing to turn.")
        n = len(visitor.texts())
        visitor.set("beta 1", 2.0)
        visitor.wait_for(lambda: any("model.shape(" in said for said in visitor.texts()[n:]))
        assert not any("total volume" in said for said in visitor.texts()[n:])


def test_an_error_needs_a_truth_and_uncertainty_a_fit(server: ViewServer) -> None:
    with Visitor(server.port) as visitor:
        visitor.heard("total volume")
        visitor.set("colour by", "error")
        visitor.heard("error: no truth; expected lungs to compare with")
        visitor.set("colour by", "uncertainty")
        visitor.heard("lungs that sliders made; expected fitted lungs")
        visitor.set("with", "kept lungs")
        visitor.heard("compare with kept lungs: there are none")


def test_nobody_can_open_a_tunnel_to_the_outside(server: ViewServer) -> None:
    from viser import _messages

    with Visitor(server.port) as visitor:
        visitor.send(_messages.ShareUrlRequest())
        visitor.heard("total volume")
        assert not any(message["type"] == "ShareUrlUpdated" for message in visitor.told)
    assert _messages.ShareUrlRequest not in server._server._websock_server._incoming_handlers


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("scan.nii.gz", "scan.nii.gz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\a b.png", "a b.png"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x00b\n.ply", "a_b_.ply"),
        ("x" * 300 + ".nii.gz", "x" * 113 + ".nii.gz"),
    ],
)
def test_names_lead_nowhere(given: str, expected: str) -> None:
    assert safe_name(given) == expected

"""The viewer in a real browser, as a person uses it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pydicom
import pytest
from chromium import Server, Viewer, browser, executable
from PIL import Image

import lpm
from dicom_writing import write_scan
from lpm.apps.cli import run
from lpm.geometry.grids import labels_of
from lpm.geometry.meshes import WorldMesh, sample_surface
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import PhantomLungs

pytestmark = pytest.mark.browser
pytest.importorskip("playwright", reason="playwright is not installed: make test-browser")
pytest.importorskip("viser", reason="viser is not installed: the extra view")
if executable() is None:
    pytest.skip("no Chromium on this machine: make test-browser", allow_module_level=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server("--port", "0", "--max-upload-mb", "20")
    yield server
    server.stop()


@pytest.fixture
def viewer(chromium: Any, server: Server) -> Iterator[Viewer]:
    viewer = Viewer(chromium, server.address)
    yield viewer
    viewer.close()


@pytest.fixture(scope="module")
def lungs() -> dict[str, WorldMesh]:
    return lpm.load().shape([0.8, -0.6], spacing_mm=6.0)


@pytest.fixture(scope="module")
def points(lungs: dict[str, WorldMesh]) -> bytes:
    rng = np.random.default_rng(0)
    drawn = np.concatenate([sample_surface(mesh, 80, rng=rng).points for mesh in lungs.values()])
    return b"x,y,z\n" + b"\n".join(b"%.2f,%.2f,%.2f" % tuple(point) for point in drawn)


def written(name: str, volume: Any, folder: Any) -> bytes:
    from lpm.files.volumes import write_volume

    write_volume(folder / name, volume)
    return bytes((folder / name).read_bytes())


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def n_colored(picture: np.ndarray) -> int:
    """Pixels that are neither white nor grey, left of the panel."""
    scene = picture[:, : picture.shape[1] * 6 // 10]
    return int((np.ptp(scene, axis=2) > 25).sum())


def test_lungs_are_seen_and_nothing_is_asked_for_elsewhere(viewer: Viewer, server: Server) -> None:
    viewer.settle()
    assert n_colored(pixels(viewer.picture())) > 20_000
    own = (f"http://127.0.0.1:{server.port}/", f"ws://127.0.0.1:{server.port}", "data:", "blob:")
    assert [url for url in viewer.requests if not url.startswith(own)] == []
    assert viewer.errors == []
    assert viewer.page.title() == "LPM viewer"
    known = "canvas => canvas.getContext('webgl2')?.getContextAttributes().antialias"
    assert viewer.page.locator("canvas").last.evaluate(known) is False  # no graphics card draws here


def test_a_slider_moved_by_keys_moves_the_lungs_and_not_the_camera(viewer: Viewer) -> None:
    viewer.settle()
    before, n = pixels(viewer.picture()), viewer.n_meshes()
    viewer.page.get_by_role("slider", name="beta 1").first.focus()
    for _ in range(20):
        viewer.page.keyboard.press("ArrowRight")
    assert len({mesh["sum"] for mesh in viewer.wait_for_lungs(n)}) > 0
    viewer.settle()
    after = pixels(viewer.picture())
    changed = np.abs(after - before).max(axis=2) > 20
    scene = changed[:, : changed.shape[1] * 6 // 10]
    assert scene[:450].mean() > 0.01
    assert not scene[-60:].any()  # the floor stays where it is


def test_the_mouse_drags_a_slider(viewer: Viewer) -> None:
    viewer.settle()
    n, box = viewer.n_meshes(), viewer.page.get_by_role("slider", name="beta 2").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.down()
    viewer.page.mouse.move(x + 30, y, steps=5)
    viewer.page.mouse.up()
    lengths = {mesh["length"] for mesh in viewer.wait_for_lungs(n)}
    viewer.settle()
    lengths |= {mesh["length"] for mesh in viewer.wait_for_lungs(n)}
    assert len(lengths) >= 2  # coarse ones at first, fine ones in the end


def test_fingers_turn_and_near_lungs_and_move_a_slider_on_a_phone(chromium: Any, server: Server) -> None:
    phone = Viewer(chromium, server.address, (390, 844), touched=True)
    try:
        phone.settle()
        panel = phone.page.get_by_role("tab").first
        scene, tabs = phone.page.locator("canvas").last.bounding_box(), panel.bounding_box()
        assert scene["y"] + scene["height"] <= tabs["y"]  # the panel hides no lungs
        looks = [pixels(phone.picture())[: int(scene["height"])]]
        for fingers in ([((120, 230), (250, 230))], [((170, 230), (110, 230)), ((220, 230), (280, 230))]):
            phone.drag(*fingers)
            phone.settle()
            looks.append(pixels(phone.picture())[: int(scene["height"])])
        turned, neared = (np.abs(b - a).max(axis=2) > 20 for a, b in pairwise(looks))
        assert turned.mean() > 0.02
        assert neared.mean() > 0.02
        slider = phone.page.get_by_role("slider", name="beta 1").first
        box, n = slider.bounding_box(), phone.n_meshes()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        phone.drag(((x, y), (x + 40, y)))
        phone.wait_for_lungs(n)
        assert float(slider.get_attribute("aria-valuenow")) > 0.5
        phone.page.get_by_text("LPM", exact=True).first.tap()
        panel.wait_for(state="hidden")
        phone.page.wait_for_timeout(500)
        assert phone.page.locator("canvas").last.bounding_box()["height"] > 800  # folded: all of the page is for lungs
    finally:
        phone.close()


def test_a_knob_is_turned(viewer: Viewer) -> None:
    viewer.tab("Knobs")
    slider = viewer.page.get_by_role("slider", name="height, mm", exact=True)
    slider.wait_for(timeout=60_000)
    viewer.settle()
    n = viewer.n_meshes()
    for _ in range(20):
        slider.press("ArrowRight")
    viewer.wait_for_lungs(n)
    viewer.settle()
    asked = float(slider.get_attribute("aria-valuenow"))
    viewer.tab("Measure")
    height = viewer.page.get_by_role("row").filter(has_text="height").first.inner_text()
    assert abs(float(height.split()[1]) - asked) < 1.5
    assert viewer.errors == []


def test_points_are_uploaded_and_everything_is_saved(viewer: Viewer, points: bytes) -> None:
    viewer.tab("Fit")
    assert "160 surface points: done" in viewer.upload("Surface points", "points.csv", points)
    viewer.tab("Look")
    viewer.pick("colour by", "uncertainty")
    viewer.page.get_by_text("standard deviation along").wait_for()
    viewer.tab("Measure")
    viewer.page.get_by_text("fit to 160 surface points").wait_for()
    table, panel = viewer.page.locator(".lpm table"), viewer.page.locator(".lpm:has(table)")
    assert table.bounding_box()["width"] <= panel.bounding_box()["width"]  # its last column is seen
    viewer.tab("Save")
    name, content = viewer.saved("Save meshes")
    assert name == "lungs.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert "left_lung.ply" in archive.namelist()
    name, content = viewer.saved("Save labels")
    assert (name, content[:2]) == ("labels.nii.gz", b"\x1f\x8b")
    name, content = viewer.saved("Save report")
    assert name == "report.html"
    assert b"160 surface points" in content
    name, content = viewer.saved("Save picture")
    assert name == "lungs.png"
    assert n_colored(pixels(content)) > 10_000


def test_files_chosen_at_once_are_fitted_together(
    viewer: Viewer, points: bytes, lungs: dict[str, WorldMesh], tmp_path: Any
) -> None:
    labels = labels_of(lungs, spacing_mm=6.0)
    drawn = labels.with_voxels(labels.voxels * (np.arange(labels.voxels.shape[2]) % 4 == 0))
    viewer.tab("Fit")
    viewer.add({"points.csv": points, "Schnitte Lünge.nii.gz": written("l.nii.gz", drawn, tmp_path)})
    viewer.page.get_by_role("button", name="Fit together").wait_for()
    for name, kind in (("points.csv", "surface points"), ("Schnitte Lünge.nii.gz", "label map")):
        assert viewer.page.get_by_label(name, exact=True).first.input_value() == kind
    viewer.page.get_by_role("button", name="Fit together").click()
    said = viewer.page.locator(".lpm[role=alert], .lpm[role=status]:has-text(': done')").first.inner_text()
    assert said.startswith("160 surface points; 10 drawn slices of left_lung and right_lung: done")
    name, content = viewer.saved("Report of this fit")
    assert (name, b"160 surface points" in content) == ("report.html", True)
    assert viewer.page.get_by_role("button", name="DICOM SEG of this fit").count() == 0  # no DICOM came
    viewer.page.get_by_role("button", name="Remove all").click()
    viewer.page.get_by_role("button", name="Fit together").wait_for(state="hidden")
    assert viewer.errors == []


def test_a_dicom_series_is_chosen_without_a_zip_and_its_seg_saved(viewer: Viewer, tmp_path: Any) -> None:
    scan, _ = render_scan(PhantomScan(PhantomLungs(), spacing_mm=(4.0, 4.0, 4.0)), rng=np.random.default_rng(2))
    uid = write_scan(tmp_path / "ct", scan, rng=np.random.default_rng(3))
    viewer.tab("Fit")
    viewer.add({path.name: path.read_bytes() for path in (tmp_path / "ct").iterdir()})
    viewer.page.get_by_role("button", name="Fit together").click()
    viewer.page.get_by_role("button", name="DICOM SEG of this fit").wait_for()
    name, content = viewer.saved("DICOM SEG of this fit")
    seg = pydicom.dcmread(io.BytesIO(content))
    assert name == "lungs_seg.dcm"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == uid
    assert [each.SegmentLabel for each in seg.SegmentSequence] == ["Left lung", "Right lung"]
    assert viewer.errors == []


def test_two_fits_stand_side_by_side_with_colours_of_their_difference(
    chromium: Any, points: bytes, tmp_path: Any
) -> None:
    (tmp_path / "p.csv").write_bytes(points)
    for name, seed in (("before", 0), ("after", 1)):
        drawn = tmp_path / f"{name}.csv"
        shift = np.array([0.0, 0.0, 4.0 * seed])
        places = np.loadtxt(tmp_path / "p.csv", delimiter=",", skiprows=1) + shift
        np.savetxt(drawn, places, delimiter=",", fmt="%.2f", header="x,y,z", comments="")
        given = ["fit", "points", str(drawn), "--out", str(tmp_path / name), "--no-report", "--spacing-mm", "6"]
        assert run(given) == 0
    server = Server("--port", "0", str(tmp_path / "after"), str(tmp_path / "before"))
    viewer = Viewer(chromium, server.address)
    viewer.page.get_by_text("red where after lies beyond before").wait_for()
    viewer.settle()
    picture = pixels(viewer.picture())
    scene = picture[:, : picture.shape[1] * 6 // 10]
    red, blue = ((scene[:, :, i] - scene[:, :, 2 - i] > 40) for i in (0, 2))
    halves = [np.s_[:, : scene.shape[1] // 2], np.s_[:, scene.shape[1] // 2 :]]
    assert all(colour[half].sum() > 300 for colour in (red, blue) for half in halves)  # apex up, base up: both on both
    assert viewer.errors == []
    viewer.close()
    server.stop()


def test_a_label_map_is_uploaded(viewer: Viewer, lungs: dict[str, WorldMesh], tmp_path: Any) -> None:
    viewer.tab("Fit")
    labels = written("labels.nii.gz", labels_of(lungs, spacing_mm=4.0), tmp_path)
    assert "mask of" in viewer.upload("Label map", "labels.nii.gz", labels)
    viewer.tab("Look")
    viewer.pick("slice", "axial")
    assert viewer.errors == []


def test_a_ct_and_its_radiographs_are_uploaded(viewer: Viewer, tmp_path: Any) -> None:
    from lpm.geometry.projection import PARALLEL, turned_view
    from lpm.xray.drr import radiograph
    from lpm.xray.files.reading import write_picture

    scan, _ = render_scan(PhantomScan(PhantomLungs(), spacing_mm=(4.0, 4.0, 4.0)), rng=np.random.default_rng(2))
    viewer.tab("Fit")
    assert ": done" in viewer.upload("Chest CT", "ct.nii.gz", written("ct.nii.gz", scan, tmp_path))
    n_pictures = viewer.page.locator("img").count()
    viewer.page.get_by_label("mm per px").first.fill("1.5")
    viewer.page.keyboard.press("Tab")
    viewer.pick("beam", "parallel")
    for side, angle in (("frontal", 0.0), ("lateral", 90.0)):
        view = turned_view((240, 280), (1.5, 1.5), angle, np.zeros(3), PARALLEL)
        shadow = radiograph(scan, view)
        write_picture(tmp_path / f"{side}.png", (65535 * (shadow / shadow.max())).astype(np.uint16))
        said = viewer.upload(f"{side.title()} X-ray", f"{side}.png", (tmp_path / f"{side}.png").read_bytes())
        assert "radiograph" in said
        assert ": done" in said
    assert viewer.page.locator("img").count() == n_pictures + 2
    assert viewer.errors == []


def test_a_bad_upload_is_told(viewer: Viewer) -> None:
    viewer.tab("Fit")
    said = viewer.upload("Label map", "letter.nii.gz", b"Dear colleague")
    assert said.startswith("letter.nii.gz: header cannot be read")


def test_two_users_see_only_their_own(chromium: Any, viewer: Viewer, server: Server, points: bytes) -> None:
    other = Viewer(chromium, server.address)
    viewer.tab("Fit")
    viewer.upload("Surface points", "mine.csv", points)
    other.tab("Fit")
    assert "mine.csv" not in other.page.content()
    assert "160 surface points" not in other.page.content()
    other.tab("Measure")
    other.page.get_by_text("lungs of the sliders").wait_for()
    other.close()


def test_the_page_comes_back_after_the_server_was_restarted(chromium: Any) -> None:
    first = Server("--port", "0", "--no-token")  # a new server has a new token
    viewer = Viewer(chromium, first.address)
    viewer.settle()
    first.stop()
    n = viewer.n_meshes()
    second = Server("--port", str(first.port), "--no-token")
    viewer.wait_for_lungs(n)
    viewer.settle()
    n = viewer.n_meshes()
    viewer.page.get_by_role("slider", name="beta 1").first.press("ArrowRight")
    viewer.wait_for_lungs(n)
    viewer.close()
    second.stop()


def test_beyond_loopback_a_token_opens_the_page(chromium: Any) -> None:
    server = Server("--host", "0.0.0.0", "--port", "0")  # noqa: S104
    page = chromium.new_context().new_page()
    assert page.goto(f"http://127.0.0.1:{server.port}/").status == 401
    viewer = Viewer(chromium, server.address.replace("0.0.0.0", "127.0.0.1"))  # noqa: S104
    assert viewer.page.url.split("?")[0] == f"http://127.0.0.1:{server.port}/"
    assert "token" not in viewer.page.url
    viewer.close()
    server.stop()


_CONTRASTS = """
() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!c.endsWith(", 0)")) return c; } return "rgb(255, 255, 255)"; };
  const found = [];
  for (const e of document.querySelectorAll("#root *")) {
    const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join("");
    if (!text || !e.getClientRects().length || e.closest(":disabled")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), text.slice(0, 40)]);
  }
  return found;
}
"""


def test_text_stands_out_and_everything_is_reached_by_keys(viewer: Viewer) -> None:
    unnamed = viewer.page.locator("[role=slider]:not([aria-label])").count()
    assert unnamed == 0
    for tab in ("Shape", "Knobs", "Fit", "Look", "Measure", "Save"):
        viewer.tab(tab)
        faint = [(round(ratio, 2), text) for ratio, text in viewer.page.evaluate(_CONTRASTS) if ratio < 4.5]
        assert faint == []
    viewer.tab("Shape")
    reached = []
    for _ in range(30):
        viewer.page.keyboard.press("Tab")
        reached.append(viewer.page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))
    assert {"random", "mean", "reset", "beta 1", "beta 10", "copy"} <= set(reached)

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from PIL import Image

from lpm.errors import InputError
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.geometry.surfaces import extract_surface
from lpm.geometry.volumes import Volume
from lpm.reports.document import Section, write_report
from lpm.reports.fit_plots import SIGMA_MAP
from lpm.reports.plots import ERROR_MAP
from lpm.reports.view3d import Coloring, Part, View3D, digest_of, light, script_of_views

EVIL = "</script><script>alert('&\"')</script>"
DEPTH = Coloring("depth, mm", 10.0, colormaps["viridis"])


@pytest.fixture(scope="module")
def lung() -> WorldMesh:
    labels = to_labels(random_lungs(rng=np.random.default_rng(0)), 6.0)
    return extract_surface(Volume((labels.voxels == 1).astype(np.float32), labels.world_from_voxel), 0.5)


def _page(tmp_path: Path, *views: View3D) -> str:
    path = tmp_path / "report.html"
    write_report(path, "Title", "Lead.", [Section("S", views)], {})
    return path.read_text(encoding="utf-8")


def _data(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json">(.*?)</script>', html)
    assert found
    return dict(json.loads(found[1]))


def _array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_a_page_carries_the_mesh(tmp_path: Path, lung: WorldMesh) -> None:
    values = np.linspace(0.0, 20.0, len(lung.vertices))
    html = _page(
        tmp_path, View3D([Part("left", lung.vertices, lung.faces, "#d98a74", {DEPTH.name: values})], "C", [DEPTH])
    )
    (part,) = _data(html)["parts"]
    steps = _array(part["positions"], "<u2").reshape(-1, 3)
    middle = (lung.vertices.min(axis=0) + lung.vertices.max(axis=0)) / 2.0
    assert np.abs(np.array(part["low"]) + steps * part["step"] + middle - lung.vertices).max() < 0.005
    assert part["index_bytes"] == 2
    assert np.array_equal(_array(part["faces"], "<u2").reshape(-1, 3), lung.faces)
    assert np.array_equal(_array(part["values"][DEPTH.name], "u1"), np.rint(np.clip(values / 10.0, 0, 1) * 255))


def test_points_have_no_faces(tmp_path: Path, lung: WorldMesh) -> None:
    view = View3D([Part("points", lung.vertices, None, "#000000", shown=False)], "C")
    (part,) = _data(_page(tmp_path, view))["parts"]
    assert part["faces"] is None
    assert not part["shown"]


def test_meshes_of_more_vertices_than_two_bytes_count_are_whole(tmp_path: Path) -> None:
    n = 70_000
    points = np.random.default_rng(0).random((n, 3)) * 100
    faces = np.array([[0, 1, n - 1]])
    (part,) = _data(_page(tmp_path, View3D([Part("x", points, faces, "#000000")], "C")))["parts"]
    assert _array(part["faces"], "<u4").tolist() == [0, 1, n - 1]


def test_only_the_page_s_own_script_may_run(tmp_path: Path, lung: WorldMesh) -> None:
    html = _page(tmp_path, View3D([Part("left", lung.vertices, lung.faces, "#d98a74")], "C"))
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert script == script_of_views()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{digest_of(script)}'" in html


def test_a_page_without_views_carries_no_script(tmp_path: Path) -> None:
    assert "<script" not in _page(tmp_path)


def test_the_script_asks_for_nothing_outside() -> None:
    own = script_of_views()
    assert "</script" not in own
    assert not re.search(r"\beval\(|new Function|importScripts", own)


def test_names_cannot_become_markup(tmp_path: Path, lung: WorldMesh) -> None:
    coloring = Coloring(EVIL, 1.0, colormaps["viridis"])
    view = View3D([Part(EVIL, lung.vertices, lung.faces, "#d98a74")], EVIL, [coloring])
    html = _page(tmp_path, view)
    assert EVIL not in html
    assert _data(html)["parts"][0]["name"] == EVIL


def test_a_still_stands_in_where_there_is_no_3d(tmp_path: Path, lung: WorldMesh) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "still.png")
    view = View3D([Part("left", lung.vertices, lung.faces, "#d98a74")], "C", still=tmp_path / "still.png")
    assert '<img class="still" src="data:image/png;base64,' in _page(tmp_path, view)


def test_lengths_that_are_no_millimetres_have_no_scale(tmp_path: Path, lung: WorldMesh) -> None:
    part = Part("left", lung.vertices, lung.faces, "#d98a74")
    assert 'class="scale"' in _page(tmp_path, View3D([part], "C"))
    assert 'class="scale"' not in _page(tmp_path, View3D([part], "C", sized=False))


def test_light_meshes_are_closed_and_keep_their_volume() -> None:
    fine = to_labels(random_lungs(rng=np.random.default_rng(0)), 2.0)
    mesh = extract_surface(Volume((fine.voxels == 1).astype(np.float32), fine.world_from_voxel), 0.5)
    small = light(mesh)
    assert len(small.faces) <= 24_000 < len(mesh.faces)
    assert small.is_closed
    assert small.volume_ml == pytest.approx(mesh.volume_ml, rel=2e-3)


@pytest.mark.parametrize("colors", [SIGMA_MAP, ERROR_MAP], ids=["uncertainty", "error"])
def test_colours_run_from_light_to_dark_or_back_for_those_who_see_no_hues(colors: Any) -> None:
    def luminance(share: float) -> float:
        linear = np.array(to_rgb(colors(share))) ** 2.2
        return float(linear @ [0.2126, 0.7152, 0.0722])

    steps = np.diff([luminance(share) for share in np.linspace(0, 1, 9)])
    assert (steps > 0).all() or (steps < 0).all()


def test_a_view_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no parts"):
        _page(tmp_path, View3D([], "C"))


def test_values_of_another_number_than_points_are_refused(tmp_path: Path, lung: WorldMesh) -> None:
    part = Part("left", lung.vertices, lung.faces, "#d98a74", {DEPTH.name: np.zeros(3)})
    with pytest.raises(InputError, match=r"left: \(3,\) values of 'depth, mm'"):
        _page(tmp_path, View3D([part], "C", [DEPTH]))

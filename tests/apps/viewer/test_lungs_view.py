from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh
from fake_client import Client
from scipy.spatial.transform import Rotation

pytest.importorskip("viser")

from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.lungs_view import LungsView
from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.apps.viewer.scene.shown_lungs import ShownLungs
from lpm.errors import InputError
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.workflows.outcome import Outcome


def balls(radius: float) -> dict[str, WorldMesh]:
    solid = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    vertices, faces = np.asarray(solid.vertices), np.asarray(solid.faces)
    return {
        name: WorldMesh(vertices + np.array([x, 0.0, 0.0]), faces)
        for name, x in (("left_lung", -50.0), ("right_lung", 50.0))
    }


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def view(client: Any) -> LungsView:
    mesher: Any = SimpleNamespace(mean=lambda: balls(30.0))
    return LungsView(Connection(client), mesher, client.gui)


def choose(client: Client, **values: Any) -> None:
    labels = {"quantity": "colour by", "other": "with", "placing": "place"}
    for name, value in values.items():
        client.gui.widgets[labels[name]].fire(value=value)


APART_MM = 180.0 / 2 + 160.0 / 2 + 40.0


def test_other_lungs_stand_beside_and_the_camera_steps_back(view: LungsView, client: Client) -> None:
    view.show(ShownLungs("balls", balls(40.0)))
    choose(client, other="mean lungs", placing="side by side")
    parts = client.scene.parts
    assert parts["/lungs"].position == pytest.approx([APART_MM / 2 / 100.0, 0.0, 0.0])  # the patient's right: our left
    assert parts["/other"].position == pytest.approx([-APART_MM / 2 / 100.0, 0.0, 0.0])
    assert parts["/seen"].position == pytest.approx(parts["/lungs"].position)
    assert parts["/other/left_lung"].opacity is None
    assert client.camera.position[1] == pytest.approx(7.5 * (1.0 + APART_MM / 450.0), rel=0.01)
    choose(client, placing="overlaid")
    assert parts["/lungs"].position == pytest.approx([0.0, 0.0, 0.0])


@pytest.mark.parametrize("degrees", [0.0, 40.0, 90.0, 200.0])
def test_both_stand_side_by_side_and_show_one_side_from_wherever_one_looks(
    degrees: float, view: LungsView, client: Client
) -> None:
    view.show(ShownLungs("balls", balls(40.0)))
    choose(client, other="mean lungs", placing="side by side")
    client.look_from(degrees)
    client.moved(client.camera)
    camera, faces = np.array(client.camera.position), []
    right = Rotation.from_quat(np.roll(client.camera.wxyz, -1)).apply([1.0, 0.0, 0.0])
    for slot, side in (("/lungs", -1.0), ("/other", 1.0)):
        group = client.scene.parts[slot]
        assert np.array(group.position) == pytest.approx(side * APART_MM / 2 / 100.0 * right, abs=1e-9)
        seen_from = Rotation.from_quat(np.roll(group.wxyz, -1)).inv().apply(camera - group.position)
        faces.append(seen_from / np.linalg.norm(seen_from))
    assert faces[0] == pytest.approx(faces[1])
    assert faces[0] == pytest.approx(camera / np.linalg.norm(camera))


def test_a_pair_is_coloured_by_its_difference(view: LungsView, client: Client) -> None:
    first, second = ShownLungs("first <one>", balls(40.0)), ShownLungs("second", balls(38.0))
    view.show_pair(first, second)
    legend = [widget.content for widget in client.gui.widgets.values() if "difference" in str(widget.content)][-1]
    assert "red where first &lt;one&gt; lies beyond second" in legend
    assert "mean 2.00, mean size 2.00" in legend
    assert "-2 and less" in legend
    assert [client.gui.widgets[label].value for label in ("place", "lay")] == ["side by side", "where they lie"]
    assert client.scene.parts["/other/name"].vertices == "second"
    colored = [client.scene.parts[f"/{slot}/left_lung"].vertices for slot in ("lungs", "other")]
    assert all(isinstance(each, bytes) for each in colored)  # GLB, with colours
    far = {name: WorldMesh(mesh.vertices + 500.0, mesh.faces) for name, mesh in balls(38.0).items()}
    view.show_pair(first, ShownLungs("far", far))
    assert client.gui.widgets["lay"].value == "middle on middle"


def test_a_difference_needs_two_lungs_of_one_atlas(view: LungsView, client: Client) -> None:
    view.show(ShownLungs("balls", balls(40.0)))
    choose(client, quantity="difference")
    assert client.told[-1].startswith("difference: nothing to compare with; expected lungs to compare with")
    assert client.gui.widgets["colour by"].value == "structure"
    solid = trimesh.creation.box((20.0, 30.0, 40.0))
    box = WorldMesh(np.asarray(solid.vertices), np.asarray(solid.faces))
    view.show_pair(ShownLungs("balls", balls(40.0)), ShownLungs("balls", balls(40.0)))
    with pytest.raises(InputError, match="lungs whose places do not correspond; expected two lungs of one atlas"):
        view.show_pair(ShownLungs("balls", balls(40.0)), ShownLungs("boxes", {"left_lung": box}))
    unsized = ShownLungs("a film", balls(38.0), ShapeParameters(np.zeros(3), sized=False))
    with pytest.raises(InputError, match="difference: a film, of unknown size; expected lungs in mm"):
        view.show_pair(ShownLungs("balls", balls(40.0)), unsized)


def test_what_is_not_there_is_told_and_the_choice_goes_back(view: LungsView, client: Client) -> None:
    view.show(ShownLungs("balls", balls(40.0)))
    choose(client, other="kept lungs")
    assert client.told[-1].startswith("compare with kept lungs: there are none")
    assert client.gui.widgets["with"].value == "nothing"
    client.gui.widgets["Keep these lungs"].fire()
    assert client.gui.widgets["with"].value == "kept lungs"
    assert "/other/left_lung" in client.scene.parts


def test_lungs_without_a_fit_lose_the_colours_of_one(view: LungsView, client: Client) -> None:
    client.gui.widgets["colour by"].value = "uncertainty"
    view.show(ShownLungs("balls", balls(40.0)))
    assert client.gui.widgets["colour by"].value == "structure"
    assert client.told == []


def test_a_scan_is_leafed_through_and_gives_way_to_points(view: LungsView, client: Client) -> None:
    volume = Volume(np.zeros((20, 20, 20)), np.diag([10.0, 10.0, 10.0, 1.0]))
    fit: Any = SimpleNamespace(lungs=balls(40.0))
    view.show_evidence(Outcome(fit, np.zeros((3, 3)), volume, is_ct=True))
    assert "/seen/points" not in client.scene.parts
    view.show_slice()
    assert client.gui.widgets["Evidence"].visible
    cut = client.scene.parts["/seen/slice"]
    client.gui.widgets["slice"].fire(value="none")
    assert cut.is_removed
    view.show_evidence(Outcome(fit, np.zeros((3, 3))))
    assert not client.gui.widgets["slice"].visible
    seen = client.scene.parts["/seen/points"]
    client.gui.widgets["points"].fire(value=False)
    assert seen.is_removed

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh
from fake_client import Client

pytest.importorskip("viser")

from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.lungs_view import LungsView
from lpm.apps.viewer.scene.shown_lungs import ShownLungs
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


def test_other_lungs_stand_beside_and_the_camera_steps_back(view: LungsView, client: Client) -> None:
    view.show(ShownLungs("balls", balls(40.0)))
    before = np.array(client.scene.parts["/lungs/left_lung"].vertices)
    choose(client, other="mean lungs", placing="side by side")
    moved = np.array(client.scene.parts["/lungs/left_lung"].vertices) - before
    apart_mm = 180.0 / 2 + 160.0 / 2 + 40.0
    assert moved[:, 0] == pytest.approx(apart_mm / 2 / 100.0, abs=0.01)
    assert client.scene.parts["/other/left_lung"].opacity is None
    assert client.camera.position[1] == pytest.approx(7.5 * (1.0 + apart_mm / 450.0), rel=0.01)


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
    assert "/points" not in client.scene.parts
    view.show_slice()
    assert client.gui.widgets["Evidence"].visible
    cut = client.scene.parts["/slice"]
    client.gui.widgets["slice"].fire(value="none")
    assert cut.is_removed
    view.show_evidence(Outcome(fit, np.zeros((3, 3))))
    assert not client.gui.widgets["slice"].visible
    seen = client.scene.parts["/points"]
    client.gui.widgets["points"].fire(value=False)
    assert seen.is_removed

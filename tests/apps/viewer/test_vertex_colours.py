from __future__ import annotations

import numpy as np
import pytest
import trimesh
from matplotlib import colormaps
from scipy.spatial.transform import Rotation

from lpm.apps.viewer.scene.differences import laid
from lpm.apps.viewer.scene.shown_lungs import OTHER_COLOR, ShownLungs, centred_on, decimated_for_display, middle_mm
from lpm.apps.viewer.scene.vertex_colours import VertexColours, difference_colours, vertex_colours
from lpm.errors import InputError
from lpm.geometry.meshes import WorldMesh


def ball(radius: float, x: float = 0.0) -> WorldMesh:
    solid = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return WorldMesh(np.asarray(solid.vertices) + [x, 0.0, 0.0], np.asarray(solid.faces))  # noqa: RUF005


BALLS = {"left_lung": ball(30.0), "right_lung": ball(40.0, 100.0)}
LUNGS = ShownLungs("two balls", BALLS)


def test_structures_are_not_measured() -> None:
    assert vertex_colours("structure", BALLS, LUNGS, None) is None


def test_thickness_of_balls() -> None:
    colours = vertex_colours("thickness", BALLS, LUNGS, None)
    assert colours is not None
    assert colours.values["left_lung"] == pytest.approx(60.0, abs=1.5)
    assert colours.values["right_lung"] == pytest.approx(80.0, abs=2.0)


def test_errors_are_measured_from_the_structure_of_the_same_name() -> None:
    truth = {"left_lung": ball(33.0), "right_lung": ball(35.0, 100.0)}
    colours = vertex_colours("error", BALLS, LUNGS, truth)
    assert colours is not None
    assert colours.values["left_lung"] == pytest.approx(3.0, abs=0.1)
    assert colours.values["right_lung"] == pytest.approx(5.0, abs=0.1)


def test_a_truth_in_one_piece_is_compared_with_both() -> None:
    colours = vertex_colours("error", BALLS, LUNGS, {"lungs": ball(31.0)})
    assert colours is not None
    assert colours.values["left_lung"] == pytest.approx(1.0, abs=0.1)
    assert colours.values["right_lung"].min() > 20.0


def test_an_error_needs_a_truth() -> None:
    with pytest.raises(InputError, match="error: no truth; expected lungs to compare with"):
        vertex_colours("error", BALLS, LUNGS, None)


def test_uncertainty_needs_a_fit() -> None:
    with pytest.raises(InputError, match="uncertainty: lungs that sliders made; expected fitted lungs"):
        vertex_colours("uncertainty", BALLS, LUNGS, None)


def test_colours_run_from_nothing_to_the_top_and_no_further() -> None:
    colours = VertexColours("uncertainty", {"left_lung": np.array([0.0, 2.0, 4.0, 9.0])}, 4.0)
    expected = [colormaps["cividis"](share, bytes=True)[:3] for share in (0.0, 0.5, 1.0, 1.0)]
    assert colours.colors("left_lung").tolist() == [list(map(int, color)) for color in expected]
    assert "4 and more" in colours.legend()
    assert "mean 3.75" in colours.legend()


def test_differences_are_signed_and_what_only_one_has_is_grey() -> None:
    colours = difference_colours(BALLS, {"left_lung": ball(33.0)})
    assert colours.values["left_lung"] == pytest.approx(-3.0, abs=0.05)
    assert np.isnan(colours.values["right_lung"]).all()
    assert colours.colors("left_lung")[0].tolist() == [5, 48, 97]  # the blue end
    assert (colours.colors("right_lung") == OTHER_COLOR).all()
    assert "-3 and less</span><span>0</span><span>3 and more" in colours.legend(("a", "b"))
    within = VertexColours("difference", {"left_lung": np.array([-2.0, 0.0, 2.0])}, 2.0).colors("left_lung").astype(int)
    assert within[0, 2] > within[0, 0]  # blue
    assert np.ptp(within[1]) < 5  # white
    assert within[2, 0] > within[2, 2]  # red


def test_others_are_laid_onto_lungs() -> None:
    turn = Rotation.from_euler("xyz", [20.0, -10.0, 35.0], degrees=True)
    shift = np.array([300.0, -20.0, 9.0])
    moved = {name: WorldMesh(turn.apply(mesh.vertices.copy()) + shift, mesh.faces) for name, mesh in BALLS.items()}
    back = laid(BALLS, moved, "turned onto")
    for name, mesh in BALLS.items():
        assert back[name].vertices == pytest.approx(mesh.vertices, abs=1e-6)
    assert middle_mm(laid(BALLS, moved, "middle on middle")) == pytest.approx(middle_mm(BALLS))
    assert laid(BALLS, moved, "where they lie")["left_lung"].vertices is moved["left_lung"].vertices


@pytest.mark.parametrize("name", ["viridis", "cividis"])
def test_maps_grow_lighter_all_the_way_so_that_they_are_read_without_hue(name: str) -> None:
    colors = colormaps[name](np.linspace(0.0, 1.0, 50))[:, :3]
    assert (np.diff(colors @ [0.2126, 0.7152, 0.0722]) > 0).all()


def test_other_lungs_come_to_the_same_middle_and_keep_their_shape() -> None:
    far = {"left_lung": ball(30.0, 500.0), "right_lung": ball(40.0, 650.0)}
    near = centred_on(BALLS, far)
    assert middle_mm(near) == pytest.approx(middle_mm(BALLS))
    apart = near["right_lung"].centroid - near["left_lung"].centroid
    assert apart == pytest.approx([150.0, 0.0, 0.0], abs=1e-6)


def test_large_meshes_are_thinned_for_the_page_and_stay_closed() -> None:
    solid = trimesh.creation.icosphere(subdivisions=6, radius=50.0)
    shown = decimated_for_display({"left_lung": WorldMesh(np.asarray(solid.vertices), np.asarray(solid.faces))})[
        "left_lung"
    ]
    assert len(shown.faces) <= 16_000 < len(solid.faces)
    assert shown.is_closed

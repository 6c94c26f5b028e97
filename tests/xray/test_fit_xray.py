"""From pictures to lungs, with a reader that knows the truth; and once with the real one on a real patient."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import lpm
from lpm.errors import InputError
from lpm.files.volumes import read_volume
from lpm.fitting.config import FitConfig
from lpm.geometry.projection import PARALLEL, Beam, turned_view
from lpm.geometry.volumes import Volume
from lpm.reports import xray_pictures
from lpm.reports.xray_pictures import draw_views, pictures_of
from lpm.structures import DEFAULT_STRUCTURES
from lpm.xray.files.reading import read_xray
from lpm.xray.files.views import read_views
from lpm.xray.fit import XrayFit, fit_xray
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import Answers, Reading
from true_lungs import TrueLungs

CONE = Beam(1800.0, 200.0)
ROWS, COLUMNS = 26, 26
MM = (16.0, 15.0)  # in the patient
ROUGH, FEW = FitConfig(max_iterations=2), FitConfig(max_iterations=6)
PIXELS = np.zeros((ROWS, COLUMNS), dtype=np.float32)
CALM = Answers(chest=0.9, mirrored=0.1, inverted=0.1, turned=(1.0, 0.0, 0.0, 0.0))


@dataclass
class TrueReader:
    """Sees exact lengths in pictures of known size, whatever is in the pixels."""

    lengths_mm: dict[str, np.ndarray]
    doubts: tuple[str, ...] = ()
    step_px: tuple[float, float] = (1.0, 1.0)
    asked_mm: tuple[float, float] | None = None

    def frontal(self, pixels: np.ndarray, mm_per_px: tuple[float, float] | None = None) -> Reading:
        return self._reading(self.lengths_mm["frontal"], mm_per_px)

    def lateral(self, pixels: np.ndarray, mm_per_px: tuple[float, float] | None = None) -> Reading:
        return self._reading(self.lengths_mm["lateral"].sum(axis=0, keepdims=True), mm_per_px)

    def _reading(self, lengths_mm: np.ndarray, mm_per_px: tuple[float, float] | None) -> Reading:
        self.asked_mm = mm_per_px
        unit = MM[0] if mm_per_px is None else 1.0
        lengths = (lengths_mm / unit).astype(np.float32)
        field = (lengths_mm > 30.0).astype(np.float32)
        sd = np.full_like(lengths, 4.0 / unit)
        return Reading(field, lengths, sd, 0.05, self.step_px, mm_per_px is not None, CALM, self.doubts)


def spacing_of(beam: Beam) -> tuple[float, float]:
    far = beam.source_detector_mm
    size = 1.0 if far is None else far / (far - beam.patient_detector_mm)
    return MM[0] * size, MM[1] * size


def reader_of(lungs: TrueLungs, beam: Beam = PARALLEL, up_mm: float = 0.0, **more: object) -> TrueReader:
    """Of frontal and lateral pictures that are aimed at the lungs' middle; the lateral one higher up."""
    found = {}
    for side, degrees, up in (("frontal", 0.0, 0.0), ("lateral", 90.0, up_mm)):
        aim = lungs.middle_mm + np.array([0.0, 0.0, up])
        found[side] = lungs.lengths_mm(turned_view((ROWS, COLUMNS), spacing_of(beam), degrees, aim, beam))
    return TrueReader(found, **more)


def pictures(beam: Beam = PARALLEL, *, sized: bool = True) -> list[Radiograph]:
    mm = spacing_of(beam) if sized else None
    return [Radiograph(PIXELS, "frontal", mm, beam, name="pa.png"), Radiograph(PIXELS, "lateral", mm, beam)]


@pytest.fixture(scope="module")
def lungs() -> TrueLungs:
    return TrueLungs(lpm.load().bundle)


@pytest.fixture(scope="module")
def reader(lungs: TrueLungs) -> TrueReader:
    return reader_of(lungs)


@pytest.fixture(scope="module")
def two(lungs: TrueLungs) -> XrayFit:
    """Two cone views that nobody placed; the lateral one is aimed 30 mm higher."""
    return fit_xray(lungs.model, pictures(CONE), reader=reader_of(lungs, CONE, 30.0), spacing_mm=4.0)


@pytest.fixture(scope="module")
def unsized(lungs: TrueLungs, reader: TrueReader) -> XrayFit:
    return fit_xray(lungs.model, pictures(sized=False)[:1], reader=reader, spacing_mm=4.0)


# --- What comes out --------------------------------------------------------------------------------------------------


def test_two_pictures_become_the_lungs_they_show(lungs: TrueLungs, two: XrayFit) -> None:
    assert two.sized
    assert two.observed == "frontal and lateral radiographs"
    assert not two.notes
    total = sum(mesh.volume_ml for mesh in two.lungs.values())
    assert total == pytest.approx(lungs.volume_ml, rel=0.03)
    for name, mesh in lungs.meshes.items():
        assert two.lungs[name].is_closed
        assert two.lungs[name].volume_ml == pytest.approx(mesh.volume_ml, rel=0.05)
        np.testing.assert_allclose(two.lungs[name].centroid, mesh.centroid - lungs.middle_mm, atol=8.0)
    low, high = two.interval("total_volume_ml")
    assert low < lungs.volume_ml < high
    assert high - low < 0.5 * lungs.volume_ml


def test_a_view_that_nobody_placed_is_levelled(two: XrayFit) -> None:
    frontal, lateral = two.views
    assert frontal.places_mm([[(ROWS - 1) / 2, 0.0]])[0, 2] == pytest.approx(0.0, abs=1e-9)
    assert lateral.places_mm([[(ROWS - 1) / 2, 0.0]])[0, 2] == pytest.approx(30.0, abs=4.0)
    assert lateral.source_mm is not None
    assert lateral.source_mm[2] == pytest.approx(30.0, abs=4.0)


@pytest.mark.parametrize("placed", [0, 1])
def test_only_the_view_that_nobody_placed_is_moved(lungs: TrueLungs, placed: int) -> None:
    """Also where the other one's world has its origin far away."""
    world = np.array([40.0, -150.0, 900.0])
    given = pictures()
    aim = world + np.array([0.0, 0.0, 30.0 if placed == 1 else 0.0])
    view = turned_view((ROWS, COLUMNS), MM, 90.0 * placed, aim)
    given[placed] = replace(given[placed], mm_per_px=None, view=view)
    fit = fit_xray(lungs.model, given, reader=reader_of(lungs, PARALLEL, 30.0), config=ROUGH, spacing_mm=8.0)
    assert fit.views[placed] is view
    middle = fit.views[1 - placed].places_mm([[(ROWS - 1) / 2, 0.0]])[0, 2]
    assert middle == pytest.approx(900.0 + (30.0 if placed == 0 else 0.0), abs=4.0)
    both = np.concatenate([mesh.vertices for mesh in fit.lungs.values()])
    assert abs(both[:, 2].mean() - 900.0) < 40.0


def test_views_that_are_placed_stay_where_they_are(lungs: TrueLungs, reader: TrueReader) -> None:
    views = [turned_view((ROWS, COLUMNS), MM, degrees, lungs.middle_mm) for degrees in (0.0, 90.0)]
    given = [replace(each, mm_per_px=None, view=view) for each, view in zip(pictures(), views, strict=True)]
    fit = fit_xray(lungs.model, given, reader=reader, config=ROUGH, spacing_mm=8.0)
    assert fit.sized
    assert fit.views == tuple(views)
    for name, mesh in lungs.meshes.items():
        np.testing.assert_allclose(fit.lungs[name].centroid, mesh.centroid, atol=12.0)


def test_without_a_pixel_spacing_there_is_a_shape_and_no_size(unsized: XrayFit) -> None:
    assert not unsized.sized
    assert any("a shape and no size" in note for note in unsized.notes)
    with pytest.raises(InputError, match="lungs of unknown size"):
        unsized.interval("total_volume_ml")
    summary = unsized.summary()
    for name in ("volume_ml", "total_volume_ml", "total_volume_95_ml"):
        assert summary[name] is None
    (picture,) = summary["radiographs"]
    assert picture["mm_per_px"] is None
    assert picture["mm_per_px_used"][0] > 0


def test_without_a_pixel_spacing_the_shape_is_still_right(lungs: TrueLungs, unsized: XrayFit) -> None:
    def width_over_height(meshes: dict) -> float:
        vertices = np.concatenate([mesh.vertices for mesh in meshes.values()])
        width, _, height = np.ptp(vertices, axis=0)
        return float(width / height)

    # square pixels were taken for granted: columns are 15 mm apart, rows 16
    assert width_over_height(unsized.lungs) == pytest.approx(width_over_height(lungs.meshes) * 16 / 15, rel=0.08)


def test_one_spacing_of_two_is_not_enough(lungs: TrueLungs, reader: TrueReader) -> None:
    given = [pictures()[0], pictures(sized=False)[1]]
    fit = fit_xray(lungs.model, given, reader=reader, config=ROUGH, spacing_mm=8.0)
    assert not fit.sized


def test_the_reader_is_told_the_spacing_in_the_patient(lungs: TrueLungs) -> None:
    reader = reader_of(lungs, CONE)
    frontal = lpm.Radiograph(PIXELS, "frontal", spacing_of(CONE), CONE)
    fit = lpm.LungModel(lungs.model).fit_xray([frontal], reader=reader, config=ROUGH, spacing_mm=8.0)
    assert fit.radiographs == (frontal,)
    assert fit.observed == "frontal radiograph"
    assert reader.asked_mm == pytest.approx(MM)


def test_a_coarse_grid_of_the_reader_is_where_it_should_be(lungs: TrueLungs, reader: TrueReader) -> None:
    """A picture of twice the pixels, read on the same grid."""
    coarse = replace(reader, step_px=(2.0, 2.0))
    fine = Radiograph(np.zeros((2 * ROWS, 2 * COLUMNS), np.float32), "frontal", (MM[0] / 2, MM[1] / 2))
    one = fit_xray(lungs.model, [fine], reader=coarse, config=ROUGH, spacing_mm=8.0)
    other = fit_xray(lungs.model, pictures()[:1], reader=reader, config=ROUGH, spacing_mm=8.0)
    for name in one.lungs:
        np.testing.assert_allclose(one.lungs[name].centroid, other.lungs[name].centroid, atol=0.5)


def test_what_the_reader_doubts_is_noted(lungs: TrueLungs) -> None:
    doubt = "This may be no frontal chest radiograph, upright and whole (score 0.10 of 1)."
    reader = reader_of(lungs, doubts=(doubt,))
    fit = fit_xray(lungs.model, pictures()[:1], reader=reader, config=ROUGH, spacing_mm=8.0)
    assert f"frontal: {doubt}" in fit.notes
    assert f"frontal: {doubt}" in fit.summary()["notes"]
    assert fit.summary()["radiographs"][0]["doubts"] == [doubt]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lateral: 2.5 * lateral, "ml of lung, the other"),
        (lambda lateral: np.concatenate([lateral[:, : ROWS // 2 : 2], 0.0 * lateral[:, : -ROWS // 4]], 1), "heights"),
    ],
)
def test_two_pictures_of_different_patients_are_noted(lungs: TrueLungs, reader: TrueReader, change, why: str) -> None:
    lateral = change(reader.lengths_mm["lateral"])[:, :ROWS]
    lateral = np.pad(lateral, ((0, 0), (0, ROWS - lateral.shape[1]), (0, 0)))
    other = TrueReader({**reader.lengths_mm, "lateral": lateral})
    fit = fit_xray(lungs.model, pictures(), reader=other, config=ROUGH, spacing_mm=8.0)
    (note,) = [note for note in fit.notes if "different patients or breaths" in note]
    assert why in note


def test_one_picture_is_not_asked_how_the_patient_leans(unsized: XrayFit, two: XrayFit) -> None:
    assert unsized.config.rotation_sd < two.config.rotation_sd == FitConfig().rotation_sd
    leaning = np.abs(unsized.shape.pose.rotation_rad)
    assert leaning.max() < 0.1


# --- Files -----------------------------------------------------------------------------------------------------------


def test_the_summary_tells_of_each_picture(two: XrayFit) -> None:
    frontal, lateral = json.loads(json.dumps(two.summary()))["radiographs"]
    assert (frontal["side"], lateral["side"]) == ("frontal", "lateral")
    assert (frontal["picture"], lateral["picture"]) == ("pa.png", None)
    assert frontal["size_px"] == [ROWS, COLUMNS]
    assert frontal["mm_per_px"] == pytest.approx(spacing_of(CONE))
    assert frontal["projection"] == "cone"
    assert (frontal["source_detector_mm"], frontal["patient_detector_mm"]) == (1800.0, 200.0)
    assert frontal["magnification"] == pytest.approx(1.125)
    assert frontal["placed"] is False
    assert abs(frontal["gain"]) < 0.05
    assert frontal["gain_sd"] == 0.05
    assert frontal["chest_score"] == 0.9
    assert 0 < frontal["path_errors_mm"]["mean_absolute"] <= frontal["path_errors_mm"]["rms"] < 10.0
    counted = [each["path_errors_mm"]["n"] for each in (frontal, lateral)]
    assert counted == [len(errors) for errors in two.path_errors_mm]
    assert "residuals_mm" not in two.summary()  # no point was seen
    assert counted[0] > counted[1]


def outlined(axes: Axes) -> np.ndarray:
    """Lowest and highest column and row of the outlines."""
    vertices = np.concatenate([path.vertices for lines in axes.collections for path in lines.get_paths()])
    return np.array([vertices.min(axis=0), vertices.max(axis=0)])


def test_lungs_are_outlined_where_the_picture_shows_them(lungs: TrueLungs) -> None:
    whole = turned_view((900, 800), (0.45, 0.5), 0.0, lungs.middle_mm, PARALLEL)
    labels = whole_labels(lungs)
    axes = Figure().subplots()
    xray_pictures._draw_lungs(axes, labels, whole, dict.fromkeys(lungs.meshes, "#000000"))
    vertices = np.concatenate([mesh.vertices for mesh in lungs.meshes.values()])
    pixels = whole.to_pixels(vertices)[:, ::-1]
    true = np.array([pixels.min(axis=0), pixels.max(axis=0)])
    np.testing.assert_allclose(outlined(axes), true, atol=14.0)  # 7 mm: where there are 3 mm of lung


def whole_labels(lungs: TrueLungs) -> Volume:
    low, high = lungs.bounds_mm
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = low
    grid = Volume(np.zeros(np.ceil((high - low) / 3.0).astype(int), np.uint8), affine)
    points = grid.to_world(np.indices(grid.voxels.shape).reshape(3, -1).T.astype(float))
    distances = lungs.distances_mm(points)
    nearest = np.where(distances.min(axis=1) < 0, distances.argmin(axis=1) + 1, 0)
    return grid.with_voxels(nearest.reshape(grid.voxels.shape).astype(np.uint8))


def test_the_pictures_of_a_fit_are_written(two: XrayFit, tmp_path: Path) -> None:
    draw_views(two, tmp_path / "views.png")
    with Image.open(tmp_path / "views.png") as image:
        assert image.width > 1000
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 20
    pictures = pictures_of(two)
    assert [picture.shape[2] for picture in pictures] == [3, 3]
    assert not np.array_equal(*pictures)


# --- Refusals --------------------------------------------------------------------------------------------------------


def test_other_than_one_of_each_side_is_refused(lungs: TrueLungs, reader: TrueReader) -> None:
    with pytest.raises(InputError, match="no radiographs; expected a frontal one"):
        fit_xray(lungs.model, [], reader=reader)
    with pytest.raises(InputError, match="frontal, frontal radiographs; expected a frontal one"):
        fit_xray(lungs.model, pictures()[:1] * 2, reader=reader)


def test_a_picture_without_lungs_is_refused(lungs: TrueLungs, reader: TrueReader) -> None:
    empty = TrueReader({side: 0.0 * lengths for side, lengths in reader.lengths_mm.items()})
    with pytest.raises(InputError, match="lateral radiograph: no lungs were found"):
        fit_xray(lungs.model, pictures()[1:], reader=empty)


@pytest.mark.parametrize(
    ("mm", "given"),
    [((0.5, 0.5), "13 x 13 mm"), ((60.0, 60.0), "lungs [0-9]{3,4} mm high"), ((4.0, 1.0), "104 x 26 mm")],
)
def test_a_spacing_that_cannot_be_is_refused(
    lungs: TrueLungs, reader: TrueReader, mm: tuple[float, float], given: str
) -> None:
    with pytest.raises(InputError, match=f"frontal radiograph: .*{given}.*expected the size of a chest"):
        fit_xray(lungs.model, [Radiograph(PIXELS, "frontal", mm)], reader=reader)


def test_a_model_of_other_structures_is_refused(reader: TrueReader) -> None:
    with pytest.raises(InputError, match="a model of lungs; expected one of left_lung and right_lung"):
        fit_xray(SimpleNamespace(structures=("lungs",)), pictures(), reader=reader)


def test_a_radiograph_must_go_together() -> None:
    with pytest.raises(InputError, match="side 'oblique'; expected one of frontal, lateral"):
        Radiograph(PIXELS, "oblique")
    with pytest.raises(InputError, match="a view of this picture"):
        Radiograph(PIXELS, view=turned_view((ROWS, COLUMNS + 1), MM, 0.0, np.zeros(3)))
    with pytest.raises(InputError, match="no pixel spacing"):
        Radiograph(PIXELS).placed()


# --- Radiographs -----------------------------------------------------------------------------------------------------


def test_the_magnification_is_that_of_the_view_where_there_is_one() -> None:
    assert Radiograph(PIXELS, mm_per_px=MM, beam=CONE).magnification == pytest.approx(1.125)
    flat = turned_view((ROWS, COLUMNS), MM, 0.0, np.zeros(3))
    assert Radiograph(PIXELS, view=flat, beam=CONE).magnification == 1.0
    assert Radiograph(PIXELS, view=flat, beam=CONE).in_patient_mm == pytest.approx(MM)
    far = turned_view((ROWS, COLUMNS), MM, 30.0, (1.0, 2.0, 3.0), Beam(1200.0, 300.0))
    assert Radiograph(PIXELS, view=far, beam=Beam(1800.0, 300.0)).magnification == pytest.approx(1200 / 900)
    assert Radiograph(PIXELS, view=far, beam=Beam(1800.0, 300.0)).source_detector_mm == pytest.approx(1200.0)


def test_lungs_of_a_patient_taken_in_bed_are_not_mirrored(lungs: TrueLungs) -> None:
    beam = Beam(1000.0, 150.0, back_to_front=False)
    fit = fit_xray(lungs.model, pictures(beam)[:1], reader=reader_of(lungs, beam), config=FEW, spacing_mm=8.0)
    left, right = (fit.lungs[name] for name in ("left_lung", "right_lung"))
    assert left.centroid[0] < 0 < right.centroid[0]
    assert left.volume_ml + right.volume_ml == pytest.approx(lungs.volume_ml, rel=0.08)


# --- A real patient --------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.slow
def test_a_real_patients_lungs(real_lungs: Path) -> None:
    folder = real_lungs / "luna16_0645"  # one of the training subjects
    views = read_views(folder / "views.json")
    given = [Radiograph(read_xray(folder / f"{side}.png").pixels, side, view=views[side]) for side in views]
    fit = lpm.load().fit_xray(given, spacing_mm=4.0)
    labels = read_volume(folder / "labels.nii.gz")
    true = np.isin(labels.voxels, sum(DEFAULT_STRUCTURES.values(), ()))
    total = sum(mesh.volume_ml for mesh in fit.lungs.values())
    assert total == pytest.approx(true.sum() * labels.voxel_ml, rel=0.1)
    found = fit.labels(labels).voxels > 0
    middles = [np.argwhere(mask).mean(axis=0) for mask in (true, found)]
    moved = np.roll(found, np.round(middles[0] - middles[1]).astype(int), axis=(0, 1, 2))
    assert 2.0 * (moved & true).sum() / (moved.sum() + true.sum()) > 0.9
    assert abs(middles[0] - middles[1]).max() * max(labels.spacing_mm) < 10.0


@pytest.mark.parametrize("n_pictures", [1, 2])
def test_a_size_from_the_prior_is_wide_and_marked(lungs: TrueLungs, reader: TrueReader, n_pictures: int) -> None:
    taken = [replace(each, size_from_prior=True) for each in pictures(sized=False)[:n_pictures]]
    assumed = fit_xray(lungs.model, taken, reader=reader, spacing_mm=4.0)
    known = fit_xray(lungs.model, pictures()[:n_pictures], reader=reader, spacing_mm=4.0)
    assert assumed.sized
    low, high = assumed.interval("total_volume_ml")
    assert low < lungs.volume_ml < high
    assert high - low > 1.5 * np.ptp(known.interval("total_volume_ml"))
    assert any(
        note.startswith("NO PIXEL SPACING: the size is that which the model's training") for note in assumed.notes
    )
    (first, *_) = assumed.summary()["radiographs"]
    assert first["size_from_prior"]
    assert first["mm_per_px"] is None
    assert not any(note.startswith("NO PIXEL SPACING") for note in known.notes)

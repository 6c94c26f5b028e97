"""Reading radiographs: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from lpm.errors import FileError, InputError, SchemaError
from lpm.model.tensors import read_tensors, write_tensors
from lpm.xray.crops import Window, grid_shape, onto_picture, squared
from lpm.xray.novelty import field_figures, strangeness, whole_pieces
from lpm.xray.reader import BUNDLED, XrayReader, load_reader


@pytest.fixture(scope="session")
def reader() -> XrayReader:
    return load_reader()


@pytest.fixture(scope="session")
def drawn() -> np.ndarray:
    """Two dark ovals in a bright trunk on black: 300 x 260, no square, no symmetry."""
    rows, columns = np.mgrid[:300, :260]
    trunk = np.clip(1.2 - ((columns - 130) / 125) ** 6, 0, 0.8) * (1.0 - 0.2 * rows / 300)
    right = ((rows - 140) / 95) ** 2 + ((columns - 75) / 42) ** 2 < 1
    left = ((rows - 135) / 90) ** 2 + ((columns - 190) / 36) ** 2 < 1
    return np.where(right | left, 0.25 * trunk, trunk).astype(np.float32)


def real_xray(real_lungs: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    folder = real_lungs.parent / "xrays"
    if not folder.is_dir():
        pytest.skip(f"no real radiographs at {folder}")
    image, mask = (np.asarray(Image.open(folder / kind / f"{name}.png").convert("L")) for kind in ("images", "masks"))
    return image.astype(np.float32) / 255.0, mask > 127


def dice(found: np.ndarray, true: np.ndarray) -> float:
    return 2.0 * float((found & true).sum()) / float(found.sum() + true.sum())


def test_the_bundle_is_small_and_holds_tensors_alone() -> None:
    files = {file.name: file.stat().st_size for file in BUNDLED.iterdir()}
    assert set(files) == {"weights.safetensors", "bundle.json"}
    assert sum(files.values()) <= 4_000_000
    with safe_open(str(BUNDLED / "weights.safetensors"), framework="np") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_the_bundle_keeps_test_radiographs_out_and_names_its_data(reader: XrayReader) -> None:
    manifest = reader.bundle.manifest
    assert len(manifest.test_names) == 121
    assert not set(manifest.test_names) & set(manifest.training_names)
    assert {name[:6] for name in manifest.test_names} == {"CHNCXR", "MCUCXR"}
    for source in ("Montgomery", "Shenzhen", "LUNA16", "CC BY"):
        assert source in manifest.data


def test_a_frontal_reading_lies_on_the_pictures_grid(reader: XrayReader, drawn: np.ndarray) -> None:
    reading = reader.frontal(drawn, (1.2, 1.2))
    assert reading.field.shape == reading.path_length.shape == reading.path_sd.shape == (2, 300, 260)
    assert reading.field.dtype == reading.path_length.dtype == reading.path_sd.dtype == np.float32
    assert reading.field.min() >= 0
    assert reading.field.max() <= 1
    assert (reading.path_length >= 0).all()
    assert (reading.path_sd > 0).all()
    assert reading.step_px == (1.0, 1.0)
    assert reading.in_mm


def test_a_lateral_reading_has_both_lungs_together(reader: XrayReader, drawn: np.ndarray) -> None:
    reading = reader.lateral(drawn)
    assert reading.field.shape == reading.path_length.shape == (1, 300, 260)
    assert not reading.in_mm


def test_the_patients_right_is_on_the_pictures_left(reader: XrayReader, drawn: np.ndarray) -> None:
    left, right = reader.frontal(drawn).field
    columns = np.arange(260)
    assert np.average(columns, weights=left.sum(axis=0)) > np.average(columns, weights=right.sum(axis=0)) + 50


def test_a_large_picture_is_read_on_a_coarser_grid(reader: XrayReader, drawn: np.ndarray) -> None:
    large = np.kron(drawn, np.ones((4, 4), np.float32))
    reading = reader.frontal(large)
    assert reading.field.shape == (2, 512, 444)
    assert reading.step_px == (1200 / 512, 1040 / 444)


def test_lengths_scale_with_the_pixel_spacing(reader: XrayReader, drawn: np.ndarray) -> None:
    small, large = reader.frontal(drawn, (1.0, 1.0)), reader.frontal(drawn, (1.5, 1.5))
    np.testing.assert_allclose(large.path_length, 1.5 * small.path_length, rtol=1e-5)
    np.testing.assert_allclose(large.path_sd, 1.5 * small.path_sd, rtol=1e-5)
    pixels = reader.frontal(drawn)
    np.testing.assert_allclose(pixels.path_length, small.path_length, rtol=1e-5)


def test_oblong_pixels_are_allowed_for(reader: XrayReader, drawn: np.ndarray) -> None:
    squashed = np.asarray(Image.fromarray(drawn).resize((260, 150), Image.Resampling.BOX))
    tall, squat = reader.frontal(drawn, (1.0, 1.0)), reader.frontal(squashed, (2.0, 1.0))
    volumes = [float(tall.path_length.sum()), 2.0 * float(squat.path_length.sum())]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)


def test_reading_twice_gives_the_same(reader: XrayReader, drawn: np.ndarray) -> None:
    first, again = reader.frontal(drawn, (1.0, 1.0)), load_reader().frontal(drawn, (1.0, 1.0))
    np.testing.assert_array_equal(first.field, again.field)
    np.testing.assert_array_equal(first.path_length, again.path_length)
    assert first.doubts == again.doubts


def test_a_saturated_picture_earns_a_doubt(reader: XrayReader, drawn: np.ndarray) -> None:
    assert not any("saturated" in doubt for doubt in reader.frontal(drawn).doubts)
    burnt = np.clip(5.0 * drawn, 0.0, 1.0)
    assert any("saturated" in doubt for doubt in reader.frontal(burnt).doubts)


def test_noise_earns_doubts(reader: XrayReader, rng: np.random.Generator) -> None:
    noise = rng.random((256, 256))
    assert reader.frontal(noise).doubts
    assert reader.looks_like_chest(noise) < 0.5


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((100, 100, 3)), "rows x columns of one grey channel"),
        (np.zeros((40, 100)), "at least 64 a side"),
        (np.full((100, 100), np.nan), "not finite"),
        (np.eye(100) * 255.0, "0 to 1"),
        (np.full((100, 100), 0.5), "blank"),
    ],
)
def test_what_is_no_picture_is_refused(reader: XrayReader, pixels: np.ndarray, message: str) -> None:
    for read in (reader.frontal, reader.lateral, reader.looks_like_chest):
        with pytest.raises(InputError, match=message):
            read(pixels)


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ((0.0, 1.0), "two positive numbers"),
        ((np.nan, 1.0), "two positive numbers"),
        ((0.1, 1.0), "about the same size"),
    ],
)
def test_what_is_no_spacing_is_refused(
    reader: XrayReader, drawn: np.ndarray, spacing: tuple[float, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        reader.frontal(drawn, spacing)


@pytest.mark.real
def test_an_absurd_spacing_earns_a_doubt(reader: XrayReader, real_lungs: Path) -> None:
    image, _ = real_xray(real_lungs, reader.bundle.manifest.test_names[0])
    assert any("mm high" in doubt for doubt in reader.frontal(image, (0.01, 0.01)).doubts)


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"bundle\.json"):
        load_reader(tmp_path)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLED, tmp_path / "bundle"))


def test_a_bundle_of_another_version_is_refused(copied: Path) -> None:
    manifest = json.loads((copied / "bundle.json").read_text())
    (copied / "bundle.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(SchemaError, match="schema version 99"):
        load_reader(copied)


def test_weights_of_another_network_are_refused(copied: Path) -> None:
    tensors, notes = read_tensors(copied / "weights.safetensors")
    tensors.pop("answers.bias")
    write_tensors(copied / "weights.safetensors", tensors, notes)
    with pytest.raises(SchemaError, match="other tensors"):
        load_reader(copied)


def test_weights_that_are_not_finite_are_refused(copied: Path) -> None:
    tensors, notes = read_tensors(copied / "weights.safetensors")
    tensors["answers.bias"][0] = float("nan")
    write_tensors(copied / "weights.safetensors", tensors, notes)
    with pytest.raises(FileError, match="not finite"):
        load_reader(copied)


def test_weights_too_large_are_refused_unread(copied: Path) -> None:
    with (copied / "weights.safetensors").open("ab") as file:
        file.truncate(20_000_000)
    with pytest.raises(FileError, match="at most 16 MB"):
        load_reader(copied)


def test_a_window_goes_onto_the_picture_where_it_was_taken() -> None:
    rows, columns = np.mgrid[:200, :300]
    blob = np.exp(-(((rows - 60) / 12) ** 2 + ((columns - 210) / 15) ** 2)).astype(np.float32)
    picture = squared(blob, (1.0, 1.0))
    window = Window(60.5 / 300, 210.5 / 300, 0.4)
    seen = picture.seen(window, 192)
    back = onto_picture((seen[0] > 0).float(), window, picture.extent, (200, 300))[0].numpy()
    row, column = (np.average(place, weights=back) for place in (rows, columns))
    assert abs(row - 60) < 1
    assert abs(column - 210) < 1
    assert back[:10].max() == 0


def test_a_grid_is_the_pictures_own_up_to_512() -> None:
    assert grid_shape((512, 300)) == (512, 300)
    assert grid_shape((1024, 3072)) == (171, 512)


def test_small_pieces_are_dropped_and_holes_filled() -> None:
    field = np.full((200, 200), 0.02, np.float32)
    field[20:120, 30:90] = 0.97
    field[60:64, 50:54] = 0.1  # a dense spot
    field[160:170, 60:70] = 0.9  # gas in the stomach
    field[20:120, 90] = 0.4  # the edge is no step
    cleaned = whole_pieces(field)
    assert cleaned[60:64, 50:54].min() == 1
    assert cleaned[160:170, 60:70].max() == 0
    assert cleaned[50, 90] == np.float32(0.4)
    np.testing.assert_array_equal(cleaned[20:60, 30:90], field[20:60, 30:90])
    np.testing.assert_array_equal(whole_pieces(0 * field), 0 * field)


def test_a_lung_in_two_parts_keeps_both() -> None:
    field = np.zeros((100, 100), np.float32)
    field[10:50, 20:50], field[55:75, 20:50] = 0.9, 0.9
    np.testing.assert_array_equal(whole_pieces(field) > 0.5, field > 0.5)


def test_figures_tell_a_field_from_a_strange_one() -> None:
    fields = np.zeros((2, 100, 100), np.float32)
    fields[0, 20:80, 55:85], fields[1, 20:80, 10:45] = 1.0, 1.0
    figures = field_figures(fields, (1.0, 1.0))
    assert figures["the gap between the lungs"] == pytest.approx(10 / 75)
    assert figures["the ratio of the areas"] == pytest.approx(np.log(30 / 35))
    far = strangeness(figures, figures | {"the ratio of the areas": 0.0}, dict.fromkeys(figures, 0.1))
    assert max(far, key=lambda name: far[name]) == "the ratio of the areas"
    assert field_figures(0 * fields, (1.0, 1.0)) == {}


@pytest.mark.real
def test_a_real_radiograph_is_read_in_every_guise(reader: XrayReader, real_lungs: Path) -> None:
    for name in (reader.bundle.manifest.test_names[0], reader.bundle.manifest.test_names[-1]):
        image, mask = real_xray(real_lungs, name)
        plain = reader.frontal(image)
        assert dice((plain.field > 0.5).any(axis=0), mask) > 0.93
        assert plain.answers.chest > 0.5
        inverted = reader.frontal(1.0 - image)
        assert dice((inverted.field > 0.5).any(axis=0), mask) > 0.92
        assert any("exchanged" in doubt for doubt in inverted.doubts)


@pytest.mark.real
def test_a_turned_radiograph_is_told_so(reader: XrayReader, real_lungs: Path) -> None:
    image, _ = real_xray(real_lungs, reader.bundle.manifest.test_names[0])
    doubts = reader.frontal(np.ascontiguousarray(np.rot90(image))).doubts
    assert any("turned by 90 degrees" in doubt for doubt in doubts)


@pytest.mark.real
def test_a_mirrored_radiograph_is_told_so(reader: XrayReader, real_lungs: Path) -> None:
    image, _ = real_xray(real_lungs, reader.bundle.manifest.test_names[0])
    for picture, expected in ((image, False), (np.ascontiguousarray(image[:, ::-1]), True)):
        assert any("mirrored" in doubt for doubt in reader.frontal(picture).doubts) == expected


@pytest.mark.real
def test_a_lateral_given_as_frontal_earns_a_doubt(reader: XrayReader, real_lungs: Path) -> None:
    picture = Image.open(real_lungs / "luna16_0596" / "lateral.png").convert("L")
    pixels = np.asarray(picture, np.float32) / 255.0
    assert any("no frontal" in doubt for doubt in reader.frontal(pixels).doubts)
    assert reader.looks_like_chest(pixels, lateral=True) > 0.5


@pytest.mark.real
def test_two_narrow_radiographs_in_one_picture_are_told_of(reader: XrayReader, real_lungs: Path) -> None:
    first, second = (real_xray(real_lungs, name)[0] for name in reader.bundle.manifest.test_names[:2])
    both = np.concatenate([first[:, 40:216], second[:, 40:216]], axis=1)  # 1.4 times as wide as high
    assert any("two pictures side by side?" in doubt for doubt in reader.frontal(both).doubts)
    assert not any("two pictures" in doubt for doubt in reader.frontal(first).doubts)


def computed(real_lungs: Path, name: str, view: str, width: int = 500) -> np.ndarray:
    """A radiograph computed from a CT, 500 x 500, squeezed to a width."""
    picture = Image.open(real_lungs / name / f"{view}.png").convert("L").resize((width, 500))
    return np.asarray(picture, np.float32) / 255.0


@pytest.mark.real
@pytest.mark.parametrize("view", ["frontal", "lateral"])
@pytest.mark.parametrize("name", ["luna16_1616", "luna16_7830", "luna16_8684"])
def test_one_radiograph_whose_halves_look_like_laterals_is_not_two(
    reader: XrayReader, real_lungs: Path, name: str, view: str
) -> None:
    pixels = computed(real_lungs, name, view)
    reading = reader.frontal(pixels) if view == "frontal" else reader.lateral(pixels)
    assert not any("two pictures" in doubt for doubt in reading.doubts)


@pytest.mark.real
@pytest.mark.parametrize("views", [("frontal", "lateral"), ("lateral", "frontal"), ("lateral", "lateral")])
def test_two_views_in_one_picture_are_told_of(reader: XrayReader, real_lungs: Path, views: tuple[str, str]) -> None:
    names = ("luna16_0596", "luna16_1616")
    left, right = (computed(real_lungs, name, view, 360) for name, view in zip(names, views, strict=True))
    both = np.concatenate([left, right], axis=1)  # 1.44 times as wide as high
    assert any("two pictures side by side?" in doubt for doubt in reader.frontal(both).doubts)


@pytest.mark.real
@pytest.mark.parametrize("degrees", [12, -12])
def test_a_radiograph_photographed_askew_is_told_so(reader: XrayReader, real_lungs: Path, degrees: int) -> None:
    image, _ = real_xray(real_lungs, reader.bundle.manifest.test_names[0])
    turned = Image.fromarray((image * 255).astype(np.uint8)).rotate(degrees, fillcolor=10)
    doubts = reader.frontal(np.asarray(turned, np.float32) / 255.0).doubts
    assert any("The lungs seem tilted by" in doubt for doubt in doubts)
    assert not any("tilted" in doubt for doubt in reader.frontal(image).doubts)

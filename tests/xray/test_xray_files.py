"""Radiographs in pictures: every way to store the same grey values, and what is no radiograph."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpm.errors import FileError, InputError
from lpm.xray.files.reading import Xray, read_field, read_xray, write_picture

ROWS, COLUMNS = 90, 120


def chest() -> np.ndarray:
    """Grey values from 0 to 255 that tell every direction apart."""
    row, column = np.indices((ROWS, COLUMNS))
    return np.round(255.0 * (row / ROWS + 0.5 * (column / COLUMNS) ** 2) / 1.48).clip(0, 255).astype(np.uint8)


EXPECTED = (chest() - chest().min()) / float(chest().max() - chest().min())


def deep() -> Image.Image:
    return Image.fromarray(chest().astype(np.uint16) * 257)


def twelve_bit() -> Image.Image:
    return Image.fromarray(chest().astype(np.uint16) * 16)


def coloured(mode: str) -> Image.Image:
    return Image.fromarray(chest()).convert("RGB").convert(mode)


@pytest.mark.parametrize(
    ("name", "make", "tolerance"),
    [
        ("a.png", lambda: Image.fromarray(chest()), 1e-6),
        ("a.png", deep, 1e-6),
        ("a.png", twelve_bit, 1e-6),
        ("a.png", lambda: coloured("RGB"), 1e-6),
        ("a.png", lambda: coloured("RGBA"), 1e-6),
        ("a.png", lambda: Image.fromarray(chest()).convert("LA"), 1e-6),
        ("a.png", lambda: Image.fromarray(chest()).convert("P"), 1e-6),
        ("a.jpg", lambda: Image.fromarray(chest()), 0.02),
        ("a.jpg", lambda: coloured("RGB"), 0.02),
        ("a.tif", lambda: Image.fromarray(chest()), 1e-6),
        ("a.tif", deep, 1e-6),
        ("a.tif", lambda: Image.fromarray(chest().astype(np.float32) / 9.0), 1e-6),
        ("a.tif", lambda: Image.fromarray(chest().astype(np.int32) * 1000), 1e-6),
    ],
)
def test_every_kind_gives_the_same_values(
    tmp_path: Path, name: str, make: Callable[[], Image.Image], tolerance: float
) -> None:
    make().save(tmp_path / name)
    found = read_xray(tmp_path / name)
    assert found.pixels.dtype == np.float32
    np.testing.assert_allclose(found.pixels, EXPECTED, atol=tolerance)
    assert (found.mm_per_px, found.view, found.position, found.source_detector_mm) == (None, None, None, None)


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(chest()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_allclose(read_xray(tmp_path / "a.jpg").pixels, EXPECTED, atol=1e-6)


def test_a_resolution_in_the_file_is_not_believed(tmp_path: Path) -> None:
    Image.fromarray(chest()).save(tmp_path / "a.png", dpi=(72, 72))
    assert read_xray(tmp_path / "a.png").mm_per_px is None
    assert read_xray(tmp_path / "a.png", mm_per_px=0.143).mm_per_px == (0.143, 0.143)


def test_colour_is_noted_and_grey_is_not(tmp_path: Path) -> None:
    coloured("RGB").save(tmp_path / "a.png")
    assert read_xray(tmp_path / "a.png").notes == ("colour (RGB) turned to grey; its channels are equal",)
    Image.fromarray(chest()).save(tmp_path / "a.png")
    assert read_xray(tmp_path / "a.png").notes == ()


def test_a_coloured_mark_is_no_photograph(tmp_path: Path) -> None:
    marked = np.array(coloured("RGB"))
    marked[:8, :8] = [255, 0, 0]
    Image.fromarray(marked).save(tmp_path / "a.png")
    assert read_xray(tmp_path / "a.png").pixels.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize(("bits", "order"), [(8, "<"), (8, ">"), (16, "<")])
def test_a_tiff_whose_zero_is_white_is_turned(tmp_path: Path, bits: int, order: str) -> None:
    values = (255 - chest().astype(np.uint16)) * (1 if bits == 8 else 257)
    write_tiff(tmp_path / "a.tif", values, bits, order)
    np.testing.assert_allclose(read_xray(tmp_path / "a.tif").pixels, EXPECTED, atol=1e-6)


def write_tiff(path: Path, values: np.ndarray, bits: int, order: str, photometric: int = 0) -> None:
    """A TIFF of one strip, by hand: pillow writes no 16 bits whose zero is white."""
    data = values.astype(f"{order}u{bits // 8}").tobytes()
    rows, columns = values.shape
    tags = [(256, 4, columns), (257, 4, rows), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, rows), (279, 4, len(data))]
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *value)
        for tag, kind, value in ((t, k, (v, 0) if k == 3 else (v,)) for t, k, v in tags)
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(data))
    path.write_bytes(head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))


def test_exif_turns_it_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # the stored picture has to be turned by 90 degrees
    Image.fromarray(np.rot90(chest()).copy()).save(tmp_path / "a.png", exif=exif)
    found = read_xray(tmp_path / "a.png")
    np.testing.assert_allclose(found.pixels, EXPECTED, atol=1e-6)
    assert found.notes == ("turned upright as its EXIF says",)


def test_a_negative_can_be_undone() -> None:
    xray = Xray(EXPECTED.astype(np.float32), (0.2, 0.2))
    np.testing.assert_allclose(xray.inverted().pixels, 1.0 - EXPECTED, atol=1e-6)
    assert xray.inverted().notes == ("inverted",)
    assert xray.inverted().mm_per_px == (0.2, 0.2)


# --- Refusals --------------------------------------------------------------------------------------------------------


def photograph() -> Image.Image:
    row, column = np.indices((ROWS, COLUMNS))
    return Image.fromarray(np.stack([2 * row, column, 200 - row], axis=-1).astype(np.uint8))


def saturated() -> Image.Image:
    values = chest().copy()
    values[:70] = 255
    return Image.fromarray(values)


def mask() -> Image.Image:
    return Image.fromarray(np.where(chest() > 120, 255, 0).astype(np.uint8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (photograph, r"a.png: \d+% of the pixels are coloured; expected a grey radiograph. Try: .*photograph"),
        (saturated, r"a.png: \d+% of the pixels are the brightest value 255: saturated.*at most 60%.*crop its borders"),
        (lambda: Image.fromarray(255 - np.asarray(saturated())), r"darkest value 0: saturated"),
        (lambda: Image.new("L", (99, 99), 7), r"a.png: blank: every pixel is 7; expected a radiograph"),
        (mask, r"a.png: 2 grey values: next to no contrast, or a mask; expected at least 16"),
        (lambda: mask().convert("1"), r"a.png: black and white only; expected grey values. Try: .*not its mask"),
        (lambda: Image.fromarray(chest()[:63]), r"a.png: 63 x 120 pixels; expected at least 64 a side"),
    ],
)
def test_what_is_no_radiograph_is_refused(tmp_path: Path, make: Callable[[], Image.Image], message: str) -> None:
    make().save(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        read_xray(tmp_path / "a.png")


@pytest.mark.parametrize("mm_per_px", [0.0, -0.2, 0.019, 5.1, float("nan"), float("inf")])
def test_an_absurd_spacing_is_refused(tmp_path: Path, mm_per_px: float) -> None:
    Image.fromarray(chest()).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"mm_per_px: .* mm between pixels; expected 0.02 to 5 mm. Try: chest"):
        read_xray(tmp_path / "a.png", mm_per_px=mm_per_px)


def empty_png(path: Path, columns: int, rows: int) -> None:
    """A PNG whose header claims a size, with next to nothing behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("columns", "rows"), [(20_000, 10_000), (10_001, 10_000), (60_000, 60_000), (2_000_000_000, 64)]
)
def test_too_many_pixels_are_refused_before_memory_is_taken(
    tmp_path: Path, columns: int, rows: int, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_png(tmp_path / "a.png", columns, rows)

    def load(self: Image.Image) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(InputError, match=r"a.png: .*\d+.*; expected at most 100 megapixels. Try: scale it down"):
        read_xray(tmp_path / "a.png")
    assert len(recwarn) == 0


def test_a_hundred_megapixels_are_looked_at(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    empty_png(tmp_path / "a.png", 10_000, 10_000)  # above pillow's own warning
    with pytest.raises(FileError, match=r"a.png: damaged"):
        read_xray(tmp_path / "a.png")
    assert len(recwarn) == 0


def test_several_pictures_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(chest()), Image.fromarray(255 - chest())]
    for name in ("a.tif", "a.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(InputError, match=rf"{name}: 2 pictures in one file; expected one radiograph"):
            read_xray(tmp_path / name)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    values = chest().astype(np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a.tif: NaN or infinite pixels; expected finite"):
        read_xray(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a.png: not an image of a kind that is read; expected a PNG, JPEG, TIFF or DICOM file"),
        (b"lungs", r"not an image"),
        (b"MM\0*" + bytes(100), r"not an image"),
        (b"GIF89a" + bytes(100), r"not an image.*convert it to PNG"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(FileError, match=message):
        read_xray(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_half_a_file_is_refused(tmp_path: Path, name: str, rng: np.random.Generator) -> None:
    noise = rng.integers(0, 255, (ROWS, COLUMNS)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=rf"{name}: (damaged|not an image)"):
        read_xray(tmp_path / name)


@pytest.mark.parametrize("what", ["no such file", "a folder"])
def test_no_file_is_refused(tmp_path: Path, what: str) -> None:
    if what == "a folder":
        (tmp_path / "a.png").mkdir()
    with pytest.raises(FileError, match=rf"a.png: {what}; expected one radiograph. Try: a PNG, JPEG, TIFF or DICOM"):
        read_xray(tmp_path / "a.png")


def test_a_written_picture_is_read(tmp_path: Path) -> None:
    write_picture(tmp_path / "b" / "a.png", chest().astype(np.uint16) * 257)
    np.testing.assert_allclose(read_xray(tmp_path / "b" / "a.png").pixels, EXPECTED, atol=1e-6)
    with pytest.raises(FileError, match=r"a.png: cannot be written .*check free space"):
        write_picture(tmp_path / "b" / "a.png" / "a.png", chest().astype(np.uint16))


# --- Drawn fields ----------------------------------------------------------------------------------------------------


def field() -> np.ndarray:
    """Left and right, unlike each other."""
    found = np.zeros((2, ROWS, COLUMNS), dtype=bool)
    found[0, 20:60, 70:100], found[1, 15:75, 15:50] = True, True
    return found


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.png", lambda mask: Image.fromarray(mask.astype(np.uint8) * 255)),
        ("a.png", lambda mask: Image.fromarray(mask.astype(np.uint8))),
        ("a.png", Image.fromarray),
        ("a.tif", lambda mask: Image.fromarray(mask.astype(np.uint8) * 255)),
        ("a.jpg", lambda mask: Image.fromarray(mask.astype(np.uint8) * 255)),
        ("a.png", lambda mask: Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")),
    ],
)
def test_a_drawn_field_is_read(tmp_path: Path, name: str, make: Callable[[np.ndarray], Image.Image]) -> None:
    make(field().any(axis=0)).save(tmp_path / name)
    found = read_field(tmp_path / name)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, field().any(axis=0))


def test_a_field_of_ones_and_twos_tells_left_from_right(tmp_path: Path) -> None:
    Image.fromarray(np.where(field()[0], 1, np.where(field()[1], 2, 0)).astype(np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_field(tmp_path / "a.png"), field())


@pytest.mark.parametrize(
    ("values", "message"),
    [(chest(), "grey values"), (0 * chest(), "0% of the pixels"), (np.full_like(chest(), 255), "100% of the pixels")],
)
def test_what_is_no_drawn_field_is_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        read_field(tmp_path / "a.png")
    with pytest.raises(FileError, match="no such file"):
        read_field(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(FileError, match="not an image of a kind"):
        read_field(tmp_path / "text.png")

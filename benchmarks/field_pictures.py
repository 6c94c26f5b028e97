"""CTs of all sizes and views with the lungs that were found: a table and two contact sheets for docs/segment.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from cells import Json, stamped
from field_rows import CROPS, SCALES
from lpm.evaluation.tables import markdown
from lpm.files.volumes import read_volume
from lpm.geometry.volumes import Volume, canonical
from marked import write_section

TILE, GAP, TITLE = 190, 6, 14  # pixels
ADULT_MM = 360.0  # that a tile of a scaled CT shows
COLORS = {1: (227, 74, 51), 2: (44, 162, 180)}  # left, right


def write_sizes_and_views(found: Mapping[str, Json], labels: Mapping[str, Path], cases: Path, segment: Path) -> None:
    """Put the table and the contact sheets into docs/segment.md, between its marks.

    Args:
        found: Findings by path of the CT in the folder of cases.
        labels: Label maps that were found, likewise.
        cases: Folder of cases.
        segment: The page; pictures lie beside it.
    """
    sized = {path: f"{by:g} of its size" for path, by in sorted(SCALES.items(), key=lambda each: -each[1])}
    cropped = {f"{path}.nii.gz": title for path, title in CROPS.items()}
    for name, titles in (("sized", sized), ("cropped", cropped)):
        across_mm = ADULT_MM if name == "sized" else None
        tiles = [
            tile(cases / path, labels[path], f"{title}: Dice {' / '.join(dice_of(found[path]))}", across_mm)
            for path, title in titles.items()
        ]
        sheet(tiles, 3).save(segment.parent / "pictures" / f"{name}.webp", quality=70)
    rows = [[title, *dice_of(found[path]), told(found[path])] for path, title in (sized | cropped).items()]
    table = markdown(["`LIDC-IDRI-0001`", "Dice left", "Dice right", "what is told"], rows)
    stamps = "\n".join(sorted({stamped(each) for each in found.values()}))
    pictures = (
        "![The CT at nine sizes, with the lungs that were found](pictures/sized.webp)\n\n"
        "![The CT cropped in twelve ways, with the lungs that were found](pictures/cropped.webp)"
    )
    body = f"{table}\n`-`: less than 100 ml of that lung is in view. {stamps}\n\n{pictures}"
    write_section(segment, "sizes and views", body)


def dice_of(found: Json) -> list[str]:
    (values,) = found["dice"].values()
    return ["-" if each is None else f"{each:.3f}" for each in values]


def told(found: Json) -> str:
    """The first words of each note."""
    return "; ".join(note.partition(":")[0].partition(", a ")[0] for note in found["notes"]) or "nothing"


def tile(ct: Path, labels: Path, title: str, across_mm: float | None) -> Image.Image:
    """A frontal and an axial slice through the middle of the lungs, side by side; None fills the tile."""
    scan, lungs = canonical(read_volume(ct)), canonical(read_volume(labels))
    middle = np.median(np.argwhere(lungs.voxels > 0), axis=0).astype(int)
    pair = [cut(scan, lungs, axis, int(middle[axis]), across_mm) for axis in (1, 2)]
    image = Image.new("RGB", (2 * TILE + GAP, TILE + TITLE), "white")
    ImageDraw.Draw(image).text((0, 0), title, fill="black")
    for n, each in enumerate(pair):
        image.paste(each, (n * (TILE + GAP) + (TILE - each.width) // 2, TITLE + (TILE - each.height) // 2))
    return image


def cut(scan: Volume, lungs: Volume, axis: int, index: int, across_mm: float | None) -> Image.Image:
    """A slice as a radiologist sees it, the patient's right on the left, with outlines."""
    others = [each for each in range(3) if each != axis]
    shown = np.take(scan.voxels, index, axis).astype(float)
    grey = (np.clip((shown + 1200.0) / 1500.0, 0, 1) * 255).astype(np.uint8)
    mm = np.array(grey.shape) * scan.spacing_mm[others]
    size = tuple(int(each) for each in np.maximum(mm / (across_mm or mm.max()) * TILE, 1))
    image = Image.fromarray(seen(grey)).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    pixels = np.asarray(image).copy()
    for side, color in COLORS.items():
        mask = seen((np.take(lungs.voxels, index, axis) == side).astype(np.uint8) * 255)
        inside = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR)) > 127
        pixels[inside & ~ndimage.binary_erosion(inside)] = color
    return Image.fromarray(pixels)


def seen(slice_: np.ndarray) -> np.ndarray:
    """From (R, other) to rows from above or from the front, and columns from the patient's right to the left."""
    return np.ascontiguousarray(slice_.T[::-1, ::-1])


def sheet(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    """Tiles in rows."""
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].size
    image = Image.new("RGB", (columns * (width + 2 * GAP), rows * (height + GAP)), "white")
    for n, each in enumerate(tiles):
        image.paste(each, (n % columns * (width + 2 * GAP), n // columns * (height + GAP)))
    return image

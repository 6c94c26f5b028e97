"""Small pictures of cases, contours over the scan, and one sheet of all, worst first."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lpm.files.atomic import atomic_file, write_text
from lpm.geometry.volumes import Volume

Picture = NDArray[np.uint8]
_HEIGHT_PX = 220  # of a panel of the sheet
_WINDOW_HU = (-1100.0, 250.0)  # shows lung, vessels and chest wall at once
# of contours, by structure: told from each other and from grey
_COLORS = np.array([[217, 138, 116], [111, 155, 198], [143, 181, 115], [211, 178, 92], [165, 139, 192]], dtype=np.uint8)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; color: #222; }
section { border-top: 1px solid #ddd; padding: .6rem 0; display: grid; grid-template-columns: 320px 1fr; gap: 1rem; }
img { max-width: 100%; background: #111; } h2 { font-size: 1rem; margin: 0; } p { margin: .2rem 0; }
@media (max-width: 44rem) { body { margin: 1rem; } section { display: block; } }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { section { break-inside: avoid; } }
.rejected h2 { color: #b3261e; } .doubtful h2 { color: #96690a; } .good h2 { color: #2e6b36; }
"""


_MEANING = (
    "Good: nothing to note. Doubtful: look at the contours before you rely on it; it is used. Rejected: it enters "
    "neither training nor test. Failed: nothing of it could be prepared."
)


def draw_preview(labels: Volume, hu: Volume | None) -> Picture:
    """A coronal, a sagittal and an axial slice through the middle of the lungs, side by side, contours over the scan.

    Args:
        labels: Axes nearly along R, A, S.
        hu: The CT on the same grid; None for a mask alone.

    Returns:
        (h, w, 3) colours. The patient's right is on the picture's left, the head or the front above.
    """
    middle = [int(np.median(np.flatnonzero((labels.voxels > 0).any(axis=_others(axis))))) for axis in range(3)]
    last = np.flatnonzero((labels.voxels == labels.voxels.max()).any(axis=(1, 2)))
    middle[0] = int(np.median(last))
    panels = [_panel(labels, hu, axis, middle[axis]) for axis in (1, 0, 2)]
    return np.concatenate([np.pad(panel, ((0, 0), (0, 6), (0, 0))) for panel in panels], axis=1)


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return first, second


def _panel(labels: Volume, hu: Volume | None, axis: int, index: int) -> Picture:
    across, up = _others(axis)
    drawn = labels.voxels.take(index, axis=axis)
    shown = (drawn > 0) * 500.0 - 900.0 if hu is None else hu.voxels.take(index, axis=axis).astype(float)
    low, high = _WINDOW_HU
    grey = (np.clip((shown - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    height_mm = drawn.shape[1] * labels.spacing_mm[up]
    width_mm = drawn.shape[0] * labels.spacing_mm[across]
    size = (max(round(_HEIGHT_PX * width_mm / height_mm), 1), _HEIGHT_PX)
    background = np.asarray(Image.fromarray(_upright(grey)).resize(size, Image.Resampling.BILINEAR))
    names = np.asarray(Image.fromarray(_upright(drawn.astype(np.uint8))).resize(size, Image.Resampling.NEAREST))
    picture = np.repeat(background[:, :, None], 3, axis=2)
    edge = ndimage.morphological_gradient(names, size=3) > 0
    value = ndimage.maximum_filter(names, size=3)
    picture[edge] = _COLORS[(value[edge].astype(int) - 1) % len(_COLORS)]
    return picture


def _upright(slice_: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As pictures are stored: rows from above; and looked at from the front, the patient's right on the left."""
    return np.ascontiguousarray(slice_.T[::-1, ::-1])


def write_png(picture: Picture, path: Path) -> None:
    """Write a picture.

    Raises:
        FileError: The disk refuses.
    """
    with atomic_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)


@dataclass(frozen=True)
class Card:
    """A case on the sheet.

    Args:
        subject: Its name.
        verdict: good, doubtful, rejected or failed.
        findings: Findings of the quality gate.
        facts: Further lines.
        picture: PNG file, if there is one.
    """

    subject: str
    verdict: str
    findings: tuple[str, ...]
    facts: tuple[str, ...]
    picture: Path | None


# the worst first
_ORDER: Mapping[str, int] = {"failed": 0, "rejected": 1, "doubtful": 2, "good": 3}


def write_sheet(cards: Sequence[Card], path: Path, title: str, provenance: Mapping[str, str]) -> None:
    """Write one HTML file with all cases, the worst first; it needs no other file.

    Args:
        cards: Cases.
        path: Output path.
        title: Title of the page.
        provenance: Rows of the last section: versions, parameters, seed.
    """
    ordered = sorted(cards, key=lambda card: (_ORDER[card.verdict], -len(card.findings), card.subject))
    counts = ", ".join(f"{sum(card.verdict == name for card in cards)} {name}" for name in _ORDER)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>",
        f"<p>{len(cards)} cases: {counts}. Coronal, sagittal (right lung) and axial slice; left lung red, right blue; ",
        "the patient's right is on the picture's left, in the sagittal slice the front is.</p>",
        f"<p>{_MEANING}</p>",
        *map(_card, ordered),
        "<h2>Provenance</h2><dl>",
        *(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in provenance.items()),
        "</dl></body></html>\n",
    ]
    write_text(path, "".join(parts))


def _card(card: Card) -> str:
    lines = [f"<p>{html.escape(text)}</p>" for text in (*card.findings, *card.facts)]
    picture = ""
    if card.picture is not None and card.picture.is_file():
        data = base64.b64encode(_small(card.picture)).decode()
        picture = f"<img alt='{html.escape(card.subject)}' src='data:image/png;base64,{data}'>"
    words = f"<div><h2>{html.escape(card.subject)}: {card.verdict}</h2>{''.join(lines)}</div>"
    return f"<section class='{card.verdict}'>{words}<div>{picture}</div></section>"


def _small(path: Path) -> bytes:
    """The picture with few colours, so that a sheet of thousands can be opened."""
    buffer = BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(64).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()

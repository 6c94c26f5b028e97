"""An interactive 3D view as a part of a page: data, controls, and the script that draws them (three.js, inside)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, to_hex

from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Indices, WorldMesh
from lpm.geometry.surfaces import decimate

VIEW_FACES = 24_000
_STOPS = 33
_STEPS = 65_535
_VIEWS = ("front", "back", "patient's left", "patient's right", "above", "below")


@dataclass(frozen=True)
class Coloring:
    """How a number of each vertex becomes a colour.

    Args:
        name: Name of the number, with its unit.
        top: Value of the last colour; what lies above takes it too.
        colors: Colours from `low` to `top`.
        low: Value of the first colour; what lies below takes it too.
    """

    name: str
    top: float
    colors: Colormap
    low: float = 0.0

    @property
    def stops(self) -> list[str]:
        """Evenly spaced colours, #rrggbb."""
        return [to_hex(self.colors(share)) for share in np.linspace(0.0, 1.0, _STOPS)]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Part:
    """Part of a view that can be shown and hidden: a surface, or points where faces are None.

    Args:
        name: Name of the part.
        points: (n, 3) RAS mm.
        faces: (f, 3) triangles.
        color: #rrggbb.
        values: (n,) numbers by the name of the `Coloring` that shows them.
        opacity: 1 for solid.
        shown: Whether it is visible from the start.
        frames: (n, 3) each: where the points are as it moves, in order; empty for what rests.
        ends: (n, 3) each: where the points are at the ends of the view's sliders, in order; empty for what rests.
    """

    name: str
    points: Floats
    faces: Indices | None
    color: str
    values: Mapping[str, Floats] = field(default_factory=dict)
    opacity: float = 1.0
    shown: bool = True
    frames: Sequence[Floats] = ()
    ends: Sequence[Floats] = ()


@dataclass(frozen=True)
class ViewSlider:
    """A slider that moves parts along straight lines; several add up.

    Args:
        name: Name of what it changes, with its unit.
        rest: Its value where nothing moves.
        ends: Its lowest and highest value, or the one of them that there is beside `rest`.
        plays: Whether a button lets it go there and back.
    """

    name: str
    rest: float
    ends: Sequence[float]
    plays: bool = False


@dataclass(frozen=True)
class View3D:
    """A view of parts that can be turned, zoomed and coloured.

    Args:
        parts: Parts, at least one; `light` makes a mesh small enough.
        caption: Caption: what it shows.
        colorings: That one can choose; the first is shown first.
        sized: Whether lengths are millimetres.
        still: A .png of the same for browsers that show no 3D.
        frames: Names of the frames through which parts move: shown beside a slider.
        swings: Whether playing goes there and back; else from the last frame to the first.
        sliders: That move parts.
    """

    parts: Sequence[Part]
    caption: str
    colorings: Sequence[Coloring] = ()
    sized: bool = True
    still: Path | None = None
    frames: Sequence[str] = ()
    swings: bool = True
    sliders: Sequence[ViewSlider] = ()


def light(mesh: WorldMesh) -> WorldMesh:
    """The same surface with so few triangles that a page can carry it."""
    return decimate(mesh, VIEW_FACES)


def script_of_views() -> str:
    """Script that a page with views must run, after them, with the licence of three.js, which asks to go along."""
    licence = f"/*! three.js\n{_carried('three.LICENSE')}*/"
    return "\n".join([licence, *(_carried(name) for name in ("three.min.js", "view3d.js"))])


def style_of_views() -> str:
    """Style sheet of views, for the screen and for paper."""
    return _carried("view3d.css")


def _carried(name: str) -> str:
    return (files("lpm.reports") / "page_files" / name).read_text(encoding="utf-8")


def digest_of(script: str) -> str:
    """Digest by which a page's security policy names a script that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def write_view(view: View3D, number: int, still: str = "") -> str:
    """Return the HTML of a view.

    Args:
        view: View to write.
        number: Number of the figure.
        still: Its still picture as the source of an <img>.

    Raises:
        InputError: There is nothing to show, or a part has values of another number than its points.
    """
    data = json.dumps(_data(view)).replace("<", "\\u003c")
    legends = "".join(_legend(coloring, hidden=index > 0) for index, coloring in enumerate(view.colorings))
    sides = "".join(f'<span class="side {name}" aria-hidden="true"></span>' for name in _SIDES)
    scale = '<span class="scale"></span>' if view.sized else ""
    source = f' src="{still}"' if still else ""
    return (
        f'<figure class="view3d"><div class="stage">{sides}{scale}<p class="no3d">{_NO_SCRIPT}</p>'
        f'<img class="still"{source} alt="{escape(view.caption)}"></div>'
        f'<div class="controls">{_toggles(view)}{_choice(view)}{_player(view)}{_buttons()}</div>'
        f"{_sliders(view)}{legends}"
        f"<figcaption><b>Figure {number}.</b> {escape(view.caption)} <span class='hint'>{_HINT}</span></figcaption>"
        f'<script type="application/json">{data}</script></figure>'
    )


_SIDES = ("left", "right", "top", "bottom")
_NO_SCRIPT = "The 3D view needs a browser that runs scripts."
_HINT = (
    "Drag to turn; click it and use the wheel, or pinch, to zoom; with the keyboard: arrows turn, + and - zoom, "
    "0 goes back. Letters at the edges are the patient's sides."
)


def _toggles(view: View3D) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" data-part="{index}"{" checked" if part.shown else ""}>'
        f'<span class="swatch" style="background:{part.color}"></span>{escape(part.name)}</label>'
        for index, part in enumerate(view.parts)
    )
    return f"<fieldset><legend>Show</legend>{boxes}</fieldset>"


def _choice(view: View3D) -> str:
    if not view.colorings:
        return ""
    names = [*(coloring.name for coloring in view.colorings), PLAIN]
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in names)
    return f"<label>Colour by <select>{options}</select></label>"


PLAIN = "structure"


def _player(view: View3D) -> str:
    """A button that plays the frames, and a slider over them."""
    if not view.frames:
        return ""
    return (
        '<span class="player"><button type="button" class="play" aria-pressed="false">play</button>'
        f'<input type="range" class="frame" min="0" max="{len(view.frames) - 1}" value="0" step="1" '
        f'aria-label="frame"><output>{escape(view.frames[0])}</output></span>'
    )


def _sliders(view: View3D) -> str:
    """A slider each, with its value, and a button that lets all rest."""
    if not view.sliders:
        return ""
    rows = "".join(_slider(index, slider) for index, slider in enumerate(view.sliders))
    return f'<div class="sliders">{rows}<button type="button" class="rest">rest</button></div>'


def _slider(index: int, slider: ViewSlider) -> str:
    low, high = min(slider.rest, *slider.ends), max(slider.rest, *slider.ends)
    play = '<button type="button" class="breathe" aria-pressed="false">play</button>' if slider.plays else ""
    ends = f'min="{low:.6g}" max="{high:.6g}" step="any" value="{slider.rest:.6g}"'
    shown = f'<input type="range" data-slider="{index}" {ends}><output></output>'
    return f"<label><span>{escape(slider.name)}</span>{shown}{play}</label>"


def _buttons() -> str:
    views = "".join(f'<button type="button" data-view="{name}">{name}</button>' for name in _VIEWS)
    return f'<div class="buttons">{views}<button type="button" class="save">save picture</button></div>'


def _legend(coloring: Coloring, *, hidden: bool) -> str:
    low, span = coloring.low, coloring.top - coloring.low
    ticks = f"<span>{'≤ ' if low else ''}{low:.3g}</span>"
    ticks += "".join(f"<span>{low + span * share:.3g}</span>" for share in (0.25, 0.5, 0.75))
    return (
        f'<div class="legend" data-name="{escape(coloring.name)}"{" hidden" if hidden else ""}>'
        f'<span class="title">{escape(coloring.name)}</span>'
        f'<span class="bar" style="background:linear-gradient(to right,{",".join(coloring.stops)})"></span>'
        f'<span class="ticks">{ticks}<span>≥ {coloring.top:.3g}</span></span></div>'
    )


def _data(view: View3D) -> dict[str, Any]:
    if not view.parts:
        raise InputError("3D view", "no parts", "at least one")
    if any(len(part.frames) not in (0, len(view.frames)) for part in view.parts):
        raise InputError("3D view", "parts with other numbers of frames", f"{len(view.frames)}, as the view has")
    n_ends = sum(len(slider.ends) for slider in view.sliders)
    if any(len(part.ends) not in (0, n_ends) for part in view.parts):
        raise InputError("3D view", "parts with other numbers of ends", f"{n_ends}, as the sliders have")
    points = np.concatenate([each for part in view.parts for each in (part.points, *part.frames, *part.ends)])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2.0
    return {
        "label": f"3D view of {', '.join(part.name for part in view.parts)}",
        "radius": float(np.linalg.norm(points - middle, axis=1).max()),
        "sized": view.sized,
        "frames": list(view.frames),
        "swings": view.swings,
        "sliders": [{"rest": each.rest, "ends": list(each.ends)} for each in view.sliders],
        "colorings": [{"name": each.name, "colors": each.stops} for each in view.colorings],
        "parts": [_part(part, middle, view.colorings) for part in view.parts],
    }


def _part(part: Part, middle: Floats, colorings: Sequence[Coloring]) -> dict[str, Any]:
    """Positions in 65,535 steps of the part's box: some thousandths of a millimetre."""
    centered, moved = part.points - middle, [frame - middle for frame in (*part.frames, *part.ends)]
    whole = np.concatenate([centered, *moved])
    low = whole.min(axis=0)
    step = np.maximum(np.ptp(whole, axis=0) / _STEPS, 1e-9)
    kind = np.dtype("<u2" if len(part.points) <= _STEPS else "<u4")
    texts = [_text(np.rint((each - low) / step).astype("<u2")) for each in moved]
    return {
        "name": part.name,
        "color": part.color,
        "opacity": part.opacity,
        "shown": part.shown,
        "low": low.tolist(),
        "step": step.tolist(),
        "positions": _text(np.rint((centered - low) / step).astype("<u2")),
        "frames": texts[: len(part.frames)],
        "ends": texts[len(part.frames) :],
        "faces": None if part.faces is None else _text(part.faces.astype(kind)),
        "index_bytes": kind.itemsize,
        "values": {each.name: _text(_levels(part, each)) for each in colorings if each.name in part.values},
    }


def _levels(part: Part, coloring: Coloring) -> Any:
    values = part.values[coloring.name]
    if values.shape != (len(part.points),):
        given = f"{values.shape} values of {coloring.name!r} for {len(part.points)} points"
        raise InputError(f"3D view, {part.name}", given, "one a point")
    return np.rint(np.clip((values - coloring.low) / (coloring.top - coloring.low), 0.0, 1.0) * 255.0).astype(np.uint8)


def _text(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")

"""The controls beside the scene. A panel knows its widgets and whom to tell; what happens then is the session's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any, Literal, get_args

import numpy as np

from lpm.apps.viewer.access_control import take_upload
from lpm.apps.viewer.attribute_sliders import AttributeSlider
from lpm.apps.viewer.exports import MESH_FORMATS, Export
from lpm.apps.viewer.fits.upload import Kind, Options
from lpm.apps.viewer.scene.differences import Laying
from lpm.apps.viewer.scene.scan_slices import PLANES
from lpm.apps.viewer.scene.shape_parameters import N_SLIDERS, REACH, ShapeParameters
from lpm.apps.viewer.scene.vertex_colours import Quantity

Other = Literal["nothing", "mean lungs", "kept lungs", "truth"]
Placing = Literal["overlaid", "side by side"]
UPLOADS: dict[Kind, tuple[str, str, str]] = {
    "labels": ("Label map", ".nii,.gz,.nrrd,.mha", "1 left, 2 right: whole, cut off, or a few drawn slices."),
    "ct": ("Chest CT", ".nii,.gz,.nrrd,.mha,.zip", "NIfTI, NRRD, MHA, or a zip of one DICOM series."),
    "points": (
        "Surface points",
        ".ply,.xyz,.txt,.csv,.npy,.npz,.pcd,.vtk,.stl,.obj,.fcsv,.json",
        "RAS mm, ten or more.",
    ),
    "frontal": ("Frontal X-ray", ".png,.jpg,.jpeg,.tif,.tiff,.dcm", "PA or AP; bright is dense."),
    "lateral": ("Lateral X-ray", ".png,.jpg,.jpeg,.tif,.tiff,.dcm", "The front on the left; bright is dense."),
}
_TRUTH_FILES = ".nii,.gz,.nrrd,.mha,.ply,.stl,.obj,.glb"

_NO_SIZE = "These lungs have a shape and no size: there is nothing to turn."


class ShapePanel:
    """Sliders of the first shape parameters, and buttons that set them all.

    Args:
        gui: GUI to build the panel in.
        n_modes: Shape parameters of the model.
        changed: Told every new shape.
        code: Python of a shape.
    """

    def __init__(
        self, gui: Any, n_modes: int, changed: Callable[[ShapeParameters], None], code: Callable[[ShapeParameters], str]
    ) -> None:
        self._changed, self._code, self._rng = changed, code, np.random.default_rng()
        self._lock = threading.Lock()
        self.shape = self.origin = ShapeParameters.mean(n_modes)
        gui.add_button_group("Lungs", ("random", "mean", "reset")).on_click(self._on_button)
        n = min(N_SLIDERS, n_modes)
        self._sliders = [gui.add_slider(f"beta {i + 1}", -REACH, REACH, 0.05, 0.0) for i in range(n)]
        for mode, slider in enumerate(self._sliders):
            slider.on_update(partial(self._on_slider, mode))
        self._lines = gui.add_html("")
        self.show_code()

    def take(self, shape: ShapeParameters, *, origin: bool = False) -> None:
        """Set the sliders to a shape; `origin` makes it what `reset` comes back to."""
        with self._lock:
            self.shape = shape
            self.origin = shape if origin else self.origin
        for mode, slider in enumerate(self._sliders):
            slider.value = round(float(np.clip(shape.beta[mode], -REACH, REACH)), 2)
        self.show_code()

    def _on_slider(self, mode: int, event: Any) -> None:
        if event.client is None:  # set by `take`
            return
        with self._lock:
            self.shape = self.shape.moved(mode, float(event.target.value))
            shape = self.shape
        self._changed(shape)

    def _on_button(self, event: Any) -> None:
        n_modes = len(self.shape.beta)
        chosen: dict[str, Callable[[], ShapeParameters]] = {
            "random": lambda: ShapeParameters.random(n_modes, rng=self._rng).placed_like(self.shape),
            "mean": lambda: ShapeParameters.mean(n_modes).placed_like(self.shape),
            "reset": lambda: self.origin,
        }
        self.take(chosen[event.target.value]())
        self._changed(self.shape)

    def show_code(self) -> None:
        """Show Python of the shape; not while a slider moves, when each message costs the page a frame."""
        lines = escape(self._code(self.shape))
        head = '<div class="lpm">These lungs in Python: <button data-copy>copy</button>'
        self._lines.content = f'{head}<pre tabindex="0">{lines}</pre></div>'


class AttributePanel:
    """Sliders of attributes; they come once it is known what they do.

    Args:
        gui: GUI to build the panel in.
        turned: Told which attributes are wanted: of the knob that was turned, and of the others if they are held.
    """

    def __init__(self, gui: Any, turned: Callable[[Mapping[str, float]], None]) -> None:
        self._gui, self._turned = gui, turned
        self._stand: Mapping[str, float] = {}
        self._is_unsized = False
        self._sliders: dict[str, Any] = {}
        self._text = gui.add_html("")
        self._held = gui.add_checkbox(
            "hold the others", initial_value=False, hint="Otherwise they follow as in people's lungs.", visible=False
        )
        self.say("What the knobs do is being worked out: some seconds.")

    def offer(self, tab: Any, knobs: Sequence[AttributeSlider]) -> None:
        """Build the sliders."""
        with tab:
            for knob in knobs:
                step = float(f"{(knob.high - knob.low) / 200.0:.1g}")
                low, high = (step * round(end / step) for end in (knob.low, knob.high))
                slider = self._gui.add_slider(knob.label, low, high, step, step * round((low + high) / 2.0 / step))
                slider.on_update(partial(self._on_slider, knob.name))
                self._sliders[knob.name] = slider
        self._held.visible = bool(knobs)
        self.say("" if knobs else "Knobs need an atlas that learnt from three lungs or more.")
        if knobs and self._is_unsized:  # lungs without a size were there before the sliders
            self.say(_NO_SIZE)
        self.stand_at(self._stand)

    def stand_at(self, values: Mapping[str, float]) -> None:
        """Show what the lungs measure; lungs without a size measure nothing, and cannot be turned."""
        if self._sliders and bool(values) != bool(self._stand):
            self.say("" if values else _NO_SIZE)
        self._stand, self._is_unsized = values, not values
        for name, slider in self._sliders.items():
            if name in values:
                slider.value = round(float(np.clip(values[name], slider.min, slider.max)), 1)

    def say(self, text: str) -> None:
        """Tell something about the knobs."""
        self._text.content = f'<div class="lpm" role="status">{escape(text)}</div>'

    def _on_slider(self, name: str, event: Any) -> None:
        if event.client is None or name not in self._stand:  # set by `stand_at`, or nothing was measured
            return
        held = {other: self._stand[other] for other in self._sliders} if self._held.value else {}
        self._turned({**held, name: float(event.target.value)})


class UploadPanel:
    """Uploads of a single file, and how pictures were taken.

    Args:
        gui: GUI to build the panel in.
        most_mb: Largest upload.
        uploaded: Told kind, name and bytes of every file.
        forget: Told to forget pictures of the patient before.
    """

    def __init__(
        self, gui: Any, most_mb: int, uploaded: Callable[[Kind, str, bytes], None], forget: Callable[[], None]
    ) -> None:
        self._uploaded = uploaded
        gui.add_html(f'<div class="lpm">Files stay on this server until they are read. Up to {most_mb} MB each.</div>')
        self._buttons = {kind: self._button(gui, kind) for kind in ("labels", "ct", "points")}
        with gui.add_folder("X-rays"):
            self._mm_per_px = gui.add_number(
                "mm per px", 0.0, min=0.0, max=5.0, step=0.001, hint="On the detector. 0: as the file says, if it does."
            )
            self._projection = gui.add_dropdown("beam", ("cone", "parallel"), hint="Parallel for simulated pictures.")
            self._buttons |= {kind: self._button(gui, kind) for kind in ("frontal", "lateral")}
            gui.add_button("Another patient", hint="Forget the X-rays that were uploaded.").on_click(lambda _: forget())

    @property
    def options(self) -> Options:
        """Options that files do not state, as set."""
        mm = float(self._mm_per_px.value)
        return Options(mm if mm > 0 else None, self._projection.value)

    def enable(self, *, is_enabled: bool) -> None:
        """Whether files are taken."""
        for button in self._buttons.values():
            button.disabled = not is_enabled

    def _button(self, gui: Any, kind: Kind) -> Any:
        label, accepted, hint = UPLOADS[kind]
        button = gui.add_upload_button(label, mime_type=accepted, hint=hint)
        button.on_upload(lambda event: self._uploaded(kind, *take_upload(event.target)))
        return button


class ProgressPanel:
    """How far the work on files is, and what came of it.

    Args:
        gui: GUI to build the panel in.
        enable: Told whether files may be taken.
        stop: Told to stop the work.
    """

    def __init__(self, gui: Any, enable: Callable[[bool], None], stop: Callable[[], None]) -> None:
        self._enable = enable
        self._bar = gui.add_progress_bar(0.0, visible=False, animated=True)
        self._stop = gui.add_button("Stop", visible=False, hint="Stop reading or fitting.")
        self._stop.on_click(lambda _: stop())
        self._text = gui.add_html("")

    def begin(self, name: str) -> None:
        """Work on files begins; no other is taken meanwhile."""
        self._enable(False)
        self._bar.visible = self._stop.visible = True
        self.step(f"{name}: waiting for its turn", 0.0)

    def step(self, text: str, share: float) -> None:
        """Show what is being done now, and which share of the work lies behind, 0 to 1."""
        self._bar.value = 100.0 * share
        self._text.content = f'<div class="lpm" role="status">{escape(text)}</div>'

    def end(self, lines: list[str], *, failed: bool = False) -> None:
        """The work is over; say what came of it."""
        self._bar.visible = self._stop.visible = False
        kind = ' class="bad"' if failed else ""
        body = "".join(f"<p{kind}>{escape(line)}</p>" for line in lines)
        self._text.content = f'<div class="lpm" role="{"alert" if failed else "status"}">{body}</div>'
        self._enable(True)


@dataclass(frozen=True)
class Look:
    """How lungs are looked at.

    Args:
        quantity: Quantity that colours show.
        other: Lungs to compare with.
        placing: Placement of those.
        laying: How they are laid onto the lungs; a truth stays where it lies.
    """

    quantity: Quantity = "structure"
    other: Other = "nothing"
    placing: Placing = "overlaid"
    laying: Laying = "middle on middle"


class LookPanel:
    """Colours, comparison, evidence.

    Args:
        gui: GUI to build the panel in.
        changed: Told every new look.
        keep: Told to keep the lungs for comparison.
        truth: Told name and bytes of a truth.
        leaf: Told plane and share (0 to 1) of the slice to show.
        points: Told whether points that were seen are shown.
    """

    def __init__(
        self,
        gui: Any,
        changed: Callable[[Look], None],
        keep: Callable[[], None],
        truth: Callable[[str, bytes], None],
        leaf: Callable[[str, float], None],
        points: Callable[[bool], None],
    ) -> None:
        self._changed, self._leaf = changed, leaf
        self._quantity = gui.add_dropdown("colour by", get_args(Quantity))
        self._legend = gui.add_html("")
        with gui.add_folder("Compare"):
            self._other = gui.add_dropdown("with", get_args(Other))
            self._placing = gui.add_dropdown("place", get_args(Placing))
            self._laying = gui.add_dropdown("lay", get_args(Laying), hint="A truth stays where it lies.")
            gui.add_button("Keep these lungs", hint="To compare others with them.").on_click(lambda _: keep())
            button = gui.add_upload_button(
                "Truth", mime_type=_TRUTH_FILES, hint="Label map or mesh of the same patient."
            )
            button.on_upload(lambda event: truth(*take_upload(event.target)))
        for widget in (self._quantity, self._other, self._placing, self._laying):
            widget.on_update(lambda event: self._changed(self.look) if event.client is not None else None)
        with gui.add_folder("Evidence", visible=False) as self._evidence:
            self._plane = gui.add_dropdown("slice", ("none", *PLANES), initial_value="coronal")
            self._place = gui.add_slider("position", 0.0, 1.0, 0.005, 0.5)
            for widget in (self._plane, self._place):
                widget.on_update(lambda _: self._leaf(self._plane.value, self._place.value))
            self._points = gui.add_checkbox("points", initial_value=False, hint="That were seen, or drawn on a mask.")
            self._points.on_update(lambda event: points(event.target.value) if event.client is not None else None)

    @property
    def look(self) -> Look:
        """As chosen."""
        return Look(self._quantity.value, self._other.value, self._placing.value, self._laying.value)

    @property
    def slice(self) -> tuple[str, float]:
        """Plane and share, as chosen."""
        return self._plane.value, self._place.value

    def choose(self, **chosen: str) -> None:
        """Set parts of the look, without telling anyone.

        Args:
            chosen: Values by the fields of `Look`.
        """
        widgets = {"quantity": self._quantity, "other": self._other, "placing": self._placing, "laying": self._laying}
        for name, value in chosen.items():
            widgets[name].value = value

    def explain_colors(self, legend: str) -> None:
        """Show a legend (HTML), or nothing."""
        self._legend.content = legend

    @property
    def are_points_shown(self) -> bool:
        """As chosen."""
        return bool(self._points.value)

    def offer_evidence(self, *, has_scan: bool, has_points: bool) -> None:
        """What there is to look at: a scan to leaf through, points, which are shown where there is no scan."""
        self._evidence.visible = has_scan or has_points
        self._plane.visible = self._place.visible = has_scan
        self._points.visible, self._points.value = has_points, has_points and not has_scan


class MeasurePanel:
    """The table.

    Args:
        gui: GUI to build the panel in.
    """

    def __init__(self, gui: Any) -> None:
        self._table = gui.add_html("")

    def show(self, table: str) -> None:
        """Show a table (HTML)."""
        self._table.content = table


class ResultPanel:
    """What can be downloaded of the last fit, beside what the page says of it.

    Args:
        gui: GUI to build the panel in.
        save: Told what is wanted.
    """

    def __init__(self, gui: Any, save: Callable[[Export], None]) -> None:
        self._report = gui.add_button("Report of this fit", visible=False, hint="One page that opens offline.")
        self._seg = gui.add_button("DICOM SEG of this fit", visible=False, hint="On the slices that were uploaded.")
        self._report.on_click(lambda _: save("report"))
        self._seg.on_click(lambda _: save("DICOM SEG"))

    def offer(self, *, is_dicom: bool) -> None:
        """There is a fit; a SEG is offered of what came as DICOM."""
        self._report.visible, self._seg.visible = True, is_dicom


class SavePanel:
    """What can be downloaded.

    Args:
        gui: GUI to build the panel in.
        save: Told what is wanted, and the format of meshes.
    """

    def __init__(self, gui: Any, save: Callable[[Export, str], None]) -> None:
        self._format = gui.add_dropdown("mesh format", MESH_FORMATS)
        for name, hint in (
            ("meshes", "A zip of both lungs, RAS mm, and fit.json."),
            ("labels", "labels.nii.gz on the scan's grid, or 1.5 mm around the lungs."),
            ("report", "report.html of a fit: one page that opens offline."),
            ("DICOM SEG", "Of a fit to a scan that was uploaded as DICOM, on its own slices."),
            ("picture", "The scene as it is seen, PNG."),
        ):
            button = gui.add_button(f"Save {name}", hint=hint)
            button.on_click(lambda _, name=name: save(name, self._format.value))

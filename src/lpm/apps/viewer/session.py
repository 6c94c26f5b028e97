"""One client's page: its panels, its scene, its lungs, its files. Nothing here is shared with another client."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lpm.apps.viewer.access_control import UploadLimit
from lpm.apps.viewer.attribute_sliders import AttributeEdit, ShapeRequest
from lpm.apps.viewer.debounce import Debouncer
from lpm.apps.viewer.exports import labels_nii, meshes_zip, picture_png, report_html
from lpm.apps.viewer.fit_upload import Explained, Kind, Options, Seen, Step, explain, read_truth
from lpm.apps.viewer.measurement_table import measurement_table
from lpm.apps.viewer.panels import (
    AttributePanel,
    Export,
    FitPanel,
    Look,
    LookPanel,
    MeasurePanel,
    SavePanel,
    ShapePanel,
)
from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.scan_slices import ScanSlices
from lpm.apps.viewer.scene.scene import DISTANCE, Scene
from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.apps.viewer.scene.shown_lungs import Meshes, ShownLungs, centred_on, decimated_for_display, middle_mm, width_mm
from lpm.apps.viewer.scene.vertex_colours import vertex_colours
from lpm.apps.viewer.uploads import Upload, without_folder
from lpm.errors import InputError, LpmError
from lpm.measurement.shapes import measure_shapes
from lpm.measurement.table import AttributeTable
from lpm.model.bundle import ModelBundle
from lpm.reports import fits
from lpm.reports.xray_pictures import pictures_of
from lpm.xray.fit import XrayFit

if TYPE_CHECKING:
    from viser import ClientHandle

_log = logging.getLogger(__name__)
_APART_MM, _SIGHT_MM = 40.0, 450.0
_RENDER_TIMEOUT_S = 30.0
_BAD = (163, 24, 13)


@dataclass(frozen=True)
class Shared:
    """What all clients of a server have in common: nothing that any of them brought.

    Args:
        model: Trained.
        source: As `lpm.load` takes it; None for the bundled one.
        mesher: Of that model.
        most_mb: Largest upload.
        population: What was measured on the model's training subjects, as soon as that is known.
        edit: What knobs do, likewise; None of a model without knobs.
        turns: Taken by a client whose fit runs; a fit takes all cores.
    """

    model: ModelBundle
    source: str | None
    mesher: Mesher
    most_mb: int
    population: Future[AttributeTable] = field(default_factory=Future)
    edit: Future[AttributeEdit | None] = field(default_factory=Future)
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))


class Session:
    """A client from connecting to leaving.

    Args:
        client: Its connection.
        shared: The server's.
    """

    def __init__(self, client: ClientHandle, shared: Shared) -> None:
        self._client, self._shared = client, shared
        self._folder = tempfile.TemporaryDirectory(prefix="lpm-view-")
        self._is_closed, self._lock = False, threading.RLock()
        self._is_busy = False
        self._scene = Scene(client.scene)
        self._lungs: ShownLungs | None = None
        self._stand: Mapping[str, float] = {}
        self._fitted: ShownLungs | None = None
        self._shift_mm = 0.0
        self._kept: Meshes | None = None
        self._truth: Meshes | None = None
        self._seen = Seen()
        self._provenance: Mapping[str, str] = {}
        self._slices: ScanSlices | None = None
        self._debouncer: Debouncer[ShapeRequest] = Debouncer(self._show_coarse, self._show_fine, self._failed)
        UploadLimit(client, shared.most_mb * 1024**2, self._refuse_size)
        self._build(client.gui)
        self._on_shape(self._shape.shape)
        shared.population.add_done_callback(self._on_population)
        shared.edit.add_done_callback(self._on_attribute_edit)

    def close(self) -> None:
        """The client has left: its files and its lungs go."""
        self._is_closed = True
        self._debouncer.close()
        self._folder.cleanup()

    def _build(self, gui: Any) -> None:
        shared = self._shared
        tabs = gui.add_tab_group()
        with tabs.add_tab("Shape"):
            n_modes = shared.model.latents.n_modes
            self._shape = ShapePanel(gui, n_modes, self._on_shape, lambda shape: shape.code(shared.source))
        with tabs.add_tab("Knobs") as self._knob_tab:
            self._knobs = AttributePanel(gui, self._on_knob)
        with tabs.add_tab("Fit"):
            self._fit = FitPanel(gui, shared.most_mb, self._on_upload, self._on_forget)
            self._pictures = [gui.add_image(np.zeros((2, 2, 3), np.uint8), visible=False) for _ in range(2)]
        with tabs.add_tab("Look"):
            self._look = LookPanel(gui, self._on_look, self._on_keep, self._on_truth, self._on_leaf)
        with tabs.add_tab("Measure"):
            self._measures = MeasurePanel(gui)
        with tabs.add_tab("Save"):
            SavePanel(gui, self._on_save)

    # --- Lungs that sliders make ----------------------------------------------------------------------------------

    def _on_shape(self, shape: ShapeParameters) -> None:
        self._debouncer.ask(ShapeRequest(shape))

    def _on_knob(self, wanted: Mapping[str, float]) -> None:
        """A knob is turned: to first order while it moves; from the lungs on the page, not from those on the way."""
        edit, lungs = self._shared.edit.result(), self._lungs
        if edit is not None and lungs is not None and lungs.shape is not None:
            self._debouncer.ask(ShapeRequest(edit.moved(lungs.shape, self._stand, wanted), wanted))

    def _on_attribute_edit(self, known: Future[AttributeEdit | None]) -> None:
        with self._lock:
            if not self._is_closed:
                edit = known.result()
                self._knobs.offer(self._knob_tab, () if edit is None else edit.all)

    def _show_coarse(self, request: ShapeRequest) -> None:
        if self._is_fitted(request.shape):
            return
        meshes = self._shared.mesher.coarse(request.shape)
        if self._is_closed:
            return
        with self._lock, self._client.atomic():
            self._scene.show("lungs", meshes, None, self._shift_mm)

    def _show_fine(self, request: ShapeRequest) -> None:
        edit = self._shared.edit.result() if request.wanted else None
        if self._fitted is not None and self._is_fitted(request.shape):
            lungs = self._fitted
        else:
            shape = request.shape if edit is None else edit.reached(request.shape, request.wanted)
            lungs = ShownLungs("lungs of the sliders", self._shared.mesher.fine(shape), shape)
        with self._lock:
            if not self._is_closed:
                self._take(lungs)
                if edit is None or lungs.shape is None:
                    self._shape.show_code()
                else:
                    self._shape.take(lungs.shape)
                    self._knobs.say(edit.missed(request.wanted, self._stand))

    def _is_fitted(self, shape: ShapeParameters) -> bool:
        """Whether these are the lungs of the last fit, which knows more of them than their parameters."""
        return self._fitted is not None and self._fitted.shape is shape

    def _take(self, lungs: ShownLungs) -> None:
        """Make lungs those of the page; what only a fit has to show is shown no longer without one."""
        self._lungs = lungs
        if lungs.fit is None and self._look.look.quantity == "uncertainty":
            self._look.choose(quantity="structure")
        self._draw(self._look.look)
        self._measure(lungs)

    def _measure(self, lungs: ShownLungs) -> None:
        values, known = measure_shapes(lungs.meshes), self._shared.population
        self._stand = values if lungs.sized else {}
        self._knobs.stand_at(self._stand)
        self._measures.show(
            measurement_table(lungs, values, known.result().percentiles(values) if known.done() else {})
        )

    def _on_population(self, _: object) -> None:
        """It is known now where measurements stand."""
        with self._lock:
            if self._lungs is not None and not self._is_closed:
                self._measure(self._lungs)

    # --- How they are looked at -----------------------------------------------------------------------------------

    def _on_look(self, look: Look) -> None:
        with self._told():
            self._draw(look)

    def _draw(self, look: Look) -> None:
        if self._lungs is None or self._is_closed:
            return
        shown = decimated_for_display(self._lungs.meshes)
        try:
            colours = vertex_colours(look.quantity, shown, self._lungs, self._truth)
            other = self._other(look, shown)
        except InputError:
            self._look.choose(quantity="structure", other="nothing")
            self._look.explain_colors("")
            raise
        self._look.explain_colors("" if colours is None else colours.legend())
        if colours is not None and look.placing == "overlaid":
            other = None  # it would veil the colours
        apart = 0.0
        if other is not None and look.placing == "side by side":
            apart = width_mm(shown) / 2 + width_mm(other) / 2 + _APART_MM
        if self._shift_mm != -apart / 2:
            self._shift_mm = -apart / 2
            self._step_back(apart)
        with self._client.atomic():
            self._scene.show("lungs", shown, colours, self._shift_mm)
            self._scene.show("other", decimated_for_display(other or {}), None, -self._shift_mm)

    def _step_back(self, apart_mm: float) -> None:
        """Look from where all lungs are seen, along the same line."""
        camera = self._client.camera
        middle = np.array(camera.look_at)
        line = np.array(camera.position) - middle
        far = DISTANCE * (1.0 + apart_mm / _SIGHT_MM)
        camera.position = middle + line * far / float(np.linalg.norm(line))
        camera.look_at = middle  # a new position takes the middle along

    def _other(self, look: Look, lungs: Meshes) -> Meshes | None:
        """What lungs are compared with: a truth where it lies, others with their middle at the lungs' own.

        Raises:
            InputError: There is none.
        """
        if look.other == "nothing":
            return None
        if look.other == "mean lungs":
            mean = ShapeParameters.mean(self._shared.model.latents.n_modes)
            return centred_on(lungs, self._shared.mesher.fine(mean))
        found, hint = (self._kept, "keep some") if look.other == "kept lungs" else (self._truth, "upload a truth")
        if found is None:
            raise InputError(f"compare with {look.other}", "there are none", "lungs to compare with", hint)
        return found if look.other == "truth" else centred_on(lungs, found)

    def _on_keep(self) -> None:
        with self._told():
            self._kept = None if self._lungs is None else self._lungs.meshes
            self._look.choose(other="kept lungs")
            self._draw(self._look.look)

    def _on_leaf(self, plane: str, share: float) -> None:
        with self._told():
            if self._slices is None or plane == "none":
                self._scene.remove("/slice")
            else:
                self._scene.show_slice(self._slices.at(plane, round(share * (self._slices.n(plane) - 1))))

    # --- What a client brings -------------------------------------------------------------------------------------

    def _on_upload(self, kind: Kind, name: str, content: bytes, options: Options) -> None:
        """Work on a file in a thread of its own; the page refuses another one meanwhile."""
        with self._lock:
            if self._is_busy or self._is_closed:
                return
            self._is_busy = True
        self._fit.begin(name)
        work = threading.Thread(target=self._explain, args=(kind, Upload(self._folder.name, name, content), options))
        work.daemon = True
        work.start()

    def _explain(self, kind: Kind, upload: Upload, options: Options) -> None:
        try:
            with upload as path, self._shared.turns:
                for found in explain(self._shared.model, kind, path, options, self._seen.radiographs):
                    if self._is_closed:
                        return
                    self._fit.step(found) if isinstance(found, Step) else self._show_explained(found)
        except Exception as error:
            if not self._is_closed:
                self._fit.end([self._told_of(error)], failed=True)
        finally:
            self._is_busy = False

    def _show_explained(self, found: Explained) -> None:
        fit, seen = found.fit, found.seen
        self._fit.step(Step("drawing", 0.9))
        with self._lock:
            self._seen, self._provenance = seen, found.provenance
            self._scene.clear_evidence()
            self._scene.center_mm = middle_mm(fit.lungs)
            if seen.points_mm is not None:
                self._scene.show_points(seen.points_mm)
            self._slices = (
                None if seen.volume is None else ScanSlices(seen.volume, seen.is_ct, decimated_for_display(fit.lungs))
            )
            self._look.offer_slices(are_there=self._slices is not None)
            lungs = ShownLungs.of(fit)
            self._fitted = lungs
            if lungs.shape is not None:
                self._shape.take(lungs.shape, origin=True)
            self._take(lungs)
            self._show_pictures(fit)
        if self._slices is not None:
            self._on_leaf(*self._look.slice)
        self._fit.end([f"{fit.observed}: done", *found.notes, *fit.notes])

    def _show_pictures(self, fit: Any) -> None:
        pictures = pictures_of(fit) if isinstance(fit, XrayFit) else []
        for widget, picture in zip(self._pictures, [*pictures, None, None], strict=False):
            widget.visible = picture is not None
            if picture is not None:
                widget.image = picture

    def _on_forget(self) -> None:
        self._seen = replace(self._seen, radiographs={})
        if not self._is_busy:
            self._fit.end(["The X-rays that were uploaded are forgotten."])

    def _on_truth(self, name: str, content: bytes) -> None:
        with self._told(), Upload(self._folder.name, name, content) as path:
            self._truth = read_truth(path)
            self._look.choose(other="truth")
            self._draw(self._look.look)

    def _refuse_size(self, name: str, size: int) -> None:
        most = self._shared.most_mb
        given = f"{size / 1024**2:,.0f} MB" if size > most * 1024**2 else "sent while another file is"
        text = f"{name}: {given}; expected one file at a time, of at most {most} MB"
        if self._is_busy:
            self._client.add_notification("That did not work", text, color=_BAD)
        else:
            self._fit.end([text], failed=True)

    # --- What a client takes home ---------------------------------------------------------------------------------

    def _on_save(self, what: Export, mesh_format: str) -> None:
        with self._told():
            lungs = self._lungs
            if lungs is None:
                raise InputError("save", "no lungs yet", "lungs on the page", "wait a moment")
            made: dict[str, Callable[[], tuple[str, bytes]]] = {
                "meshes": lambda: ("lungs.zip", meshes_zip(lungs, mesh_format)),
                "labels": lambda: ("labels.nii.gz", labels_nii(lungs.meshes, self._seen.volume if lungs.fit else None)),
                "report": lambda: ("report.html", self._report(lungs)),
                "picture": lambda: ("lungs.png", picture_png(self._rendered())),
            }
            name, content = made[what]()
            self._client.send_file_download(name, content, save_immediately=True)

    def _report(self, lungs: ShownLungs) -> bytes:
        if lungs.fit is None:
            raise InputError("report", "lungs that sliders made", "fitted lungs", "upload a scan, points or X-rays")
        return report_html(lungs.fit, fits.Seen(self._seen.points_mm, self._seen.volume, None, self._provenance))

    def _rendered(self) -> np.ndarray:
        camera = self._client.camera
        size = camera.image_height, camera.image_width
        return self._client.get_render(*size, transport_format="png", timeout=_RENDER_TIMEOUT_S)

    # --- Errors ---------------------------------------------------------------------------------------------------

    def _told(self) -> _Told:
        """A client reads what went wrong in it."""
        return _Told(self._lock, self._failed)

    def _failed(self, error: Exception) -> None:
        if not self._is_closed:
            self._client.add_notification("That did not work", self._told_of(error), color=_BAD)

    def _told_of(self, error: Exception) -> str:
        """What a client reads of an error: all that LPM says, and of a fault of ours that there was one."""
        if isinstance(error, LpmError):
            return without_folder(self._folder.name, str(error))
        _log.error("a request failed", exc_info=error)
        return f"Something went wrong here ({type(error).__name__}); the server's log says more."


class _Told:
    """Holds a session's lock, and tells its client what went wrong meanwhile."""

    def __init__(self, lock: threading.RLock, failed: Callable[[Exception], None]) -> None:
        self._lock, self._failed = lock, failed

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        self._lock.release()
        if isinstance(error, Exception):
            self._failed(error)
            return True
        return False

"""A model, or a fit, as one file with sliders that other programs open, and as a page that needs no server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lpm.errors import InputError, MisuseError
from lpm.files.atomic import atomic_file
from lpm.fitting.written import read_fit
from lpm.model.bundle import ModelBundle
from lpm.motion.glb import sliding_glb
from lpm.motion.prediction import BreathModel
from lpm.motion.sliders import SliderOptions, SlidingLungs, average_field, sliding_lungs
from lpm.reports.document import Notes, Section, Text, write_report
from lpm.reports.provenance import provenance
from lpm.reports.scenes import structure_color
from lpm.reports.view3d import Part, View3D, ViewSlider
from lpm.workflows.breathing import breath_model_for

_LEAD = (
    "Drag a slider: the shape parameters of the model, attributes with names (the others follow as they do in the "
    "population), and a breath. Each end is a shape of the model itself; between ends, and where several sliders stand "
    "far out, it is an approximation. Not for clinical use."
)


@dataclass(frozen=True)
class ExportRun:
    """What is exported.

    Args:
        model: The model.
        fit: Folder of a fit of it, whose lungs then rest; None for the average lungs.
        breath: A breath model; None for the bundled one, where it goes with the model.
        options: Which sliders; their breath is that of `breath`.
    """

    model: ModelBundle
    fit: Path | None = None
    breath: Path | None = None
    options: SliderOptions = field(default_factory=SliderOptions)


def export(run: ExportRun, glb: Path | None, page: Path | None) -> SlidingLungs:
    """Write lungs with sliders.

    Args:
        run: What is exported.
        glb: A .glb to write.
        page: A .html to write.

    Raises:
        MisuseError: Nothing to write, or a name with another ending.
        InputError: The model is a network, or the fit or the breath is one of another model.
        FileError: The fit or the breath cannot be read, or the disk refuses.
    """
    _check_names(glb, page)
    breath, notes = _breath_of(run)
    seen = average_field(run.model) if run.fit is None else read_fit(run.fit, run.model)
    asked = SliderOptions(run.options.faces, run.options.n_shapes, run.options.knobs, breath)
    found = sliding_lungs(seen, asked)
    lungs = SlidingLungs(found.rest, found.sliders, (*found.notes, *notes))
    if glb is not None:
        with atomic_file(glb) as temporary:
            temporary.write_bytes(sliding_glb(lungs))
    if page is not None:
        write_report(page, "LPM: lungs that you can move", _LEAD, _sections(lungs), provenance(run.model))
    return lungs


def _check_names(glb: Path | None, page: Path | None) -> None:
    if glb is None and page is None:
        raise MisuseError("export", "nothing to write", "--glb FILE, --page FILE, or both")
    for path, suffix in ((glb, ".glb"), (page, ".html")):
        if path is not None and path.suffix.lower() != suffix:
            raise MisuseError("export", str(path), f"a name that ends in {suffix}")


def _breath_of(run: ExportRun) -> tuple[BreathModel | None, list[str]]:
    found = breath_model_for(run.model, run.breath)
    if found.model == run.model.digest:
        return found, []
    if run.breath is not None:
        hint = "train it again (lpm train-breath) with fits of this model"
        raise InputError("breath model", "learned from fits of another model", "of the same", hint)
    return None, [
        "no slider for a breath: the bundled breath model goes with the bundled lungs (--breath names another)"
    ]


def _sections(lungs: SlidingLungs) -> list[Section]:
    parts = [
        Part(
            name.replace("_", " "),
            mesh.vertices,
            mesh.faces,
            structure_color(index),
            ends=[mesh.vertices + end.moved_mm[name] for end in lungs.ends],
        )
        for index, (name, mesh) in enumerate(lungs.rest.items())
    ]
    sliders = [
        ViewSlider(each.name, each.rest, [end.at for end in each.ends], plays="breath" in each.name)
        for each in lungs.sliders
    ]
    view = View3D(parts, "Lungs of the model, RAS mm.", sliders=sliders)
    more = [Section("What is missing", [Notes(lungs.notes)])] if lungs.notes else []
    return [Section("Lungs", [view]), *more, Section("Your own", [Text(_OWN)])]


_OWN = (
    "The same sliders for lungs of yours: lpm fit ct ct.nii.gz --out lungs, then lpm export --fit lungs --page "
    "lungs.html. With --glb lungs.glb they open in Blender, three.js and Unity.",
)

"""What the `lpm fit` verbs share: options, and what is written and printed at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer
from rich.table import Table

from lpm.apps.many import refuse_with_many
from lpm.apps.terminal import plain, say, screen
from lpm.errors import MisuseError

if TYPE_CHECKING:
    from lpm.files.mesh_space import Space
    from lpm.files.meshes import MeshFiles
    from lpm.fitting.fit import Fit
    from lpm.geometry.meshes import WorldMesh
    from lpm.measurement.norms.norm import Reference
    from lpm.workflows.outcome import Outcome, OutcomeFiles

MeshOption = Annotated[
    Literal["ply", "stl", "obj", "glb", "vtp"], typer.Option("--mesh-format", help="Format of the meshes.")
]
SpaceOption = Annotated[
    Literal["ras", "lps"], typer.Option("--mesh-space", help="Of the meshes' coordinates; their headers say it.")
]
PointsSpaceOption = Annotated[
    Literal["ras", "lps"] | None,
    typer.Option("--points-space", help="Of points in files that do not say it; default ras."),
]
FacesOption = Annotated[
    int | None, typer.Option("--faces", min=100, help="Most triangles of each mesh, such as for printing; default all.")
]
SpacingOption = Annotated[
    float, typer.Option("--spacing-mm", min=0.3, help="Spacing of the lattice that the surface is extracted on.")
]
PartsOption = Annotated[
    bool, typer.Option("--parts", help="Also write the parts that the model was taught (`lpm partition`), as lobes.")
]
CorrespondingOption = Annotated[
    bool,
    typer.Option("--corresponding", help="Also corresponding/NAME.ply: the same triangles in every fit of the model."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the drawn points.")]
AlsoOption = Annotated[
    list[Path] | None,
    typer.Option("--also", help="More of the same patient in the same frame: a point file or a label map; repeatable."),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels", help="Label values: left_lung=1,right_lung=2; totalsegmentator, lungmask; a dataset.json."
    ),
]
SpacingOfPixelsOption = Annotated[
    str | None, typer.Option("--mm-per-px", help="Between pixels on the detector: 0.6, or rows and columns: 0.585,0.8.")
]
ProjectionOption = Annotated[
    Literal["parallel", "cone"], typer.Option("--projection", help="Kind of beam; parallel for simulated pictures.")
]
SourceDetectorOption = Annotated[
    float | None, typer.Option("--source-detector-mm", help="Of a cone beam; default the file's, else 1800.")
]
PatientDetectorOption = Annotated[
    float | None, typer.Option("--patient-detector-mm", help="From the patient's middle; default the file's, or 200.")
]
ApOption = Annotated[
    bool, typer.Option("--ap", help="The tube was in front of the patient, as in bed; DICOM knows by itself.")
]
ViewsOption = Annotated[
    Path | None,
    typer.Option("--views", help="views.json of `lpm xray`: where the pictures lie in the patient, and their beam."),
]
PointsOnMaskOption = Annotated[int, typer.Option("--points", min=10, help="Points drawn on the lungs' surface.")]
CompleteOption = Annotated[bool, typer.Option("--complete", help="Also predict a lung that was not found.")]
ReportOption = Annotated[
    bool, typer.Option("--report/--no-report", help="OUT/report.html: lungs in 3D, slices, numbers.")
]
FiguresOption = Annotated[
    bool, typer.Option("--figures", help="Pictures for papers, as PNG in OUT/figures (extra pictures).")
]
NormOption = Annotated[
    Path | None, typer.Option("--norm", help="A norm of `lpm population`: the report says where the lungs stand in it.")
]
AgeOption = Annotated[str | None, typer.Option("--age", help="Of the patient, in years, for the norm.")]
SexOption = Annotated[str | None, typer.Option("--sex", help="Of the patient, F or M, for the norm.")]
HeightOption = Annotated[str | None, typer.Option("--height", help="Of the patient's body, cm, for the norm.")]

_ONE_BY_ONE = "fit its patient by itself"


def begin(out: Path, *, figures: bool) -> None:
    """Refuse before the work what would be refused after it.

    Raises:
        FileError: The output folder holds something that is no fit's.
        MissingExtraError: Pictures are asked for, and what draws them is not installed.
    """
    from lpm.extras import import_renderer
    from lpm.fitting.fit import check_fit_folder

    check_fit_folder(out)
    if figures:
        import_renderer("--figures")


def found_model(model: str | None, *, figures: bool) -> Path:
    """The folder of the model that `--model` names, for many cases.

    Raises:
        LpmError: There is no such model, or figures cannot be drawn.
    """
    from lpm.extras import import_renderer
    from lpm.lung_model import BUNDLED, find_model
    from lpm.workflows.batch.fits import loaded

    if figures:
        import_renderer("--figures")
    folder = find_model(model or BUNDLED).resolve()
    loaded(folder)
    return folder


def expected(norm: Path | None, person: Mapping[str, str | None], *, report: bool) -> Reference | None:
    """What a norm expects of a patient, for the report.

    Args:
        norm: Written by `lpm population`; None for no norm.
        person: Age, sex and body height as the options give them.
        report: Whether there is a report.

    Raises:
        FileError: The norm cannot be read.
        InputError: The norm needs more than is said of the patient.
        MisuseError: Something is said of the patient without a norm, or a norm without a report.
    """
    from lpm.measurement.norms.norm import read_norm
    from lpm.measurement.norms.people import person_of

    given = [f"--{name}" for name, value in person.items() if value is not None]
    if norm is None:
        if given:
            raise MisuseError(" ".join(given), "without a norm", "--norm NORM beside it", "lpm population makes norms")
        return None
    if not report:
        raise MisuseError("--norm", "beside --no-report", "a report", "lpm measure --norm writes tables")
    return read_norm(norm).reference(person_of(person, "the patient"), str(norm))


def refuse_of_one(
    also: Sequence[Path] | None, person: Mapping[str, str | None], more: Mapping[str, object], hint: str = ""
) -> None:
    """Refuse what belongs to one patient where many are fitted.

    Args:
        also: Further evidence of the patient.
        person: Age, sex and body height as the options give them.
        more: Values of other such options by name, empty or None where they were not given.
        hint: What to do instead, beside a fit of that patient alone.

    Raises:
        MisuseError: One of them was given.
    """
    said = {f"--{name}": value for name, value in person.items()}
    refuse_with_many({"--also": also, **said, **more}, _ONE_BY_ONE + hint)


def mesh_files(mesh_format: str, mesh_space: str, faces: int | None) -> MeshFiles:
    """How the command line wants meshes written."""
    from lpm.files.meshes import MeshFiles

    return MeshFiles(f".{mesh_format}", space_named(mesh_space) or "RAS", faces)


def space_named(name: str | None) -> Space | None:
    """Space of an option."""
    return None if name is None else "LPS" if name == "lps" else "RAS"


def tell(text: str, share: float | None) -> None:
    """Say what is being done, or a note on what was read (a `lpm.workflows.outcome.Tell`)."""
    if share is None:
        screen.print(plain(text), soft_wrap=True)
    else:
        say(text)


@contextmanager
def options_named() -> Iterator[None]:
    """Misuse that names a field, such as ``mm_per_px``, names the option in its place."""
    try:
        yield
    except MisuseError as error:
        name = error.subject if error.subject.startswith("--") else f"--{error.subject.replace('_', '-')}"
        raise MisuseError(name, error.given, error.expected, error.hint) from error


def finish(outcome: Outcome, out: Path, files: OutcomeFiles) -> None:
    """Write a fit's folder, and print what came out."""
    from lpm.workflows.outcome import write_outcome

    parts = write_outcome(out, outcome, files, tell)
    print_fit(outcome.fit, parts)
    screen.print(f"written to {out}")


def print_fit(fit: Fit, parts: Mapping[str, WorldMesh]) -> None:
    """Print volumes, how well the lungs follow the evidence, and doubts."""
    from lpm.reports.fits import told_of_search

    if fit.sized:
        screen.print(_volumes(fit, parts))
    misfits = [f"mean {what} {np.abs(errors).mean():.2f} mm" for what, errors in fit.misfits_mm.items()]
    screen.print("; ".join([fit.observed, *misfits, *told_of_search(fit)]), soft_wrap=True)
    for note in fit.notes:
        screen.print(f"note: {plain(note)}", soft_wrap=True)


def _volumes(fit: Fit, parts: Mapping[str, WorldMesh]) -> Table:
    table = Table("structure", "volume (ml)", "95 % interval")
    for name, mesh in fit.lungs.items():
        table.add_row(name, f"{mesh.volume_ml:.0f}", _interval(fit, f"{name}_volume_ml"))
    for name, mesh in parts.items():
        table.add_row(f"  {name}", f"{mesh.volume_ml:.0f}", "")
    total = sum(mesh.volume_ml for mesh in fit.lungs.values())
    table.add_row("total", f"{total:.0f}", _interval(fit, "total_volume_ml"))
    return table


def _interval(fit: Fit, name: str) -> str:
    low, high = fit.interval(name)
    return f"{low:.0f} to {high:.0f}"

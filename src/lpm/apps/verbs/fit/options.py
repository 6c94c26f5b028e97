"""What the `lpm fit` verbs share: options, further evidence, and what is written and printed at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer
from rich.table import Table

from lpm.apps.terminal import plain, say, screen

if TYPE_CHECKING:
    from lpm.files.meshes import MeshFiles
    from lpm.fitting.fit import Fit
    from lpm.fitting.masks import MaskFitConfig
    from lpm.fitting.observation import Observation
    from lpm.model.bundle import ModelBundle
    from lpm.reports.fits import Seen

MeshOption = Annotated[
    Literal["ply", "stl", "obj", "glb", "vtp"], typer.Option("--mesh-format", help="Format of the meshes.")
]
SpaceOption = Annotated[
    Literal["ras", "lps"], typer.Option("--mesh-space", help="Of the meshes' coordinates; their headers say it.")
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
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the drawn points.")]
AlsoOption = Annotated[
    list[Path] | None,
    typer.Option("--also", help="More of the same patient in the same frame: a point file or a label map; repeatable."),
]
ReportOption = Annotated[
    bool, typer.Option("--report/--no-report", help="OUT/report.html: lungs in 3D, slices, numbers.")
]
FiguresOption = Annotated[
    bool, typer.Option("--figures", help="Pictures for papers, as PNG in OUT/figures (extra pictures).")
]
_POINT_FILES = (".ply", ".xyz", ".csv", ".npy", ".npz")


def begin(out: Path, *, figures: bool) -> None:
    """Refuse before the work what would be refused after it.

    Raises:
        FileError: The output folder holds something that is no fit's.
        MissingExtraError: Pictures are asked for, and what draws them is not installed.
    """
    from lpm.extras import import_extra
    from lpm.fitting.fit import check_fit_folder

    check_fit_folder(out)
    if figures:
        import_extra("pyvista", "pictures", "--figures")


def mesh_files(mesh_format: str, mesh_space: str, faces: int | None) -> MeshFiles:
    """How the command line wants meshes written."""
    from lpm.files.meshes import MeshFiles

    return MeshFiles(f".{mesh_format}", "LPS" if mesh_space == "lps" else "RAS", faces)


def observed_points(bundle: ModelBundle, path: Path, n: int, seed: int) -> Observation:
    """At most `n` points of a file, drawn, as evidence."""
    from lpm.files.points import read_points
    from lpm.fitting.points import draw_points, observe_points

    file = read_points(path)
    chosen = draw_points(file.points_mm, n, rng=np.random.default_rng(seed))
    sides = None if file.structure is None else file.structure[chosen].tolist()
    return observe_points(bundle, file.points_mm[chosen], sides)


def more_evidence(bundle: ModelBundle, paths: list[Path] | None, config: MaskFitConfig, seed: int) -> list[Observation]:
    """Read further evidence, points or label maps by the file's name; label maps mean what the first one means."""
    from lpm.files.volumes import read_volume
    from lpm.fitting.masks import observe_mask

    rng = np.random.default_rng(seed)
    return [
        observed_points(bundle, path, config.n_points, seed)
        if path.suffix.lower() in _POINT_FILES
        else observe_mask(bundle, read_volume(path), rng=rng, config=config)
        for path in paths or []
    ]


def finish(fit: Fit, out: Path, seen: Seen, *, report: bool, figures: bool) -> None:
    """Write what is asked for beside a fit's own files, and print what it says."""
    from lpm.reports.fits import draw_fit_figures, write_fit_report

    if figures:
        draw_fit_figures(fit, seen, out / "figures")
    if report:
        say("drawing the report")
        write_fit_report(out / "report.html", fit, seen)
    print_fit(out)


def print_fit(out: Path) -> None:
    """Print what `fit.json` in a folder says."""
    summary = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    if summary["volume_ml"] is not None:
        table = Table("structure", "volume (ml)")
        for name, volume in summary["volume_ml"].items():
            table.add_row(name, f"{volume:.0f}")
        for name, volume in summary.get("part_volume_ml", {}).items():
            table.add_row(f"  {name}", f"{volume:.0f}")
        low, high = summary["total_volume_95_ml"]
        table.add_row("total", f"{summary['total_volume_ml']:.0f} (95 %: {low:.0f} to {high:.0f})")
        screen.print(table)
    residual = summary["residuals_mm"]["mean_absolute"]
    what = "error of the rays' lengths" if "radiograph" in summary["observed"] else "distance of the points"
    screen.print(
        f"{summary['observed']}; mean {what} {residual:.2f} mm; {summary['stop_reason']}",
        soft_wrap=True,
    )
    for note in summary["notes"]:
        screen.print(f"note: {plain(note)}", soft_wrap=True)
    screen.print(f"written to {out}")

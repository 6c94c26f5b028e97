"""`lpm fit`: from what was seen of a patient to both lungs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer
from rich.table import Table

from lpm.apps.terminal import OutOption, PriorOnlyOption, fit_config, parse_labels, plain, say, screen

if TYPE_CHECKING:
    from lpm.files.meshes import MeshFiles
    from lpm.fitting.fit import Fit
    from lpm.fitting.masks import MaskFitConfig
    from lpm.fitting.observation import Observation
    from lpm.model.bundle import ModelBundle
    from lpm.reports.fits import Seen

fit_app = typer.Typer(
    help="Reconstruct unseen lungs: the model is frozen, shape and pose follow what was seen.", no_args_is_help=True
)
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Folder that `lpm train` wrote, or hf:owner/repository; default: bundled lungs-v1."),
]
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


@fit_app.command("points")
def fit_points_verb(
    points: Annotated[
        Path, typer.Argument(help="Surface points: .ply .xyz .csv .npy .npz, RAS mm, optional side column.")
    ],
    out: OutOption,
    model: ModelOption = None,
    n: Annotated[int, typer.Option("--points", min=10, help="Draw at most this many of the file's points.")] = 5000,
    also: AlsoOption = None,
    mesh_format: MeshOption = "ply",
    mesh_space: SpaceOption = "ras",
    faces: FacesOption = None,
    spacing_mm: SpacingOption = 1.5,
    grid: Annotated[Path | None, typer.Option(help="Write labels on the grid of this scan.")] = None,
    parts: PartsOption = False,
    prior_only: PriorOnlyOption = False,
    seed: SeedOption = 0,
    report: ReportOption = True,
    figures: FiguresOption = False,
) -> None:
    """Reconstruct both lungs from surface points, scattered or along contours in any plane.

    Example: lpm fit points scan.ply --out lungs
    """
    from lpm.files.volumes import read_volume
    from lpm.fitting.masks import MaskFitConfig
    from lpm.fitting.observation import fit_observations, together
    from lpm.reports.fits import Seen
    from lpm.reports.provenance import provenance

    begin(out, figures=figures)
    bundle, target = load_bundle(model), read_volume(grid) if grid else None
    seen = [_points(bundle, points, n, seed), *_more(bundle, also, MaskFitConfig(n_points=n), seed)]
    say(f"fitting {'; '.join(each.what for each in seen)}")
    fit = fit_observations(bundle, seen, config=fit_config(prior_only=prior_only), spacing_mm=spacing_mm)
    say("writing meshes and labels")
    fit.write(out, meshes=mesh_files(mesh_format, mesh_space, faces), grid=target, parts=parts)
    inputs = [path for path in (points, *(also or []), grid) if path is not None]
    evidence = Seen(together(seen).points_mm, target, provenance=provenance(bundle, inputs, seed=seed))
    finish(fit, out, evidence, report=report, figures=figures)


@fit_app.command("mask")
def fit_mask_verb(
    labels: Annotated[Path, typer.Argument(help="Label map: 1 = left, 2 = right, or --labels.")],
    out: OutOption,
    model: ModelOption = None,
    n: Annotated[int, typer.Option("--points", min=10, help="Points drawn on the mask's surface.")] = 10_000,
    also: AlsoOption = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Also predict a lung that the mask does not hold.")
    ] = False,
    values: Annotated[str | None, typer.Option("--labels", help="Label values: left_lung=1,right_lung=2.")] = None,
    mesh_format: MeshOption = "ply",
    mesh_space: SpaceOption = "ras",
    faces: FacesOption = None,
    spacing_mm: SpacingOption = 1.5,
    parts: PartsOption = False,
    prior_only: PriorOnlyOption = False,
    seed: SeedOption = 0,
    report: ReportOption = True,
    figures: FiguresOption = False,
) -> None:
    """Reconstruct lungs from a label map; the labels come back on its own grid.

    The mask may be whole, cut off by the field of view (beyond the cut the lungs are predicted), or drawn in a few
    slices only.

    Example: lpm fit mask labels.nii.gz --out lungs
    """
    from lpm.files.volumes import read_volume
    from lpm.fitting.masks import MaskFitConfig, observe_mask
    from lpm.fitting.observation import fit_observations, together
    from lpm.reports.fits import Seen
    from lpm.reports.provenance import provenance

    begin(out, figures=figures)
    bundle, volume = load_bundle(model), read_volume(labels)
    config = MaskFitConfig(structures=parse_labels(values) if values else None, n_points=n, complete=complete)
    first = observe_mask(bundle, volume, rng=np.random.default_rng(seed), config=config)
    seen = [first, *_more(bundle, also, config, seed)]
    say(f"fitting {'; '.join(each.what for each in seen)}")
    fit = fit_observations(bundle, seen, config=fit_config(prior_only=prior_only), spacing_mm=spacing_mm)
    say("writing meshes and labels")
    fit.write(out, meshes=mesh_files(mesh_format, mesh_space, faces), grid=volume, parts=parts)
    known = provenance(bundle, [labels, *(also or [])], seed=seed)
    evidence = Seen(together(seen).points_mm, volume, provenance=known)
    finish(fit, out, evidence, report=report, figures=figures)


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


def load_bundle(source: str | None) -> ModelBundle:
    """The model that `--model` names."""
    import lpm

    return (lpm.load(source) if source else lpm.load()).bundle


def mesh_files(mesh_format: str, mesh_space: str, faces: int | None) -> MeshFiles:
    """How the command line wants meshes written."""
    from lpm.files.meshes import MeshFiles

    return MeshFiles(f".{mesh_format}", "LPS" if mesh_space == "lps" else "RAS", faces)


def _points(bundle: ModelBundle, path: Path, n: int, seed: int) -> Observation:
    from lpm.files.points import read_points
    from lpm.fitting.points import draw_points, observe_points

    file = read_points(path)
    chosen = draw_points(file.points_mm, n, rng=np.random.default_rng(seed))
    sides = None if file.structure is None else file.structure[chosen].tolist()
    return observe_points(bundle, file.points_mm[chosen], sides)


def _more(bundle: ModelBundle, paths: list[Path] | None, config: MaskFitConfig, seed: int) -> list[Observation]:
    """Further evidence, points or label maps by the file's name; label maps mean what the first one means."""
    from lpm.files.volumes import read_volume
    from lpm.fitting.masks import observe_mask

    rng = np.random.default_rng(seed)
    return [
        _points(bundle, path, config.n_points, seed)
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

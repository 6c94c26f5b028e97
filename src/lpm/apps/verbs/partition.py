"""`lpm partition`: a model learns the parts of its structures, such as the lobes of lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import ValidationError

from lpm.apps.terminal import ModelOption, load_bundle, parse_labels, screen
from lpm.errors import FileError, InputError, MisuseError


def partition(
    labels: Annotated[
        list[Path],
        typer.Argument(metavar="PARTS...", help="Label maps of parts, one a subject."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model that knows the parts.")],
    parts: Annotated[
        str, typer.Option("--parts", help="Label values of each part: left_upper_lobe=1,left_lower_lobe=2,...")
    ],
    structures: Annotated[
        str, typer.Option("--labels", help="Label values of each structure: left_lung=1+2,right_lung=3+4+5.")
    ],
    model: ModelOption = None,
    n: Annotated[int, typer.Option("--points", min=10, help="Points drawn on each subject's surface.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the drawn points.")] = 0,
) -> None:
    """Teach an atlas how its structures divide into parts, from label maps of a few subjects.

    Parts share their boundaries: they leave no gap and do not overlap. `lpm fit ... --parts` then writes them, whatever
    was seen of the structures. The subjects need not be those that the model was trained on.

    Example: lpm partition */lobes.nii.gz --labels left=1+2,right=3+4+5 --parts left_upper=1,left_lower=2,... --out M
    """
    from lpm.files.volumes import read_volume
    from lpm.fitting.partition.learning import PartitionConfig, partition_model
    from lpm.model.bundle import write_bundle

    if (out / "bundle.json").exists():
        raise FileError(str(out), "holds a model", "a new folder", "another --out")
    try:
        config = PartitionConfig(structures=parse_labels(structures), parts=parse_labels(parts), n_points=n)
    except ValidationError as error:
        reason = "; ".join(str(each["msg"]).removeprefix("Value error, ") for each in error.errors())
        raise MisuseError("--parts", reason, "every value of a structure in one part", "see --labels") from error
    examples = {name: read_volume(path) for name, path in _named(labels).items()}
    taught = partition_model(load_bundle(model), examples, config, rng=np.random.default_rng(seed))
    write_bundle(out, taught)
    screen.print(f"{len(config.parts)} parts, taught by {', '.join(examples)}; written to {out}", soft_wrap=True)


def _named(paths: list[Path]) -> dict[str, Path]:
    """By subject: the file's name, or its folder's where all files are called the same."""
    stems = [path.name.split(".")[0] for path in paths]
    names = [path.resolve().parent.name for path in paths] if len(set(stems)) < len(stems) else stems
    if len(set(names)) < len(names):
        raise InputError("partition", f"files of one name: {', '.join(names)}", "a name or a folder each")
    return dict(zip(names, paths, strict=True))

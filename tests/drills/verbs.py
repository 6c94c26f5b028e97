"""Every verb that writes, on small inputs: how it is called, what it writes, and how it goes on after a kill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_FIT = "--points 300 --spacing-mm 8"
_RAYS = "--views radiographs/views.json --spacing-mm 8"


@dataclass(frozen=True)
class Verb:
    """A command to drill.

    Args:
        name: Name in the table.
        command: Arguments; OUT stands for what it writes.
        again: What goes on after a kill; the same command with this added.
        growing: Names of files that are whole at any time, and complete at the end; or of folders of such files.
        replaces: Whether an earlier result gives way; it is drilled with one in place, too.
        workers: Worker processes.
    """

    name: str
    command: str
    again: str = ""
    growing: tuple[str, ...] = ()
    replaces: bool = False
    workers: int = 1

    def arguments(self, out: str, *, again: bool = False) -> list[str]:
        """The command line."""
        return [word.replace("OUT", out) for word in f"{self.command} {self.again if again else ''}".split()]


_ONE: dict[str, Any] = {"replaces": True}
_TABLES = ("cases.csv", "shapes.csv")
_MANY: dict[str, Any] = {"again": "--resume", "growing": _TABLES}

VERBS = (
    Verb("segment", "segment scans/case0.nii.gz --out OUT/labels.nii.gz --preview OUT/p.png", replaces=True),
    Verb(
        "segment to DICOM",
        "segment dicom --out OUT/labels.seg.nrrd --dicom-seg OUT/seg.dcm --rtstruct OUT/rt.dcm --dicom-stl OUT/stl",
    ),
    Verb("segment, many, --jobs 2", "segment scans --out OUT --jobs 2", **_MANY, workers=2),
    Verb("fit ct", f"fit ct scans/case0.nii.gz --out OUT/fit {_FIT} --no-report", replaces=True),
    Verb("fit mask", f"fit mask masks/case0.nii.gz --out OUT/fit {_FIT}", replaces=True),
    Verb("fit mask, many", f"fit mask pair --out OUT {_FIT} --no-report --jobs 1", **_MANY),
    Verb("fit mask, many, --jobs 2", f"fit mask pair --out OUT {_FIT} --no-report --jobs 2", **_MANY, workers=2),
    Verb("fit points", f"fit points clouds/case0.csv --out OUT/fit {_FIT} --no-report --mesh-format glb", **_ONE),
    Verb("fit points, many, --jobs 2", f"fit points clouds --out OUT {_FIT} --no-report --jobs 2", **_MANY, workers=2),
    Verb("fit xray", f"fit xray --frontal radiographs/frontal.png --out OUT/fit {_RAYS} --no-report", replaces=True),
    Verb(
        "fit joint",
        "fit joint --points clouds/case0.csv --mask masks/case0.nii.gz --out OUT/fit --n-points 200 --spacing-mm 8 "
        "--no-report",
        replaces=True,
    ),
    Verb("prepare", "prepare masks --out OUT --config quick.toml --jobs 1", "--resume"),
    Verb("prepare, --jobs 2", "prepare masks --out OUT --config quick.toml --jobs 2", "--resume", workers=2),
    Verb(
        "train, network",
        "train cohort --preset lite --config tiny.toml --jobs 1 --out OUT",
        "--resume",
        ("checkpoint.safetensors", "epochs.csv"),
    ),
    Verb(
        "train, atlas, --jobs 2",
        "train cohort --config atlas.toml --jobs 2 --out OUT",
        "--resume",
        ("registration",),
        workers=2,
    ),
    Verb("generate", "generate --n 3 --labels-mm 8 --no-report --out OUT"),
    Verb("generate, --jobs 2", "generate --n 10 --labels-mm 8 --no-report --out OUT --jobs 2", workers=2),
    Verb("evaluate", "evaluate atlas cohort --out OUT --points 200 --baselines mean --prior-only", replaces=True),
    Verb("population", "population masks states --out OUT/norm.json", replaces=True),
    Verb("study", "study breaths --table subjects.csv --group state --permutations 100 --out OUT/study", replaces=True),
    Verb("train-breath", "train-breath breaths.csv --out OUT/breath.npz", replaces=True),
    Verb("export", "export --glb OUT/lungs.glb --page OUT/lungs.html", replaces=True),
    Verb("publish", "publish model --license mit --out OUT/repository", replaces=True),
    Verb("measure, --jobs 2", "measure masks --csv OUT/m.csv --json OUT/m.json --jobs 2", replaces=True, workers=2),
    Verb("map-points", "map-points landmarks.csv --from expiration --to inspiration --out OUT/c.csv", **_ONE),
    Verb("breathe", "breathe expiration inspiration --out OUT/breath --phases 2", replaces=True),
    Verb("xray", "xray scans/case0.nii.gz --out OUT --mm-per-px 3", replaces=True),
    Verb(
        "partition",
        "partition parts.nii.gz --labels left_lung=1+3,right_lung=2+4 --points 200 --out OUT "
        "--parts left_base=1,left_top=3,right_base=2,right_top=4",
    ),
)

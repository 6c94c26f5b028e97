"""A model as a repository of the Hugging Face Hub: its files, a model card, checksums."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from lpm.errors import MisuseError
from lpm.files.atomic import atomic_folder, check_gives_way
from lpm.files.hub import MODEL_FILES, checksums_of, digest_of
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.population.attributes import attributes_of

_FILES = {*MODEL_FILES, "README.md", "SHA256SUMS", ".gitattributes"}
_TAGS = ("medical", "lungs", "3d", "statistical-shape-model", "signed-distance-function", "lungs-parametric-model")
_SHOWN = ("total_volume_ml", "right_share_percent", "height_mm", "width_mm", "depth_mm")


@dataclass(frozen=True)
class Publication:
    """What a model card says beyond the model itself.

    Args:
        title: Heading of the card.
        licence: Identifier as the Hub knows it, such as cc-by-4.0.
        repository: ``owner/repository`` where it will lie.
    """

    title: str
    licence: str
    repository: str = "OWNER/REPOSITORY"

    def __post_init__(self) -> None:
        if not self.licence or not all(each.isalnum() or each in "-._" for each in self.licence):
            raise MisuseError("--license", repr(self.licence), "an identifier such as cc-by-4.0, or other")


def publish(model: Path, out: Path, publication: Publication) -> str:
    """Write a model as a folder that is a repository of the Hub.

    Args:
        model: Folder of the model.
        out: New, empty, or an earlier publication, which gives way.
        publication: What the card says.

    Returns:
        The digest by which ``hf:owner/repository@revision#digest`` is checked.

    Raises:
        FileError: No model, or the folder holds something else.
    """
    bundle = read_bundle(model)  # what cannot be loaded is not published
    check_gives_way(out, lambda name: (out / "SHA256SUMS").is_file() and name in _FILES, "holds an earlier publication")
    digest = digest_of(model)
    with atomic_folder(out) as temporary:
        for name in MODEL_FILES:
            shutil.copyfile(model / name, temporary / name)
        (temporary / "SHA256SUMS").write_text(checksums_of(model), encoding="ascii")
        (temporary / ".gitattributes").write_text(
            "*.safetensors filter=lfs diff=lfs merge=lfs -text\n", encoding="ascii"
        )
        (temporary / "README.md").write_text(card_of(bundle, publication, digest), encoding="utf-8")
    return digest


def card_of(bundle: ModelBundle, publication: Publication, digest: str) -> str:
    """The model card: YAML for the Hub, then what the model is, how it is loaded, and what it was made from."""
    manifest = bundle.manifest
    tags = "".join(f"- {tag}\n" for tag in _TAGS)
    head = f"---\nlicense: {publication.licence}\nlibrary_name: lungs-parametric-model\ntags:\n{tags}---\n"
    name = f"hf:{publication.repository}@main#{digest[:16]}"
    structures = ", ".join(each.replace("_", " ") for each in bundle.structures)
    versions = ", ".join(f"{each} {number}" for each, number in manifest.versions.items())
    return f"""{head}
# {publication.title}

A parametric model of shape (statistical shape model, implicit surface) for LPM, `lungs-parametric-model`: {structures}.
**Not for clinical use.**

```python
import lpm

model = lpm.load({json.dumps(name)})
fit = model.fit_points(points_mm)  # (n, 3) surface points, RAS mm
```

A commit in place of `main` pins the revision; what follows `#` is checked when the files are loaded.

| | |
|---|---|
| kind | {manifest.config.preset} |
| structures | {structures} |
| shape parameters | {bundle.latents.n_modes} |
| training subjects | {len(manifest.training_subjects)} |
| data | {manifest.data or "not said"} |
| made with | {versions} |
| digest of the model, as `fit.json` names it | `{bundle.digest}` |

{_population(bundle)}## Limits

The model knows shapes such as those that it was trained on, and calls others unlike lungs or follows them badly.
Intervals and percentiles are relative to its training subjects, not to people. Its names of training subjects and their
measures are in `bundle.json`: publish it only if you may publish those.
"""


def _population(bundle: ModelBundle) -> str:
    if not bundle.manifest.attributes:
        return ""
    table = attributes_of(bundle)
    rows = "".join(
        f"| {name} | {table.mean[table.index(name)]:.4g} | {table.sd[table.index(name)]:.3g} |\n"
        for name in _SHOWN
        if name in table.names
    )
    return f"## Training subjects\n\n| measure | mean | sd |\n|---|---|---|\n{rows}\n" if rows else ""

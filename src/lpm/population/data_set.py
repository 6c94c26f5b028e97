"""Generated lungs on disk: a folder each, a table that `lpm prepare` takes back, and a manifest."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from lpm.batch.workers import LocalWorkers, Workers
from lpm.errors import FileError, MisuseError, WorkerDiedError
from lpm.files.atomic import atomic_folder, clear_left_overs, write_text
from lpm.files.meshes import write_mesh
from lpm.files.outputs.temporary import remove_stale
from lpm.files.volumes import write_volume
from lpm.geometry.grids import labels_of
from lpm.measurement.table import AttributeTable
from lpm.population.generation import GeneratedLungs, GenerationConfig, Generator
from lpm.population.population import Range
from lpm.population.scans import write_scans
from lpm.records import PlainName, StrictModel, read_json_model

DATA_SET_SCHEMA = 1  # of manifest.json: raised when older programs cannot read it
TABLE = "subjects.csv"
_CHUNK = 8  # lungs that a worker makes at a time, so that it sets out seldom


class Request(StrictModel):
    """Options of the generation: everything that changes a lung but its number."""

    ranges: dict[str, Range] = Field(description="lowest and highest value by attribute")
    seed: int = Field(0, ge=0, description="of the lungs that are drawn")
    labels_mm: float = Field(2.0, ge=0.5, le=10, description="voxels of the label maps")
    scans: Literal["none", "ct", "ct and radiographs"] = "none"
    xray_mm_per_px: float = Field(1.0, ge=0.2, le=5, description="pixels of the radiographs")
    config: GenerationConfig = GenerationConfig()


class Lungs(StrictModel):
    """`lungs.json` of generated lungs."""

    name: str
    digest: str = Field(description="of the request and the model: lungs of another request are made again")
    beta: tuple[float, ...]
    attributes: dict[str, float]
    nearest_training_lungs_mm: float
    tries: int


class DataSetManifest(StrictModel):
    """`manifest.json`."""

    schema_version: int
    request: Request
    digest: str
    model: dict[str, Any]
    subjects: tuple[PlainName, ...]


@dataclass(frozen=True)
class DataSet:
    """Lungs to generate into a folder.

    Args:
        generator: Draws them.
        request: Request: what to generate.
        out: The folder.
    """

    generator: Generator
    request: Request
    out: Path

    @property
    def digest(self) -> str:
        """SHA-256 of the request and of the model's shape parameters."""
        model, hasher = self.generator.population.decode.model, hashlib.sha256()
        hasher.update(self.request.model_dump_json().encode())
        hasher.update(model.latents.basis.numpy().tobytes() + model.codes.numpy().tobytes())
        return hasher.hexdigest()

    def write_all(self, n: int, workers: Workers | None = None) -> Iterator[Lungs]:
        """Generate n lungs; those that an earlier run finished are kept. The manifest comes last.

        Args:
            n: Number of lungs.
            workers: Share them out; default this process.

        Raises:
            InputError: n is not positive, or conditions that no lungs meet.
            FileError: The folder holds something else.
            WorkerDiedError: Some lungs killed the workers that took them.
        """
        if n < 1:
            raise MisuseError("--n", str(n), "at least 1")
        found = [path.name for path in self.out.iterdir() if path.name[0] != "."] if self.out.exists() else []
        if found and not any(name.startswith("lungs_") for name in found):
            raise FileError(str(self.out), "is not empty, and holds no generated lungs", "a new folder")
        remove_stale(self.out)
        self.generator.prepare(self.request.ranges)
        chunks = [range(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
        done: list[Lungs] = []
        for chunk, some in (workers or LocalWorkers(1)).each(partial(_write_some, self, self.digest), chunks):
            if some is None:
                raise WorkerDiedError(
                    f"lungs {chunk.start} to {chunk.stop - 1}", "killed the worker", hint="more memory"
                )
            done += some
            yield from some
        clear_left_overs(self.out)
        self._finish(sorted(done, key=lambda lungs: lungs.name))

    def _finish(self, lungs: Sequence[Lungs]) -> None:
        write_text(self.out / TABLE, _table(lungs))
        model = self.generator.population.decode.model.manifest
        manifest = DataSetManifest(
            schema_version=DATA_SET_SCHEMA,
            request=self.request,
            digest=self.digest,
            model={"preset": model.config.preset, "subjects": len(model.training_subjects), "data": model.data}
            | model.versions,
            subjects=tuple(one.name for one in lungs),
        )
        write_text(self.out / "manifest.json", manifest.model_dump_json(indent=1) + "\n")

    def write_one(self, index: int, digest: str) -> Lungs:
        """Generate and write the lungs of a number, or read them where they are there."""
        name = f"lungs_{index:05d}"
        folder = self.out / name
        if (earlier := _finished(folder, digest)) is not None:
            return earlier
        rng = np.random.default_rng([self.request.seed, index])
        drawn = self.generator.draw(self.request.ranges, rng=rng)
        record = _record(name, digest, drawn)
        with atomic_folder(folder) as temporary:
            for structure, mesh in drawn.meshes.items():
                write_mesh(temporary / f"{structure}.ply", mesh)
            labels = labels_of(drawn.meshes, spacing_mm=self.request.labels_mm)
            write_volume(temporary / "labels.nii.gz", labels)
            if self.request.scans != "none":
                pixels = self.request.xray_mm_per_px if "radiographs" in self.request.scans else None
                write_scans(temporary, labels, xray_mm_per_px=pixels, rng=rng)
            write_text(temporary / "lungs.json", record.model_dump_json(indent=1) + "\n")
        return record


def _write_some(data_set: DataSet, digest: str, indices: range) -> list[Lungs]:
    return [data_set.write_one(index, digest) for index in indices]


def _record(name: str, digest: str, drawn: GeneratedLungs) -> Lungs:
    beta = tuple(round(float(value), 6) for value in drawn.beta)
    attributes = {key: float(f"{value:.7g}") for key, value in drawn.attributes.items()}
    nearest = round(drawn.nearest_mm, 3)
    return Lungs(
        name=name, digest=digest, beta=beta, attributes=attributes, nearest_training_lungs_mm=nearest, tries=drawn.tries
    )


def _finished(folder: Path, digest: str) -> Lungs | None:
    try:
        found = read_json_model(folder / "lungs.json", Lungs)
    except FileError:  # absent, damaged, or of another version: not finished, so it is done again
        return None
    return found if found.digest == digest else None


def _table(lungs: Sequence[Lungs]) -> str:
    """`subjects.csv`: names, label maps and attributes, as `lpm prepare` reads them."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for one in lungs for name in one.attributes))
    writer = csv.DictWriter(text, ["subject", "path", *names, "nearest_training_lungs_mm"], lineterminator="\n")
    writer.writeheader()
    for one in lungs:
        row = {"subject": one.name, "path": f"{one.name}/labels.nii.gz", **one.attributes}
        writer.writerow(row | {"nearest_training_lungs_mm": one.nearest_training_lungs_mm})
    return text.getvalue()


def read_attributes(folder: Path) -> AttributeTable:
    """Attributes of the lungs of a data set.

    Raises:
        FileError: There is no manifest, or lungs are missing.
        SchemaError: It is of another version.
    """
    manifest = read_json_model(folder / "manifest.json", DataSetManifest, DATA_SET_SCHEMA)
    found = {name: read_json_model(folder / name / "lungs.json", Lungs) for name in manifest.subjects}
    return AttributeTable.of({name: lungs.attributes for name, lungs in found.items()})

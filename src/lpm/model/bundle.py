"""A trained model on disk: `weights.safetensors` and `bundle.json`. No pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lpm.errors import FileError, InputError
from lpm.files.atomic import write_text
from lpm.geometry.frames import Floats, WorldFromModel, WorldPoints
from lpm.geometry.grids import VoxelGrid
from lpm.measurement.shapes import measure_shapes
from lpm.model.atlas import AtlasDecoder
from lpm.model.atlas_build import AtlasBuild
from lpm.model.config import AtlasConfig, ModelConfig
from lpm.model.latents import LatentSpace, by_reach, principal_latents
from lpm.model.network.decoder import Decoder
from lpm.model.network.training import EpochReport, Training
from lpm.model.partition import Partition, partition_from_tensors
from lpm.model.tensors import read_tensors, write_tensors
from lpm.model.threads import shared_out
from lpm.model.warp import Box
from lpm.preparation.cohort import Cohort
from lpm.records import PlainName, StrictModel, read_json_model, versions
from lpm.structures import UNION

BUNDLE_SCHEMA = 1  # of bundle.json: raised when older programs cannot read it
_MAX_PARAMETERS = 500_000_000  # 2 GB of float32: a manifest that asks for more is damaged or hostile
_CHUNK = 8192  # points at a time: bounds memory, changes nothing


class BundleManifest(StrictModel):
    """`bundle.json`.

    Args:
        schema_version: Schema version of this file.
        structures: Names of the outputs.
        config: Config of the network or the atlas.
        scale: Scale of the cohort: one for all subjects, or one for each.
        scale_mm: Millimetres of a model unit.
        box: Lower and upper corner of all that training shapes reached, model units.
        centers: Mean surface point of each structure, model units.
        n_modes: Number of shape parameters.
        training_subjects: Names.
        training_shapes: Subjects and their deformed copies.
        loss_history: An entry an epoch (networks) or a round of registration (atlas).
        training_seconds: Duration of the training, s.
        data: Provenance and licence of the data, in plain words.
        versions: Versions of this package, torch, numpy and Python.
    """

    schema_version: int
    structures: tuple[PlainName, ...]
    config: ModelConfig | AtlasConfig
    scale: Literal["cohort", "subject"]
    scale_mm: float
    box: tuple[tuple[float, float, float], tuple[float, float, float]]
    centers: tuple[tuple[float, float, float], ...]
    n_modes: int
    training_subjects: tuple[PlainName, ...]
    training_shapes: int
    loss_history: tuple[dict[str, float], ...]
    training_seconds: float
    data: str
    versions: dict[str, str]
    attributes: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="of the training subjects: measured on their meshes, or numbers of a table"
    )
    parts: dict[PlainName, tuple[PlainName, ...]] = Field(
        default_factory=dict, description="names of parts, by structure"
    )
    parts_from: tuple[str, ...] = Field((), description="subjects whose parts were given")


@dataclass(frozen=True, eq=False, repr=False)
class ModelBundle:
    """A trained model: the network, the shape parameters, and where its frame lies.

    Args:
        manifest: Everything but the numbers of the network.
        decoder: The network or the atlas, frozen.
        latents: z = mean + basis @ beta.
        codes: (n, l) the training shapes' latents: the subjects first, in the manifest's order.
        partition: Partition of the structures into parts, if the model was taught.
    """

    manifest: BundleManifest
    decoder: Decoder | AtlasDecoder
    latents: LatentSpace
    codes: Tensor
    partition: Partition | None = None

    def __repr__(self) -> str:
        manifest = self.manifest
        of = f"{len(manifest.training_subjects)} subjects' {', '.join(self.structures)}"
        return f"<{type(self).__name__} {manifest.config.preset} of {of}; {self.latents.n_modes} shape parameters>"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the numbers that make shapes, by which a fit knows its model."""
        found = hashlib.sha256(repr((self.structures, self.manifest.scale_mm)).encode())
        decoder = self.decoder  # as it is stored: an atlas is rounded when it is written
        stored = decoder.to_tensors() if isinstance(decoder, AtlasDecoder) else decoder.state_dict()
        tensors = {**stored, "mean": self.latents.mean, "basis": self.latents.basis}
        for name, tensor in sorted(tensors.items()):
            found.update(name.encode() + tensor.float().contiguous().numpy().tobytes())
        return found.hexdigest()

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.manifest.structures

    @property
    def centers(self) -> Floats:
        """(s, 3) mean surface point of each structure over the training shapes, in the model frame."""
        return np.array(self.manifest.centers)

    @property
    def pieces_each(self) -> int:
        """Pieces of an output's surface: one, or both lungs in the paper's single union."""
        return 1 if self.manifest.config.structures == "separate" else 2

    @property
    def box(self) -> tuple[Floats, Floats]:
        """Lower and upper corner, in the model frame, of all that the training shapes reached."""
        return np.array(self.manifest.box[0]), np.array(self.manifest.box[1])

    @property
    def diagonal_mm(self) -> float:
        """Of the box that holds all that the training shapes reached."""
        lower, upper = self.box
        return self.manifest.scale_mm * float(np.linalg.norm(upper - lower))

    def world_from_model(self, center_mm: Floats, axis_scale: Floats | None = None) -> WorldFromModel:
        """Place the model in the world, with its own scale times optional factors along R, A, S."""
        factors = np.ones(3) if axis_scale is None else axis_scale
        return WorldFromModel(self.manifest.scale_mm * factors, center_mm)

    def distances_mm(self, beta: Tensor, world_from_model: WorldFromModel, points_mm: Floats) -> Floats:
        """Evaluate the field of a shape.

        Args:
            beta: (k,) shape parameters.
            world_from_model: Its pose.
            points_mm: (n, 3) RAS mm.

        Returns:
            (n, s) signed distances in mm, negative inside.
        """
        exact = partial(self.decoder, self.latents.to_latent(beta)[None])
        return _in_mm(exact, world_from_model, points_mm)

    def interpolated_mm(
        self, beta: Tensor, world_from_model: WorldFromModel, lattice: VoxelGrid, spacing_mm: float
    ) -> Callable[[Floats], Floats]:
        """`distances_mm` of one shape, faster: an atlas's smooth displacements are interpolated.

        Args:
            beta: (k,) shape parameters.
            world_from_model: Its pose.
            lattice: All that will be asked for.
            spacing_mm: Spacing of the nodes between which they are.
        """
        ends = lattice.points_mm(np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(lattice.shape) - 1))
        there = world_from_model.inverse(WorldPoints(ends)).xyz
        field = self.shape_field(beta, there.min(axis=0), there.max(axis=0), spacing_mm)
        return partial(_in_mm, field, world_from_model)

    def shape_field(self, beta: Tensor, lower: Floats, upper: Floats, spacing_mm: float) -> Callable[[Tensor], Tensor]:
        """The field of one shape, (p, 3) to (p, s) in model units; an atlas's smooth displacements are interpolated.

        Args:
            beta: (k,) shape parameters.
            lower: (3,) corner of the box in the model frame that holds most of what will be asked for.
            upper: (3,) the other corner.
            spacing_mm: Spacing of the nodes between which displacements are interpolated.
        """
        latent = self.latents.to_latent(beta)[None]
        if not isinstance(self.decoder, AtlasDecoder):
            return partial(self.decoder, latent)
        box = Box(torch.tensor(lower).float(), torch.tensor(upper).float())
        return self.decoder.at_latent(latent, box, spacing_mm / self.manifest.scale_mm)


def _in_mm(field: Callable[[Tensor], Tensor], world_from_model: WorldFromModel, points_mm: Floats) -> Floats:
    """(n, s) values in mm, at (n, 3) world points, of a field in model units."""
    points = world_from_model.inverse(WorldPoints(points_mm)).xyz

    def distances(part: Tensor) -> Tensor:
        with torch.inference_mode():
            return field(part)

    parts = shared_out(distances, torch.tensor(points).float().split(_CHUNK))
    return world_from_model.scale_mm * torch.cat(parts).numpy().astype(np.float64)


def bundle_of(training: Training, cohort: Cohort, data: str) -> ModelBundle:
    """Make a bundle of a training run as it stands.

    Args:
        training: After at least one epoch; if processes train together, all of them make it.
        cohort: Cohort that the model was trained on.
        data: Provenance and licence of the data, in plain words.
    """
    shapes, codes = training.samples.shapes, training.codes()
    latents = principal_latents(codes)
    lower, upper = training.box()
    structures = structure_names(cohort, training.config)
    manifest = _manifest(
        cohort,
        structures=structures,
        config=training.config,
        box=((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2])),
        centers=tuple((x, y, z) for x, y, z in training.centers()),
        n_modes=latents.n_modes,
        training_subjects=tuple(shape.subject for shape in shapes if shape.copy == 0),
        training_shapes=len(shapes),
        loss_history=tuple(_flat(report) for report in training.log),
        training_seconds=sum(report.seconds for report in training.log),
        data=data,
    )
    decoder = Decoder(training.config.decoder, len(manifest.structures))
    decoder.load_state_dict(training.model.decoder.state_dict())
    return ModelBundle(manifest, decoder.eval().requires_grad_(requires_grad=False), latents, codes)


def bundle_of_atlas(build: AtlasBuild, data: str) -> ModelBundle:
    """Make a bundle of an atlas.

    Shape parameters are the atlas's own latents (components and warp together), turned so that they are sorted by how
    far they move the surface; a positive one makes the lungs larger.

    Args:
        build: After its steps.
        data: Provenance and licence of the data, in plain words.
    """
    cohort, decoder = build.cohort, build.decoder
    points, structure = _surface_in_model(cohort, build.subjects)
    latents = by_reach(decoder, decoder.latent_size, points, structure)
    lower, upper = points.amin(dim=0).tolist(), points.amax(dim=0).tolist()
    centers = [points[structure == index].mean(dim=0).tolist() for index in range(len(cohort.structures))]
    manifest = _manifest(
        cohort,
        structures=cohort.structures,
        config=build.config,
        box=((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2])),
        centers=tuple((x, y, z) for x, y, z in centers),
        n_modes=latents.n_modes,
        training_subjects=tuple(build.subjects),
        training_shapes=len(build.subjects),
        loss_history=build.history,
        training_seconds=build.seconds,
        data=data,
    )
    return ModelBundle(manifest, decoder.eval(), latents, build.codes)


def _surface_in_model(cohort: Cohort, subjects: Sequence[str], n: int = 2000) -> tuple[Tensor, Tensor]:
    """Some surface points of each subject in the model frame, (m, 3), and their structures."""
    points, structures = [], []
    for subject in subjects:
        surface = cohort.surface(subject)
        inside = cohort.world_from_model(subject).inverse(WorldPoints(surface.points_mm[:n])).xyz
        points.append(torch.tensor(inside).float())
        structures.append(torch.from_numpy(surface.structure[:n].astype(np.int64)))
    return torch.cat(points), torch.cat(structures)


def _manifest(cohort: Cohort, **given: Any) -> BundleManifest:
    """Manifest entries common to every bundle of a cohort."""
    return BundleManifest(
        attributes={subject: _attributes(cohort, subject) for subject in given["training_subjects"]},
        schema_version=BUNDLE_SCHEMA,
        scale=cohort.manifest.scale,
        scale_mm=_model_scale_mm(cohort),
        versions=versions("torch", "numpy"),
        **given,
    )


def _attributes(cohort: Cohort, subject: str) -> dict[str, float]:
    """What a subject's meshes measure, and every number that a table said of it."""
    measured = {name: float(f"{value:.6g}") for name, value in measure_shapes(cohort.meshes(subject)).items()}
    return measured | _numbers(cohort.manifest.attributes.get(subject, {}))


def _numbers(said: Mapping[str, str]) -> dict[str, float]:
    """Columns of a table that are numbers; of ``sex``, f and m are 0 and 1."""
    words = {"f": "0", "female": "0", "m": "1", "male": "1"}
    found = {}
    for name, text in said.items():
        with suppress(ValueError):  # a name or a remark is no attribute
            value = float(words.get(text.strip().lower(), text) if name.lower() == "sex" else text)
            if np.isfinite(value):
                found[name] = value
    return found


def structure_names(cohort: Cohort, config: ModelConfig) -> tuple[str, ...]:
    """Outputs of the network: the cohort's structures, or the paper's single union of them."""
    return cohort.structures if config.structures == "separate" else UNION


def _model_scale_mm(cohort: Cohort) -> float:
    """With a scale per subject, an unseen lung starts from the training subjects' mean scale."""
    scales = [cohort.world_from_model(subject).scale_mm for subject in cohort.subjects("train")]
    return float(np.mean(scales))


def _flat(report: EpochReport) -> dict[str, float]:
    return {"epoch": report.epoch, **report.losses, "learning_rate": report.learning_rate, "seconds": report.seconds}


def write_bundle(folder: Path, bundle: ModelBundle) -> None:
    """Write the weights, then the manifest that makes them a bundle."""
    decoder = bundle.decoder
    weights = decoder.to_tensors() if isinstance(decoder, AtlasDecoder) else decoder.state_dict()
    tensors = {f"decoder.{name}": value for name, value in weights.items()}
    tensors |= {"latents.mean": bundle.latents.mean, "latents.basis": bundle.latents.basis, "codes": bundle.codes}
    tensors |= bundle.partition.to_tensors() if bundle.partition else {}
    write_tensors(folder / "weights.safetensors", tensors, {})
    write_text(folder / "bundle.json", bundle.manifest.model_dump_json(indent=1) + "\n")


def read_bundle(folder: Path) -> ModelBundle:
    """Read a model that `lpm train` wrote.

    Raises:
        FileError: A file is missing or damaged, or the weights do not fit the manifest.
        SchemaError: The bundle is of a newer or unknown schema.
        InputError: The manifest asks for an implausibly large network.
    """
    if not (folder / "bundle.json").is_file():
        given = "holds no bundle.json" if folder.is_dir() else "no such folder"
        raise FileError(str(folder), given, "a model that `lpm train` wrote", "leave it out for the bundled model")
    manifest = read_json_model(folder / "bundle.json", BundleManifest, BUNDLE_SCHEMA)
    _check_size(manifest, folder)
    tensors, _ = read_tensors(folder / "weights.safetensors")
    weights = {name[len("decoder.") :]: value for name, value in tensors.items() if name.startswith("decoder.")}
    try:
        decoder = _decoder(manifest, weights)
        latents = LatentSpace(tensors["latents.mean"], tensors["latents.basis"])
        codes = tensors["codes"]
    except (RuntimeError, KeyError) as error:
        raise FileError(
            str(folder), f"weights do not fit the manifest ({error})", hint="copy the folder again"
        ) from error
    partition = _partition(manifest, decoder, tensors)
    return ModelBundle(manifest, decoder.eval().requires_grad_(requires_grad=False), latents, codes, partition)


def _partition(
    manifest: BundleManifest, decoder: Decoder | AtlasDecoder, tensors: Mapping[str, Tensor]
) -> Partition | None:
    if not manifest.parts or not isinstance(decoder, AtlasDecoder):
        return None
    return partition_from_tensors(manifest.parts, manifest.structures, decoder, tensors)


def _decoder(manifest: BundleManifest, weights: Mapping[str, Tensor]) -> Decoder | AtlasDecoder:
    if isinstance(manifest.config, AtlasConfig):
        return AtlasDecoder.from_tensors(weights)
    decoder = Decoder(manifest.config.decoder, len(manifest.structures))
    decoder.load_state_dict(dict(weights))
    return decoder


def _check_size(manifest: BundleManifest, folder: Path) -> None:
    """A manifest is not trusted: its network is sized before memory is taken. An atlas is as large as its file."""
    if isinstance(manifest.config, AtlasConfig):
        return
    decoder = manifest.config.decoder
    n_input = decoder.latent_size + 3 + 6 * decoder.frequencies
    n_parameters = decoder.layers * (decoder.width + n_input) * decoder.width
    if n_parameters > _MAX_PARAMETERS:
        raise InputError(str(folder), f"a network of {n_parameters:,} parameters", f"at most {_MAX_PARAMETERS:,}")

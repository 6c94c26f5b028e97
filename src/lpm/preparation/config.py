"""What can be chosen in the preparation; every value changes content, so every value is part of a case's digest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from lpm.records import PlainName, StrictModel
from lpm.structures import DEFAULT_STRUCTURES, SegmenterName


class MeshingConfig(StrictModel):
    """From mask to mesh (paper II.F, Fig. 4)."""

    sigma_voxels: float = Field(0.7, ge=0, le=3, description="Gaussian width along each axis, in voxels of that axis")
    sigma_min_mm: float = Field(0.7, ge=0, le=5, description="Gaussian width below which no axis is filtered less")
    smoothing_iterations: int = Field(10, ge=0, le=200, description="Taubin steps that do not shrink")
    face_area_mm2: float = Field(1.5, gt=0, description="mean triangle area that the mesh is decimated to")


class SamplingConfig(StrictModel):
    """Surface and off-surface points of a subject (paper II.F, Fig. 5)."""

    n_surface: int = Field(250_000, ge=100, description="points on the surfaces, shared out by area")
    n_off_surface: int = Field(250_000, ge=100, description="points off the surface, all kinds together")
    near_sigmas_mm: tuple[float, ...] = Field((2.0, 8.0), description="spreads of the points near the surface")
    volume_share: float = Field(0.2, ge=0, le=1, description="share of the off-surface points drawn in the volume")
    volume_margin_mm: float = Field(30.0, ge=0, description="how far the volume reaches past the lungs' bounding box")


class PreparationConfig(StrictModel):
    """Everything that `lpm prepare` can be told about content."""

    structures: dict[PlainName, tuple[int, ...]] = Field(
        default_factory=lambda: dict(DEFAULT_STRUCTURES), description="label values of each structure"
    )
    scale: Literal["cohort", "subject"] = "cohort"
    segmenter: SegmenterName = Field("thresholds", description="finds the lungs of a scan; a label map needs none")
    series: str | None = Field(None, description="DICOM series: number or end of UID; 2:1 for acquisition 1")
    meshing: MeshingConfig = MeshingConfig()
    sampling: SamplingConfig = SamplingConfig()
    seed: int = Field(0, ge=0, description="seed of the samples and of the split")

    @field_validator("structures")
    @classmethod
    def _values_used_once(cls, structures: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        values = [value for labels in structures.values() for value in labels]
        if not structures or not all(structures.values()):
            raise ValueError("every structure needs at least one label value")
        if len(values) != len(set(values)) or 0 in values:
            raise ValueError("a label value belongs to one structure, and 0 is background")
        return structures


def digest_case(path: Path, subject: str, config: PreparationConfig) -> str:
    """SHA-256 over the input's bytes, the subject's name (it keys the random stream) and the parameters."""
    from lpm.batch.digests import digest_inputs  # SimpleITK and pydicom: only where files are read

    return digest_inputs([path], subject, config.model_dump_json(exclude={"scale"}))

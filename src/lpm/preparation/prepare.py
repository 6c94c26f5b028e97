"""The stage `prepare`: scans' masks in, a cohort out. One bad case never stops the others."""

from __future__ import annotations

import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import joblib
import numpy as np

from lpm.errors import FileError, InputError, LpmError
from lpm.files.arrays import write_arrays
from lpm.files.atomic import atomic_folder
from lpm.files.meshes import write_mesh
from lpm.files.volumes import VOLUME_SUFFIXES, is_volume_name, read_volume, write_volume
from lpm.geometry.meshes import WorldMesh
from lpm.preparation.cleaning import CleaningReport, clean_labels
from lpm.preparation.cohort import (
    COHORT_SCHEMA,
    UNIT_BALL_MARGIN,
    Manifest,
    Quality,
    Split,
    StructureQuality,
    read_json_model,
    read_split,
    split_at_random,
    write_manifest,
)
from lpm.preparation.config import PreparationConfig, digest_case
from lpm.preparation.meshing import MeshingReport, mesh_structure
from lpm.preparation.sampling import sample_sdf, sample_surfaces


@dataclass(frozen=True)
class Case:
    """One subject to prepare."""

    subject: str
    path: Path


@dataclass(frozen=True)
class CaseOutcome:
    """How one case ended.

    Args:
        subject: Its name.
        status: ``done``, ``kept`` (an earlier run had finished it with the same input and parameters) or ``failed``.
        seconds: Wall time.
        message: Why it failed.
        quality: What was measured, unless it failed.
        trace: The traceback of a failure that LPM did not foresee.
    """

    subject: str
    status: Literal["done", "kept", "failed"]
    seconds: float
    message: str = ""
    quality: Quality | None = None
    trace: str = ""


def find_cases(inputs: Sequence[Path]) -> list[Case]:
    """Turn files and folders into cases.

    A file is a case. A folder holds files, each a case, or subject folders with a ``labels.*`` (or a single volume).

    Raises:
        FileError: An input does not exist or holds no volume.
        InputError: Two cases have the same name.
    """
    cases: list[Case] = []
    for path in inputs:
        if not path.exists():
            raise FileError(str(path), "no such file or folder", "label maps or folders of them")
        found = [Case(_stem(path), path)] if path.is_file() else _cases_in_folder(path)
        if not found:
            raise FileError(str(path), "holds no label map", f"files ending in {', '.join(VOLUME_SUFFIXES)}")
        cases += found
    names = [case.subject for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError("cases", f"{twice} stand for more than one file", "one file a subject", "rename them")
    return sorted(cases, key=lambda case: case.subject)


def _cases_in_folder(folder: Path) -> list[Case]:
    files = _volumes_in(folder)
    if labels := _labels_of_subject(files):
        return [Case(folder.resolve().name, labels)]
    cases = [Case(_stem(path), path) for path in files]
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        volumes = _volumes_in(child)
        chosen = _labels_of_subject(volumes) or (volumes[0] if len(volumes) == 1 else None)
        if chosen is not None:
            cases.append(Case(child.name, chosen))
    return cases


def _volumes_in(folder: Path) -> list[Path]:
    """Hidden files are not cases: macOS leaves `._name` beside each, and a killed run leaves temporary ones."""
    found = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in found if is_volume_name(path))


def _labels_of_subject(files: Sequence[Path]) -> Path | None:
    return next((path for path in files if _stem(path) == "labels"), None)


def _stem(path: Path) -> str:
    name = path.name
    for suffix in VOLUME_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def prepare_case(case: Case, out: Path, config: PreparationConfig) -> Quality:
    """Clean, mesh and sample one case, and write its folder whole or not at all.

    Args:
        case: Subject and label map.
        out: The cohort's folder.
        config: Everything that changes content.

    Returns:
        What was measured; also written as `quality.json`.
    """
    digest = digest_case(case.path, case.subject, config)
    clean = clean_labels(read_volume(case.path), config.structures, case.subject)
    meshed = {name: mesh_structure(mask, config.meshing) for name, mask in clean.masks.items()}
    meshes = {name: mesh for name, (mesh, _) in meshed.items()}
    quality = _assess(case, digest, meshes, clean.reports, {name: report for name, (_, report) in meshed.items()})
    rng = np.random.default_rng((config.seed, zlib.crc32(case.subject.encode())))
    surface = sample_surfaces(meshes, config.sampling.n_surface, rng=rng)
    off = sample_sdf(meshes, config.sampling, rng=rng)
    with atomic_folder(out / "subjects" / case.subject) as folder:
        write_volume(folder / "labels.nii.gz", clean.labels)
        for name, mesh in meshes.items():
            write_mesh(folder / f"{name}.ply", mesh)
        write_arrays(
            folder / "surface.npz",
            {
                "points_mm": surface.points_mm.astype(np.float32),
                "normals": surface.normals.astype(np.float32),
                "structure": surface.structure,
            },
        )
        write_arrays(
            folder / "off_surface.npz",
            {
                "points_mm": off.points_mm.astype(np.float32),
                "signed_distance_mm": off.signed_distance_mm.astype(np.float32),
            },
        )
        (folder / "quality.json").write_text(quality.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return quality


def _assess(
    case: Case,
    digest: str,
    meshes: dict[str, WorldMesh],
    cleaning: dict[str, CleaningReport],
    meshing: dict[str, MeshingReport],
) -> Quality:
    volumes = np.array([mesh.volume_ml for mesh in meshes.values()])
    centroids = np.stack([mesh.centroid for mesh in meshes.values()])
    center = (volumes @ centroids) / volumes.sum()
    radius = max(float(np.linalg.norm(mesh.vertices - center, axis=1).max()) for mesh in meshes.values())
    structures = {
        name: StructureQuality(
            volume_ml=mesh.volume_ml,
            mask_ml=meshing[name].mask_ml,
            removed_islands=cleaning[name].removed_islands,
            removed_ml=cleaning[name].removed_ml,
            filled_ml=cleaning[name].filled_ml,
            cut_cm2=cleaning[name].cut_cm2,
            sigma_mm=meshing[name].sigma_mm,
            smoothing_change_percent=meshing[name].smoothing_change_percent,
            volume_change_percent=meshing[name].volume_change_percent,
            faces=len(mesh.faces),
        )
        for name, mesh in meshes.items()
    }
    flags = [f"{name} cut by the image's {face} border" for name, s in structures.items() for face in s.cut_cm2]
    flags += [f"{name} mesh is not closed" for name, mesh in meshes.items() if not mesh.is_closed]
    return Quality(
        subject=case.subject,
        source=case.path.name,
        digest=digest,
        flags=tuple(flags),
        center_mm=(float(center[0]), float(center[1]), float(center[2])),
        radius_mm=radius,
        structures=structures,
    )


def prepare_cases(
    cases: Sequence[Case], out: Path, config: PreparationConfig, *, jobs: int, resume: bool
) -> Iterator[CaseOutcome]:
    """Prepare cases, `jobs` at a time, and yield each as it ends.

    Args:
        cases: What to prepare.
        out: The cohort's folder.
        config: Everything that changes content.
        jobs: Worker processes.
        resume: Keep cases that an earlier run finished with the same input bytes and parameters.
    """
    work = (joblib.delayed(_try_case)(case, out, config, resume=resume) for case in cases)
    yield from joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(work)


def _try_case(case: Case, out: Path, config: PreparationConfig, *, resume: bool) -> CaseOutcome:
    started = time.perf_counter()
    try:
        if resume and (quality := _finished(case, out, config)):
            return CaseOutcome(case.subject, "kept", time.perf_counter() - started, quality=quality)
        quality = prepare_case(case, out, config)
        return CaseOutcome(case.subject, "done", time.perf_counter() - started, quality=quality)
    except LpmError as error:
        return CaseOutcome(case.subject, "failed", time.perf_counter() - started, message=str(error))
    except Exception as error:  # a case that breaks in a way nobody foresaw must not stop the others
        message = f"{case.subject}: {type(error).__name__}: {error}"
        return CaseOutcome(
            case.subject, "failed", time.perf_counter() - started, message=message, trace=traceback.format_exc()
        )


def _finished(case: Case, out: Path, config: PreparationConfig) -> Quality | None:
    folder = out / "subjects" / case.subject
    try:
        quality = read_json_model(folder / "quality.json", Quality)
    except FileError:  # absent, damaged, or of another version: not finished, so it is done again
        return None
    names = ["labels.nii.gz", "surface.npz", "off_surface.npz", *(f"{name}.ply" for name in quality.structures)]
    if not all((folder / name).is_file() for name in names):
        return None
    return quality if quality.digest == digest_case(case.path, case.subject, config) else None


def finish_cohort(
    outcomes: Sequence[CaseOutcome], out: Path, config: PreparationConfig, split_file: Path | None
) -> Manifest:
    """Choose the split and the scale, and write the manifest of all cases that succeeded.

    Args:
        outcomes: All cases of this run.
        out: The cohort's folder.
        config: What they were prepared with.
        split_file: A given split, or None for 75/25 by the config's seed.

    Raises:
        InputError: No case succeeded, or the split does not place one.
    """
    subjects = {outcome.subject: outcome.quality for outcome in outcomes if outcome.quality is not None}
    failed = {outcome.subject: outcome.message for outcome in outcomes if outcome.quality is None}
    if not subjects:
        raise InputError("prepare", f"none of {len(outcomes)} cases succeeded", "at least one")
    names = sorted(subjects)
    split: dict[str, Split] = read_split(split_file, names) if split_file else split_at_random(names, config.seed)
    radii = [subjects[name].radius_mm for name in names if split[name] == "train"] or [
        quality.radius_mm for quality in subjects.values()
    ]
    manifest = Manifest(
        schema_version=COHORT_SCHEMA,
        structures=tuple(config.structures),
        scale=config.scale,
        scale_mm=UNIT_BALL_MARGIN * max(radii),
        config=config,
        split=split,
        split_source=split_file.name if split_file else f"75/25 by seed {config.seed}",
        subjects={name: subjects[name] for name in names},
        failed=failed,
    )
    write_manifest(out, manifest)
    return manifest

"""The stage `prepare`: scans or masks in, a cohort out. One bad case never stops the others."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from lpm.batch.attempt import attempt
from lpm.batch.cases import Case
from lpm.batch.workers import LocalWorkers, Workers
from lpm.errors import FileError, InputError
from lpm.files.arrays import write_arrays
from lpm.files.atomic import atomic_folder, clear_left_overs, inside
from lpm.files.meshes import write_mesh
from lpm.files.scans import read_scan
from lpm.files.volumes import write_volume
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume, on_grid
from lpm.preparation.cleaning import CleaningReport, CleanLabels, clean_labels, cleaned
from lpm.preparation.cohort import (
    COHORT_SCHEMA,
    UNIT_BALL_MARGIN,
    Manifest,
    Quality,
    Split,
    StructureQuality,
    read_split,
    split_at_random,
    write_manifest,
)
from lpm.preparation.config import PreparationConfig, digest_case
from lpm.preparation.gate import Finding, Verdict, judge_case, judge_cohort, judge_gas, judge_hidden, verdict
from lpm.preparation.label_maps.values import is_label_map
from lpm.preparation.meshing import MeshingReport, mesh_structure
from lpm.preparation.preview import Card, draw_preview, write_png, write_sheet
from lpm.preparation.sampling import SdfSamples, StructureSurfaces, sample_sdf, sample_surfaces
from lpm.records import made_with, now, read_json_model
from lpm.segmentation.chest_wall import LungBeforeRibs
from lpm.segmentation.find import LungPolicy, find_lungs
from lpm.segmentation.hounsfield import hounsfield
from lpm.structures import DEFAULT_STRUCTURES


@dataclass(frozen=True)
class CaseOutcome:
    """Outcome of the preparation of one case.

    Args:
        subject: Its name.
        status: ``done``, ``kept`` (an earlier run had finished it with the same input and parameters) or ``failed``.
        seconds: Wall time.
        message: Why it failed.
        quality: Measured quality; None if the case failed.
        trace: The traceback of a failure that LPM did not foresee.
        attributes: Attributes of the subject from a table.
    """

    subject: str
    status: Literal["done", "kept", "failed"]
    seconds: float
    message: str = ""
    quality: Quality | None = None
    trace: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """A case as read.

    Args:
        clean: Its lungs.
        hu: The CT on their grid; None for a label map.
        source: Origin of the labels, for the record.
        notes: Notes on what was repaired in the scan.
        hidden: Tissue between each structure and its ribs; none of a label map.
    """

    clean: CleanLabels
    hu: Volume | None
    source: str
    notes: tuple[str, ...] = ()
    hidden: Mapping[str, LungBeforeRibs] = field(default_factory=dict)


def prepare_case(case: Case, out: Path, config: PreparationConfig) -> Quality:
    """Segment, clean, mesh and sample one case, and write its folder whole or not at all.

    Args:
        case: Subject, and a label map or a scan.
        out: The cohort's folder.
        config: Everything that changes content.

    Returns:
        What was measured; also written as `quality.json`.
    """
    digest = digest_case(case.path, case.subject, config)
    seen = _look_at(case, config)
    meshed = {name: mesh_structure(mask, config.meshing) for name, mask in seen.clean.masks.items()}
    meshes = {name: mesh for name, (mesh, _) in meshed.items()}
    quality = _assess(case, digest, seen, meshes, {name: report for name, (_, report) in meshed.items()})
    rng = np.random.default_rng((config.seed, zlib.crc32(case.subject.encode())))
    surface = sample_surfaces(meshes, config.sampling.n_surface, rng=rng)
    off = sample_sdf(meshes, config.sampling, rng=rng)
    with atomic_folder(out / "subjects" / case.subject) as folder:
        write_volume(folder / "labels.nii.gz", seen.clean.labels)
        for name, mesh in meshes.items():
            write_mesh(inside(folder, f"{name}.ply"), mesh)
        _write_samples(folder, surface, off)
        write_png(draw_preview(seen.clean.labels, seen.hu), folder / "preview.png")
        (folder / "quality.json").write_text(quality.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return quality


def _look_at(case: Case, config: PreparationConfig) -> _Seen:
    """Read a case: a label map as it is, the lungs of a scan by the segmenter."""
    scan = read_scan(case.path, config.series)
    if is_label_map(scan.volume):
        said = None if config.structures == DEFAULT_STRUCTURES else config.structures
        with scan.explaining():
            clean = clean_labels(scan.volume, scan.meaning(said, case.subject), case.subject)
        return _Seen(clean, None, "labels", (*scan.notes, *clean.notes))
    if set(config.structures) != set(DEFAULT_STRUCTURES):
        given = f"a scan, with the structures {', '.join(config.structures)}"
        raise InputError(case.subject, given, "left_lung and right_lung, which segmenters find", "give label maps")
    checked = hounsfield(scan.volume, case.subject)
    # nothing is filled: a model must not learn from what a model expected; the gate says what is hidden
    found = find_lungs(checked, LungPolicy(config.segmenter), case.subject)
    clean = cleaned(found.upright, DEFAULT_STRUCTURES, case.subject, need_all=True)
    hu = on_grid(checked.upright, clean.labels)
    return _Seen(clean, hu, f"segmented by {found.segmenter}", (*scan.notes, *found.remarks), found.ribs)


def _write_samples(folder: Path, surface: StructureSurfaces, off: SdfSamples) -> None:
    on_surface = {"points_mm": surface.points_mm.astype(np.float32), "normals": surface.normals.astype(np.float32)}
    write_arrays(folder / "surface.npz", on_surface | {"structure": surface.structure})
    beside = {"points_mm": off.points_mm, "signed_distance_mm": off.signed_distance_mm}
    write_arrays(folder / "off_surface.npz", {name: values.astype(np.float32) for name, values in beside.items()})


def _assess(
    case: Case, digest: str, seen: _Seen, meshes: dict[str, WorldMesh], meshing: dict[str, MeshingReport]
) -> Quality:
    center, findings = _center_of(meshes), _judge(seen, meshes)
    return Quality(
        subject=case.subject,
        source=case.path.name,
        digest=digest,
        content=_content(seen.clean.labels),
        labels_from=seen.source,
        notes=seen.notes,
        verdict=verdict(findings),
        flags=tuple(finding.what for finding in findings),
        center_mm=(float(center[0]), float(center[1]), float(center[2])),
        radius_mm=max(float(np.linalg.norm(mesh.vertices - center, axis=1).max()) for mesh in meshes.values()),
        structures={
            name: _structure_quality(mesh, seen.clean.reports[name], meshing[name]) for name, mesh in meshes.items()
        },
    )


def _center_of(meshes: Mapping[str, WorldMesh]) -> Floats:
    """(3,) centre of the volume that the meshes enclose together."""
    volumes = np.array([mesh.volume_ml for mesh in meshes.values()])
    centroids = np.stack([mesh.centroid for mesh in meshes.values()])
    return np.asarray((volumes @ centroids) / volumes.sum())


def _judge(seen: _Seen, meshes: Mapping[str, WorldMesh]) -> list[Finding]:
    cuts = {name: report.cut_cm2 for name, report in seen.clean.reports.items()}
    findings = list(judge_case(meshes, cuts, seen.clean.labels))
    if seen.hu is not None:
        findings += judge_gas(seen.hu, seen.clean.labels)
    findings += judge_hidden(seen.hidden)
    return findings


def _structure_quality(mesh: WorldMesh, cleaning: CleaningReport, meshing: MeshingReport) -> StructureQuality:
    return StructureQuality(
        volume_ml=mesh.volume_ml,
        mask_ml=meshing.mask_ml,
        removed_islands=cleaning.removed_islands,
        removed_ml=cleaning.removed_ml,
        filled_ml=cleaning.filled_ml,
        cut_cm2=cleaning.cut_cm2,
        sigma_mm=meshing.sigma_mm,
        smoothing_change_percent=meshing.smoothing_change_percent,
        volume_change_percent=meshing.volume_change_percent,
        faces=len(mesh.faces),
    )


def _content(labels: Volume) -> str:
    """A digest of the lungs themselves, wherever they lie: equal for the same scan under two names."""
    hasher = hashlib.sha256(np.round(labels.spacing_mm, 3).tobytes())
    hasher.update(np.ascontiguousarray(labels.voxels).tobytes())
    return hasher.hexdigest()


def prepare_cases(
    cases: Sequence[Case], out: Path, config: PreparationConfig, *, jobs: int | Workers, resume: bool
) -> Iterator[CaseOutcome]:
    """Prepare cases, several at a time, and yield each as it ends.

    Args:
        cases: Cases to prepare.
        out: The cohort's folder.
        config: Everything that changes content.
        jobs: Worker processes of this machine, or the workers of a cluster.
        resume: Keep cases that an earlier run finished with the same input bytes and parameters.
    """
    workers = LocalWorkers(jobs) if isinstance(jobs, int) else jobs
    work = partial(_try_case, out=out, config=config, resume=resume)
    for case, outcome in workers.each(work, cases):
        lost = f"{case.subject}: every worker that took it died, often for want of memory"
        yield outcome or CaseOutcome(case.subject, "failed", 0.0, message=lost, attributes=case.attributes)


def _try_case(case: Case, out: Path, config: PreparationConfig, *, resume: bool) -> CaseOutcome:
    return replace(_outcome(case, out, config, resume=resume), attributes=case.attributes)


def _outcome(case: Case, out: Path, config: PreparationConfig, *, resume: bool) -> CaseOutcome:
    tried = attempt(case.subject, partial(_kept_or_prepared, case, out, config, resume=resume))
    if tried.result is None:
        return CaseOutcome(case.subject, "failed", tried.seconds, message=tried.error, trace=tried.trace)
    status, quality = tried.result
    return CaseOutcome(case.subject, status, tried.seconds, quality=quality)


def _kept_or_prepared(
    case: Case, out: Path, config: PreparationConfig, *, resume: bool
) -> tuple[Literal["done", "kept"], Quality]:
    if resume and (quality := _finished(case, out, config)):
        return "kept", quality
    return "done", prepare_case(case, out, config)


def _finished(case: Case, out: Path, config: PreparationConfig) -> Quality | None:
    folder = out / "subjects" / case.subject
    try:
        quality = read_json_model(folder / "quality.json", Quality)
    except FileError:  # absent, damaged, or of another version: not finished, so it is done again
        return None
    names = [
        "labels.nii.gz",
        "preview.png",
        "surface.npz",
        "off_surface.npz",
        *(f"{name}.ply" for name in quality.structures),
    ]
    if not all((folder / name).is_file() for name in names):
        return None
    return quality if quality.digest == digest_case(case.path, case.subject, config) else None


def finish_cohort(
    outcomes: Sequence[CaseOutcome],
    out: Path,
    config: PreparationConfig,
    split_file: Path | None,
    *,
    keep_rejected: bool = False,
) -> Manifest:
    """Look at the cohort as a whole, choose the split and the scale, and write manifest and contact sheet.

    Args:
        outcomes: All cases of this run.
        out: The cohort's folder.
        config: Config of their preparation.
        split_file: A given split, or None for 75/25 by the config's seed.
        keep_rejected: Whether cases that the quality gate rejected enter the split all the same.

    Raises:
        InputError: No case succeeded, or the split does not place one.
        FileError: A case's folder is not there: a worker elsewhere wrote it out of sight.
    """
    _check_written(outcomes, out)
    clear_left_overs(out / "subjects")
    subjects = _gated({outcome.subject: outcome.quality for outcome in outcomes if outcome.quality is not None})
    failed = {outcome.subject: outcome.message for outcome in outcomes if outcome.quality is None}
    if not subjects:
        raise InputError("prepare", f"none of {len(outcomes)} cases succeeded", "at least one")
    _write_sheet(subjects, failed, out, config)
    names = _accepted(subjects, out, keep_rejected=keep_rejected)
    split: dict[str, Split] = read_split(split_file, names) if split_file else split_at_random(names, config.seed)
    manifest = Manifest(
        schema_version=COHORT_SCHEMA,
        structures=tuple(config.structures),
        scale=config.scale,
        scale_mm=_scale_mm(subjects, split),
        config=config,
        split=split,
        split_source=split_file.name if split_file else f"75/25 by seed {config.seed}",
        subjects={name: subjects[name] for name in sorted(subjects)},
        attributes={one.subject: one.attributes for one in outcomes if one.subject in subjects and one.attributes},
        failed=failed,
    )
    write_manifest(out, manifest)
    return manifest


def _check_written(outcomes: Sequence[CaseOutcome], out: Path) -> None:
    """Check that the files that workers report to have written exist on this machine.

    Raises:
        FileError: It is not, or something older is.
    """
    missing = sorted(one.subject for one in outcomes if one.quality is not None and not _is_written(one.quality, out))
    if missing:
        given = f"lacks what workers prepared of {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
        hint = "give a folder that all workers share with this machine, or --jobs instead of --dask"
        raise FileError(str(out), given, "the folder of every subject", hint)


def _is_written(quality: Quality, out: Path) -> bool:
    try:
        return read_json_model(out / "subjects" / quality.subject / "quality.json", Quality) == quality
    except FileError:
        return False


def _accepted(subjects: Mapping[str, Quality], out: Path, *, keep_rejected: bool) -> list[str]:
    """Names of the cases that enter the split.

    Raises:
        InputError: All were rejected.
    """
    names = sorted(name for name, quality in subjects.items() if keep_rejected or quality.verdict != "rejected")
    if not names:
        hint = f"look at {out / 'sheet.html'}, or keep them with --keep-rejected"
        raise InputError("prepare", f"all {len(subjects)} cases were rejected", "at least one good case", hint)
    return names


def _scale_mm(subjects: Mapping[str, Quality], split: Mapping[str, Split]) -> float:
    """Scale in mm that maps all training subjects into the unit ball; all subjects, if none is to train on."""
    trained = [subjects[name].radius_mm for name, part in split.items() if part == "train"]
    return UNIT_BALL_MARGIN * max(trained or [subjects[name].radius_mm for name in split])


def _gated(subjects: Mapping[str, Quality]) -> dict[str, Quality]:
    """The same outcomes with the findings of the comparison between cases."""
    sizes = {
        name: np.array([q.radius_mm, *(s.volume_ml for s in q.structures.values())]) for name, q in subjects.items()
    }
    gated = dict(subjects)
    for name, finding in judge_cohort({name: quality.content for name, quality in subjects.items()}, sizes):
        before = gated[name]
        worst: Verdict = "rejected" if finding.rejects or before.verdict == "rejected" else "doubtful"
        gated[name] = before.model_copy(update={"verdict": worst, "flags": (*before.flags, finding.what)})
    return gated


def _write_sheet(
    subjects: Mapping[str, Quality], failed: Mapping[str, str], out: Path, config: PreparationConfig
) -> None:
    cards = [Card(name, "failed", (message,), (), None) for name, message in failed.items()]
    for name, quality in subjects.items():
        volumes = ", ".join(f"{structure} {q.volume_ml:,.0f} ml" for structure, q in quality.structures.items())
        facts = (f"{quality.source}, {quality.labels_from}: {volumes}", *quality.notes)
        cards.append(Card(name, quality.verdict, quality.flags, facts, out / "subjects" / name / "preview.png"))
    provenance = {"made with": made_with(), "parameters": config.model_dump_json(), "date": now()}
    write_sheet(cards, out / "sheet.html", f"Cohort {out.name}", provenance)

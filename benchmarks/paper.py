"""The paper's networks, trained and tested as the paper says; writes docs/paper.md and its pictures.

    python benchmarks/paper.py --lungs ../shared/data/lungs --work runs/paper --atlas runs/benchmarks/atlas

Everything is kept in WORK and gone on with: checkpoints of a training, each lung of a test. A training ends with its
schedule, or after --minutes of this call; the same command, run again, goes on. One CPU core trains `paper-initial` in
three minutes, `paper` in a quarter of an hour and, with deformed copies, in an hour; a test lung of `paper` takes three
minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cells import Json, stamp
from lpm.errors import NoSurfaceError
from lpm.evaluation.evaluate import Contest, EvaluationConfig, PointsResult
from lpm.evaluation.metrics import MetricsConfig, surface_scores
from lpm.files.atomic import write_text
from lpm.files.meshes import write_mesh
from lpm.fitting.extraction import model_lattice
from lpm.geometry.extraction import extract_meshes
from lpm.geometry.frames import Floats, WorldPoints
from lpm.geometry.meshes import WorldMesh, joined
from lpm.model.bundle import ModelBundle, bundle_of, read_bundle, structure_names, write_bundle
from lpm.model.config import ModelConfig
from lpm.model.network.samples import load_samples
from lpm.model.network.training import EpochReport, Training, dump_log
from lpm.preparation.cohort import Cohort
from marked import write_section
from paper_page import sections
from paper_runs import RUNS, TESTS, config_of
from processes import machine, run_lpm

PAGE = Path(__file__).resolve().parents[1] / "docs" / "paper.md"
SAVE_EVERY = 10  # epochs
APART = 0.25  # of the larger piece: a second piece as large as this is the other lung
SPACING_MM = 3.0  # of meshes: those of 2 mm take twice the time of networks of 8 x 1024
DATA = "29 training subjects of 39 public lung masks, see docs/model-card.md"


@dataclass(frozen=True)
class Given:
    """What the command was asked for."""

    cohort: Cohort
    work: Path
    device: str
    until: float
    epochs: int | None
    atlas: Path | None

    def model(self, name: str) -> Path:
        """Folder of a network, or the atlas."""
        return self.atlas if name == "atlas" and self.atlas else self.work / name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lungs", type=Path, required=True, help="subjects with labels.nii.gz, and split.json")
    parser.add_argument("--work", type=Path, default=Path("runs/paper"))
    parser.add_argument("--cohort", type=Path, help="that is prepared already; default WORK/cohort, made of LUNGS")
    parser.add_argument("--atlas", type=Path, help="of the same training lungs, to stand beside the networks")
    parser.add_argument("--only", nargs="*", choices=[*RUNS, "atlas"], help="these; default all")
    parser.add_argument("--steps", nargs="*", choices=[*STEPS, "page"], default=[*STEPS, "page"])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="that trainings of this call may take")
    parser.add_argument("--epochs", type=int, help="length of the schedule, in place of that of paper_runs.py")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    folder = asked.cohort or asked.work / "cohort"
    if not (folder / "cohort.json").exists():
        run_lpm("prepare", asked.lungs, "--out", folder)
    until = time.monotonic() + 60 * asked.minutes
    given = Given(Cohort(folder), asked.work, asked.device, until, asked.epochs, asked.atlas)
    write_text(asked.work / "given.json", json.dumps({"cohort": str(folder.resolve())}) + "\n")
    for step in [each for each in STEPS if each in asked.steps]:
        for name in asked.only or [*RUNS, *(["atlas"] if asked.atlas else [])]:
            for path in STEPS[step](name, given):
                print(path, flush=True)
    if "page" in asked.steps:
        for section, text in sections(asked.work).items():
            write_section(PAGE, section, text)


def keep(path: Path, found: Json) -> Path:
    """Write what was measured, with the machine, commit and date."""
    write_text(path, json.dumps(found | {"machine": machine(), "stamp": stamp()}, indent=1) + "\n")
    return path


def train(name: str, given: Given) -> Iterator[Path]:
    """Train a network until its schedule ends or time is up, and write it as it stands."""
    if name not in RUNS or finished(given.work / name):
        return
    folder, config = given.work / name, config_of(RUNS[name], given.epochs)
    samples = load_samples(given.cohort, config, jobs=1)
    training = Training(samples, len(structure_names(given.cohort, config)), config, given.device)
    if (folder / "checkpoint.safetensors").exists():
        training.resume(folder / "checkpoint.safetensors")
    before = len(training.log)
    reports = training.epochs()
    while time.monotonic() < given.until and (report := next(reports, None)):
        if report.epoch % SAVE_EVERY == 0:
            save(training, folder)
    if len(training.log) > before:
        save(training, folder)
    if training.log:
        bundle = bundle_of(training, given.cohort, DATA)
        write_bundle(folder, bundle)
        yield keep(folder / "training.json", {"model": bundle.digest} | described(training.log, config))


def finished(folder: Path) -> bool:
    """Whether a network's schedule has ended."""
    path = folder / "training.json"
    return path.exists() and json.loads(path.read_text())["ended"]


def save(training: Training, folder: Path) -> None:
    training.save(folder / "checkpoint.safetensors")
    write_text(folder / "epochs.csv", dump_log(training.log))
    last = training.log[-1]
    print(f"{folder.name}: epoch {last.epoch}, loss {last.losses['total']:.5f}, {last.seconds:.1f} s", flush=True)


def described(log: list[EpochReport], config: ModelConfig) -> Json:
    """How far a training is, its losses over the last epochs, and how fast they still fall."""
    over = min(100, len(log) // 2)
    width = min(20, max(over, 1))
    now = {key: float(np.mean([each.losses[key] for each in log[-width:]])) for key in log[-1].losses}
    before = float(np.mean([each.losses["total"] for each in log[: len(log) - over][-width:]]))
    return {
        "epochs": len(log),
        "scheduled": config.training.epochs,
        "ended": len(log) >= config.training.epochs,
        "seconds_an_epoch": float(np.median([each.seconds for each in log])),
        "losses": now,
        "fell_percent": 100 * (1 - now["total"] / before),
        "fell_over": over,
        "weights": config.loss.model_dump(),
        "config": config.model_dump(),
        "history": [{"epoch": each.epoch, **each.losses} for each in log],
    }


def test(name: str, given: Given) -> Iterator[Path]:
    """The paper's test, lung after lung: network frozen, 5,000 of 250,000 points."""
    folder = given.model(name)
    if not (folder / "bundle.json").exists():
        return
    model = read_bundle(folder)
    for kind in RUNS[name].tests if name in RUNS else ("prior", "residual"):
        config = EvaluationConfig(
            points=5000, spacing_mm=SPACING_MM, fit=TESTS[kind], metrics=MetricsConfig(n_surface=20_000, voxel_mm=2.0)
        )
        contest = Contest(model, given.cohort, config)
        for subject in given.cohort.subjects("test"):
            path = given.work / name / kind / f"{subject}.json"
            if not path.exists() or json.loads(path.read_text())["model"] != model.digest:
                (result,) = contest.results(subject)
                yield keep(path, {"model": model.digest} | scored(result, path.with_suffix("")))


def scored(result: PointsResult, folder: Path) -> Json:
    """Numbers of a reconstruction; its meshes are written beside them."""
    for structure, mesh in result.meshes.items():
        write_mesh(folder / f"{structure}.ply", mesh)
    names = ("unit_f_score", "unit_chamfer", "unit_chamfer_squared")
    pairs = {str(n): [{key: getattr(side, key) for key in names} for side in pair] for n, pair in result.paper.items()}
    head = {"seconds": result.seconds, "notes": list(result.notes), "merged": merged(result.meshes)}
    return head | {"scores": result.scores.flat() if result.scores else None, "paper": pairs}


def merged(meshes: Mapping[str, WorldMesh]) -> bool | None:
    """Whether a union's left and right lung are one piece; None for outputs that cannot merge."""
    if set(meshes) != {"lungs"}:
        return None
    volumes = sorted(abs(piece.enclosed_volume) for piece in meshes["lungs"].pieces())
    return len(volumes) < 2 or volumes[-2] < APART * volumes[-1]


def shapes(name: str, given: Given) -> Iterator[Path]:
    """The training lungs as the network has learnt them: its surface for each latent, beside the true lungs."""
    folder = given.model(name)
    if name not in RUNS or not (folder / "bundle.json").exists():
        return
    model, rows = read_bundle(folder), []
    done = folder / "shapes.json"
    if done.exists() and json.loads(done.read_text())["model"] == model.digest:
        return
    for index, subject in enumerate(model.manifest.training_subjects):
        true = given.cohort.meshes(subject)
        try:
            meshes = learnt(model, given.cohort, index)
        except NoSurfaceError as error:
            rows.append({"subject": subject, "assd_mm": None, "merged": None, "note": str(error)})
            continue
        for structure, mesh in meshes.items():
            write_mesh(folder / "shapes" / subject / f"{structure}.ply", mesh)
        pair = {"lungs": joined(meshes.values())}, {"lungs": joined(true.values())}
        whole, _ = surface_scores(*pair, 10_000, rng=np.random.default_rng(0))
        rows.append({"subject": subject, "assd_mm": whole.assd_mm, "merged": merged(meshes)})
    yield keep(done, {"model": model.digest, "rows": rows})


def learnt(model: ModelBundle, cohort: Cohort, index: int) -> dict[str, WorldMesh]:
    """Meshes of a training shape's own latent, in place."""
    import torch

    pose = cohort.world_from_model(model.manifest.training_subjects[index])

    def field(points_mm: Floats) -> Floats:
        inside = torch.tensor(pose.inverse(WorldPoints(points_mm)).xyz).float()
        with torch.inference_mode():
            parts = [model.decoder(model.codes[index][None], part) for part in inside.split(8192)]
        return np.asarray(pose.scale_mm * torch.cat(parts).numpy().astype(np.float64))

    lattice = model_lattice(model, pose, SPACING_MM)
    return extract_meshes(field, model.structures, lattice, pieces_each=model.pieces_each).meshes


STEPS: dict[str, Callable[[str, Given], Iterator[Path]]] = {"train": train, "test": test, "shapes": shapes}

if __name__ == "__main__":
    main()

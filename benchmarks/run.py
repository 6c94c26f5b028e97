"""Every figure of docs/benchmarks.md, measured and written by one command.

    python benchmarks/run.py --lungs ../shared/data/lungs --work runs/benchmarks

Each step writes a JSON into the work folder and is skipped when that is there already (`--only STEP` repeats one). The
last step writes docs/benchmarks.md from the JSONs, each section with the commit and date of its JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from cells import stamp
from lpm.files.atomic import write_text
from processes import machine, run_lpm, run_script

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
PAPER_SHORT = """
[training]
epochs = 30
shapes_per_step = 8
surface_points = 256
off_surface_points = 256
gradient_share = 0.25
precision = "bf16-mixed"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--lungs", type=Path, required=True, help="folder of subjects with labels.nii.gz and split.json"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--only", choices=sorted(STEPS), help="repeat one step")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name, step in STEPS.items():
        path = arguments.work / f"{name}.json"
        if name == "deepsdf" and "LPM_DEEPSDF_PYTHON" not in os.environ:
            print("== deepsdf: skipped, LPM_DEEPSDF_PYTHON names no Python that has DeepSDFStruct", flush=True)
            continue
        if arguments.only == name or (arguments.only is None and not path.exists()):
            print(f"== {name}", flush=True)
            result = step(arguments.lungs, arguments.work)
            write_text(path, json.dumps(result | {"machine": machine(), "stamp": stamp()}, indent=1) + "\n")
    from tables import write_page

    write_page(arguments.work, ROOT / "docs" / "benchmarks.md")


def prepare(lungs: Path, work: Path) -> Json:
    """39 subjects, 250k + 250k points each, one case at a time, so that seconds a subject are a subject's own."""
    result = run_lpm("prepare", lungs, "--out", work / "cohort", "--jobs", "1")
    lines = [line for line in result.pop("printed").splitlines() if ": done, " in line]
    seconds = {line.split(":")[0]: float(line.split(", ")[1].split(" s")[0]) for line in lines}
    manifest = json.loads((work / "cohort" / "cohort.json").read_text())
    structures = [s for quality in manifest["subjects"].values() for s in quality["structures"].values()]
    return result | {
        "seconds_by_subject": seconds,
        "volume_change_percent": [s["volume_change_percent"] for s in structures],
        "smoothing_change_percent": [s["smoothing_change_percent"] for s in structures],
        "flags": {name: quality["flags"] for name, quality in manifest["subjects"].items() if quality["flags"]},
        "n_subjects": len(manifest["subjects"]),
        "n_surface": manifest["config"]["sampling"]["n_surface"],
        "n_off_surface": manifest["config"]["sampling"]["n_off_surface"],
    }


def throughput(lungs: Path, work: Path) -> Json:
    """All cases by one and by two workers, of this machine and of a Dask cluster; the ten largest alone, for memory.

    Each run keeps a JSON of its own and is not repeated while that is there.
    """
    cases = sorted(path for path in lungs.iterdir() if (path / "labels.nii.gz").exists())
    largest = sorted(cases, key=lambda case: n_voxels(case / "labels.nii.gz"))[-10:]
    runs = [(kind, n, cases) for kind in ("local", "Dask") for n in (1, 2)] + [
        ("local", 2, largest),
        ("one core", 1, cases),
    ]
    rows = []
    for kind, n, chosen in runs:
        path = work / f"throughput_{kind}_{n}_{len(chosen)}.json"
        if not path.exists():
            run = prepare_by(kind, n, chosen, work / "throughput")
            write_text(path, json.dumps({"kind": kind, "workers": n, "cases": len(chosen)} | run) + "\n")
        rows.append(json.loads(path.read_text()))
    return {"rows": rows}


@contextmanager
def one_core() -> Iterator[None]:
    """What is started meanwhile has one core: alone, a job uses a second one in parts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def n_voxels(path: Path) -> int:
    """Voxels of a volume, by its header."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return int(np.prod(reader.GetSize()))


def prepare_by(kind: str, n: int, cases: list[Path], out: Path) -> Json:
    """Prepare cases anew."""
    shutil.rmtree(out, ignore_errors=True)
    if kind != "Dask":
        with one_core() if kind == "one core" else nullcontext():
            run = run_lpm("prepare", *cases, "--out", out, "--jobs", str(n))
    else:
        from distributed import LocalCluster

        with LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None) as cluster:
            given = ("--out", out, "--dask", cluster.scheduler_address)
            run = run_lpm("prepare", *cases, *given, watched=os.getpid())
    run.pop("printed")
    n_done = len(json.loads((out / "cohort.json").read_text())["subjects"])
    shutil.rmtree(out)
    return run | {"done": n_done}


def signed_distances(lungs: Path, work: Path) -> Json:
    """Our signed distance against mesh-to-sdf's, in one process: few points, and as many as a subject has."""
    mesh = work / "cohort" / "subjects" / "coronacases_002" / "left_lung.ply"
    script = ROOT / "benchmarks" / "sdf_against_mesh_to_sdf.py"
    runs = []
    for n_points in (20_000, 250_000):
        out = work / f"mesh_to_sdf_{n_points}.raw.json"
        given = ["--points", str(n_points), "--methods", "scan-normal,scan-depth", "--out", str(out)]
        subprocess.run([sys.executable, script, mesh, *given], check=True)
        runs.append(json.loads(out.read_text()))
    return {"runs": runs}


def train(lungs: Path, work: Path) -> Json:
    """The lite preset, all defaults. A finished model is kept: then only the sampling is measured again."""
    data = "29 training subjects of 39 public lung masks, see docs/model-card.md"
    more = ("--resume",) if (work / "model" / "checkpoint.safetensors").exists() else ()
    result = run_lpm("train", work / "cohort", "--out", work / "model", "--device", "cpu", "--data", data, *more)
    result.pop("printed")
    described = describe_model(work / "model")
    if more:
        result["seconds"] += described["training_seconds"]
    return result | described


def describe_model(model: Path) -> Json:
    manifest = json.loads((model / "bundle.json").read_text())
    history = manifest["loss_history"]
    picked = [history[i] for i in np.unique(np.linspace(0, len(history) - 1, 7).astype(int))]
    decoder = manifest["config"]["decoder"]
    return {
        "preset": manifest["config"]["preset"],
        "epochs": len(history),
        "training_seconds": manifest["training_seconds"],
        "training_shapes": manifest["training_shapes"],
        "network": f"latent {decoder['latent_size']}, {decoder['layers']} x {decoder['width']}",
        "megabytes": (model / "weights.safetensors").stat().st_size / 1e6,
        "losses": picked,
        "scale_mm": manifest["scale_mm"],
    }


def evaluate(lungs: Path, work: Path) -> Json:
    """5,000 points without normals, sides unknown; the atlas's baselines saw the same points."""
    out = work / "evaluation"
    result = run_lpm("evaluate", work / "model", work / "cohort", "--prior-only", "--baselines", "none", "--out", out)
    result.pop("printed")
    return result | {"tables": (out / "tables.md").read_text()} | json.loads((out / "summary.json").read_text())


def atlas(lungs: Path, work: Path) -> Json:
    """The atlas of the 29 training lungs, with the residual in the fit: many points, some, few. One made is kept."""
    model = work / "atlas"
    if not (model / "bundle.json").exists():
        run_lpm("train", work / "cohort", "--out", model, "--preset", "atlas")
    seconds = json.loads((model / "bundle.json").read_text())["training_seconds"]
    runs = {}
    for points in (5000, 500, 100):
        out = work / f"atlas_{points}"
        given = ("--points", str(points), "--baselines", "mean,nearest,pca,poisson,poisson-normals", "--out", out)
        run_lpm("evaluate", model, work / "cohort", *given)
        runs[str(points)] = json.loads((out / "summary.json").read_text()) | {"tables": (out / "tables.md").read_text()}
    megabytes = (model / "weights.safetensors").stat().st_size / 1e6
    return {"training_seconds": seconds, "megabytes": megabytes, "runs": runs}


def evidence(lungs: Path, work: Path) -> Json:
    """The atlas of the training lungs on every kind of evidence of the test lungs."""
    out = work / "evidence.raw.json"
    script = ROOT / "benchmarks" / "evidence.py"
    given = ["--cohort", work / "cohort", "--model", work / "atlas", "--out", out]
    subprocess.run([sys.executable, script, *given], check=True)
    return {"subjects": json.loads(out.read_text())}


def both_states(lungs: Path, work: Path) -> Json:
    """An atlas that is taught expiration, too, beside the one without; takes what `evidence` measured."""
    given = ("--lungs", lungs, "--breath", lungs.parent / "breath", "--work", work)
    return run_script("both_states.py", work / "both_states.raw.json", *given)


def joint(lungs: Path, work: Path) -> Json:
    """Several kinds of evidence in one fit, and each alone."""
    out = work / "joint.raw.json"
    script = ROOT / "benchmarks" / "joint.py"
    given = ["--cohort", work / "cohort", "--model", work / "atlas", "--lungs", lungs, "--out", out]
    subprocess.run([sys.executable, script, *given], check=True)
    return {"subjects": json.loads(out.read_text())}


def golden(lungs: Path, work: Path) -> Json:
    """Fits of three training subjects beside what they were before the engine was rewritten."""
    before, out = ROOT / "benchmarks" / "golden.json", work / "golden.raw.json"
    script = ROOT / "benchmarks" / "golden.py"
    subprocess.run([sys.executable, script, "--cohort", work / "cohort", "--lungs", lungs, "--out", out], check=True)
    return {"before": json.loads(before.read_text()), "now": json.loads(out.read_text())}


def shape_space(lungs: Path, work: Path) -> Json:
    """Generalisation, specificity and compactness with few modes, beside PCA of SDF grids."""
    from dataclasses import asdict

    from lpm.evaluation.shape_space import judge, shape_spaces
    from lpm.model.bundle import read_bundle
    from lpm.preparation.cohort import Cohort

    cohort, model = Cohort(work / "cohort"), read_bundle(work / "atlas")
    rows = []
    for space in shape_spaces(model, cohort, (5, 10, 20)):
        rows.append(asdict(judge(space, cohort)))
        print(space.name, space.n_modes, np.mean(rows[-1]["generalisation_mm"]), flush=True)
    return {"rows": rows}


def speed(lungs: Path, work: Path) -> Json:
    """Seconds of the bundled model on 5,000 points of a test subject, each three times; loading in new processes."""
    import lpm
    from lpm.evaluation.evaluate import EvaluationConfig, observed_points
    from lpm.fitting.config import FitConfig
    from lpm.fitting.extraction import extract_fit
    from lpm.fitting.fitted_shape import fit_shape
    from lpm.preparation.cohort import Cohort

    model = lpm.load().bundle
    points, _ = observed_points(Cohort(work / "cohort"), "coronacases_002", EvaluationConfig(points=5000))
    unknown = np.full(len(points), -1)
    fits, meshes = [], []
    for _ in range(4):
        started = time.perf_counter()
        shape = fit_shape(model, points, unknown, FitConfig())
        fits.append(time.perf_counter() - started)
        started = time.perf_counter()
        extract_fit(model, shape, model.structures, 1.5)
        meshes.append(time.perf_counter() - started)
    code = "import time, torch; t = time.perf_counter(); import lpm; lpm.load(); print(time.perf_counter() - t)"
    loads = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    return {"first": {"fit": fits[0], "mesh": meshes[0]}, "fit": fits[1:], "mesh": meshes[1:], "load": loads}


def deepsdf(lungs: Path, work: Path) -> Json:
    """DeepSDFStruct's DeepSDF on the same points as ours, if LPM_DEEPSDF_PYTHON names a Python that has it."""
    from rivals import measure_deepsdf

    return measure_deepsdf(work, os.environ["LPM_DEEPSDF_PYTHON"])


def pyssam(lungs: Path, work: Path) -> Json:
    """A statistical shape model, as pyssam packages it, on the same points as ours."""
    from rivals import measure_pyssam

    return measure_pyssam(work, (5000, 500, 100))


def segmentation(lungs: Path, work: Path) -> Json:
    """The built-in segmenter on a real CT and on generated ones."""
    given = ("--ct", lungs.parent / "ct", "--lungs", lungs, "--model", work / "atlas")
    return run_script("segmentation.py", work / "segmentation.raw.json", *given)


def extraction(lungs: Path, work: Path) -> Json:
    """Coarse to fine against the dense grid, 256 cells along each side of the cube that holds the model's box."""
    import torch

    from lpm.geometry.extraction import extract_meshes, lattice_over, without_overlap
    from lpm.geometry.surfaces import extract_surface
    from lpm.model.bundle import read_bundle

    model = read_bundle(work / "model")
    pose, beta = model.world_from_model(np.zeros(3)), torch.zeros(model.latents.n_modes)
    half = np.full(3, model.manifest.scale_mm)
    lattice = lattice_over(-half, half, 2 * half[0] / 256 * (1 + 1e-9))

    def field(points_mm: np.ndarray) -> np.ndarray:
        return model.distances_mm(beta, pose, points_mm)

    started = time.perf_counter()
    sparse = extract_meshes(field, model.structures, lattice)
    sparse_seconds = time.perf_counter() - started
    started = time.perf_counter()
    nodes = np.indices(lattice.shape).reshape(3, -1).T
    dense = np.concatenate([without_overlap(field(lattice.points_mm(part))) for part in np.array_split(nodes, 64)])
    meshes = [
        extract_surface(lattice.volume(np.ascontiguousarray(values.reshape(lattice.shape))), 0.0, inside_is_above=False)
        .largest_piece()
        .outward()
        for values in dense.T
    ]
    dense_seconds = time.perf_counter() - started
    pairs = list(zip(sparse.meshes.values(), meshes, strict=True))
    same = all(np.array_equal(a.faces, b.faces) for a, b in pairs)
    apart = max(float(np.abs(a.vertices - b.vertices).max()) for a, b in pairs) if same else float("nan")
    return {
        "nodes": lattice.n_nodes,
        "evaluated": sparse.n_evaluated,
        "share": sparse.n_evaluated / lattice.n_nodes,
        "same_triangles": same,
        "largest_difference_voxels": apart / lattice.spacing_mm,
        "sparse_seconds": sparse_seconds,
        "dense_seconds": dense_seconds,
    }


def paper_presets(lungs: Path, work: Path) -> Json:
    """Both presets of the paper, end to end, for a few epochs on the CPU: train, then reconstruct unseen lungs."""
    from lpm.evaluation.evaluate import Contest, EvaluationConfig
    from lpm.evaluation.metrics import MetricsConfig
    from lpm.fitting.config import FitConfig
    from lpm.model.bundle import read_bundle
    from lpm.preparation.cohort import Cohort

    config = work / "paper_short.toml"
    write_text(config, PAPER_SHORT)
    coarse = MetricsConfig(n_surface=10_000, voxel_mm=4.0)
    quick = EvaluationConfig(
        points=500, spacing_mm=5.0, fit=FitConfig(max_iterations=15), metrics=coarse, paper_points=(10_000,)
    )
    cohort, results = Cohort(work / "cohort"), {}
    for name in ("paper", "paper-initial"):
        model = work / f"model_{name}"
        more = ("--resume",) if (model / "checkpoint.safetensors").exists() else ()
        given = ("--preset", name, "--config", config, "--device", "cpu", *more)
        run_lpm("train", work / "cohort", "--out", model, *given)
        cases = list(islice(Contest(read_bundle(model), cohort, quick).run("test"), 2))
        found = {case.subject: case.scores.assd_mm if case.scores else case.notes[0] for case in cases}
        results[name] = describe_model(model) | {"assd_mm": found}
    return results


def lobes(lungs: Path, work: Path) -> Json:
    """Lobes of unseen lungs, taught by the training subjects that have them."""
    given = ("--cohort", work / "cohort", "--lungs", lungs, "--model", work / "atlas", "--work", work / "lobes")
    return run_script("lobes.py", work / "lobes.raw.json", *given)


def does_it_help(lungs: Path, work: Path) -> Json:
    """Atlases of few and more lungs, with generated ones added and without."""
    given = ("--cohort", work / "cohort", "--atlas", work / "atlas", "--work", work / "does_it_help")
    return run_script("does_it_help.py", work / "does_it_help.raw.json", *given)


def breath(lungs: Path, work: Path) -> Json:
    """Landmarks of lungs in two breaths."""
    given = ("--data", lungs.parent / "breath", "--work", work / "breath")
    return run_script("breath.py", work / "breath.raw.json", *given)


def breath_one_state(lungs: Path, work: Path) -> Json:
    """Inspiration predicted from expiration; takes the fits of `breath`."""
    given = ("--data", lungs.parent / "breath", "--work", work / "breath")
    return run_script("breath_one_state.py", work / "breath_one_state.raw.json", *given)


def correspondence(lungs: Path, work: Path) -> Json:
    """Meshes in correspondence of all lungs, and of the fits of `breath`."""
    given = ("--lungs", lungs, "--breath", work / "breath", "--work", work / "correspondence")
    return run_script("correspondence.py", work / "correspondence.raw.json", *given)


def xray(lungs: Path, work: Path) -> Json:
    """Lungs from the radiographs of the test subjects."""
    out = work / "xray_evaluation"
    result = run_lpm("evaluate-xray", lungs, "--model", work / "atlas", "--out", out, "--jobs", "2")
    result.pop("printed")
    return result | json.loads((out / "summary.json").read_text())


def xray_real(lungs: Path, work: Path) -> Json:
    """Real X-rays, and a contact sheet of the worst."""
    given = ("--xrays", lungs.parent / "xrays", "--sheet", work / "xray_real.png")
    return run_script("xray_real.py", work / "xray_real.raw.json", *given)


def xray_field(lungs: Path, work: Path) -> Json:
    """The reader alone."""
    script, out = ROOT / "benchmarks" / "xray_field.py", work / "xray_field"
    subprocess.run([sys.executable, script, "--data", lungs.parent, "--out", out], check=True)
    return dict(json.loads((out / "xray_field.json").read_text()))


def viewer(lungs: Path, work: Path) -> Json:
    """The viewer in Chromium."""
    return run_script("viewer.py", work / "viewer.raw.json")


def population(lungs: Path, work: Path) -> Json:
    """Measurement against known shapes, a thousand generated lungs, conditions and knobs; done parts are kept."""
    return run_script(
        "population.py", work / "population.raw.json", "--model", work / "atlas", "--lungs", lungs, "--work", work
    )


STEPS: dict[str, Callable[[Path, Path], Json]] = {
    "prepare": prepare,
    "throughput": throughput,
    "train": train,
    "evaluate": evaluate,
    "atlas": atlas,
    "evidence": evidence,
    "both_states": both_states,
    "joint": joint,
    "golden": golden,
    "shape_space": shape_space,
    "speed": speed,
    "viewer": viewer,
    "deepsdf": deepsdf,
    "pyssam": pyssam,
    "segmentation": segmentation,
    "lobes": lobes,
    "does_it_help": does_it_help,
    "breath": breath,
    "breath_one_state": breath_one_state,
    "correspondence": correspondence,
    "xray": xray,
    "xray_field": xray_field,
    "xray_real": xray_real,
    "population": population,
    "extraction": extraction,
    "signed_distances": signed_distances,
    "paper_presets": paper_presets,
}

if __name__ == "__main__":
    main()

"""The files that the examples of the documentation read, small and generated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

from lpm.batch.cases import find_cases
from lpm.files.points import write_points
from lpm.files.volumes import write_volume
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import PhantomLungs, random_lungs, to_labels
from lpm.geometry.projection import turned_view
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import MeshingConfig, PreparationConfig, SamplingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.preparation.prepare import finish_cohort, prepare_cases
from lpm.preparation.sampling import sample_surfaces
from lpm.structures import DEFAULT_STRUCTURES
from lpm.xray.drr import ExposureConfig, box_of, exposed, radiograph
from lpm.xray.files.reading import write_picture

_SPACING_MM = 4.0
_COARSE_MM, _PRINTED_MM = 4.0, 0.4  # radiographs are computed at the first and enlarged to the second


def make_inputs(folder: Path, text: str) -> None:
    """Write the files that a text names."""
    for name, write in _WRITERS.items():
        if f'"{name}"' in text or f" {name} " in text:
            write(folder / name)


def _ct(path: Path) -> None:
    write_volume(path, _scan()[0])


def _labels(path: Path) -> None:
    write_volume(path, to_labels(PhantomLungs(), _SPACING_MM))


def _points(path: Path) -> None:
    masks = clean_labels(to_labels(PhantomLungs(), _SPACING_MM), DEFAULT_STRUCTURES, "phantom").masks
    meshes = {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in masks.items()}
    write_points(path, sample_surfaces(meshes, 500, rng=np.random.default_rng(0)).points_mm)


def _radiograph(angle_deg: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        ct, _ = _scan()
        middle = np.mean(box_of(ct), axis=0)
        view = turned_view((100, 100), (_COARSE_MM, _COARSE_MM), angle_deg, middle)
        grey = exposed(radiograph(ct, view), ExposureConfig(), rng=np.random.default_rng(0))
        large = zoom(np.asarray(grey), _COARSE_MM / _PRINTED_MM, order=1)
        write_picture(path, np.round(65535 * np.clip(large, 0, 1)).astype(np.uint16))

    return write


def _scan() -> tuple[object, object]:
    spacing = (_SPACING_MM,) * 3
    return render_scan(PhantomScan(PhantomLungs(), spacing_mm=spacing), rng=np.random.default_rng(0))


def _cohort(path: Path) -> None:
    scans = path.parent / "scans"
    for index in range(2):
        write_volume(scans / f"case{index}.nii.gz", to_labels(random_lungs(rng=np.random.default_rng(index)), 6.0))
    config = PreparationConfig(sampling=SamplingConfig(n_surface=1000, n_off_surface=1000))
    outcomes = list(prepare_cases(find_cases([scans]), path, config, jobs=1, resume=False))
    finish_cohort(outcomes, path, config, None)


_WRITERS: dict[str, Callable[[Path], None]] = {
    "ct.nii.gz": _ct,
    "labels.nii.gz": _labels,
    "scan.ply": _points,
    "pa.png": _radiograph(0.0),
    "lat.png": _radiograph(90.0),
    "cohort": _cohort,
}

"""Real lungs projected onto real patients' radiographs: they lie where the picture is dark, and not in its mirror."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from siddon import siddon

from lpm.files.volumes import read_volume
from lpm.geometry.projection import PARALLEL, Beam, View, turned_view
from lpm.geometry.volumes import Volume
from lpm.segmentation.hounsfield import hounsfield
from lpm.structures import DEFAULT_STRUCTURES
from lpm.xray.drr import MarchConfig, attenuation, box_of, path_lengths_of_labels, radiograph
from lpm.xray.files.reading import read_xray
from lpm.xray.files.views import read_views

pytestmark = [pytest.mark.real, pytest.mark.slow]
EVERY = 5


def coarser(view: View, every: int) -> View:
    """Every so many rows and columns."""
    rows, columns = (-(-n // every) for n in view.shape)
    by_column, by_row = every * view.by_column_mm, every * view.by_row_mm
    return View((rows, columns), view.origin_mm, by_column, by_row, view.beam, view.source_mm)


def agreement(picture: np.ndarray, lengths_mm: np.ndarray) -> tuple[float, float, float]:
    """Grey value beneath 60 mm of lung, in a ring around the shadow, and correlation with the path length."""
    shadow = lengths_mm > 0
    ring = binary_dilation(shadow, iterations=4) & ~shadow
    near = shadow | ring
    correlation = float(np.corrcoef(picture[near], lengths_mm[near])[0, 1])
    return float(picture[lengths_mm > 60.0].mean()), float(picture[ring].mean()), correlation


def projected(labels: Volume, view: View) -> np.ndarray:
    return path_lengths_of_labels(labels, view, DEFAULT_STRUCTURES, MarchConfig(step_mm=2.0)).sum(axis=0)


@pytest.fixture(scope="module")
def found(real_lungs: Path) -> dict[str, list[tuple[float, float, float, float]]]:
    """By view: grey beneath lung, grey around it, correlation, and correlation with the mirrored picture."""
    result: dict[str, list[tuple[float, float, float, float]]] = {"frontal": [], "lateral": []}
    for folder in sorted(path.parent for path in real_lungs.glob("luna16_*/views.json")):
        labels = read_volume(folder / "labels.nii.gz")
        for name, view in read_views(folder / "views.json").items():
            picture = read_xray(folder / f"{name}.png").pixels
            lengths = projected(labels, coarser(view, EVERY))
            mirrored = agreement(picture[:, ::-1][::EVERY, ::EVERY], lengths)[2]
            result[name].append((*agreement(picture[::EVERY, ::EVERY], lengths), mirrored))
    return result


@pytest.mark.parametrize("name", ["frontal", "lateral"])
def test_lungs_lie_where_the_picture_is_dark(found: dict[str, list[tuple[float, ...]]], name: str) -> None:
    lung, ring, correlation, mirrored = np.array(found[name]).T
    assert len(lung) == 32
    assert (lung < ring - 0.05).all()
    assert (correlation < -0.3).all()
    assert np.median(correlation) < -0.75
    assert (correlation < mirrored - 0.03).all()
    assert np.median(mirrored - correlation) > 0.12


@pytest.fixture(scope="module")
def ct(real_lungs: Path) -> Volume:
    path = real_lungs.parent / "ct" / "LIDC-IDRI-0001" / "ct.nii.gz"
    if not path.exists():
        pytest.skip(f"no CT at {path}")
    return hounsfield(read_volume(path), "ct").volume


@pytest.mark.parametrize("degrees", [0.0, 90.0, 40.0])
def test_a_real_ct_and_its_labels_have_the_same_shadows(real_lungs: Path, ct: Volume, degrees: float) -> None:
    labels = read_volume(real_lungs / "LIDC-IDRI-0001" / "labels.nii.gz")
    middle = np.mean(box_of(ct), axis=0)
    view = turned_view((90, 90), (4.5, 4.5), degrees, middle, Beam(1800.0))
    integrals, lengths = radiograph(ct, view, MarchConfig(step_mm=2.0)), projected(labels, view)
    lung, ring, correlation = agreement(integrals, lengths)
    assert lung < ring
    assert correlation < -0.4
    assert correlation < agreement(integrals, lengths[:, ::-1])[2] - 0.1


@pytest.mark.parametrize(("degrees", "beam"), [(0.0, PARALLEL), (35.0, Beam(1800.0, 300.0))])
def test_the_march_through_a_real_ct_is_the_exact_integral(ct: Volume, degrees: float, beam: Beam) -> None:
    view = turned_view((10, 10), (30.0, 30.0), degrees, np.mean(box_of(ct), axis=0), beam)
    true = siddon(attenuation(ct), view, "linear")
    error = radiograph(ct, view) - true
    assert np.sqrt((error**2).mean() / (true**2).mean()) < 1e-3

"""Scans that go with generated lungs: a CT-like volume around them, and its radiographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lpm.files.volumes import write_volume
from lpm.geometry.phantom_scans import LabelLungs, PhantomScan, render_scan
from lpm.geometry.projection import VIEW_DEGREES, turned_view
from lpm.geometry.volumes import Volume
from lpm.xray.drr import ExposureConfig, box_of, exposed, radiograph
from lpm.xray.files.reading import write_picture
from lpm.xray.files.views import ViewsFile, record_of, write_views

CT_MM = 2.0  # voxels of a drawn CT
_PHOTONS = 20_000.0  # a pixel of the open beam: noise that is seen and hides nothing


def ct_around(labels: Volume, *, rng: np.random.Generator) -> Volume:
    """A CT-like volume: body, ribs, spine, heart and airway around lungs; textbook densities, noise (HU).

    Args:
        labels: 1 left lung, 2 right lung.
        rng: Noise, and the vessels of the lungs.
    """
    ct, _ = render_scan(PhantomScan(LabelLungs(labels), (CT_MM, CT_MM, CT_MM)), rng=rng)
    return ct.with_voxels(ct.voxels.astype(np.int16))


def write_scans(folder: Path, labels: Volume, *, xray_mm_per_px: float | None, rng: np.random.Generator) -> None:
    """Write `ct.nii.gz`, and `frontal.png`, `lateral.png` (parallel, 16 bits, bright = dense) with `views.json`.

    Args:
        folder: Folder of the lungs.
        labels: Labels of the lungs.
        xray_mm_per_px: Pixel spacing; None for no radiographs.
        rng: Noise.
    """
    ct = ct_around(labels, rng=rng)
    write_volume(folder / "ct.nii.gz", ct)
    if xray_mm_per_px is None:
        return
    (lower, upper), records = box_of(ct), {}
    height, across = float(upper[2] - lower[2]), float((upper - lower)[:2].max())
    shape = int(np.ceil(height / xray_mm_per_px)), int(np.ceil(across / xray_mm_per_px))
    for name, degrees in VIEW_DEGREES.items():
        view = turned_view(shape, (xray_mm_per_px, xray_mm_per_px), degrees, 0.5 * (lower + upper))
        picture = exposed(radiograph(ct, view), ExposureConfig(photons=_PHOTONS), rng=rng)
        write_picture(folder / f"{name}.png", np.clip(np.rint(65535.0 * picture), 0, 65535).astype(np.uint16))
        records[name] = record_of(view, f"{name}.png", angle_deg=degrees, grey_unit="integral of attenuation")
    write_views(folder / "views.json", ViewsFile(made_from="ct.nii.gz", content="attenuation", views=records))

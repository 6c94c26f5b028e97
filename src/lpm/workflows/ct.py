"""Lungs from a file of a chest CT: find them in it, then fit their surface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lpm.files.scans import read_scan
from lpm.fitting.masks import observe_mask
from lpm.segmentation.hounsfield import hounsfield
from lpm.segmentation.segmenters import segmenter
from lpm.workflows.outcome import FitRun, Outcome
from lpm.workflows.surfaces import fit_observed


def fit_ct_file(run: FitRun, path: Path) -> Outcome:
    """Fit lungs to those that are found in a CT.

    Args:
        run: How to fit.
        path: NIfTI, NRRD, MHA, a DICOM folder or a zip of one.

    Raises:
        LpmError: The file is damaged or of another kind, or shows no lungs.
    """
    run.tell(f"reading {path.name}", 0.05)
    read = read_scan(path)
    scan = hounsfield(read.volume, path.name)
    run.tell("finding the lungs in the CT", 0.1)
    labels = segmenter("thresholds").segment(scan, path.name)
    observed = observe_mask(run.model, labels, rng=np.random.default_rng(run.seed))
    return replace(fit_observed(run, [observed], [path]), scan=scan.volume, is_ct=True, notes=read.notes)

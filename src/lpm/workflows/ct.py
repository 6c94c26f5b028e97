"""Lungs from a file of a chest CT: find them in it, then fit their surface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lpm.files.scans import read_scan
from lpm.fitting.ct.fit import CtFitConfig, observe_lungs
from lpm.lung_model import fill_hidden
from lpm.segmentation.find import find_lungs
from lpm.segmentation.hounsfield import hounsfield
from lpm.workflows.evidence import fit_observed, observe_further
from lpm.workflows.outcome import FitRun, Outcome


def fit_ct_file(run: FitRun, path: Path, config: CtFitConfig | None = None, *, series: str | None = None) -> Outcome:
    """Fit lungs to those that are found in a CT.

    Args:
        run: Fit settings, and further evidence.
        path: NIfTI, NRRD, MHA, a DICOM folder or a zip of one.
        config: Config: how lungs are found, and how many points are drawn on them.
        series: DICOM series; None for the thin axial chest CT.

    Raises:
        LpmError: A file is damaged or of another kind, or shows no lungs.
    """
    config = config or CtFitConfig()
    run.tell(f"reading {path.name}", 0.05)
    read = read_scan(path, series)
    for note in read.notes:
        run.tell(f"{path.name}: {note}", None)
    scan = hounsfield(read.volume, path.name)
    run.tell("finding the lungs in the CT", 0.1)
    found = find_lungs(scan, config.policy(fill_hidden), path.name)
    first = observe_lungs(run.model, found, rng=np.random.default_rng(run.seed), config=config.mask)
    outcome = fit_observed(run, [first, *observe_further(run, config.mask)], [path, *run.also])
    return replace(outcome, scan=scan.volume, is_ct=True)

"""`lpm train-breath`: what a breath does to lungs, learned from pairs of fits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import ModelOption, load_bundle, screen


def train_breath(
    pairs: Annotated[
        Path,
        typer.Argument(help="A .csv with columns expiration and inspiration, or a folder: PATIENT/exp, PATIENT/insp."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The breath model to write, a .npz.")],
    model: ModelOption = None,
) -> None:
    """Learn what breathing does to lungs from fits of patients in both states, for `lpm breathe FIT --breath MODEL`.

    Example: lpm train-breath pairs --out breath.npz
    """
    from lpm.apps.verbs.fit.options import tell
    from lpm.workflows.breath_training import train_breath as train

    found = train(load_bundle(model), pairs, tell)
    found.write(out)
    sd = ", ".join(f"{name} {each.mean():.1f} mm" for name, each in found.sd_mm.items())
    screen.print(f"{len(found.growth)} pairs, which grow by {found.growth.min():.2f} to {found.growth.max():.2f}")
    screen.print(f"left-out pairs are off by {sd} along the normal, where volumes grow e-fold", soft_wrap=True)
    screen.print(f"written to {out}")

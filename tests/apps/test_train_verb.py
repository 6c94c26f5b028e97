"""`lpm train` by several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lpm.apps.cli import app
from lpm.model.bundle import read_bundle

TINY = """
[decoder]
latent_size = 8
width = 32
layers = 3
skip_at = 2

[training]
epochs = 2
shapes_per_step = 4
surface_points = 32
off_surface_points = 32
points_kept = 400
"""


def test_two_processes_write_one_model(tiny_cohort: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(TINY)
    arguments = ["train", str(tiny_cohort), "--preset", "paper-initial", "--config", str(config), "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, "--devices", "2", "--out", str(tmp_path / "model")])
    assert result.exit_code == 0, result.output
    model = read_bundle(tmp_path / "model")
    assert len(model.codes) == 4
    assert len((tmp_path / "model" / "epochs.csv").read_text().splitlines()) == 3
    again = CliRunner().invoke(app, [*arguments, "--devices", "2", "--out", str(tmp_path / "model")])
    assert "holds a training run" in str(again.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "lite", "--device", "cpu", "--devices", "4096"], "4096, but this machine has no GPU and"),
        (["--preset", "lite", "--nodes", "2"], "none for 2 machines"),
        (["--preset", "lite", "--nodes", "2", "--node-rank", "2"], "2 of 2 machines"),
        (["--devices", "2"], "an atlas with"),
    ],
)
def test_devices_that_cannot_be(options: list[str], message: str, tiny_cohort: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", str(tiny_cohort), *options, "--out", str(tmp_path / "model")])
    assert message in str(result.exception)

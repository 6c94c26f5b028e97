"""Files of several kinds of evidence: told apart, read once, refused where they do not go together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpm.apps.cli import run
from lpm.errors import MisuseError
from lpm.geometry.projection import turned_view
from lpm.workflows.evidence import EvidenceFiles
from lpm.workflows.radiographs import PictureOptions, views_for
from lpm.xray.files.views import PlacedView, ViewsFile, record_of, write_views

VIEW = turned_view((40, 30), (10.0, 10.0), 0.0, (0.0, 0.0, 0.0))


def test_every_file_is_part_of_the_provenance() -> None:
    files = EvidenceFiles(
        (Path("a.ply"),), (Path("b.nii"),), (("frontal", Path("c.png")),), Path("d.nii"), views=Path("views.json")
    )
    assert [path.name for path in files.evidence] == ["a.ply", "b.nii", "c.png"]
    assert [path.name for path in files.all] == ["a.ply", "b.nii", "c.png", "d.nii", "views.json"]


def test_one_view_is_not_that_of_two_pictures() -> None:
    taken = PictureOptions(views={"frontal": PlacedView(VIEW, None)})
    two = (("frontal", Path("a.png")), ("frontal", Path("b.png")))
    with pytest.raises(MisuseError, match="views: one view for 2 frontal pictures; expected one picture of each side"):
        EvidenceFiles(pictures=two, taken=taken).refuse_shared_views()
    EvidenceFiles(pictures=two).refuse_shared_views()  # both are placed by the fit
    EvidenceFiles(pictures=(two[0], ("lateral", Path("c.png"))), taken=taken).refuse_shared_views()


def test_the_command_line_names_its_option(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((40, 30), dtype=np.uint8)).save(tmp_path / name)
    record = record_of(VIEW, "a.png")
    known = ViewsFile(made_from="ct.nii.gz", content="attenuation", views={"frontal": record})
    write_views(tmp_path / "views.json", known)
    assert views_for(tmp_path / "views.json", {"frontal"})
    given = [f"--frontal={tmp_path / name}" for name in ("a.png", "b.png")]
    assert run(["fit", "joint", *given, f"--views={tmp_path / 'views.json'}", f"--out={tmp_path / 'out'}"]) == 2
    assert "--views: one view for 2 frontal pictures" in capfd.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_nothing_given_is_misuse(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "joint", f"--out={tmp_path / 'out'}"]) == 2
    assert "--points, --mask, --frontal, --lateral: none was given" in capfd.readouterr().err.replace("\n", " ")

"""Inputs are never outputs, whatever they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_type_hints

import pytest

from lpm.apps.cli import FIT_VERBS, VERBS, run
from lpm.errors import FileError
from lpm.files.atomic import atomic_folder, check_gives_way, write_text
from lpm.files.outputs.inputs import keeping, refuse_inputs_in


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    (tmp_path / "ct.nii.gz").write_text("a scan")
    return tmp_path / "ct.nii.gz"


@pytest.mark.parametrize("name", ["ct.nii.gz", "./sub/../ct.nii.gz", "link.nii.gz", "hard.nii.gz"])
def test_a_file_by_any_name(ct: Path, name: str) -> None:
    (ct.parent / "sub").mkdir()
    (ct.parent / "link.nii.gz").symlink_to(ct)
    (ct.parent / "hard.nii.gz").hardlink_to(ct)
    with pytest.raises(FileError, match=r"nii.gz: is an input of this run, and would be replaced.*another name"):
        keeping([ct], [ct.parent / name]).__enter__()
    with keeping([ct], [ct.parent / "new.nii.gz"]):
        pass


def test_letters_that_a_file_system_does_not_tell_apart(ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "samefile", lambda self, other: str(self).lower() == str(other).lower())
    with pytest.raises(FileError, match="is an input of this run"):
        keeping([ct], [ct.with_name("CT.nii.gz")]).__enter__()


def test_a_file_that_is_written_on_the_way(ct: Path) -> None:
    with keeping([ct], [ct.parent / "out"]), pytest.raises(FileError, match="is an input of this run"):
        write_text(ct, "labels")
    write_text(ct, "by itself")


def test_a_folder_that_is_replaced_and_holds_an_input(tmp_path: Path) -> None:
    mesh = tmp_path / "fit" / "left_lung.ply"
    mesh.parent.mkdir()
    mesh.touch()
    (mesh.parent / "fit.json").touch()
    for replace in (lambda: atomic_folder(mesh.parent).__enter__(), lambda: check_gives_way(mesh.parent, bool, "")):
        with keeping([mesh], [mesh.parent]), pytest.raises(FileError, match=r"holds the input left_lung.ply"):
            replace()


def test_files_of_a_folder_that_is_read(tmp_path: Path) -> None:
    for name in ("IM0001", "bundle.json", "measures.csv", "measures.json"):
        (tmp_path / name).touch()
    for name in ("IM0001", "bundle.json"):
        with pytest.raises(FileError, match=r"lies in the input .*, and may be read from there.*or remove it first"):
            keeping([tmp_path], [tmp_path / name]).__enter__()
    for name in ("measures.csv", "measures.json", "new.dcm"):
        with keeping([tmp_path], [tmp_path / name]):
            pass


def test_an_output_folder_in_an_input_folder_is_written_again(tmp_path: Path) -> None:
    out = tmp_path / "model"
    for _ in range(2):
        with keeping([tmp_path], [out]):
            write_text(out / "bundle.json", "{}")
    with pytest.raises(FileError, match="is an input of this run"):
        keeping([tmp_path], [tmp_path]).__enter__()


def test_folders_of_cases_that_hold_inputs(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    given = {"a": [tmp_path / "b" / "labels.nii.gz"], "b": [tmp_path / "x.nii.gz"]}
    folders = {name: tmp_path / name for name in given}
    with pytest.raises(FileError, match=r"b: holds labels.nii.gz, an input of a, and would be replaced by b"):
        refuse_inputs_in(folders, given)
    refuse_inputs_in(folders, {"a": [tmp_path / "c" / "x"]})


@pytest.mark.parametrize(
    "command",
    [
        "segment ct.nii.gz --out ct.nii.gz",
        "segment ct.nii.gz --out ./Ct/../ct.nii.gz",
        "segment ct.nii.gz --out labels.nii.gz --preview ct.nii.gz",
        "segment ct.nii.gz --out labels.nii.gz --rtstruct link",
        "measure ct.nii.gz --csv ct.nii.gz",
        "measure ct.nii.gz --json link",
        "map-points ct.nii.gz --from fit --to fit --out link",
        "map-points points.csv --from fit --to fit --out fit/fit.json",
        "fit mask ct.nii.gz --out ct.nii.gz",
        "fit points points.csv --out fit --model fit",
        "fit points points.csv --grid ct.nii.gz --out ct.nii.gz",
        "fit joint --points points.csv --out points.csv",
        "breathe fit fit --out fit",
        "prepare fit --out fit",
        "train fit --out fit",
        "evaluate fit fit --out fit",
        "generate --n 1 --model fit --out fit",
        "xray ct.nii.gz --out ct.nii.gz",
    ],
)
def test_every_verb_refuses_before_the_work(
    ct: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ct.parent)
    for folder in ("fit", "Ct"):
        Path(folder).mkdir()
    Path("link").symlink_to("ct.nii.gz")
    Path("points.csv").write_text("1,2,3")
    Path("fit/fit.json").write_text("{}")
    assert run(command.split()) == 1
    assert "input" in capsys.readouterr().err
    assert (ct.read_text(), Path("fit/fit.json").read_text()) == ("a scan", "{}")


def test_a_case_folder_that_holds_an_input_is_refused_at_once(
    ct: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ct.parent)
    for case in ("a", "b"):
        Path("fits", case).mkdir(parents=True)
        os.link(ct, Path("fits", case, "labels.nii.gz"))
    assert run(["fit", "mask", "fits/*/labels.nii.gz", "--out", "fits"]) == 1
    assert "holds labels.nii.gz, an input of a" in " ".join(capsys.readouterr().err.split())
    Path("cohort/subjects").mkdir(parents=True)
    Path("fits/a").rename("cohort/subjects/a")
    assert run(["prepare", "cohort/subjects", "--out", "cohort"]) == 1
    assert "holds labels.nii.gz, an input of a" in " ".join(capsys.readouterr().err.split())


def test_what_verbs_write_is_told_by_names() -> None:
    """A new argument that is a path is an input, unless it is called like an output."""
    from lpm.apps.kept_inputs import OUTPUTS

    known = {"inputs", "files", "labels", "points", "mask", "frontal", "lateral", "frontal_mask", "also", "views"}
    known |= {"grid", "model", "cohort", "lungs", "config", "split", "source", "target", "fits", "breath", "pairs"}
    known |= {"norm", "table", "add_to", "fit"}
    for verb in (*VERBS.values(), *FIT_VERBS.values()):
        kinds = get_type_hints(verb)
        paths = {name for name, kind in kinds.items() if "Path" in str(kind)}
        assert paths <= known | set(OUTPUTS)

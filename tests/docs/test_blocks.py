"""The code of the documentation works as printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from doc_blocks import (
    ROOT,
    Block,
    blocks_of,
    cells_of,
    check_block,
    check_command,
    notebooks,
    pages,
    python_of,
    run_python,
)

from lpm.lung_model import LungModel

PAGES = [page for page in pages() if python_of(page, slow=False)]
BLOCKS = [block for page in pages() for block in blocks_of(page)]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def coarse_lattices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits on 6 mm unless the page says otherwise; `make test-slow` and `make docs-blocks` run them on the default."""
    defaults = LungModel.fit_points.__kwdefaults__
    assert defaults["spacing_mm"] == 1.5
    monkeypatch.setitem(defaults, "spacing_mm", 6.0)


@pytest.mark.usefixtures("small_pictures", "coarse_lattices")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_runs(page: Path, tmp_path: Path) -> None:
    blocks = python_of(page, slow=False)
    assert len(list(run_python(blocks, tmp_path))) == len(blocks)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language != "python"], ids=lambda block: f"{block.page}:{block.line}"
)
def test_the_rest_is_understood(block: Block) -> None:
    assert check_block(block) != "not checked"


def test_most_python_runs_and_what_does_not_says_why() -> None:
    python = [block for block in BLOCKS if block.language == "python"]
    left_out = [block for block in python if block.mark]
    assert len(python) >= 15
    assert len(left_out) <= 0.25 * len(python)
    assert all(len(block.why) > 10 for block in left_out)


def test_a_failing_block_is_named_with_its_page_and_line(tmp_path: Path) -> None:
    block = Block("docs/index.md", 7, "python", "x = 1\nraise KeyError('no')\n")
    with pytest.raises(KeyError) as caught:
        list(run_python([block], tmp_path))
    last = caught.traceback[-1]
    assert Path(last.path).name == "index.md"
    assert last.lineno + 1 == 8


def test_blocks_share_names_and_folder(tmp_path: Path) -> None:
    first = Block("docs/index.md", 1, "python", "x = 41\n")
    second = Block("docs/index.md", 5, "python", "open('y', 'w').write(str(x + 1))\n")
    assert [ran.outcome for ran in run_python([first, second], tmp_path)] == ["run", "run"]
    assert (tmp_path / "y").read_text() == "42"


def test_files_that_a_block_reads_are_put_there(tmp_path: Path) -> None:
    text = 'from pathlib import Path\nfrom lpm.files.volumes import read_volume\nread_volume(Path("labels.nii.gz"))\n'
    list(run_python([Block("docs/index.md", 1, "python", text)], tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.nii.gz"]


@pytest.mark.parametrize(
    "command",
    [["lpm", "prepare", "scans"], ["lpm", "fit", "points", "--nothing"], ["lpm", "fly"], ["lpm", "demo", "x"]],
)
def test_a_wrong_command_is_found(command: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)missing|no such|fly|unexpected|required"):
        check_command(command)


def test_marks_and_languages_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- slow: it takes long -->\n```python\n1\n```\n\n- x\n  ```sh\n  lpm --help\n  ```\n")
    monkeypatch.setattr("doc_blocks.ROOT", tmp_path)
    slow, shell = blocks_of(page)
    assert (slow.mark, slow.why, slow.line, slow.text) == ("slow", "it takes long", 3, "1\n")
    assert (shell.language, shell.text, shell.mark) == ("sh", "lpm --help\n", "")


@pytest.mark.parametrize("notebook", notebooks(), ids=name_of)
def test_notebooks_are_code_and_hold_no_outputs(notebook: Path) -> None:
    cells = list(cells_of(notebook))
    assert len(cells) >= 3
    for cell in cells:
        compile(cell.text, cell.page, "exec")
    assert '"outputs": [\n' not in notebook.read_text(encoding="utf-8")


def test_the_xray_page_shows_two_lungs(tmp_path: Path) -> None:
    page = ROOT / "docs" / "xray.md"
    names: dict[str, object] = {}
    simulated = [block for block in python_of(page, slow=False) if "path_lengths_of_labels" in block.text]
    for block in simulated:
        exec(block.text, names)  # noqa: S102 (our own page)
    lengths = names["lengths"]
    assert isinstance(lengths, np.ndarray)
    assert lengths.shape == (2, 160, 200)
    assert lengths[0].argmax() != lengths[1].argmax()

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from lpm import extras
from lpm.errors import MissingExtraError
from lpm.extras import import_extra, import_renderer


def test_what_is_there_is_imported() -> None:
    assert import_extra("json.decoder", "hub", "model") is sys.modules["json.decoder"]


def test_what_is_missing_is_named_with_its_extra() -> None:
    expected = (
        r"^lpm fly: needs no_such_wings \(No module named 'no_such_wings'\); expected the extra wings\. "
        r"Try: pip install 'lungs-parametric-model\[wings\]', or walk$"
    )
    with pytest.raises(MissingExtraError, match=expected):
        import_extra("no_such_wings", "wings", "lpm fly", ", or walk")


def test_a_missing_system_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("raise OSError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"needs half_installed \(libGL\.so\.1: cannot open"):
        import_extra("half_installed", "pictures", "3D pictures")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere VTK draws without libraries of its own choice")
def test_a_machine_that_cannot_draw_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyvista")
    monkeypatch.setattr(extras, "_OFF_SCREEN", ("libno_such_gl.so.1",))
    monkeypatch.setenv("DISPLAY", ":0")
    assert import_renderer("--figures").__name__ == "pyvista"
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(MissingExtraError, match=r"^--figures: needs one of libno_such_gl\.so\.1 to draw without a"):
        import_renderer("--figures")


CALLED = {
    "sklearn": "scikit-learn",
    "vtkmodules": "pyvista",
}  # what a package is called where its module is called otherwise
ROOT = Path(__file__).resolve().parents[1]


def extras_asked_for() -> set[tuple[str, str]]:
    """(top-level module, extra) of every `import_extra` in the package."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "src").rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1]
    named = [call.args for call in calls if getattr(call.func, "id", "") == "import_extra"]
    given = [
        (module.value, extra.value)
        for module, extra, *_ in named
        if isinstance(module, ast.Constant) and isinstance(extra, ast.Constant)
    ]
    return {(str(module).partition(".")[0], str(extra)) for module, extra in given}


def test_an_extra_declares_every_module_that_is_imported_in_its_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = extras_asked_for()
    assert {("requests", "download"), ("websockets", "view")} <= asked
    for module, extra in asked:
        needs = [*project["dependencies"], *project["optional-dependencies"][extra]]
        names = {re.split("[<>=; ]", need)[0].lower().removesuffix("-cpu") for need in needs}
        assert CALLED.get(module, module.lower()) in names, (module, extra)

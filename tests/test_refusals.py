"""What is refused on the way from fits to a study, a norm or a breath says what to try."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "lpm"
PLACES = (
    *("studies", "motion", "measurement/norms", "batch/subjects.py", "files/point_rows.py", "measurement/subjects.py"),
    *("apps/verbs/motion", "apps/verbs/cohorts"),
    *(f"workflows/{name}.py" for name in ("studying", "breathing", "carrying", "breath_training")),
)
PARTS = 4  # subject, given, expected, hint
OURS = ("InputError", "MisuseError", "FileError", "CasesFailedError")


def refusals() -> Iterator[tuple[str, ast.Call]]:
    for place in PLACES:
        files = sorted((SOURCE / place).rglob("*.py")) if (SOURCE / place).is_dir() else [SOURCE / place]
        for path in files:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", node.exc


def test_every_refusal_says_what_to_try() -> None:
    ours = [(where, call) for where, call in refusals() if ast.unparse(call.func) in OURS]
    assert len(ours) > 40
    assert [where for where, call in ours if len(call.args) + len(call.keywords) < PARTS] == []

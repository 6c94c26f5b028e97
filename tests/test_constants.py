"""Every number of a module says why it is what it is: beside it, or in `calibration.toml`."""

from __future__ import annotations

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field

from lpm.calibration import calibration
from lpm.records import StrictModel

SOURCE = Path(__file__).resolve().parents[1] / "src" / "lpm"
ROOMS = (
    "geometry",
    "segmentation",
    "preparation",
    "measurement",
    "model",
    "fitting",
    "xray",
    "population",
    "motion",
    "studies",
    "evaluation",
)
TAKERS = ("number", "count", "several", "span")
_REASON = re.compile(r"#(?!\s*(noqa|type:|pragma|fmt:|mypy:)).*[a-zA-Z]{2}.*")


def reasons(source: str) -> set[int]:
    """Lines that hold a comment in words."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT and _REASON.fullmatch(token.string)}


def has_number(value: ast.expr) -> bool:
    """Whether a number is written out in an expression; True and False are none."""
    return any(isinstance(node, ast.Constant) and type(node.value) in (int, float, complex) for node in ast.walk(value))


def assignments(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, list[ast.expr], ast.expr]]:
    """What a module assigns at its top, in blocks of `if` and `try` too; constants of classes that are in capitals."""
    for node in body:
        if isinstance(node, ast.Assign):
            yield node, node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node, [node.target], node.value
        elif isinstance(node, ast.If | ast.Try | ast.With):
            blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
            yield from assignments([each for block in blocks for each in block])
        elif isinstance(node, ast.ClassDef):
            yield from (found for found in assignments(node.body) if ast.unparse(found[1][0]).isupper())


def unexplained(source: str) -> list[str]:
    """Constants that hold a number and no reason: no comment on their line or right above it."""
    explained, lines = reasons(source), source.splitlines()
    above = {line + 1 for line in explained if lines[line - 1].lstrip().startswith("#")}
    found = []
    for node, targets, value in assignments(ast.parse(source).body):
        if not has_number(value):
            continue
        name = ast.unparse(targets[0])
        if isinstance(targets[0], ast.Tuple):
            found.append(f"{name}: several in one line, which leaves no room for their reasons")
        elif not {node.lineno, node.end_lineno} & explained and node.lineno not in above:
            found.append(f"{name}: no reason beside it, and not taken from calibration.toml")
    return found


def taken(source: str) -> list[str]:
    """Names that are taken from the calibration."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        ast.literal_eval(call.args[0])
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in TAKERS and call.args
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    ]


FILES = sorted(path for room in ROOMS for path in (SOURCE / room).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_constant_has_its_reason(path: Path) -> None:
    assert unexplained(path.read_text(encoding="utf-8")) == []


def test_what_is_calibrated_is_used_by_its_room_and_nothing_else_is_taken() -> None:
    files = [path for path in SOURCE.rglob("*.py") if path.name != "calibration.py"]
    used = {(path.relative_to(SOURCE).parts[0], name) for path in files for name in taken(path.read_text("utf-8"))}
    assert {name for _, name in used} == set(calibration())
    assert [name for room, name in used if name.partition(".")[0] != room] == []


def undescribed(config: type[StrictModel]) -> list[str]:
    """Numbers that a user may choose, of which neither field nor docstring says what they are."""
    told = set(re.findall(r"^ +(\w+): ", config.__doc__ or "", re.MULTILINE))
    return [
        name
        for name, field in config.model_fields.items()
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
        if not field.description and name not in told
    ]


def configs() -> Iterator[type[StrictModel]]:
    """All configs and records of the walked rooms."""
    for path in FILES:
        module = importlib.import_module(".".join(("lpm", *path.relative_to(SOURCE).with_suffix("").parts)))
        kinds = (
            kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__
        )
        yield from (kind for kind in kinds if issubclass(kind, StrictModel))


def test_every_number_that_may_be_chosen_is_described() -> None:
    found = {kind.__name__: undescribed(kind) for kind in configs()}
    assert {name: fields for name, fields in found.items() if fields} == {}


def test_a_number_without_a_description_is_found() -> None:
    class Bare(StrictModel):
        """A config.

        Args:
            width: In pixels.
        """

        steps: int = 60
        width: int = 3
        height: int = Field(3, description="in pixels")
        is_on: bool = True

    assert undescribed(Bare) == ["steps"]


@pytest.mark.parametrize(
    "source",
    [
        "_REACH_MM = 3.0",
        "_REACH_MM: float = 3.0",
        "_BELOW = -1",
        "_SIZES = (1.0, 0.75, 1.2)",
        "_STEPS = range(-9, 9)",
        "_GRID = np.linspace(0.3, 0.7, 12)",
        "_NEAR_MM = 4.0 * _SOFT_MM",
        "_STIFF = FitConfig(prior_noise_mm=4.0)",
        "_ANGLES = {'frontal': 0.0, 'lateral': 90.0}",
        "plain = 3.0",
        "_A, _B = 1.0, 2.0  # both are lengths",
        "# both are lengths\n_A, _B = 1.0, 2.0",
        "_A = 1.0  # noqa: N816",
        "_A = 1.0  # ---",
        "# a reason of something else\n\n_A = 1.0",
        "_A = 1.0  # a length\n_B = 2.0",
        "# a length\n_A = 1.0\n_B = 2.0",
        "if fast:\n    _A = 1.0",
        "try:\n    import igl\nexcept ImportError:\n    _A = 1\nelse:\n    _A = 2",
        "class Shape:\n    _REACH = 3.0",
        '_A = 1.0\n"""A docstring is no comment."""',
        "_A = '# no comment' * 3",
    ],
)
def test_a_bare_number_is_found(source: str) -> None:
    assert unexplained(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "_REACH_MM = 3.0  # half a cell of the lattice",
        "# half a cell of the lattice\n_REACH_MM = 3.0",
        "# a reason\n# of two lines\n_REACH_MM = 3.0",
        '_REACH_MM = number("fitting.reach_mm")',
        '_LOW, _HIGH = span("fitting.sizes")',
        "_SIZES = (  # of the mean lungs\n    1.0,\n    0.75,\n)",
        "_SIZES = (\n    1.0,\n    0.75,\n)  # of the mean lungs",
        "_NAME = 'lungs'",
        "_IS_ON = True",
        "def advance():\n    step = 3.0",
        "class Config(StrictModel):\n    steps: int = Field(60, description='at most')",
        "if fast:\n    _A = 1.0  # a length",
    ],
)
def test_a_number_with_its_reason_passes(source: str) -> None:
    assert unexplained(source) == []


def test_names_taken_from_the_calibration_are_found() -> None:
    source = '_A = number("fitting.a")\n_B = np.linspace(*span("fitting.b"), count("fitting.c"))\nother("fitting.d")'
    assert sorted(taken(source)) == ["fitting.a", "fitting.b", "fitting.c"]

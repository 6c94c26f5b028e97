"""What `lpm` exports says of itself: arguments, results, errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest

import lpm
from lpm.fitting.fit import Fit
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume

EXPORTED = {name: getattr(lpm, name) for name in lpm.__all__}
CLASSES = [each for each in EXPORTED.values() if inspect.isclass(each)] + [Fit, WorldMesh, Volume]


def public_functions() -> Iterator[tuple[str, Callable[..., object]]]:
    """Exported functions, and the public methods of exported classes."""
    yield from ((name, each) for name, each in EXPORTED.items() if inspect.isfunction(each))
    for kind in CLASSES:
        for name, member in vars(kind).items():
            if not name.startswith("_") and inspect.isfunction(member):
                yield f"{kind.__name__}.{name}", member


FUNCTIONS = dict(public_functions())


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_classes_say_what_they_hold(kind: type) -> None:
    said = inspect.getdoc(kind) or ""
    assert len(said) > 20
    for name, member in vars(kind).items():
        if isinstance(member, property) and not name.startswith("_"):
            assert inspect.getdoc(member), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_what_goes_in_and_what_comes_out(name: str) -> None:
    said = inspect.getdoc(FUNCTIONS[name]) or ""
    signature = inspect.signature(FUNCTIONS[name])
    given = [each for each in signature.parameters if each not in ("self", "cls")]
    assert said, name
    if len(given) > 1:
        assert "Args:" in said, name
        missing = [each for each in given if f"\n    {each}: " not in said and f"\n    **{each}: " not in said]
        assert missing == [], name


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.startswith(("LungModel.", "load"))])
def test_the_front_door_names_its_errors(name: str) -> None:
    assert "Raises:" in (inspect.getdoc(FUNCTIONS[name]) or ""), name

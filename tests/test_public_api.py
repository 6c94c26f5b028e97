"""The public interface is that of the snapshot: nothing is removed or renamed by accident."""

from __future__ import annotations

import json

import pytest

from public_api import SNAPSHOT, _taken, interface

KEPT = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
NOW = interface()
WRITE = "if it is meant: python tests/public_api.py, and a line in CHANGELOG.md"


def broken(kept: dict[str, list[str]], now: dict[str, list[str]]) -> list[str]:
    """What callers would miss: names that are gone, arguments that are gone, moved, or have to be given now."""
    gone = [name for name in kept if name not in now]
    return gone + [name for name in kept if name in now and not _takes(kept[name], now[name])]


def _takes(kept: list[str], now: list[str]) -> bool:
    """Whether what was called as `kept` can be called so now."""
    there = {each.rstrip("=!"): each for each in now}
    known = {each.rstrip("=!"): each for each in kept}
    stays = all(name in there and _asks(there[name]) <= _asks(known[name]) for name in known)
    in_place = [name for name in known if not name.startswith(("*", "-"))]
    moved = [name for name in there if not name.startswith(("*", "-"))][: len(in_place)] != in_place
    return stays and not moved and not any(_asks(there[name]) for name in there if name not in known)


def _asks(word: str) -> bool:
    """Whether an argument has to be given."""
    return word.endswith("!") if word.startswith("--") else not word.endswith("=") and not word.startswith("**")


def test_nothing_is_removed_or_renamed() -> None:
    assert broken(KEPT, NOW) == [], "deprecate it first (docs/stability.md); " + WRITE


def test_what_is_new_is_in_the_snapshot() -> None:
    assert {name: taken for name, taken in NOW.items() if KEPT.get(name) != taken} == {}, WRITE
    assert len(NOW) > 150


@pytest.mark.parametrize(
    ("kept", "now", "is_broken"),
    [
        (["a", "b="], ["a", "b="], False),
        (["a"], ["a", "b="], False),
        (["a"], ["a", "*b="], False),
        (["a", "b="], ["a"], True),
        (["a", "b="], ["a", "c="], True),
        (["a", "b"], ["b", "a"], True),
        (["a"], ["a", "b"], True),
        (["a="], ["a"], True),
        (["a"], ["c=", "a"], True),
        (["--out!", "--n"], ["--n", "--out!", "--seed"], False),
        (["--out!", "--n"], ["--out!"], True),
        (["--n"], ["--n!"], True),
        (["--n"], ["--n", "--out!"], True),
    ],
)
def test_a_break_is_told_from_an_addition(kept: list[str], now: list[str], is_broken: bool) -> None:
    assert bool(broken({"f": kept}, {"f": now})) == is_broken


def test_a_name_that_is_gone_is_a_break() -> None:
    assert broken({"lpm.load": [], "lpm.Fit": []}, {"lpm.load": []}) == ["lpm.Fit"]


def test_arguments_are_read() -> None:
    def given(a: int, b: int = 2, *, c: int, d: int = 3, **rest: int) -> int:
        return a + b + c + d + sum(rest.values())

    assert _taken(given) == ["a", "b=", "*c", "*d=", "**rest"]

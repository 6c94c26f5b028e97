"""The public interface as plain text: names, arguments, verbs, options. Run as a program, it writes the snapshot.

``python tests/public_api.py`` writes tests/public_api.json, which `test_public_api.py` holds the package to.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import typer

import lpm
from lpm.apps.cli import app

SNAPSHOT = Path(__file__).with_suffix(".json")


def interface() -> dict[str, list[str]]:
    """Everything that is promised: what it is called, and what it takes."""
    found = {f"lpm.{name}": _taken(getattr(lpm, name)) for name in lpm.__all__}
    for name in lpm.__all__:
        kind = getattr(lpm, name)
        for member in _members(kind) if inspect.isclass(kind) else ():
            found[f"lpm.{name}.{member}"] = _taken(inspect.getattr_static(kind, member))
    return dict(sorted(found.items())) | dict(sorted(_verbs(typer.main.get_command(app), "lpm").items()))


def _members(kind: type) -> list[str]:
    """Public methods, properties and fields, inherited ones of our own too, but not those of pydantic or errors."""
    ours = [each for each in kind.__mro__ if each.__module__.startswith("lpm.")]
    return sorted({name for each in ours for name in vars(each) if not name.startswith("_") and name != "model_config"})


def _taken(thing: Any) -> list[str]:
    """Arguments of a function, fields of a class; * before those by keyword, = after those with a default."""
    if isinstance(thing, (classmethod, staticmethod)):
        thing = thing.__func__
    if not callable(thing):
        return []
    if fields := getattr(thing, "model_fields", None):
        return [f"*{name}{'' if field.is_required() else '='}" for name, field in sorted(fields.items())]
    marks = {inspect.Parameter.KEYWORD_ONLY: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    given = inspect.signature(thing).parameters.values()
    return [
        f"{marks.get(each.kind, '')}{each.name}{'' if each.default is inspect.Parameter.empty else '='}"
        for each in given
        if each.name not in ("self", "cls")
    ]


def _verbs(command: Any, path: str) -> dict[str, list[str]]:
    """Arguments of a verb and of those below it, = after those with a default; options, ! after those asked for."""
    words = []
    for each in command.params:
        if each.param_type_name == "argument":
            words.append(f"{each.name}{'' if each.required else '='}")
        else:
            names = [name for name in (*each.opts, *each.secondary_opts) if name != "--help"]
            words += [f"{name}{'!' if each.required else ''}" for name in names]
    found = {path: words if path == "lpm" else sorted(words)}
    for name, below in getattr(command, "commands", {}).items():
        found |= _verbs(below, f"{path} {name}")
    return found


if __name__ == "__main__":
    lines = (f" {json.dumps(name)}: {json.dumps(taken)}" for name, taken in interface().items())
    SNAPSHOT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

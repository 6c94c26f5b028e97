"""What the documentation takes from the code when it is built: command line, docstrings, keys of files, equations."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import latex2mathml.converter
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes

Command = Any  # of click or of what typer brings along instead


class MarkdownDirective(SphinxDirective):
    """A directive that stands for generated Markdown."""

    required_arguments = 1

    def markdown(self, argument: str) -> str:
        """Return what is put in its place."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse it where it stands."""
        text = StringList(self.markdown(self.arguments[0]).splitlines(), source=self.env.docname)
        return nested_parse_to_nodes(self.state, text, allow_section_headings=True)


class CommandLine(MarkdownDirective):
    """``{command-line} lpm.apps.cli:app``: every verb with its options, from the typer app."""

    def markdown(self, argument: str) -> str:
        """A section for each verb."""
        import typer

        root = typer.main.get_command(named(argument))
        return "\n".join(line for name, verb in verbs(root) for line in verb_lines(name, verb))


class Keys(MarkdownDirective):
    """``{keys} lpm.preparation.cohort:Manifest``: the keys of a file, from the pydantic model that reads it."""

    def markdown(self, argument: str) -> str:
        """A table of key, type, default and meaning."""
        kind = named(argument)
        told = argument_docs(kind.__doc__ or "")
        rows = [key_row(name, field, told.get(name, "")) for name, field in kind.model_fields.items()]
        if not any(default for _, _, default, _ in rows):
            rows = [(name, of, said) for name, of, _, said in rows]
        head = ("key", "type", *(("default",) if len(rows[0]) == 4 else ()), "meaning")
        return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


class CalibratedNumbers(MarkdownDirective):
    """``{calibrated} fitting``: a room's modelling numbers with their provenance, from `calibration.toml`."""

    def markdown(self, argument: str) -> str:
        """A table of name, value, unit, how and on what it was chosen, and what half and twice of it do."""
        from lpm.calibration import calibration

        entries = {name: entry for name, entry in calibration().items() if name.partition(".")[0] == argument}
        head = ("number", "value", "unit, and of what", "chosen", "halved", "doubled")
        rows = [calibrated_row(name.partition(".")[2], entry) for name, entry in entries.items()]
        return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


class Modules(MarkdownDirective):
    """``{modules} lpm.fitting``: everything public of a package, module by module, from the docstrings."""

    def markdown(self, argument: str) -> str:
        """An automodule for each module that has a public name."""
        package = importlib.import_module(argument)
        found = sorted(each.name for each in pkgutil.walk_packages(package.__path__, f"{argument}."))
        return "\n".join(automodule(name) for name in found)


class Exports(MarkdownDirective):
    """``{exports} lpm``: what a package exports, from the docstrings."""

    def markdown(self, argument: str) -> str:
        """Classes with their methods, functions."""
        package = importlib.import_module(argument)
        found = [(name, getattr(package, name)) for name in sorted(package.__all__)]
        kinds = [(name, "class" if isinstance(it, type) else "function") for name, it in found if callable(it)]
        lines = [f".. auto{kind}:: {argument}.{name}\n" + "   :members:\n" * (kind == "class") for name, kind in kinds]
        return "```{eval-rst}\n" + "\n".join(lines) + "```"


def named(argument: str) -> Any:
    """Return the object that ``module:name`` names."""
    module, _, name = argument.partition(":")
    return getattr(importlib.import_module(module), name)


def automodule(name: str) -> str:
    """Markdown of a module's section."""
    return f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n"


def verbs(command: Command, name: str = "lpm") -> Iterator[tuple[str, Command]]:
    """All verbs below a command, with their full names, in the order of `--help`."""
    for each, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from verbs(child, f"{name} {each}")
        elif not child.hidden:
            yield f"{name} {each}", child


def verb_lines(name: str, verb: Command) -> Iterator[str]:
    """Markdown of a verb: what it does, how it is called, its arguments and options."""
    context = verb.context_class(verb, info_name=name)
    text, _, example = (verb.help or "").partition("Example:")
    called = " ".join([name, *verb.collect_usage_pieces(context)])
    yield from (f"## {name}", "", plain(text.strip()), "", "```text", called, "```", "")
    if example:
        yield from ("Example:", "", "```text", example.strip(), "```", "")
    for parameter in verb.params:
        if (record := parameter.get_help_record(context)) is not None:
            yield from (f"`{unmarked(record[0])}`", f": {plain(record[1])}", "")


def unmarked(text: str) -> str:
    """Rich's markup out."""
    return re.sub(r"\\(?=\[)|\[/?(?:bold|dim|italic|red|green|cyan|yellow)[^\]]*\]", "", text)


def plain(text: str) -> str:
    """Rich's markup and line breaks out, Markdown's special characters harmless."""
    paragraphs = [" ".join(part.split()) for part in unmarked(text).split("\n\n")]
    return "\n\n".join(re.sub(r"(?<!`)([\[\]<>*_|$])(?!`)", r"\\\1", part) for part in paragraphs)


def key_row(name: str, field: Any, told: str) -> tuple[str, str, str, str]:
    """A line of a table of keys: key, type, default, meaning."""
    default = "" if field.is_required() else f"`{shown_default(field)}`"
    said = (field.description or told).rstrip(".").replace("``", "`").replace("|", "\\|")
    said = said[:1].lower() + said[1:] if said[1:2].islower() else said
    return f"`{name}`", shown_type(field.annotation), default, said


def calibrated_row(name: str, entry: Any) -> tuple[str, ...]:
    """A line of a table of calibrated numbers."""
    value = " ... ".join(f"{one:g}" for one in (entry.value if isinstance(entry.value, tuple) else (entry.value,)))
    chosen = entry.chosen if entry.on == "not recorded" else f"{entry.chosen}; on: {entry.on}"
    return f"`{name}`", value, entry.unit, chosen, entry.halved, entry.doubled


def shown_default(field: Any) -> str:
    """A default in a few words."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return json.dumps(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{type(value).__name__}()" if hasattr(type(value), "model_fields") else str(value)


def shown_type(annotation: Any) -> str:
    """A type in plain words."""
    parts = get_args(annotation)
    if not parts:
        plain_name = _PLAIN.get(annotation) or str(getattr(annotation, "__name__", annotation))
        return f"`{plain_name}`" if hasattr(annotation, "model_fields") else plain_name
    shown = _SHOWN.get(get_origin(annotation), _alternatives)
    return shown(parts)


_PLAIN = {type(None): "null", str: "text", int: "integer", float: "number", bool: "true or false"}


def _alternatives(parts: tuple[Any, ...]) -> str:
    return " or ".join(shown_type(each) for each in parts)


def _sequence(parts: tuple[Any, ...]) -> str:
    if parts[-1] is Ellipsis:
        return f"list of {shown_type(parts[0])}"
    return "(" + ", ".join(shown_type(each) for each in parts) + ")"


_SHOWN: dict[Any, Callable[[tuple[Any, ...]], str]] = {
    tuple: _sequence,
    list: lambda parts: f"list of {shown_type(parts[0])}",
    dict: lambda parts: f"object of {shown_type(parts[1])}",
    Annotated: lambda parts: shown_type(parts[0]),
    Literal: lambda parts: " or ".join(f'"{each}"' if isinstance(each, str) else str(each) for each in parts),
}


def argument_docs(docstring: str) -> dict[str, str]:
    """What the Args of a Google docstring say, by name."""
    section = re.search(r"Args:\n(.*?)(?:\n\s*\n|\Z)", docstring, flags=re.DOTALL)
    if section is None:
        return {}
    entries = re.split(r"\n\s{8}(?=\w+:)", "\n" + section.group(1))
    pairs = (each.strip().partition(":") for each in entries if ":" in each)
    return {name: " ".join(said.split()) for name, _, said in pairs}


def as_literal(_app: Sphinx, _what: str, _name: str, _it: object, _options: object, lines: list[str]) -> None:
    """Docstrings quote code in single backticks, and use bars and stars as mathematics does."""
    lines[:] = [
        "".join(part if part.startswith("`") else re.sub(r"([|*])", r"\\\1", part) for part in _parts(line))
        for line in lines
    ]


def _parts(line: str) -> list[str]:
    """A line cut into quoted code, always in double backticks, and the rest."""
    parts = re.split(r"(``[^`]+``|(?<![`:])`[^`]+`(?!`))", line)
    return [f"``{part.strip('`')}``" if part.startswith("`") else part for part in parts]


def inline_equation(writer: Any, node: nodes.math) -> None:
    """An equation in a line, as MathML, which browsers draw without any script."""
    writer.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def block_equation(writer: Any, node: nodes.math_block) -> None:
    """An equation of its own; it scrolls where the page is narrow."""
    drawn = latex2mathml.converter.convert(node.astext(), display="block")
    writer.body.append(f'<div class="equation" tabindex="0">{drawn}</div>\n')
    raise nodes.SkipNode


def with_lungs(app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """Show lungs that one can move on the front, where `make docs` has made them."""
    if page == "index" and (Path(app.srcdir) / "_static" / "lungs.html").is_file():
        frame = '<iframe src="_static/lungs.html#section-1" title="Lungs that you can move" loading="lazy"></iframe>'
        context["body"] = context["body"].replace("</h1>", f'</h1>\n<div class="moving-lungs">{frame}</div>', 1)


def with_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Pages of the repository that are none of the site, such as README.md, are linked as files."""
    folder = (Path(app.srcdir) / page).parent

    def as_file(link: re.Match[str]) -> str:
        is_page = (folder / link[1]).resolve().is_relative_to(Path(app.srcdir).resolve())
        return link[0] if is_page else f"](path:{link[1]})"

    source[0] = re.sub(r"\]\((\.\./[^)#]+\.md)\)", as_file, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Add all of it to Sphinx."""
    app.add_directive("calibrated", CalibratedNumbers)
    app.add_directive("command-line", CommandLine)
    app.add_directive("exports", Exports)
    app.add_directive("keys", Keys)
    app.add_directive("modules", Modules)
    app.add_html_math_renderer("mathml", (inline_equation, None), (block_equation, None))
    app.connect("source-read", with_files)
    app.connect("html-page-context", with_lungs)
    app.connect("autodoc-process-docstring", as_literal, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""An extra is enough by itself: ``python tests/release/extra_alone.py EXTRA``, where no other is installed.

Everything that the package imports in the extra's name is imported, and so is every package that it installs.
"""

from __future__ import annotations

import ast
import re
import sys
from importlib import import_module
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import lpm

PACKAGE = Path(lpm.__file__).parent


def asked_for(extra: str) -> set[str]:
    """Modules that the package imports in the name of an extra."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1]
    asking = [call for call in calls if getattr(call.func, "id", "") == "import_extra"]
    named = [[getattr(each, "value", None) for each in call.args[:2]] for call in asking]
    return {str(module) for module, name in named if name == extra and module}


def installed_by(extra: str) -> set[str]:
    """Top-level modules of the packages that an extra names."""
    known = requires("lungs-parametric-model") or []
    needs = [each for each in known if re.search(rf"extra == ['\"]{extra}['\"]", each)]
    names = {_plain(re.split(r"[<>=;\[ ]", each)[0]) for each in needs}
    return {top for top, owners in packages_distributions().items() if names & set(map(_plain, owners))}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Import it all, by name."""
    extra = sys.argv[1]
    modules = asked_for(extra) | {top for top in installed_by(extra) if top.isidentifier()}
    if not modules:
        sys.exit(f"nothing is installed by the extra {extra}")
    for module in sorted(modules):
        print(module, flush=True)
        import_module(module)


if __name__ == "__main__":
    main()

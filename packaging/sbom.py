"""Software bill of materials of an installation, as CycloneDX: what pip installed, and what LPM carries inside.

``make sbom`` runs it. It needs cyclonedx-bom, which `make sbom` installs in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[1]
VENDORED = Path(__file__).with_name("vendored.cdx.json")
NAME = "lungs-parametric-model"


def installed(python: Path) -> dict[str, Any]:
    """Everything in the environment of a Python, with versions, licences and their texts.

    Raises:
        CalledProcessError: Its packages cannot be read.
    """
    read = [sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version", "1.6", "--gather-license-texts"]
    found = subprocess.run([*read, "--output-reproducible", str(python)], check=True, stdout=subprocess.PIPE)
    return dict(json.loads(found.stdout))


def with_vendored(bom: dict[str, Any]) -> dict[str, Any]:
    """The same with what lies inside of the package, on which it depends.

    Raises:
        LookupError: The package is not installed there.
    """
    inside = json.loads(VENDORED.read_text(encoding="utf-8"))["components"]
    own = next((each for each in bom["components"] if each["name"] == NAME), None)
    if own is None:
        raise LookupError(f"{NAME} is not installed there")
    names = [each["bom-ref"] for each in inside]
    edges = [
        {**edge, "dependsOn": [*edge.get("dependsOn", []), *names]} if edge["ref"] == own["bom-ref"] else edge
        for edge in bom["dependencies"]
    ]
    return {
        **bom,
        "metadata": {**bom.get("metadata", {}), "component": own},
        "components": [*(each for each in bom["components"] if each is not own), *inside],
        "dependencies": [*edges, *({"ref": name} for name in names)],
    }


def main() -> None:
    """Write the bill and say what is in it.

    Raises:
        ValueError: It does not follow CycloneDX.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path, help="Python of the environment that LPM is installed in")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    bom = with_vendored(installed(given.python))
    text = json.dumps(bom, indent=2)
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"no valid CycloneDX: {wrong}")
    given.out.write_text(text + "\n", encoding="utf-8")
    bare = sorted(each["name"] for each in bom["components"] if not each.get("licenses"))
    print(f"{given.out}: {len(bom['components'])} components; without a licence: {', '.join(bare) or 'none'}")


if __name__ == "__main__":
    main()

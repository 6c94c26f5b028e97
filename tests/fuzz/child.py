"""Reads files in a process of its own: a line with kind and path in, a line with what came of it out."""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path

from readers import READERS

from lpm.apart.helper import Limits
from lpm.apart.reading import _readers, reading_apart
from lpm.errors import LpmError

_MOST_MEMORY = 6 * 1024**3  # bytes of address space beyond what the imports have taken
_MOST_S, _START_S = 15.0, 300.0  # for a file's reader, and until it is there
_READING = ("lpm.apps.viewer.fits.upload", "lpm.xray.files.reading")


def outcome(kind: str, path: Path) -> str:
    """``read``, ``refused``, ``stopped`` if its reader had to be, or the end of a traceback."""
    try:
        READERS[kind](path)
    except LpmError as error:
        if "cannot be read: it " in str(error):
            return "stopped"
        return "refused" if str(error) else "an error that says nothing"
    except BaseException:  # whatever else it is, it is what is looked for
        return traceback.format_exc()[-1500:]
    return "read"


def _begin_reading() -> None:
    """Have a helper that knows all readers: what it imports is no file's time."""
    pool = _readers.helpers
    pool.modules = (*pool.modules, *(module for module in sys.modules if module in _READING))
    with pool.taken() as helper:
        helper.call(abs, -1, limits=Limits(_START_S, _MOST_MEMORY))


def main() -> None:
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # native readers print
    os.dup2(1, 2)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MOST_MEMORY, taken + _MOST_MEMORY))
    with reading_apart(_MOST_S, _MOST_MEMORY):
        _begin_reading()
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            kind, path = json.loads(line)
            print(json.dumps(outcome(kind, Path(path))), file=answers, flush=True)


if __name__ == "__main__":
    main()

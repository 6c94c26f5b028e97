"""Ways in which a file comes to harm, by accident or by design."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

Mutator = Callable[[bytes, np.random.Generator], bytes]
_FILE = re.compile(rb"(ElementDataFile *= *|data ?file: *|\"file\": *\")([^\n\"]+)")
_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_HOSTILE = [b"-1", b"0", b"65535", b"4294967295", b"9" * 5000, b"1e30", b"nan", b"inf", b"-inf", b"../../../etc/passwd"]
_WORD = re.compile(rb"[A-Za-z_]{4,}")
_LED = 0.08  # of the files
_INTS = [0, -1, 1, 0x7FFFFFFF, -0x80000000]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes are others, most of them near the start, where headers are."""
    found = bytearray(data)
    span = len(found) if rng.random() < 0.3 else min(len(found), 512)
    for at in rng.integers(0, max(span, 1), rng.integers(1, 9)) if found else []:
        found[at] = rng.integers(0, 256)
    return bytes(found)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """It ends early."""
    return data[: rng.integers(0, len(data) + 1)]


def repeated(data: bytes, rng: np.random.Generator) -> bytes:
    """A part of it comes twice."""
    first, last = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:last] + data[first:last] + data[last:]


def renumbered(data: bytes, rng: np.random.Generator) -> bytes:
    """A number written in letters is another."""
    numbers = list(_NUMBER.finditer(data[:20_000]))
    if not numbers:
        return flipped(data, rng)
    chosen = numbers[rng.integers(len(numbers))]
    return data[: chosen.start()] + _HOSTILE[rng.integers(len(_HOSTILE))] + data[chosen.end() :]


def reworded(data: bytes, rng: np.random.Generator) -> bytes:
    """A word of four bytes in the first kilobyte is a number at the edge of what fits."""
    if len(data) < 8:
        return cut(data, rng)
    at = int(rng.integers(0, min(len(data) - 4, 1024)))
    value = _INTS[rng.integers(len(_INTS))] & 0xFFFFFFFF
    return data[:at] + value.to_bytes(4, "little" if rng.random() < 0.5 else "big") + data[at + 4 :]


def nested(data: bytes, rng: np.random.Generator) -> bytes:
    """Brackets without end."""
    bracket = b"[" if rng.random() < 0.5 else b'{"a":'
    at = int(rng.integers(0, min(len(data), 200) + 1))
    return data[:at] + bracket * int(rng.integers(1, 100_000)) + data[at:]


MUTATORS: tuple[Mutator, ...] = (flipped, cut, repeated, renumbered, reworded, nested)


def led_outside(data: bytes, rng: np.random.Generator, names: Sequence[bytes]) -> bytes:
    """Where it names a file, it names another; else a word does."""
    name = names[rng.integers(len(names))]
    if _FILE.search(data[:20_000]):
        return _FILE.sub(lambda found: found[1] + name, data, count=1)
    words = list(_WORD.finditer(data[:20_000]))
    if not words:
        return flipped(data, rng)
    chosen = words[rng.integers(len(words))]
    return data[: chosen.start()] + name + data[chosen.end() :]


def mutated(data: bytes, rng: np.random.Generator, names: Sequence[bytes]) -> bytes:
    """One or two things happen to it; now and then it names a file that it must not.

    Args:
        data: Intact.
        rng: Source of chance.
        names: Files that it must not name.
    """
    if names and rng.random() < _LED:
        return led_outside(data, rng, names)
    for _ in range(1 + (rng.random() < 0.3)):
        data = MUTATORS[rng.integers(len(MUTATORS))](data, rng)
    return data

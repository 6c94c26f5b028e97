"""Whatever a case does, the others go on; what a case was made from is known by its digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpm.batch.attempt import attempt
from lpm.batch.digests import digest_inputs
from lpm.errors import FileError, InputError


@pytest.mark.parametrize(
    ("error", "message", "has_trace"),
    [
        (InputError("a", "empty", "lungs"), "a: empty; expected lungs", False),
        (
            MemoryError("Unable to allocate 59.1 GiB"),
            "a: it does not fit into memory (Unable to allocate 59.1 GiB)",
            False,
        ),
        (MemoryError(), "a: it does not fit into memory", False),
        (ZeroDivisionError("by zero"), "a: ZeroDivisionError: by zero", True),
    ],
)
def test_every_failure_is_an_outcome(error: Exception, message: str, has_trace: bool) -> None:
    def fail() -> int:
        raise error

    found = attempt("a", fail)
    assert (found.result, found.error.partition("; expected at most")[0]) == (None, message)
    assert bool(found.trace) == has_trace
    assert attempt("a", lambda: 3).result == 3


def test_a_digest_follows_bytes_names_and_words(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    assert digest_inputs([tmp_path / "a"], "x") == digest_inputs([tmp_path / "b"], "x")
    assert digest_inputs([tmp_path / "a"], "x") != digest_inputs([tmp_path / "a"], "y")
    (tmp_path / "b").write_text("2")
    assert digest_inputs([tmp_path / "a"], "x") != digest_inputs([tmp_path / "b"], "x")
    with pytest.raises(FileError, match="none: no such file or folder"):
        digest_inputs([tmp_path / "none"])

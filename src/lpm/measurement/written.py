"""Measures of subjects as files: tables and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from lpm.measurement.measure import Measured
from lpm.measurement.profiles import norm_names


def as_csv(results: Sequence[Measured]) -> str:
    """A row a subject; intervals as columns of their own where there are any."""
    rows = [
        {"subject": one.subject}
        | one.values
        | {f"{name}_95_{end}": value for name, pair in one.intervals.items() for end, value in _ends(pair)}
        | {f"{name}_{key}": value for name, each in one.standings.items() for key, value in asdict(each).items()}
        | ({} if np.isnan(one.mahalanobis) else {"mahalanobis": one.mahalanobis})
        | {"flags": "; ".join(one.flags), "error": one.error}
        for one in results
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in {"flags", "error"}))
    return _table([*columns, "flags", "error"], rows)


def as_profiles(results: Sequence[Measured]) -> str:
    """A row a slice or tenth of a structure of a subject; where tenths stand in a norm, too."""
    rows = [
        {"subject": one.subject}
        | asdict(slab)
        | {
            f"{kind}_{key}": value
            for kind, name in zip(("volume", "area"), norm_names(slab) or (), strict=False)
            if name in one.standings
            for key, value in asdict(one.standings[name]).items()
        }
        for one in results
        for slab in one.slabs
    ]
    return _table(list(dict.fromkeys(key for row in rows for key in row)), rows)


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _short(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _ends(pair: tuple[float, float]) -> Iterator[tuple[str, float]]:
    return zip(("low", "high"), pair, strict=True)


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def as_json(results: Sequence[Measured]) -> str:
    """A list of subjects, each with its values."""
    return json.dumps([one.to_dict() for one in results], indent=1, allow_nan=False) + "\n"

"""The table of measurements beside the lungs."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from lpm.apps.viewer.scene.shown_lungs import ShownLungs
from lpm.measurement.names import in_words


def measurement_table(lungs: ShownLungs, values: Mapping[str, float], percentiles: Mapping[str, float]) -> str:
    """HTML: a row a measurement; with its interval where a fit knows it, and where it stands in the population.

    Args:
        lungs: Measured lungs.
        values: Measurements by name; a name ends in its unit.
        percentiles: Percentiles of the values among the model's training subjects.
    """
    if not lungs.sized:
        return _told("Without a pixel spacing the lungs have a shape and no size: there is nothing to measure.")
    rows = [_row(name, value, lungs, percentiles.get(name)) for name, value in values.items()]
    head = "<tr><th>measurement</th><th>value</th><th>percentile</th></tr>"
    title = f"{lungs.name}; below a value, its 95 % interval" if lungs.fit is not None else lungs.name
    return f'<div class="lpm"><p>{escape(title)}</p><table>{head}{"".join(rows)}</table></div>'


def _row(name: str, value: float, lungs: ShownLungs, percentile: float | None) -> str:
    words, unit = in_words(name)
    interval = ""
    if lungs.fit is not None and name.endswith("volume_ml"):
        low, high = lungs.fit.interval(name)
        interval = f"<br><small>{low:,.0f} to {high:,.0f}</small>"
    stands = "" if percentile is None else f"{percentile:.0f}"
    written = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    cells = (escape(words), f"{written} {unit}{interval}", stands)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _told(text: str) -> str:
    return f'<div class="lpm"><p>{escape(text)}</p></div>'

"""Several volumes in one DICOM series: acquisitions, breathing phases, reconstructions at the same places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lpm.files.dicom.series import Part, Series

ACQUISITION = "acquisition"
_TIMES = {
    "TemporalPositionIdentifier": "phase",
    "TemporalPositionIndex": "phase",
    "NominalPercentageOfCardiacPhase": "heart phase",
    "NominalPercentageOfRespiratoryPhase": "breathing phase",
}
_KINDS = {
    "ConvolutionKernel": "kernel",
    "SliceThickness": "thickness",
    "ContrastBolusAgent": "contrast",
    "AcquisitionDateTime": "time",
    "AcquisitionTime": "time",
    "SeriesDescription": "description",
    "ContentTime": "time",
    "ImageComments": "comment",
    "StackID": "stack",
    "KVP": "kV",
    "ReconstructionDiameter": "diameter",
}
PART_TAGS = (*_TIMES, *_KINDS)  # in the order in which they are tried


def parts_of(stack: Series) -> Iterator[Series]:
    """A series as it is, or where several images lie at one place, the volumes that its headers tell apart."""
    if not stack.repeats_places:
        yield stack
        return
    acquisitions = _grouped(stack, [str(each.acquisition) for each in stack.slices])
    if len(acquisitions) > 1:
        for value, part in acquisitions.items():
            yield from parts_of(_named(part, ACQUISITION, value))
        return
    n = stack.most_at_a_place
    for tag in PART_TAGS:
        parts = _grouped(stack, [each.told.get(tag, "") for each in stack.slices])
        if 1 < len(parts) <= n:
            for value, part in parts.items():
                yield from parts_of(_named(part, (_TIMES | _KINDS)[tag], value or "none"))
            return
    yield stack


def _grouped(stack: Series, values: Sequence[str]) -> dict[str, Series]:
    groups = defaultdict(list)
    for each, value in zip(stack.slices, values, strict=True):
        groups[value].append(each)
    return {value: replace(stack, slices=tuple(own)) for value, own in sorted(groups.items(), key=_in_order)}


def _in_order(group: tuple[str, object]) -> tuple[float, str]:
    """Numbers by size, then names."""
    value = group[0]
    return (float(value) if value.replace(".", "", 1).isdigit() else float("inf"), value)


def _named(part: Series, what: str, value: str) -> Series:
    description = part.slices[0].told.get("SeriesDescription", part.description)
    return replace(part, parts=(*part.parts, Part(what, value)), description=description)

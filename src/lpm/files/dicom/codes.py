"""Codes in DICOM: SNOMED CT of lungs and lobes, written and read."""

from __future__ import annotations

from pydicom.dataset import Dataset

from lpm.files.segments.snomed import CODES, SCHEME

_SIDED = {"39607008", "45653009", "90572001", "T-28000", "T-28820", "T-28830"}  # lung and lobes, the last of SNOMED RT
_SIDES = {"7771000": "left_lung", "G-A101": "left_lung", "24028007": "right_lung", "G-A100": "right_lung"}
_STRUCTURES = {code: name for name, (code, _) in CODES.items()} | {"T-28500": "left_lung", "T-28100": "right_lung"}


def code_item(code: tuple[str, str], scheme: str = SCHEME) -> Dataset:
    """A code as an item of one of DICOM's code sequences.

    Args:
        code: Value and meaning.
        scheme: Coding scheme.
    """
    item = Dataset()
    item.CodeValue, item.CodeMeaning = code
    item.CodingSchemeDesignator = scheme
    return item


def coded_lung(item: Dataset, sequence: str) -> str | None:
    """The lung or lobe that an item is coded as; None for everything else, and without a code.

    Args:
        item: A segment, or an observation of a region of interest.
        sequence: Name of the sequence that holds its code; its modifiers may say the side.
    """
    types = item.get(sequence) or ()
    codes = {str(each.get("CodeValue", "")) for each in types}
    if known := next((_STRUCTURES[code] for code in codes if code in _STRUCTURES), None):
        return known
    if not codes & _SIDED:
        return None
    modifiers = [each for one in (item, *types) for each in one.get(sequence.replace("Code", "ModifierCode")) or ()]
    return next((_SIDES[code] for each in modifiers if (code := str(each.get("CodeValue", ""))) in _SIDES), "lungs")

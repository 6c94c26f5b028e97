"""SNOMED CT codes of lungs and lobes."""

from __future__ import annotations

SCHEME = "SCT"
CODES = {
    "left_lung": ("44029006", "Left lung"),
    "right_lung": ("3341006", "Right lung"),
    "left_upper_lobe": ("44714003", "Left upper lobe of lung"),
    "left_lower_lobe": ("41224006", "Left lower lobe of lung"),
    "right_upper_lobe": ("42400003", "Right upper lobe of lung"),
    "right_middle_lobe": ("72481006", "Right middle lobe of lung"),
    "right_lower_lobe": ("266005", "Right lower lobe of lung"),
    "lungs": ("74101002", "Both lungs"),
}
LUNG = ("39607008", "Lung")
ORGAN = ("123037004", "Anatomical Structure")

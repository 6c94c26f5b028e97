"""The module of 3D Slicer, importable without Slicer."""

from __future__ import annotations

import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "slicer" / "LPM"
sys.path.insert(0, str(MODULE))

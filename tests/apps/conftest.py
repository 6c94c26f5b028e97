from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _quick(small_pictures: None) -> None:
    """Verbs write reports: what is in their pictures is tested where they are drawn."""

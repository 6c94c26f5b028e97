"""What every reader of point files gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpm.files.mesh_space import Space
from lpm.geometry.arrays import read_only_arrays


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Cloud:
    """Points as a file holds them.

    Args:
        points: (n, 3) of its own space, not checked.
        structure: (n,) structure or side of each, as written; None if the file does not say.
        space: Space that the file says the coordinates are in; None if it does not say.
        notes: What was assumed or left out.
    """

    points: Any
    structure: NDArray[np.str_] | None = None
    space: Space | None = None
    notes: tuple[str, ...] = ()

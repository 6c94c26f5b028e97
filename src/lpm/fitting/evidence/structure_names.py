"""Which of a model's structures is meant, by its name or how that begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lpm.errors import InputError
from lpm.model.bundle import ModelBundle


def structure_indices(names: Sequence[str], model: ModelBundle, subject: str) -> NDArray[np.int64]:
    """Index of each point's structure among the model's.

    Args:
        names: Names of structures, or how the one that is meant begins: ``left``, ``l``; in any case of letters.
        model: Model of the structures.
        subject: Name of the argument in an error.

    Raises:
        InputError: A structure that the model does not have, or a beginning of several.
    """
    lookup, unknown = {}, []
    for name in sorted(set(names)):
        exact = [known for known in model.structures if known.lower() == name.lower()]
        begun = exact or [known for known in model.structures if name and known.lower().startswith(name.lower())]
        if len(begun) == 1:
            lookup[name] = model.structures.index(begun[0])
        else:
            unknown.append(name)
    if unknown:
        raise InputError(subject, f"structures {unknown}", f"of {', '.join(model.structures)}", "drop the side column")
    return np.array([lookup[name] for name in names], dtype=np.int64)

"""The prior of a fit: beta ~ N(0, I), log axis scales and rotation normal about zero, the translation free."""

from __future__ import annotations

import torch
from torch import Tensor

from lpm.fitting.config import FitConfig
from lpm.fitting.state import N_POSE
from lpm.model.bundle import ModelBundle

_FREE = 1e-8  # precision of what nothing is known of: small enough not to matter, and the matrix stays regular
_FIXED = 1e12  # precision of what may not move


def prior_precision(model: ModelBundle, config: FitConfig) -> Tensor:
    """(k + 9,) precision of shape parameters, translation, log scales and rotation; they are independent."""
    k = model.latents.n_modes
    precision = torch.ones(k + N_POSE, dtype=torch.float64)
    precision[k : k + 3] = _FREE
    precision[k + 3 : k + 6] = config.axis_scale_sd**-2 if config.axis_scale_sd else _FIXED
    precision[k + 6 :] = config.rotation_sd**-2 if config.rotation_sd else _FIXED
    return precision

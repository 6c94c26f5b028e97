"""A configuration with which an atlas of a few lungs is made in seconds."""

from __future__ import annotations

from lpm.model.config import AtlasConfig, RegistrationConfig
from lpm.model.warp import WarpScale

QUICK_ATLAS = AtlasConfig(
    spacing_mm=6.0,
    components=15,
    registration=RegistrationConfig(
        rounds=1, spacing_mm=20.0, scales=(WarpScale(12.0, 60.0, 40), WarpScale(5.0, 28.0, 60))
    ),
    warp_scales=(WarpScale(10.0, 70.0, 10),),
)

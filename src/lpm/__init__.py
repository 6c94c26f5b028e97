"""LPM: a parametric model of human lungs.

>>> import lpm
>>> model = lpm.load()                        # bundled weights, or a folder that `lpm train` wrote
>>> fit = model.fit_points(points_mm)         # (n, 3) surface points, RAS mm
>>> fit.lungs["left_lung"].volume_ml
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpm.lung_model import LungModel, load
    from lpm.xray.fit import Radiograph

__all__ = ["LungModel", "Radiograph", "load"]


def __getattr__(name: str) -> Any:
    """Import torch only when a model is asked for, so that `import lpm` is quick."""
    if name == "Radiograph":
        from lpm.xray.fit import Radiograph

        return Radiograph
    if name in __all__:
        from lpm import lung_model

        return getattr(lung_model, name)
    raise AttributeError(f"module 'lpm' has no attribute {name!r}")

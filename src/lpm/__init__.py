"""LPM: a parametric model of human lungs.

>>> import lpm
>>> model = lpm.load()                        # bundled weights, or a folder that `lpm train` wrote
>>> fit = model.fit_points(points_mm)         # (n, 3) surface points, RAS mm
>>> fit.lungs["left_lung"].volume_ml

The names in ``__all__`` are the public interface; docs/stability.md says what is promised of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from lpm.errors import FileError, InputError, LpmError, MissingExtraError, MisuseError, NoSurfaceError, SchemaError
    from lpm.files.meshes import read_mesh, write_mesh
    from lpm.files.points import read_points
    from lpm.files.scans import read_scan
    from lpm.files.volumes import read_volume, write_volume
    from lpm.fitting.config import FitConfig
    from lpm.fitting.evidence.masks import MaskFitConfig
    from lpm.fitting.evidence.observation import Observation
    from lpm.fitting.fit import Fit
    from lpm.fitting.pose import Pose
    from lpm.geometry.meshes import WorldMesh
    from lpm.geometry.projection import Beam, View
    from lpm.geometry.volumes import Volume
    from lpm.lung_model import LungModel, load
    from lpm.motion.carrying import map_points
    from lpm.population.generation import GeneratedLungs, GenerationConfig
    from lpm.studies.study import Study, StudyConfig, study
    from lpm.xray.evidence import XrayObservation
    from lpm.xray.files.reading import read_xray
    from lpm.xray.files.views import read_views
    from lpm.xray.fit import XrayFit
    from lpm.xray.radiograph import Radiograph

_HOMES = {
    "lpm.errors": (
        "FileError",
        "InputError",
        "LpmError",
        "MissingExtraError",
        "MisuseError",
        "NoSurfaceError",
        "SchemaError",
    ),
    "lpm.files.meshes": ("read_mesh", "write_mesh"),
    "lpm.files.points": ("read_points",),
    "lpm.files.scans": ("read_scan",),
    "lpm.files.volumes": ("read_volume", "write_volume"),
    "lpm.fitting.config": ("FitConfig",),
    "lpm.fitting.evidence.observation": ("Observation",),
    "lpm.fitting.fit": ("Fit",),
    "lpm.fitting.evidence.masks": ("MaskFitConfig",),
    "lpm.fitting.pose": ("Pose",),
    "lpm.geometry.meshes": ("WorldMesh",),
    "lpm.geometry.projection": ("Beam", "View"),
    "lpm.geometry.volumes": ("Volume",),
    "lpm.lung_model": ("LungModel", "load"),
    "lpm.motion.carrying": ("map_points",),
    "lpm.population.generation": ("GeneratedLungs", "GenerationConfig"),
    "lpm.studies.study": ("Study", "StudyConfig", "study"),
    "lpm.xray.evidence": ("XrayObservation",),
    "lpm.xray.files.reading": ("read_xray",),
    "lpm.xray.files.views": ("read_views",),
    "lpm.xray.fit": ("XrayFit",),
    "lpm.xray.radiograph": ("Radiograph",),
}

__all__ = [
    "Beam",
    "FileError",
    "Fit",
    "FitConfig",
    "GeneratedLungs",
    "GenerationConfig",
    "InputError",
    "LpmError",
    "LungModel",
    "MaskFitConfig",
    "MissingExtraError",
    "MisuseError",
    "NoSurfaceError",
    "Observation",
    "Pose",
    "Radiograph",
    "SchemaError",
    "Study",
    "StudyConfig",
    "View",
    "Volume",
    "WorldMesh",
    "XrayFit",
    "XrayObservation",
    "load",
    "map_points",
    "read_mesh",
    "read_points",
    "read_scan",
    "read_views",
    "read_volume",
    "read_xray",
    "study",
    "write_mesh",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    """Import a public name's module only when the name is used, so that `import lpm` is quick."""
    if name == "__version__":
        return import_module("importlib.metadata").version("lungs-parametric-model")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'lpm' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted(__all__)

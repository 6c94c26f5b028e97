"""The main class of the API: a trained model with its fits as methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from lpm.errors import InputError
from lpm.files.hub import PREFIX, fetch_repository
from lpm.fitting.config import FitConfig
from lpm.fitting.ct.disease import fill_disease
from lpm.fitting.ct.fit import CtFitConfig, fit_ct
from lpm.fitting.evidence.masks import MaskFitConfig, fit_mask, observe_mask
from lpm.fitting.evidence.observation import Observation
from lpm.fitting.evidence.points import fit_points, observe_points
from lpm.fitting.extraction import mean_shape, placed_shape
from lpm.fitting.fit import Fit
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.pose import Pose, world_from_model
from lpm.fitting.written import read_fit
from lpm.geometry.frames import PointsLike
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.population.attributes import in_full
from lpm.population.generation import GeneratedLungs, GenerationConfig, Generator, generate
from lpm.population.knobs import Knobs
from lpm.population.population import Population, Range
from lpm.population.shape import Shape
from lpm.segmentation.chest_wall import LungBeforeRibs
from lpm.segmentation.hounsfield import Scan
from lpm.xray.evidence import XrayObservation, observe_xray
from lpm.xray.fit import Evidence, XrayFit, fit_evidence, fit_xray
from lpm.xray.radiograph import Radiograph
from lpm.xray.reader import XrayReader

_BUNDLED_MODELS = Path(__file__).parent / "bundled"
NAMES = ("lungs-v2", "lungs-v1")  # of the models that come with the package, the default first
BUNDLED = _BUNDLED_MODELS / NAMES[0]
_FILL_SEED = 0


@dataclass(frozen=True)
class LungModel:
    """A trained parametric model of lungs.

    Args:
        bundle: Network, shape parameters and frame.
    """

    bundle: ModelBundle

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures that the model knows."""
        return self.bundle.structures

    def mean(self, spacing_mm: float = 2.0) -> dict[str, WorldMesh]:
        """Make the lungs of beta = 0: those of the average.

        Args:
            spacing_mm: Lattice that the surface is extracted on.

        Returns:
            Closed outward meshes by structure, RAS mm, centred on the world's origin.

        Raises:
            InputError: The spacing is not positive, or too fine.
        """
        return mean_shape(self.bundle, spacing_mm).meshes

    def shape(self, beta: ArrayLike = (), *, pose: Pose | None = None, spacing_mm: float = 2.0) -> dict[str, WorldMesh]:
        """Return the lungs of shape parameters, RAS mm.

        Args:
            beta: Up to k numbers, N(0, I) over the training shapes; those that are left out are 0.
            pose: Pose of the lungs; default about the world's origin.
            spacing_mm: Lattice of the extracted meshes.

        Raises:
            InputError: More numbers than the model has parameters, or not finite.
        """
        given, n_modes = np.asarray(beta, dtype=np.float64).ravel(), self.bundle.latents.n_modes
        if len(given) > n_modes or not np.isfinite(given).all():
            raise InputError("beta", f"{len(given)} numbers", f"up to {n_modes} finite ones")
        whole = torch.zeros(n_modes)
        whole[: len(given)] = torch.from_numpy(given)
        placed = world_from_model(self.bundle, pose or Pose.nothing())
        return placed_shape(self.bundle, whole, placed, spacing_mm).meshes

    def fit_points(
        self,
        points_mm: PointsLike,
        structure: Sequence[str] | None = None,
        *,
        config: FitConfig | None = None,
        spacing_mm: float = 1.5,
    ) -> Fit:
        """Reconstruct both lungs from surface points (paper III.D, IV.C).

        Args:
            points_mm: (n, 3) on the lungs' surface, RAS mm; from 10 on, anywhere, in any order.
            structure: (n,) names such as ``left_lung``; None if sides are unknown.
            config: Prior widths, residual and stopping; default `FitConfig()`.
            spacing_mm: Lattice of the extracted meshes.

        Returns:
            Closed outward meshes in RAS mm, the numbers behind them, and notes with reasons to doubt them.

        Raises:
            InputError: Fewer than 10 points, NaN, points that cannot be lungs in mm, or an unknown structure.
        """
        return fit_points(self.bundle, points_mm, structure, config=config, spacing_mm=spacing_mm)

    def fit(self, evidence: Sequence[Evidence], *, config: FitConfig | None = None, spacing_mm: float = 1.5) -> Fit:
        """Reconstruct lungs from all that is known of a patient, in one fit.

        Args:
            evidence: Evidence of one patient at one breath: points, masks and slices in one world (`observe_points`,
                `observe_mask`), radiographs that may be placed in it or not (`observe_xray`).
            config: Prior widths, residual and stopping; default `FitConfig()`.
            spacing_mm: Lattice of the extracted meshes.

        Returns:
            Closed outward meshes in RAS mm, the numbers behind them, and notes with reasons to doubt them.

        Raises:
            InputError: Nothing was given, fewer than 10 points, points that cannot be lungs in mm, or a setting that
                nothing given uses.
        """
        return fit_evidence(self.bundle, evidence, config=config, spacing_mm=spacing_mm)

    def observe_points(self, points_mm: PointsLike, structure: Sequence[str] | None = None) -> Observation:
        """Take surface points for a part of what was seen.

        Args:
            points_mm: (n, 3) on the lungs' surface, RAS mm.
            structure: (n,) names such as ``left_lung``; None if sides are unknown.

        Raises:
            InputError: Not (n, 3) finite numbers, or an unknown structure.
        """
        return observe_points(self.bundle, points_mm, structure)

    def observe_mask(
        self, labels: Volume, *, rng: np.random.Generator, config: MaskFitConfig | None = None
    ) -> Observation:
        """Take a label map for a part of what was seen: whole, cut off by the field of view, or a few drawn slices.

        Args:
            labels: 1 = left, 2 = right, unless the config says otherwise.
            rng: Draws the points on the mask's surface.
            config: Label values, number of points, whether to complete; default `MaskFitConfig()`.

        Raises:
            InputError: Empty, unknown label values, exchanged sides, nothing but cut faces.
        """
        return observe_mask(self.bundle, labels, rng=rng, config=config)

    def observe_xray(self, radiograph: Radiograph, *, reader: XrayReader | None = None) -> XrayObservation:
        """Take a chest radiograph for a part of what is known.

        Args:
            radiograph: Frontal or lateral. With a view (`lpm.xray.files.views`) its place in the world of the points is
                known; else it is fitted, and so is its scale where it has no pixel spacing.
            reader: Networks that read radiographs; default the bundled ones.

        Raises:
            InputError: No lungs in it, or a spacing that cannot be.
        """
        return observe_xray(self.bundle, radiograph, reader=reader)

    def fit_mask(self, labels: Volume, *, rng: np.random.Generator, config: MaskFitConfig | None = None) -> Fit:
        """Reconstruct lungs from a label map: whole, cut off by the field of view, or a few drawn slices.

        Args:
            labels: 1 = left, 2 = right, unless the config says otherwise.
            rng: Draws the points on the mask's surface.
            config: Label values, number of points, completion, lattice, the fit's own; default `MaskFitConfig()`.

        Returns:
            Closed outward meshes in RAS mm; a structure that the mask does not hold only with ``config.complete``.

        Raises:
            InputError: Empty, unknown label values, exchanged sides, nothing but cut faces.
        """
        return fit_mask(self.bundle, labels, rng=rng, config=config)

    def fit_ct(self, ct: Volume, *, rng: np.random.Generator, config: CtFitConfig | None = None) -> Fit:
        """Reconstruct lungs from a chest CT: find them as `lpm segment` does, then fit their surface.

        Args:
            ct: CT in HU, with any axis order and flips.
            rng: Draws the points on the lungs' surface.
            config: Segmenter, filling, and how the lungs are fitted; default `CtFitConfig()`.

        Returns:
            Closed outward meshes in RAS mm; the notes say what dense disease hid.

        Raises:
            InputError: Not in HU, no lung was found, or this is no model of lungs.
        """
        return fit_ct(self.bundle, ct, fill_hidden, rng=rng, config=config)

    def fit_xray(
        self,
        radiographs: Sequence[Radiograph],
        *,
        reader: XrayReader | None = None,
        config: FitConfig | None = None,
        spacing_mm: float = 1.5,
    ) -> XrayFit:
        """Reconstruct both lungs from a frontal chest radiograph, a lateral one, or both (paper IV.C).

        Args:
            radiographs: Radiographs, at most one of each side, of one patient at one breath.
            reader: Networks that read radiographs; default the bundled ones.
            config: Prior widths and stopping; default `FitConfig()`.
            spacing_mm: Lattice of the extracted meshes.

        Returns:
            The fit. Its world is that of the views where they are placed; else its origin is the middle of the first
            picture. Without a pixel spacing the lungs have a shape and no size (``sized`` is false).

        Raises:
            InputError: No picture, two of one side, or pictures that cannot be a chest's.
        """
        return fit_xray(self.bundle, radiographs, reader=reader, config=config, spacing_mm=spacing_mm)

    def read_fit(self, folder: str | Path) -> FittedField:
        """Read a written fit of this model again, as far as carrying points and comparing lungs needs it.

        Args:
            folder: Written by `Fit.write` or `lpm fit`.

        Raises:
            FileError: The folder holds no fit, one of an older version, or a damaged one.
            InputError: Fitted by another model, or of unknown size.
        """
        return read_fit(Path(folder), self.bundle)

    @cached_property
    def population(self) -> Population:
        """Shape and attributes of the training subjects; see `lpm.population.population`."""
        return Population.of(self.bundle)

    def set(self, **attributes: float) -> Shape:
        """The most probable lungs with some attributes: ``model.set(total_volume_ml=4500).lungs``.

        Args:
            **attributes: Values by name, in the unit that ends the name; docs/measure.md lists them.

        Returns:
            Shape parameters, and the lungs that they make, RAS mm.

        Raises:
            InputError: An unknown attribute, or values that no lungs join.
        """
        return Knobs(self.population).set(in_full(attributes))

    def generate(
        self,
        n: int,
        *,
        rng: np.random.Generator,
        config: GenerationConfig | None = None,
        **attributes: float | Range,
    ) -> Iterator[GeneratedLungs]:
        """New lungs, with attributes or ranges of them: ``model.generate(9, volume_ml=4500, rng=rng)``.

        Args:
            n: Number of pairs.
            rng: Source of randomness.
            config: Truncation, gates, correction; default `GenerationConfig()`.
            **attributes: Values or (low, high) by name, in the unit that ends the name; docs/measure.md lists them.

        Returns:
            One pair after the other: meshes in RAS mm, shape parameters, attributes.

        Raises:
            InputError: n is not positive, an unknown attribute, or values that no lungs join.
        """
        generator = Generator(self.population, config or GenerationConfig())
        pairs = {name: value if isinstance(value, tuple) else (value, value) for name, value in attributes.items()}
        return generate(generator, n, in_full(pairs), rng=rng)


def load(source: str | Path = BUNDLED) -> LungModel:
    """Load a model: the one that comes with the package, one that `lpm train` wrote, or one from the Hugging Face Hub.

    Args:
        source: Folder with `bundle.json` and `weights.safetensors`; or ``hf:owner/repository@revision#digest``
            (extra ``hub``; the last two may be left out); or `lungs-v2`, the default, or `lungs-v1`, which come with
            the package (docs/model-card.md). A folder of such a name goes before.

    Returns:
        The model; its lungs are in RAS mm.

    Raises:
        FileError: A file is missing or damaged, or has another digest.
        MissingExtraError: A repository was asked for, and huggingface_hub is not installed.
        SchemaError: Written by a newer version.
    """
    return LungModel(read_bundle(find_model(source)))


def find_model(source: str | Path = BUNDLED) -> Path:
    """The folder of a model, fetched if it is on the Hugging Face Hub; arguments and errors are those of `load`."""
    if str(source).startswith(PREFIX):
        return fetch_repository(str(source))
    is_ours = str(source) in NAMES and not Path(source).exists()
    return _BUNDLED_MODELS / source if is_ours else Path(source)


def fill_hidden(scan: Scan, labels: Volume, hidden: Mapping[str, LungBeforeRibs]) -> Volume:
    """Add lung that dense disease hides, as the bundled model expects it: the `Filler` of every command.

    It takes no rng: a CT's labels are the same whoever asks for them, and whatever model is then fitted.
    """
    return fill_disease(_bundled(), scan, labels, hidden, rng=np.random.default_rng(_FILL_SEED))


@cache
def _bundled() -> ModelBundle:
    """The bundled model, read once in each process."""
    return load().bundle

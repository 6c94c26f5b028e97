"""Breathing from one state: what a breath does to lungs, learned from pairs of fits, and the other state predicted.

The mean displacement of the average lung's vertices from expiration to inspiration, beside that of the lungs' tops, is
smoothed, and scaled for each lung so that it gets its volume. The volume of both lungs is given, or that of the pairs'
mean growth; it is shared out as before, but nearer to how training lungs share theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from lpm.calibration import count, number
from lpm.errors import FileError, InputError
from lpm.files.arrays import read_arrays, write_arrays
from lpm.fitting.corresponding import average_surfaces, corresponding
from lpm.fitting.fitted_field import FittedField
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.thickness import vertex_normals
from lpm.model.bundle import ModelBundle
from lpm.motion.breath import Breath, breathe, volume_of
from lpm.motion.carrying import SmoothMotion
from lpm.motion.smooth import USUAL, Basis, SmoothDisplacement
from lpm.population.attributes import attributes_of

_FACES = count("motion.breath_faces")
_CONTROLS = count("motion.controls")
_TOP_SHARE = number("motion.top_share")
_SHARE_KEPT = number("motion.share_kept")
_LEAST_PAIRS = count("motion.least_pairs")
_NOISE_MM = number("motion.prediction_noise_mm")
_SCALES = (-3.0, 6.0)  # of the mean displacement: beyond what lungs do
_SHARES = ("right_share_percent", ("left_lung", "right_lung"))
_ARRAYS = ("model", "structures", "n_pairs", "growth", "share_sd")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class BreathModel:
    """What a breath does to lungs.

    Args:
        model: Digest of the model whose fits it was learned from.
        displacement_mm: By structure, (v, 3) mean displacement of the average's vertices, R, A, S, from expiration to
            inspiration, beside that of both lungs together.
        sd_mm: By structure, (v,) standard deviation along the normal of what a prediction of a left-out pair leaves,
            by the root of the logarithm of the growth.
        growth: (n,) by which factor each pair's volume grows.
        share_sd: Standard deviation of a lung's share of the volume about the prediction; 0 where it is not predicted.
    """

    model: str
    displacement_mm: Mapping[str, Floats]
    sd_mm: Mapping[str, Floats]
    growth: Floats
    share_sd: float

    def write(self, path: Path) -> None:
        """Write it as npz.

        Raises:
            FileError: The disk refuses.
        """
        names = tuple(self.displacement_mm)
        parts = {f"{name}.displacement_mm": self.displacement_mm[name].astype(np.float32) for name in names}
        parts |= {f"{name}.sd_mm": self.sd_mm[name].astype(np.float32) for name in names}
        whole = {"model": np.array(self.model), "structures": np.array(names), "n_pairs": np.array(len(self.growth))}
        write_arrays(path, {**whole, "growth": self.growth, "share_sd": np.array(self.share_sd), **parts})


def read_breath_model(path: Path) -> BreathModel:
    """Read what `BreathModel.write` or `lpm train-breath` wrote.

    Raises:
        FileError: Missing or damaged.
    """
    whole = read_arrays(path, _ARRAYS)
    names = [str(name) for name in np.atleast_1d(whole["structures"])]
    parts = read_arrays(path, tuple(f"{name}.{key}" for name in names for key in ("displacement_mm", "sd_mm")))
    moved = {name: parts[f"{name}.displacement_mm"].astype(np.float64) for name in names}
    sd = {name: parts[f"{name}.sd_mm"].astype(np.float64) for name in names}
    growth = np.atleast_1d(whole["growth"]).astype(np.float64)
    is_whole = all(moved[name].shape == (len(sd[name]), 3) and np.isfinite(moved[name]).all() for name in names)
    if not is_whole or not np.isfinite(growth).all() or not (growth > 0).all():
        raise FileError(str(path), "damaged numbers", "what lpm train-breath wrote", "train it again")
    return BreathModel(str(whole["model"]), moved, sd, growth, float(whole["share_sd"]))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Pair:
    """Lungs of one patient in both states, with the same vertices.

    Args:
        expiration: Meshes by structure, RAS mm.
        inspiration: The same triangles in inspiration.
    """

    expiration: Mapping[str, WorldMesh]
    inspiration: Mapping[str, WorldMesh]

    @classmethod
    def of(cls, expiration: FittedField, inspiration: FittedField) -> Pair:
        """Find the motion between two fits.

        Raises:
            InputError: Fits that do not belong together, or exchanged.
        """
        breath = breathe(expiration, inspiration)
        return cls(breath.expiration, breath.inspiration)

    @property
    def growth(self) -> float:
        """By which factor the volume grows."""
        return volume_of(self.inspiration) / volume_of(self.expiration)

    @property
    def displacement_mm(self) -> dict[str, Floats]:
        """By structure, (v, 3) displacements beside their mean over all vertices."""
        moved = {name: self.inspiration[name].vertices - mesh.vertices for name, mesh in self.expiration.items()}
        rest = np.concatenate(list(moved.values())).mean(axis=0)
        return {name: each - rest for name, each in moved.items()}


def learn_breath(model: ModelBundle, pairs: Sequence[Pair]) -> BreathModel:
    """Learn what a breath does to lungs.

    Args:
        model: The model that all were fitted with.
        pairs: Lungs in both states, of one patient each.

    Raises:
        InputError: Too few pairs, or pairs of different structures.
    """
    check_pairs(len(pairs))
    names = tuple(pairs[0].expiration)
    for pair in pairs:
        check_same(pairs[0], pair)
    errors = [_left_out(model, pairs, index) for index in range(len(pairs))]
    squares = {name: np.mean([error[name] ** 2 for error, _ in errors], axis=0) for name in names}
    sd = {name: np.sqrt(_among_neighbours(model, name, square)) for name, square in squares.items()}
    share_sd = float(np.sqrt(np.mean([share**2 for _, share in errors])))
    return replace(_mean_of(model, pairs), sd_mm=sd, share_sd=share_sd)


def check_pairs(n: int) -> None:
    """Refuse too few pairs.

    Raises:
        InputError: Fewer than a breath model is learned from.
    """
    if n < _LEAST_PAIRS:
        given = f"{n} pair{'s'[: n != 1]}"
        raise InputError("breath model", given, f"at least {_LEAST_PAIRS}", "fit more patients in both states")


def check_same(first: Pair, pair: Pair) -> None:
    """Refuse a pair of other structures than the first one's.

    Raises:
        InputError: It has others.
    """
    if tuple(pair.expiration) != tuple(first.expiration):
        own, other = (" and ".join(each.expiration) for each in (pair, first))
        raise InputError("breath model", f"a pair of the {own}", f"the {other}, as the first one", "fit both lungs")


def _mean_of(model: ModelBundle, pairs: Sequence[Pair]) -> BreathModel:
    """The mean displacement, without its spread."""
    each = [pair.displacement_mm for pair in pairs]
    mean = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    nothing = {name: np.zeros(len(vertices)) for name, vertices in mean.items()}
    return BreathModel(model.digest, mean, nothing, np.array([pair.growth for pair in pairs]), 0.0)


def _left_out(model: ModelBundle, pairs: Sequence[Pair], index: int) -> tuple[dict[str, Floats], float]:
    """How far the others' prediction of a pair is off: by structure (v,) along normals, and the share of the volume."""
    others, pair = _mean_of(model, [*pairs[:index], *pairs[index + 1 :]]), pairs[index]
    smooth = predicted_motion(model, others, pair.expiration, volume_of(pair.inspiration))
    found = {name: smooth[name](mesh.vertices) for name, mesh in pair.expiration.items()}
    off = {name: pair.inspiration[name].vertices - found[name] for name in found}
    shift, root = np.concatenate(list(off.values())).mean(axis=0), np.sqrt(abs(np.log(pair.growth)))
    along = {
        name: np.einsum("ij,ij->i", each - shift, vertex_normals(pair.inspiration[name])) for name, each in off.items()
    }
    volumes = {name: WorldMesh(found[name], mesh.faces).volume_ml for name, mesh in pair.expiration.items()}
    last = list(found)[-1]
    share = volumes[last] / sum(volumes.values()) - pair.inspiration[last].volume_ml / volume_of(pair.inspiration)
    return {name: each / root for name, each in along.items()}, share


def predicted_motion(
    model: ModelBundle, breath: BreathModel, lungs: Mapping[str, WorldMesh], total_ml: float
) -> dict[str, SmoothDisplacement]:
    """The displacement of lungs to another volume, by structure; the lungs' tops rest.

    Args:
        model: The model that the lungs were fitted with.
        breath: What a breath does.
        lungs: Meshes in correspondence, RAS mm.
        total_ml: Volume of all of them that is wanted, ml.

    Raises:
        InputError: No displacement of this kind reaches the volume.
    """
    wanted = _shared_out(model, lungs, total_ml)
    found = {}
    for name, mesh in lungs.items():
        basis = Basis.over(mesh.vertices, _CONTROLS, USUAL)
        functions = basis(mesh.vertices)
        whole = functions.T @ functions / _NOISE_MM**2 + np.eye(basis.size)
        weights = np.linalg.solve(whole, functions.T @ breath.displacement_mm[name] / _NOISE_MM**2)
        moved = functions @ weights
        scale = _scale(mesh, moved, wanted[name])
        found[name] = SmoothDisplacement(basis, np.asarray(scale * weights, dtype=np.float64))
    tops = [_top_motion(lungs[name], each) for name, each in found.items()]
    return {name: each.shifted(-np.mean(tops, axis=0)) for name, each in found.items()}


def _shared_out(model: ModelBundle, lungs: Mapping[str, WorldMesh], total_ml: float) -> dict[str, float]:
    """Volumes of the lungs: shares as before, a part of the way towards the training subjects' mean."""
    shares = {name: mesh.volume_ml / volume_of(lungs) for name, mesh in lungs.items()}
    name, pair = _SHARES
    attributes = attributes_of(model)
    if set(lungs) == set(pair) and name in attributes.names:
        usual = float(attributes.mean[attributes.index(name)]) / 100.0
        right = usual + _SHARE_KEPT * (shares[pair[1]] - usual)
        shares = {pair[0]: 1.0 - right, pair[1]: right}
    return {name: share * total_ml for name, share in shares.items()}


def _scale(mesh: WorldMesh, moved: Floats, wanted_ml: float) -> float:
    def off(scale: float) -> float:
        return WorldMesh(mesh.vertices + scale * moved, mesh.faces).volume_ml - wanted_ml

    if not off(_SCALES[0]) < 0 < off(_SCALES[1]):
        given = f"a lung of {wanted_ml:.0f} ml, which is one of {mesh.volume_ml:.0f} ml now"
        hint = "check the other state's volume: it is that of both lungs, in ml"
        raise InputError("breath", given, "a volume that a breath reaches", hint)
    return float(brentq(off, *_SCALES, xtol=1e-4))


def _top_motion(mesh: WorldMesh, displacement: SmoothDisplacement) -> Floats:
    height = mesh.vertices[:, 2]
    top = mesh.vertices[height > np.quantile(height, 1.0 - _TOP_SHARE)]
    return np.asarray((displacement(top) - top).mean(axis=0))


def _among_neighbours(model: ModelBundle, name: str, values: Floats) -> Floats:
    """(v,) numbers of vertices, smoothed over their neighbours on the average lung."""
    surfaces = average_surfaces(model, _FACES)
    index = model.structures.index(name)
    vertices = surfaces.vertices[index].double().numpy() * model.manifest.scale_mm
    basis = Basis.over(vertices, _CONTROLS, replace(USUAL, length_mm=USUAL.length_mm / 2.0))
    functions = basis(vertices)
    low = float(values.min())
    mean = values.mean()
    weights = np.linalg.solve(functions.T @ functions + np.eye(basis.size), functions.T @ (values - mean))
    return np.asarray(np.maximum(mean + functions @ weights, low))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class PredictedBreath:
    """A breath of which one state was seen.

    Args:
        breath: The motion from the smaller lungs to the larger ones.
        sd_mm: By structure, (v,) standard deviation of the predicted surface along its normal.
        volume_95_ml: By structure, 95 % interval of the predicted volume, the total being as given.
        notes: What was assumed, and reasons for doubt.
    """

    breath: Breath
    sd_mm: Mapping[str, Floats]
    volume_95_ml: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]


def predict_breath(field: FittedField, breath: BreathModel, total_ml: float | None = None) -> PredictedBreath:
    """Predict lungs at another volume from one fit.

    Args:
        field: Fitted lungs in one state.
        breath: What a breath does.
        total_ml: Volume of the other state, ml; None for the pairs' mean growth, from expiration.

    Raises:
        InputError: A breath model of another model, other structures, or a volume that no breath reaches.
    """
    if breath.model != field.model.digest:
        hint = "train it again (lpm train-breath) with fits of this model"
        raise InputError("breath model", "learned from fits of another model", "of the same", hint)
    if unknown := [name for name in field.structures if name not in breath.displacement_mm]:
        given, hint = f"knows no {', '.join(unknown)}", "train one with pairs that have it (lpm train-breath)"
        raise InputError("breath model", given, f"fits of the {' and '.join(breath.displacement_mm)}", hint)
    lungs = corresponding(field, _FACES).meshes
    before, usual = volume_of(lungs), float(np.exp(np.log(breath.growth).mean()))
    after = before * usual if total_ml is None else total_ml
    if not 0 < after < np.inf or after == before:
        expected, hint = f"another volume than the fit's {before:.0f} ml, above 0", "give that of both lungs, in ml"
        raise InputError("breath", f"{after:g} ml", expected, hint)
    smooth = predicted_motion(field.model, breath, lungs, after)
    end = {name: WorldMesh(smooth[name](mesh.vertices), mesh.faces) for name, mesh in lungs.items()}
    low, high = float(breath.growth.min()), float(breath.growth.max())
    root, growth = np.sqrt(abs(np.log(after / before))), after / before
    notes = [f"one state was seen: the other is predicted by a breath model of {len(breath.growth)} pairs"]
    if total_ml is None:
        notes.append(
            f"no volume was given: the pairs' mean growth of {usual:.2f} (they grow by {low:.2f} to {high:.2f})"
        )
    if round(max(growth, 1.0 / growth), 2) > round(high, 2):
        notes.append(f"volumes change by a factor of {growth:.2f}, the pairs' by {low:.2f} to {high:.2f}: extrapolated")
    if growth < 1.0:
        notes.append("lungs made smaller: the model was learned in the other direction")
    half = float(stdtrit(len(breath.growth) - 1, 0.975)) * breath.share_sd * after
    volumes = {name: (mesh.volume_ml - half, mesh.volume_ml + half) for name, mesh in end.items()}
    sd = {name: root * breath.sd_mm[name] for name in end}
    return PredictedBreath(Breath(SmoothMotion(smooth), lungs, end, field), sd, volumes, tuple(notes))

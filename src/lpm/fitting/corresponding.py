"""Meshes in correspondence: the same triangles for every fit of an atlas, on the fitted surface, residual included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from lpm.calibration import several
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.pose import world_from_model
from lpm.geometry.crossings import crossing_faces
from lpm.geometry.extraction import extract_meshes, lattice_over
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Mesh, WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.model.correspondence import TemplateSurfaces, template_surfaces

_SMOOTHINGS = several("fitting.corresponding_smoothings")
_BOX_FACES = 1000  # of meshes that tell where a fit lies
_STEP_MM = 0.25  # of differences that tell a field's direction: far below any structure, far above rounding


@dataclass(frozen=True)
class MeshQuality:
    """How well a mesh in correspondence covers its fitted surface.

    Args:
        distance_mean_mm: Mean distance of vertices and triangles' centres to the fitted surface.
        distance_max_mm: The largest.
        folded: Triangles that face into the lung.
        crossing: Triangles that another one runs through.
        edge_stretch_95: 95th percentile of how much longer or shorter edges are than on the average lung, by the
            median.
    """

    distance_mean_mm: float
    distance_max_mm: float
    folded: int
    crossing: int
    edge_stretch_95: float


@dataclass(frozen=True, eq=False)
class Corresponding:
    """Meshes of fitted lungs whose vertex i is the same anatomical place in every fit of the model.

    Args:
        meshes: By structure, RAS mm; closed and outward, with the same triangles for all fits.
        quality: By structure, how well they cover the fitted surface.
    """

    meshes: Mapping[str, WorldMesh]
    quality: Mapping[str, MeshQuality]

    def summary(self) -> dict[str, dict[str, float]]:
        """Quality by structure, as `fit.json` holds it."""
        return {name: asdict(each) for name, each in self.quality.items()}


def corresponding(field: FittedField, faces_each: int) -> Corresponding:
    """Carry the average lung's meshes to a fit and put them onto its surface.

    Args:
        field: Fitted lungs.
        faces_each: Triangles of each structure, about.

    Raises:
        InputError: The model is a network; it has no average to carry.
    """
    surfaces = average_surfaces(field.model, faces_each)
    pose = world_from_model(field.model, field.pose)
    carried = surfaces.meshes(field.model.latents.to_latent(field.beta), pose, field.model.structures)
    meshes = {name: _fitted(field, name, carried[name]) for name in field.structures}
    averages = {name: _average(surfaces, field.index(name)) for name in field.structures}
    quality = {name: quality_of(field, name, mesh, averages[name]) for name, mesh in meshes.items()}
    return Corresponding(meshes, quality)


@lru_cache(maxsize=4)
def average_surfaces(model: ModelBundle, faces_each: int) -> TemplateSurfaces:
    """The average's meshes, made once for a model: they take seconds."""
    return template_surfaces(model, faces_each)


@lru_cache(maxsize=2)  # the states of a series are all reached from one, whose meshes take seconds
def extracted(field: FittedField, spacing_mm: float) -> dict[str, WorldMesh]:
    """Closed outward meshes of a fit by marching cubes, RAS mm, by structure: they never fold.

    Args:
        field: Fitted lungs.
        spacing_mm: Spacing of the lattice.
    """
    vertices = np.concatenate([mesh.vertices for mesh in corresponding(field, _BOX_FACES).meshes.values()])
    lower, upper = (end(vertices, axis=0) for end in (np.min, np.max))
    lattice = lattice_over(lower - 2.0 * spacing_mm, upper + 2.0 * spacing_mm, spacing_mm)

    def distances_mm(points_mm: Floats) -> Floats:
        return np.stack([field.distances_mm(points_mm, name) for name in field.structures], axis=1)

    return extract_meshes(distances_mm, field.structures, lattice).meshes


def quality_of(field: FittedField, name: str, mesh: WorldMesh, average: Mesh) -> MeshQuality:
    """How well a mesh covers a structure's fitted surface.

    Args:
        field: Fitted lungs.
        name: The structure.
        mesh: Its mesh, RAS mm.
        average: The average's mesh with the same triangles, in any unit.
    """
    centres = mesh.corners.mean(axis=1)
    off_mm = np.abs(field.distances_mm(np.concatenate([mesh.vertices, centres]), name))
    ratio = _edge_lengths(mesh) / np.maximum(_edge_lengths(average), np.finfo(float).tiny)
    stretch = np.exp(np.abs(np.log(np.maximum(ratio / np.median(ratio), np.finfo(float).tiny))))
    return MeshQuality(
        distance_mean_mm=float(off_mm.mean()),
        distance_max_mm=float(off_mm.max()),
        folded=int((_facing(field, name, mesh) < 0).sum()),
        crossing=len(crossing_faces(mesh)),
        edge_stretch_95=float(np.quantile(stretch, 0.95)),
    )


def _fitted(field: FittedField, name: str, mesh: WorldMesh) -> WorldMesh:
    """The mesh put onto the fitted surface, by steps that are first smoothed over many neighbours, then over few.

    Each vertex by itself would go to the surface next to it, which in thin rims may be the other wall's: triangles fold
    there, and the walls run through one another. Together with its neighbours it stays on its own.
    """
    vertices, means = mesh.vertices, mesh.neighbour_means()
    for n in _SMOOTHINGS:
        step = field.onto_surface(vertices, name) - vertices
        for _ in range(int(n)):
            step = 0.5 * (step + means @ step)
        vertices = vertices + step
    return WorldMesh(field.onto_surface(vertices, name), mesh.faces)


def _facing(field: FittedField, name: str, mesh: WorldMesh) -> Floats:
    """(f,) above zero where a triangle faces out of the lung."""
    facing: Floats = np.einsum("ij,ij->i", mesh.face_normals, _gradient(field, name, mesh.corners.mean(axis=1)))
    return facing


def _average(surfaces: TemplateSurfaces, index: int) -> Mesh:
    return Mesh(surfaces.vertices[index].double().numpy(), surfaces.faces[index])


def _gradient(field: FittedField, name: str, points_mm: Floats) -> Floats:
    """(n, 3) direction in which the field grows."""
    steps = _STEP_MM * np.eye(3)
    parts = [field.distances_mm(points_mm + step, name) - field.distances_mm(points_mm - step, name) for step in steps]
    return np.stack(parts, axis=1) / (2.0 * _STEP_MM)


def _edge_lengths(mesh: Mesh) -> Floats:
    """(3 f,) lengths of the triangles' edges."""
    lengths: Floats = np.linalg.norm(mesh.corners - np.roll(mesh.corners, 1, axis=1), axis=2).ravel()
    return lengths

"""Template meshes in dense correspondence: the average's surface, displaced to any shape of an atlas.

The atlas says where a point of the world lies in the average: t = x' + u_s(x'), x' = x + w(x) (`atlas.py`). A vertex t
of the average's surface is carried to a shape by undoing both displacements, and then put on the shape's surface by
Newton steps along its gradient. Vertex i is the same place of the lung in every shape, and a mesh takes tens of
milliseconds; marching cubes (`extraction.py`) takes seconds, but also finds surfaces that no displacement makes, such
as those that a residual moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import ModelPoints, WorldFromModel
from lpm.geometry.grids import VoxelGrid
from lpm.geometry.meshes import Indices, WorldMesh
from lpm.geometry.surfaces import decimate, smooth_surface, surface_on_grid
from lpm.model.atlas import AtlasDecoder
from lpm.model.warp import Box, Eigenfunctions

if TYPE_CHECKING:
    from lpm.model.bundle import ModelBundle

_STEPS = 12  # of the fixed point; the Newton steps below take away what it leaves
_STEP = 0.8  # damping of the fixed point: it converges where space is stretched by up to 2 / 0.8
_NEWTON = 2  # steps onto the surface, which is near
_LEAST_SLOPE = number("model.carried_least_slope")
_FARTHEST = 0.02  # model units that a step goes at most, where a field's slope is no guide
_WARP_NODES_A_LENGTH = number("model.warp_nodes_a_length")
_REACH = 0.25  # model units around the average in which the warp is known: room for what it displaces


@read_only_arrays
@dataclass(frozen=True, eq=False)
class TemplateSurfaces:
    """The surfaces of an atlas's average, ready to be carried to any shape.

    Args:
        decoder: The atlas.
        vertices: A structure each, (v, 3) on the average's surface, in its own coordinates (model units).
        faces: A structure each, (f, 3), outward.
    """

    decoder: AtlasDecoder
    vertices: tuple[Tensor, ...]
    faces: tuple[Indices, ...]

    @classmethod
    def of(cls, decoder: AtlasDecoder, faces_each: int = 8000) -> TemplateSurfaces:
        """Extract the average's surfaces.

        Args:
            decoder: An atlas.
            faces_each: Triangles of each structure, at most, as far as closed surfaces have so few.
        """
        meshes = [decimate(smooth_surface(mesh, 2), faces_each) for mesh in _average(decoder)]
        vertices = tuple(torch.tensor(mesh.vertices).float() for mesh in meshes)
        return cls(decoder, vertices, tuple(mesh.faces for mesh in meshes))

    def carried(self, latent: Tensor) -> tuple[Tensor, ...]:
        """Carry the vertices to a shape.

        Args:
            latent: (l,) of the atlas.

        Returns:
            A structure each, (v, 3) in the model frame, on the zero level of the structure's field.
        """
        warp = self._warp(latent)
        return tuple(
            self._on_surface(index, (warp, own), warp.undone(own.undone(self.vertices[index])))
            for index, own in enumerate(self._own(latent))
        )

    def meshes(
        self, latent: Tensor, world_from_model: WorldFromModel, structures: tuple[str, ...]
    ) -> dict[str, WorldMesh]:
        """Meshes of a shape in the world.

        Args:
            latent: (l,) of the atlas.
            world_from_model: Transform that places the shape in the world.
            structures: Names, in the atlas's order.

        Returns:
            By structure; RAS mm; closed and outward, with the same triangles for every shape. A shape far from the
            training shapes can fold, and lungs that nearly touch can overlap by some ml.
        """
        places = [world_from_model(ModelPoints(part.double().numpy())).xyz_mm for part in self.carried(latent)]
        made = zip(structures, places, self.faces, strict=True)
        return {name: WorldMesh(vertices, faces) for name, vertices, faces in made}

    def _own(self, latent: Tensor) -> list[_Displacement]:
        """Each structure's own displacement: the mean and the mixture of its components."""
        decoder = self.decoder
        weight = torch.cat([torch.ones(1), latent[: decoder.n_components]])
        fields = torch.einsum("k,sk...->s...", weight, decoder.displacements)
        boxes = zip(fields, decoder.displaced_lower, decoder.displaced_upper, strict=True)
        return [_Displacement(field, Box(lower, upper)) for field, lower, upper in boxes]

    def _warp(self, latent: Tensor) -> _Displacement:
        """The smooth displacement of all structures, on a grid that resolves its shortest length."""
        decoder = self.decoder
        corners = torch.cat([decoder.displaced_lower, decoder.displaced_upper])
        box = Box(corners.amin(dim=0) - _REACH, corners.amax(dim=0) + _REACH)
        shape = box.shape_at(float(decoder.warp_lengths.min()) / _WARP_NODES_A_LENGTH)
        total, parts = torch.zeros(3, *shape), latent[decoder.n_components :].chunk(len(decoder.warp_lengths))
        for weights, length, part in zip(decoder.warp_weights, decoder.warp_lengths, parts, strict=True):
            functions = Eigenfunctions(decoder.warp_centers, weights, length)
            total += _on_grid(functions, weights @ part.unflatten(0, (-1, 3)), box, shape)
        return _Displacement(total, box)

    def _on_surface(self, index: int, displacements: Sequence[_Displacement], points: Tensor) -> Tensor:
        """Put points near a surface onto it, along the field's gradient."""
        box, template = Box(self.decoder.lower[index], self.decoder.upper[index]), self.decoder.template[index]
        for _ in range(_NEWTON):
            places = points.clone().requires_grad_()
            moved = places
            for displacement in displacements:
                moved = displacement(moved)
            value = box.distance(template, moved)
            (slope,) = torch.autograd.grad(value.sum(), places)
            step = (value.detach() / slope.square().sum(dim=1).clamp_min(_LEAST_SLOPE**2))[:, None] * slope
            points = points - step * (_FARTHEST / step.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp(max=1.0)
        return points


@dataclass(frozen=True, eq=False)
class _Displacement:
    """(3, i, j, k) displacements on a grid."""

    field: Tensor
    box: Box

    def __call__(self, points: Tensor) -> Tensor:
        """Where (n, 3) points come to lie."""
        moved: Tensor = points + self.box.sample(self.field, points)
        return moved

    def undone(self, to: Tensor) -> Tensor:
        """Points (n, 3) that come to lie at the given ones, by a damped fixed point."""
        points = to.clone()
        for _ in range(_STEPS):
            points = points + _STEP * (to - self(points))
        return points


def _on_grid(functions: Eigenfunctions, mixture: Tensor, box: Box, shape: tuple[int, int, int]) -> Tensor:
    """(3, i, j, k) sum of kernels with (c, 3) coefficients; a Gaussian is a product of its axes."""
    nodes = [torch.linspace(float(a), float(b), n) for a, b, n in zip(box.lower, box.upper, shape, strict=True)]
    x, y, z = (
        torch.exp(-0.5 * ((line[:, None] - functions.centers[:, axis]) / functions.length).square())
        for axis, line in enumerate(nodes)
    )
    planes = (x[:, None, :] * y[None, :, :]).flatten(0, 1)
    parts = [(planes * mixture[:, axis]) @ z.T for axis in range(3)]
    stacked: Tensor = torch.stack(parts).unflatten(1, shape[:2])
    return stacked


def _average(decoder: AtlasDecoder) -> list[WorldMesh]:
    """The average's surfaces in its own coordinates, on a grid twice as fine as the one that is stored."""
    meshes = []
    for template, lower, upper in zip(decoder.template, decoder.lower, decoder.upper, strict=True):
        i, j, k = (2 * n - 1 for n in template.shape)
        fine = torch.nn.functional.interpolate(template[None, None], (i, j, k), mode="trilinear", align_corners=True)
        spacing = float((upper - lower)[0]) / (i - 1)
        grid = VoxelGrid(lower.double().numpy(), spacing, (i, j, k))
        meshes.append(surface_on_grid(fine[0, 0].numpy(), grid).largest_pieces(1).outward())
    return meshes


def template_surfaces(model: ModelBundle, faces_each: int = 8000) -> TemplateSurfaces:
    """Return the surfaces of a model's average lung (the template meshes).

    Args:
        model: An atlas.
        faces_each: Triangles of each structure, about.

    Raises:
        InputError: The model is a network; it has no average to carry.
    """
    if not isinstance(model.decoder, AtlasDecoder):
        given = f"a model of preset {model.manifest.config.preset}"
        raise InputError("correspondence", given, "an atlas", "lpm.load(), or lpm train --preset atlas")
    return TemplateSurfaces.of(model.decoder, faces_each)

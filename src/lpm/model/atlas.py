"""The atlas: an average lung, the displacements of space that training lungs taught, and smooth ones besides.

    f(z, x) = m(x' + u_0(x') + sum_k a_k u_k(x')),    x' = x + sum_r w_r psi_r(x),    z = (a, w) ~ N(0, I)

m are the signed distances of the average (`registration.py`), u_0 and u_k the mean and the principal components of the
displacements that take training lungs to it, one for each structure; psi_r are leading eigenfunctions of a Gaussian
process of smooth displacements, for all structures together. The components carry what lungs have in common, the
smooth displacements what few lungs cannot teach. Moving space keeps what the average has: every lung has its recesses,
and the field stays close to a distance. A mixture of distances has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lpm.errors import FileError
from lpm.model.threads import shared_out
from lpm.model.warp import Box, Eigenfunctions

_TENSORS = (
    "template",
    "lower",
    "upper",
    "displacements",
    "displaced_lower",
    "displaced_upper",
    "warp_centers",
    "warp_weights",
    "warp_lengths",
)
_CHUNK = 8192  # nodes at a time: bounds memory, changes nothing


class AtlasDecoder(nn.Module):
    """Signed distance to every structure, in model units, negative inside.

    Args:
        tensors: All of the following.

    Attributes:
        template: (s, i, j, k) signed distances of each structure's average on its own grid, model units.
        lower: (s, 3) first node of each structure's grid.
        upper: (s, 3) its last node.
        displacements: (s, 1 + k, 3, a, b, c) mean and components of what takes lungs to the average.
        displaced_lower: (s, 3) first node of the displacements' grid.
        displaced_upper: (s, 3) its last node.
        warp_centers: (c, 3) where the kernels of the smooth displacements stand.
        warp_weights: (q, c, r) their eigenfunctions as sums of kernels, for each of q lengths.
        warp_lengths: (q,) correlation lengths.
    """

    template: Tensor
    lower: Tensor
    upper: Tensor
    displacements: Tensor
    displaced_lower: Tensor
    displaced_upper: Tensor
    warp_centers: Tensor
    warp_weights: Tensor
    warp_lengths: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in _TENSORS:
            self.register_buffer(name, tensors[name].float())

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> AtlasDecoder:
        """Rebuild from what `to_tensors` gave.

        Raises:
            FileError: A tensor is missing, not finite, or of a shape that does not fit the others.
        """
        missing = [name for name in _TENSORS if name not in tensors]
        if missing:
            raise FileError("atlas", f"no {', '.join(missing)}", "all of an atlas's tensors", "copy the folder again")
        found = cls(tensors)
        if not found._shapes_agree():
            shapes = {name: tuple(tensors[name].shape) for name in _TENSORS}
            raise FileError("atlas", f"tensors of shapes {shapes}", "those of one atlas", "copy the folder again")
        damaged = [name for name in _TENSORS if not bool(getattr(found, name).isfinite().all())]
        if damaged or bool((found.warp_lengths <= 0).any()):
            what = f"values of {', '.join(damaged) or 'warp_lengths'}"
            raise FileError("atlas", what, "finite and positive ones", "copy the folder again")
        return found

    def _shapes_agree(self) -> bool:
        if self.template.ndim != 4 or self.warp_lengths.ndim != 1 or len(self.warp_lengths) == 0:
            return False
        n = len(self.template)
        corners = (self.lower, self.upper, self.displaced_lower, self.displaced_upper)
        return (
            self.displacements.ndim == 6
            and self.displacements.shape[1] >= 1
            and len(self.displacements) == n
            and self.displacements.shape[2] == 3
            and min(*self.template.shape[1:], *self.displacements.shape[3:]) >= 2
            and all(corner.shape == (n, 3) for corner in corners)
            and self.warp_weights.ndim == 3
            and self.warp_centers.shape == (self.warp_weights.shape[1], 3)
            and self.warp_lengths.shape == self.warp_weights.shape[:1]
            and bool((self.upper > self.lower).all())
            and bool((self.displaced_upper > self.displaced_lower).all())
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """What is stored; grids in half precision, whose rounding is below 0.02 mm near the surface."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return tensors | {name: tensors[name].half() for name in ("template", "displacements")}

    @property
    def n_components(self) -> int:
        """Principal components of the displacements."""
        return int(self.displacements.shape[1]) - 1

    @property
    def latent_size(self) -> int:
        """Components, and three displacements for each eigenfunction of the warp."""
        return self.n_components + 3 * int(self.warp_weights.shape[0] * self.warp_weights.shape[2])

    def forward(self, latent: Tensor, points: Tensor) -> Tensor:
        """Evaluate the field.

        Args:
            latent: (1, latent_size) for all points, or (p, latent_size) for one a point.
            points: (p, 3) in the model frame.

        Returns:
            (p, s) signed distances in model units.
        """
        warped = points + self.displacement(latent[..., self.n_components :], points)
        weight = self._weights(latent)
        parts = [self._structure(index, weight, warped) for index in range(len(self.template))]
        return torch.stack(parts, dim=-1)

    def places(self, latent: Tensor, points: Tensor) -> list[Tensor]:
        """Where points of a shape lie in each structure's template; arguments are those of `forward`.

        Returns:
            A structure each, (p, 3) in the template's frame, model units.
        """
        warped = points + self.displacement(latent[..., self.n_components :], points)
        weight = self._weights(latent)
        return [self._place(index, weight, warped) for index in range(len(self.template))]

    def at_latent(self, latent: Tensor, box: Box, spacing: float) -> Callable[[Tensor], Tensor]:
        """The field of one shape in a box, (p, 3) to (p, s): several times as fast as `forward`, and nearly the same.

        With 6 mm between nodes the bundled model is 0.006 mm off on its surface on average, 0.02 mm for one point in
        100; with 16 mm it is 0.04 mm and 0.14 mm, and 0.1 mm on average far from the surface as well.

        Args:
            latent: (1, latent_size).
            box: Box in model units; beyond it the smooth displacement is that of its border.
            spacing: Spacing of the grid between whose nodes the smooth displacement is interpolated.
        """
        shape, weight = box.shape_at(spacing), self._weights(latent)
        with torch.no_grad():
            parts = shared_out(
                lambda nodes: self.displacement(latent[..., self.n_components :], nodes), box.nodes(shape).split(_CHUNK)
            )
            smooth = torch.cat(parts).T.reshape(3, *shape)
            moved = [torch.tensordot(weight[0], fields, dims=1) for fields in self.displacements]

        def field(points: Tensor) -> Tensor:
            warped = points + box.sample(smooth, points)
            places = [warped + self._moved_box(index).sample(own, warped) for index, own in enumerate(moved)]
            return torch.stack([self._distance(index, place) for index, place in enumerate(places)], dim=-1)

        return field

    def displacement(self, warp: Tensor, points: Tensor) -> Tensor:
        """(p, 3) smooth displacement of points by (1 or p, 3 q r) coefficients."""
        total, parts = torch.zeros_like(points), warp.chunk(len(self.warp_lengths), dim=-1)
        for weights, length, part in zip(self.warp_weights, self.warp_lengths, parts, strict=True):
            functions = Eigenfunctions(self.warp_centers, weights, length)
            mixture = part.unflatten(-1, (-1, 3))
            if len(part) == 1:
                total = total + functions.kernels(points) @ (weights @ mixture[0])
            else:
                total = total + torch.einsum("pr,prc->pc", functions.at(points), mixture)
        return total

    def _weights(self, latent: Tensor) -> Tensor:
        """(1 or p, 1 + k) weights of the mean displacement, which is 1, and of the components."""
        return torch.cat([torch.ones_like(latent[..., :1]), latent[..., : self.n_components]], dim=-1)

    def _structure(self, index: int, weight: Tensor, points: Tensor) -> Tensor:
        """(p,) distance to a structure; weight (1 or p, 1 + k) of the displacements."""
        return self._distance(index, self._place(index, weight, points))

    def _distance(self, index: int, places: Tensor) -> Tensor:
        """(p,) distance to a structure's average at (p, 3) places in its template."""
        return Box(self.lower[index], self.upper[index]).distance(self.template[index], places)

    def _moved_box(self, index: int) -> Box:
        return Box(self.displaced_lower[index], self.displaced_upper[index])

    def _place(self, index: int, weight: Tensor, points: Tensor) -> Tensor:
        """(p, 3) places in a structure's template; weight (1 or p, 1 + k) of the displacements."""
        fields, box = self.displacements[index], self._moved_box(index)
        if len(weight) == 1:
            moved = box.sample(torch.tensordot(weight[0], fields, dims=1), points)
        else:
            moved = (weight[:, :, None] * box.sample(fields.flatten(0, 1), points).unflatten(1, (-1, 3))).sum(dim=1)
        return points + moved

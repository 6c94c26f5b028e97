"""Surfaces that follow a slider: what is the same along the whole way is worked out once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from lpm.model.correspondence import TemplateSurfaces

_MOST_WAYS = 64  # sliders and knobs of a page, and more; each takes about a megabyte
_SAME_WAY = 1.0 - 1e-6  # cosine between directions in the latent space


class Warps:
    """The smooth displacement of an atlas, which is linear in the latent: a sum over its modes takes most of a mesh.

    A slider moves lungs along one direction from where they rested, so that the displacement is that of the rest and
    a multiple of the direction's own, exactly.
    """

    def __init__(self) -> None:
        self._rest: tuple[Tensor, Any] | None = None
        self._ways: list[tuple[Tensor, Any]] = []

    def rest(self, latent: Tensor, make: Callable[[Tensor], Any]) -> Any:
        """The displacement of lungs that rest; others are reached from there."""
        self._rest = (latent, make(latent))
        return self._rest[1]

    def reached(self, latent: Tensor, make: Callable[[Tensor], Any]) -> Any:
        """The displacement of lungs on the way.

        Args:
            latent: (l,) of the atlas.
            make: Makes the displacement of any latent, slowly.
        """
        if self._rest is None:
            return self.rest(latent, make)
        start, found = self._rest
        step = latent - start
        length = step.norm()
        if length == 0:
            return found
        way, along = self._way(step / length, make)
        return replace(found, field=found.field + float(step @ way) * along.field)

    def learn(self, step: Tensor, make: Callable[[Tensor], Any]) -> None:
        """Work out a direction that will be asked for."""
        self._way(step / step.norm(), make)

    def _way(self, unit: Tensor, make: Callable[[Tensor], Any]) -> tuple[Tensor, Any]:
        for known in self._ways:
            if abs(float(known[0] @ unit)) > _SAME_WAY:
                return known
        self._ways = [(unit, make(unit)), *self._ways][:_MOST_WAYS]
        return self._ways[0]


@dataclass(frozen=True, eq=False)
class FollowingSurfaces(TemplateSurfaces):
    """Surfaces of an atlas's average that are carried to where a slider goes.

    Args:
        warps: Displacements that are known, those of all surfaces of the atlas.
        is_resting: Whether these are the surfaces of lungs that rest.
    """

    warps: Warps = field(default_factory=Warps)
    is_resting: bool = True

    @classmethod
    def like(cls, surfaces: TemplateSurfaces, warps: Warps, *, is_resting: bool) -> FollowingSurfaces:
        """The same surfaces."""
        return cls(surfaces.decoder, surfaces.vertices, surfaces.faces, warps, is_resting)

    def learn(self, step: Tensor) -> None:
        """Work out what a slider does, whose step in the latent space (l,) is this."""
        self.warps.learn(step, super()._warp)

    def _warp(self, latent: Tensor) -> Any:
        return (self.warps.rest if self.is_resting else self.warps.reached)(latent, super()._warp)

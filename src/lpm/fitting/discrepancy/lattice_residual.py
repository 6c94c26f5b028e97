"""The residual between the nodes of a coarse lattice: it is smooth, and a surface asks for it at many places."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.fitting.discrepancy.residual import ResidualField
from lpm.geometry.extraction import Field
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid
from lpm.model.threads import shared_out

_NODES_A_LENGTH = number("fitting.lattice_nodes_a_length")
_CHUNK = 32_768  # points at a time: bounds memory, changes nothing
_ASKED = 4096  # of the residual itself: enough to share out
_MOST_NODES = 1.5  # to a place: more than one, for the finer places that follow need the same nodes
_STENCIL = np.indices((4, 4, 4)).reshape(3, -1).T  # nodes that cubic convolution mixes


class LatticeResidual:
    """A residual by cubic convolution (Keys 1981) between nodes at which it was evaluated, each once.

    Where places are so few or so scattered that they need many more nodes than they are, the residual itself is asked.

    Args:
        residual: Residual of all structures.
        lattice: All that will be asked for.
    """

    def __init__(self, residual: ResidualField, lattice: VoxelGrid) -> None:
        self.residual, self.spacing_mm = residual, residual.config.length_mm / _NODES_A_LENGTH
        extent_mm = lattice.spacing_mm * (np.array(lattice.shape) - 1)
        self.origin_mm = lattice.origin_mm - 2.0 * self.spacing_mm
        i, j, k = np.ceil(extent_mm / self.spacing_mm).astype(int) + 5
        self.shape = (int(i), int(j), int(k))
        self.values = np.zeros((len(residual.points), i * j * k), dtype=np.float32)
        self.known = np.zeros(self.values.shape, dtype=bool)

    def __call__(self, points_mm: Floats, structure: int) -> NDArray[np.float32]:
        """(m,) residual of a structure at (m, 3) points, mm."""
        place = (points_mm - self.origin_mm) / self.spacing_mm
        below = np.floor(place).astype(np.int64)
        first = np.ravel_multi_index(tuple(below.T - 1), self.shape)
        steps = np.ravel_multi_index(tuple(_STENCIL.T), self.shape)
        missing = self._missing(np.unique(first)[:, None] + steps, structure)
        if len(missing) > _MOST_NODES * len(points_mm):
            return asked(self.residual, points_mm, structure)
        self._evaluate(missing, structure)
        weights = _cubic((place - below).astype(np.float32))

        def mixed(a: int) -> NDArray[np.float32]:
            return self._mix(first[a : a + _CHUNK, None] + steps, weights[a : a + _CHUNK], structure)

        found = shared_out(mixed, range(0, len(points_mm), _CHUNK))
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def _missing(self, nodes: NDArray[np.int64], structure: int) -> NDArray[np.int64]:
        """Those of nodes that are not known yet, each once."""
        wanted = np.zeros(len(self.known[structure]), dtype=bool)
        wanted[nodes.ravel()] = True
        return np.flatnonzero(wanted & ~self.known[structure])

    def _evaluate(self, nodes: NDArray[np.int64], structure: int) -> None:
        places = self.origin_mm + self.spacing_mm * np.stack(np.unravel_index(nodes, self.shape), axis=1)
        self.values[structure, nodes] = asked(self.residual, places, structure)
        self.known[structure, nodes] = True

    def _mix(self, nodes: NDArray[np.int64], weights: NDArray[np.float32], structure: int) -> NDArray[np.float32]:
        mixed = self.values[structure][nodes].reshape(-1, 16, 4)
        mixed = np.matmul(mixed, weights[:, 2, :, None]).reshape(-1, 4, 4)
        mixed = np.matmul(mixed, weights[:, 1, :, None]).reshape(-1, 1, 4)
        return np.asarray(np.matmul(mixed, weights[:, 0, :, None])[:, 0, 0])


def asked(residual: ResidualField, points_mm: Floats, structure: int) -> NDArray[np.float32]:
    """(m,) residual of a structure at (m, 3) points, mm, without a lattice."""
    parts = torch.tensor(np.ascontiguousarray(points_mm)).split(_ASKED)
    return torch.cat(shared_out(lambda part: residual(part, structure).float(), parts)).numpy()


def followed(decoder: Field, residual: ResidualField, lattice: VoxelGrid | None = None) -> Field:
    """A decoder's distances with the residual added where the surface can be.

    Far from a structure's surface, the residual cannot change the sign.

    Args:
        decoder: World mm (n, 3) to signed distances (n, s) in mm.
        residual: Residual that moves the surface to the points.
        lattice: All that will be asked for, if it is a lattice; the residual is then evaluated on a coarser one.
    """
    between: Callable[[Floats, int], NDArray[np.float32]] = partial(asked, residual)
    if lattice is not None and residual.config.length_mm > _NODES_A_LENGTH * lattice.spacing_mm:
        between = LatticeResidual(residual, lattice)
    reach_mm = residual.reach_mm

    def field(points_mm: Floats) -> Floats:
        total = decoder(points_mm)
        for structure in range(total.shape[1]):
            near = np.flatnonzero(np.abs(total[:, structure]) < reach_mm)
            if len(near):
                total[near, structure] += between(points_mm[near], structure)
        return total

    return field


def _cubic(part: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 4) weights of two nodes on either side of a place that lies a part (0 to 1) between the inner ones."""
    t, u = part[..., None], 1.0 - part[..., None]
    inner = 1.0 - 2.5 * np.concatenate([t, u], axis=-1) ** 2 + 1.5 * np.concatenate([t, u], axis=-1) ** 3
    return np.concatenate([-0.5 * t * u**2, inner, -0.5 * u * t**2], axis=-1)

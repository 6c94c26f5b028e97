"""A breath: lungs in expiration and inspiration, the path between them, and where volume grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import count, number
from lpm.errors import InputError
from lpm.fitting.corresponding import corresponding
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.partition.parts import beyond_parts_mm, part_names
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid, grid_around, grid_nodes, voxelise
from lpm.geometry.meshes import WorldMesh
from lpm.motion.carrying import Motion, SmoothMotion

_FACES = count("motion.breath_faces")
_NODE_MM = number("motion.node_mm")
_TOP_SHARE = number("motion.top_share")
_THIRDS = ("base", "middle", "apex")


@dataclass(frozen=True, eq=False)
class Breath:
    """The motion of lungs from expiration to inspiration.

    Args:
        motion: From expiration to inspiration.
        expiration: Meshes in expiration by structure, RAS mm.
        inspiration: The same triangles in inspiration.
        source: Fit of the first state, whose model may know of parts.
    """

    motion: Motion | SmoothMotion
    expiration: Mapping[str, WorldMesh]
    inspiration: Mapping[str, WorldMesh]
    source: FittedField

    def at(self, share: float) -> dict[str, WorldMesh]:
        """Lungs on the way, by structure, RAS mm: every vertex moves evenly along a straight line.

        Args:
            share: Share of the way: 0 in expiration, 1 in inspiration.
        """
        pairs = ((name, mesh, self.inspiration[name]) for name, mesh in self.expiration.items())
        return {
            name: WorldMesh((1.0 - share) * mesh.vertices + share * end.vertices, mesh.faces)
            for name, mesh, end in pairs
        }

    def phases(self, n: int) -> list[dict[str, WorldMesh]]:
        """N lungs evenly on the way, both ends among them.

        Raises:
            InputError: Fewer than two.
        """
        if n < 2:
            raise InputError("phases", str(n), "at least 2", "both states are among them")
        return [self.at(index / (n - 1)) for index in range(n)]

    @cached_property
    def displacement_mm(self) -> dict[str, Floats]:
        """By structure, (v, 3) by how much each vertex moves, R, A, S."""
        return {name: self.inspiration[name].vertices - mesh.vertices for name, mesh in self.expiration.items()}

    @cached_property
    def volume_change(self) -> dict[str, Floats]:
        """By structure, (v,) by which factor the lung grows at each vertex: the Jacobian of the smooth motion."""
        return {name: self.motion.smooth[name].volume_change(mesh.vertices) for name, mesh in self.expiration.items()}

    def regions(self) -> list[Region]:
        """Thirds of each lung along its height, of a third of its volume each: how far they move, and grow."""
        field = self.field
        lungs = {name: field.structure == index for index, name in enumerate(self.expiration, start=1)}
        rest = self._rest_mm
        return [region for name, own in lungs.items() for region in _thirds(name, field, own, rest)]

    @cached_property
    def _rest_mm(self) -> Floats:
        """(3,) mean motion of the lungs' tops, which hang at the thoracic inlet."""
        field, height = self.field, grid_nodes(self.field.grid)[..., 2]
        lungs = [field.structure == index for index in range(1, len(self.expiration) + 1)]
        tops = [own & (height > np.quantile(height[own], 1.0 - _TOP_SHARE)) for own in lungs]
        return np.asarray(np.mean([field.displacement_mm[top].mean(axis=0) for top in tops], axis=0))

    def parts(self) -> list[Region]:
        """Parts of each lung, such as lobes: how far they move, and grow; none where the model was taught no parts."""
        if self.source.model.partition is None:
            return []
        field, model, found = self.field, self.source.model, []
        nodes = grid_nodes(field.grid)
        for index, (name, parts) in enumerate(part_names(model, list(self.expiration)).items(), start=1):
            own = field.structure == index
            if len(parts) < 2:
                continue
            which = beyond_parts_mm(model, self.source, name, nodes[own]).argmin(axis=1)
            moved, growth = field.displacement_mm[own], field.volume_change[own]
            found += [
                _region(name, part, moved[which == n], growth[which == n], self._rest_mm)
                for n, part in enumerate(parts)
                if (which == n).any()
            ]
        return found

    @cached_property
    def field(self) -> DisplacementField:
        """Displacements on a grid around both lungs in expiration; zero outside of them."""
        grid = grid_around(list(self.expiration.values()), _NODE_MM)
        nodes, structure = grid_nodes(grid).reshape(-1, 3), np.zeros(int(np.prod(grid.shape)), dtype=np.int64)
        for index, mesh in enumerate(self.expiration.values(), start=1):
            structure[voxelise(mesh, grid).ravel()] = index
        moved, growth = np.zeros_like(nodes), np.ones(len(nodes))
        for index, name in enumerate(self.expiration, start=1):
            own = structure == index
            moved[own] = self.motion.carried(nodes[own], name) - nodes[own]
            growth[own] = self.motion.smooth[name].volume_change(nodes[own])
        i, j, k = grid.shape
        return DisplacementField(grid, moved.reshape(i, j, k, 3), growth.reshape(i, j, k), structure.reshape(i, j, k))


def _thirds(name: str, field: DisplacementField, own: NDArray[np.bool_], rest: Floats) -> list[Region]:
    """Base, middle and apex of a lung; `rest` is the motion (3,) of the lungs' tops, mm."""
    height, moved, growth = grid_nodes(field.grid)[own][:, 2], field.displacement_mm[own], field.volume_change[own]
    edges = np.quantile(height, np.linspace(0.0, 1.0, len(_THIRDS) + 1)[1:-1])
    which = np.searchsorted(edges, height, side="right")
    return [
        _region(name, third, moved[which == index], growth[which == index], rest) for index, third in enumerate(_THIRDS)
    ]


def _region(structure: str, name: str, moved: Floats, growth: Floats, rest: Floats) -> Region:
    return Region(
        structure=structure,
        name=name,
        moved_mm=float(np.linalg.norm(moved, axis=1).mean()),
        beside_apices_mm=float(np.linalg.norm(moved - rest, axis=1).mean()),
        along_mm=tuple(moved.mean(axis=0).tolist()),
        growth=float(growth.mean()),
    )


@dataclass(frozen=True)
class Region:
    """Third of a lung along its height, in expiration, or a part, such as a lobe.

    Args:
        structure: The lung.
        name: ``base``, ``middle`` or ``apex``: a third of the volume each; or the part's.
        moved_mm: Mean length of the motion, in the scans' frame.
        beside_apices_mm: The same beside the motion of the lungs' tops, which hang at the thoracic inlet: it does not
            depend on a shift between the scans.
        along_mm: Mean motion along R, A, S.
        growth: Mean factor by which volume grows (Jacobian).
    """

    structure: str
    name: str
    moved_mm: float
    beside_apices_mm: float
    along_mm: tuple[float, ...]
    growth: float


@read_only_arrays
@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Displacements on a grid.

    Args:
        grid: Nodes along R, A, S, mm.
        displacement_mm: (i, j, k, 3) by how much the lung at a node moves, R, A, S; zero outside.
        volume_change: (i, j, k) factor by which it grows; one outside.
        structure: (i, j, k) the lung in which a node lies: 1, 2, ... in their order; 0 outside.
    """

    grid: VoxelGrid
    displacement_mm: Floats
    volume_change: Floats
    structure: NDArray[np.int64]


def breathe(expiration: FittedField, inspiration: FittedField) -> Breath:
    """Find the motion of lungs through a breath, of two fits of one patient.

    Args:
        expiration: Fitted lungs in expiration.
        inspiration: Fitted lungs in inspiration.

    Raises:
        InputError: Fits that do not belong together, or exchanged: the lungs would shrink.
    """
    _check_apart(expiration, inspiration)
    motion = Motion.between(expiration, inspiration)
    start = {name: mesh for name, mesh in corresponding(expiration, _FACES).meshes.items() if name in motion.smooth}
    end = {name: WorldMesh(motion.carried(mesh.vertices, name), mesh.faces) for name, mesh in start.items()}
    before, after = volume_of(start), volume_of(end)
    if before >= after:
        given = f"expiration of {before:.0f} ml and inspiration of {after:.0f} ml"
        raise InputError("breathe", given, "an inspiration that is larger", "exchange the two fits")
    return Breath(motion, start, end, expiration)


def volume_of(lungs: Mapping[str, WorldMesh]) -> float:
    """Volume of all structures together, ml."""
    return float(sum(mesh.volume_ml for mesh in lungs.values()))


def _check_apart(expiration: FittedField, inspiration: FittedField) -> None:
    """Refuse one fit in place of both states."""
    if expiration.digest == inspiration.digest:
        hint = "name the fits of two scans, or one alone: its other state is predicted"
        raise InputError("breathe", "the same fit twice", "one in expiration and one in inspiration", hint)

"""A radiograph whose place in the patient's world is unknown: a rigid motion between the two, fitted with the shape.

    x_picture = e^c R(w) (x - m) + p + a u + b v

takes a point of the patient's world to the picture's own: m is the middle of the lungs, p where the picture shows it, u
and v the directions along its columns and rows, (a, b, w, c) the nuisance parameters. Along the beam nothing is fitted:
of a parallel beam it has no consequence, and of a cone the patient's distance from the detector is taken as known. The
scale c is fitted only where the picture has no pixel spacing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lpm.calibration import number
from lpm.fitting.pose import rotation_matrix, rotation_vector
from lpm.fitting.state import State
from lpm.geometry.frames import Floats
from lpm.geometry.projection import View

_SHIFT_SD_MM = number("xray.placement_shift_sd_mm")
_ROTATION_SD_RAD = number("xray.placement_rotation_sd")
_LOG_SCALE_SD = number("xray.placement_log_scale_sd")
_ANY_LOG_SCALE_SD = number("xray.any_log_scale_sd")
_PINNED_MM = 1.0  # next to nothing: the pose of the lungs says it already
_PINNED_RAD = 0.005  # likewise
_PLACE = 5  # parameters of a place without a scale


@dataclass(frozen=True, eq=False)
class ViewPlacement:
    """Placement of a picture in the patient, as nuisance parameters.

    Args:
        plane: (2, 3) unit vectors along the picture's columns and rows.
        middle_mm: (3,) m, in the patient's world.
        shown_mm: (3,) p, in the picture's world.
        sds: Standard deviations of (a, b, w), and of c if the picture's scale is unknown.
    """

    plane: Tensor
    middle_mm: Tensor
    shown_mm: Tensor
    sds: tuple[float, ...]

    @classmethod
    def of(cls, view: View, *, with_scale: bool = False) -> ViewPlacement:
        """Make the placement of a picture; it is aligned with the lungs later (`aligned`)."""
        place = (_SHIFT_SD_MM,) * 2 + (_ROTATION_SD_RAD,) * 3
        return cls._with(view, (*place, _LOG_SCALE_SD) if with_scale else place)

    @classmethod
    def of_any_size(cls, view: View) -> ViewPlacement:
        """Make that of a picture whose place is the world's, and whose scale nobody knows: the lungs' prior sets it."""
        return cls._with(view, (_PINNED_MM,) * 2 + (_PINNED_RAD,) * 3 + (_ANY_LOG_SCALE_SD,))

    @classmethod
    def _with(cls, view: View, sds: tuple[float, ...]) -> ViewPlacement:
        sides = np.stack([view.by_column_mm, view.by_row_mm])
        plane = torch.from_numpy(sides / np.linalg.norm(sides, axis=1, keepdims=True))
        nowhere = torch.zeros(3, dtype=torch.float64)
        return cls(plane, nowhere, nowhere, sds)

    @property
    def sd(self) -> Tensor:
        """(m,) standard deviations of the nuisance parameters."""
        return torch.tensor(self.sds, dtype=torch.float64)

    @property
    def with_scale(self) -> bool:
        """Whether the picture's scale is unknown."""
        return len(self.sds) > _PLACE

    def aligned(self, middle_mm: Floats, rows: Floats, places: Floats) -> ViewPlacement:
        """Lay the middle of the lungs onto what the picture shows.

        Args:
            middle_mm: (3,) of the lungs, patient's world.
            rows: (r, 3) directions along which the picture tells where its middle lies.
            places: (r,) where, mm, in the picture's world.
        """
        shown = np.linalg.lstsq(rows, places, rcond=None)[0]
        return replace(self, middle_mm=torch.tensor(middle_mm), shown_mm=torch.tensor(shown))

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotation (3, 3), scale and place of the middle (3,) in the picture's world."""
        rotation = rotation_matrix(parameters[2:5])
        scale = parameters[5].exp() if self.with_scale else parameters.new_ones(())
        return rotation, scale, self.shown_mm + parameters[:2] @ self.plane

    def scale(self, parameters: Tensor) -> float:
        """Millimetres of the picture's world in one of the patient's."""
        return float(self._parts(parameters)[1])

    def seen_from(self, state: State, parameters: Tensor) -> State:
        """A state of the patient's world in the picture's own."""
        rotation, scale, place = self._parts(parameters)
        translation = scale * rotation @ (state.translation.double() - self.middle_mm) + place
        turned = rotation_vector(rotation @ rotation_matrix(state.rotation.double()))
        return State(state.beta, translation.float(), state.log_scale + scale.log().float(), turned.float())

    def chained(self, slope: Tensor, there: State, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives by the patient's state and by the placement, from those by the state in the picture's world.

        Args:
            slope: (n, k + 9) by the state there.
            there: The state in the picture's world.
            parameters: (m,) of the placement.

        Returns:
            (n, k + 9) and (n, m).
        """
        rotation, scale, place = self._parts(parameters)
        k = len(there.beta)
        by_place, by_scale, by_turn = slope[:, k : k + 3], slope[:, k + 3 : k + 6], slope[:, k + 6 :]
        by_state = torch.cat([slope[:, :k], by_place @ (scale * rotation), by_scale, by_turn @ rotation], dim=1)
        arm = there.translation.double() - place
        turned = torch.linalg.cross(torch.eye(3, dtype=torch.float64), arm.expand(3, 3))
        own = [by_place @ self.plane.T, by_turn + by_place @ turned.T]
        if self.with_scale:
            own.append((by_scale.sum(dim=1) + by_place @ arm)[:, None])
        return by_state, torch.cat(own, dim=1)

    def in_world(self, view: View, parameters: Tensor) -> View:
        """The picture's geometry in the patient's world: the inverse motion."""
        rotation, scale, place = self._parts(parameters)
        back, origin = rotation.T.numpy() / float(scale), place.numpy()

        def moved(point: Floats) -> Floats:
            return np.asarray(back @ (point - origin) + self.middle_mm.numpy())

        return replace(
            view,
            origin_mm=moved(view.origin_mm),
            by_row_mm=back @ view.by_row_mm,
            by_column_mm=back @ view.by_column_mm,
            beam=rotation.T.numpy() @ view.beam,
            source_mm=None if view.source_mm is None else moved(view.source_mm),
        )

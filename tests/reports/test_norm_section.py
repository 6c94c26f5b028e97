"""Where lungs stand in a norm, as a report says it: ellipsoids of known volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from lpm.errors import InputError
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.norms.learning import learn_norm
from lpm.measurement.norms.norm import Norm
from lpm.measurement.profiles import profile_measures
from lpm.measurement.shapes import measure_shapes
from lpm.reports.document import Figure, Notes, Table
from lpm.reports.norms.standing import section_of_norm

_BALL = trimesh.creation.icosphere(3)


def lungs(wide: float) -> dict[str, WorldMesh]:
    """Two ellipsoids, so many mm wide to each side."""
    found = {}
    for name, side, height in (("left_lung", -90.0, 120.0), ("right_lung", 90.0, 110.0)):
        found[name] = WorldMesh(_BALL.vertices * [wide, 70.0, height] + [side, 0.0, 0.0], _BALL.faces)
    return found


@pytest.fixture(scope="module")
def norm() -> Norm:
    made = {f"s{index}": lungs(wide) for index, wide in enumerate(np.linspace(48.0, 72.0, 13))}
    return learn_norm({name: measure_shapes(each) | profile_measures(each) for name, each in made.items()})


def test_z_scores_and_the_band_are_those_of_the_norm(norm: Norm, tmp_path: Path) -> None:
    reference = norm.reference({})
    section = section_of_norm(lungs(72.0), reference, tmp_path)
    figure, table, notes = section.blocks[:3]
    assert isinstance(figure, Figure)
    assert figure.path.stat().st_size > 2000
    assert isinstance(table, Table)
    assert isinstance(notes, Notes)
    rows = {row[0]: row for row in table.rows}
    standing = reference.standing("total_volume_ml", measure_shapes(lungs(72.0))["total_volume_ml"])
    assert standing is not None
    assert 1.2 < standing.z < 1.6  # widths are evenly spread: their end is 1.54 of their standard deviations away
    assert rows["total volume, ml"][-2:] == [f"{standing.z:+.1f}", f"{standing.centile:.0f}"]
    ends = [measure_shapes(lungs(wide))["total_volume_ml"] for wide in (48.0, 72.0)]
    assert rows["total volume, ml"][2] == f"{np.mean(ends):,.0f}"  # the middle: volumes grow evenly with the width


def test_a_norm_of_other_structures_is_refused(norm: Norm, tmp_path: Path) -> None:
    other = {"spleen": lungs(50.0)["left_lung"]}
    with pytest.raises(InputError, match=r"knows none of|in the norm"):
        section_of_norm(other, norm.reference({}), tmp_path)

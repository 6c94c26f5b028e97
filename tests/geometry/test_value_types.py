"""Value types hold: their arrays are their own and cannot change, they compare, and refuse to be hashed in words."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import pytest
import torch

import lpm
from lpm.files.volumes import read_volume, write_volume
from lpm.geometry.arrays import frozen_array, handed_over, read_only_arrays
from lpm.geometry.frames import ModelPoints, WorldFromModel, WorldPoints
from lpm.geometry.meshes import Mesh, WorldMesh
from lpm.geometry.phantoms import PhantomLungs, to_labels
from lpm.geometry.volumes import Volume, canonical

TETRAHEDRON = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
VOXELS = np.arange(24.0).reshape(2, 3, 4)


def values() -> list[object]:
    """One of each small value type, made anew."""
    return [
        WorldPoints(TETRAHEDRON.copy()),
        ModelPoints(TETRAHEDRON.copy()),
        WorldFromModel(np.full(3, 2.0), np.zeros(3)),
        WorldMesh(TETRAHEDRON.copy(), FACES.copy()),
        Volume(VOXELS.copy(), np.eye(4)),
    ]


@pytest.mark.parametrize(
    ("one", "same"), list(zip(values(), values(), strict=True)), ids=lambda value: type(value).__name__
)
def test_equal_by_content(one: object, same: object) -> None:
    assert one == one  # noqa: PLR0124 (that is the question)
    assert one == same
    assert one != "another"


def test_unequal_by_content() -> None:
    assert WorldPoints(TETRAHEDRON) != WorldPoints(TETRAHEDRON + 1.0)
    assert WorldPoints(TETRAHEDRON) != WorldPoints(TETRAHEDRON[:2])
    assert WorldPoints(TETRAHEDRON) != ModelPoints(TETRAHEDRON)
    assert WorldMesh(TETRAHEDRON, FACES) != Mesh(TETRAHEDRON, FACES)
    assert Volume(VOXELS, np.eye(4)) != Volume(VOXELS, np.diag([2.0, 1, 1, 1]))
    assert Volume(np.full((1, 1, 1), np.nan), np.eye(4)) == Volume(np.full((1, 1, 1), np.nan), np.eye(4))


@pytest.mark.parametrize("value", values(), ids=lambda value: type(value).__name__)
def test_hash_is_refused_in_words(value: object) -> None:
    with pytest.raises(TypeError, match=f"{type(value).__name__} is compared by its arrays and has no hash; use a"):
        hash(value)


def test_a_mesh_cannot_change_under_its_volume() -> None:
    vertices = TETRAHEDRON.copy()
    mesh = WorldMesh(vertices, FACES)
    before = mesh.volume_ml
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[:] *= 2
    with pytest.raises(ValueError, match="read-only"):
        mesh.corners[:] *= 2
    vertices *= 2  # the caller's own
    assert mesh.volume_ml == before == pytest.approx(10.0**3 / 6.0 / 1000.0)
    assert WorldMesh(mesh.vertices, mesh.faces).volume_ml == before


def test_a_volume_keeps_neither_the_callers_voxels_nor_its_affine() -> None:
    voxels, affine = VOXELS.copy(), np.eye(4)
    volume = Volume(voxels, affine)
    voxels[:], affine[0, 3] = 0.0, 7.0
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    np.testing.assert_array_equal(volume.world_from_voxel, np.eye(4))
    assert voxels.flags.writeable


def test_a_view_is_copied_while_what_it_shows_can_change() -> None:
    whole = np.zeros((4, 4))
    view = whole[1:]
    view.setflags(write=False)
    frozen = frozen_array(view)
    whole[:] = 1.0
    assert (frozen == 0).all()


def test_read_only_arrays_are_not_copied(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = handed_over(np.zeros((5, 5)).T[1:])
    assert frozen_array(made) is made
    volume = to_labels(PhantomLungs(), 20.0)
    assert np.shares_memory(volume.with_voxels(volume.voxels).voxels, volume.voxels)
    write_volume(tmp_path / "v.nii.gz", volume)
    read = read_volume(tmp_path / "v.nii.gz")
    upright = canonical(read)
    assert np.shares_memory(upright.voxels, canonical(upright).voxels)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Nested:
    pair: tuple[np.ndarray, np.ndarray]
    named: dict[str, tuple[np.ndarray, int]]


def test_arrays_in_tuples_and_dicts_are_held_too() -> None:
    one, named = np.zeros(2), {"a": (np.zeros(2), 1)}
    nested = Nested((one, np.ones(2)), named)
    one += 1.0
    named["a"][0][:] = 1.0
    named["b"] = named["a"]
    assert (nested.pair[0] == 0).all()
    assert (nested.named["a"][0] == 0).all()
    assert nested.named.keys() == {"a"}
    back = pickle.loads(pickle.dumps(nested))  # noqa: S301 (our own)
    assert not back.pair[1].flags.writeable
    assert not back.named["a"][0].flags.writeable


def leaves(annotation: object) -> Iterator[type]:
    """Types that an annotation is built of; arrays whatever they hold, behind an alias too, as from NumPy 2.5 on."""
    origin = typing.get_origin(annotation)
    alias = annotation if origin is None else origin
    if hasattr(alias, "__value__"):
        yield from leaves(alias.__value__)
        return
    if origin is np.ndarray or not typing.get_args(annotation):
        found = origin or annotation
        if isinstance(found, type):
            yield found
        return
    for each in typing.get_args(annotation):
        yield from leaves(each)


def records() -> list[type]:
    """Every frozen dataclass of the package."""
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(lpm.__path__, "lpm.")]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    frozen = [kind for kind in kinds if is_dataclass(kind) and kind.__dataclass_params__.frozen]  # type: ignore[attr-defined]
    return sorted((kind for kind in frozen if kind.__module__.startswith("lpm.")), key=lambda kind: kind.__qualname__)


def holds(kind: type, what: type) -> bool:
    """Whether a field's annotation names a type; annotations of what only type checkers import are left out."""
    module = vars(importlib.import_module(kind.__module__))
    for each in fields(kind):  # type: ignore[arg-type]
        try:
            annotation = eval(str(each.type), module) if isinstance(each.type, str) else each.type  # noqa: S307
        except NameError:
            continue
        if any(issubclass(leaf, what) for leaf in leaves(annotation)):
            return True
    return False


def test_every_record_with_arrays_holds() -> None:
    with_arrays = [kind for kind in records() if holds(kind, np.ndarray)]
    assert len(with_arrays) > 40
    missing = [kind.__qualname__ for kind in with_arrays if "__setstate__" not in dir(kind)]
    assert missing == [], "decorate with read_only_arrays"


def test_no_record_with_arrays_or_tensors_has_an_equality_that_raises() -> None:
    found = [kind for kind in records() if holds(kind, np.ndarray) or holds(kind, torch.Tensor)]
    raising = [kind.__qualname__ for kind in found if "__eq__" in vars(kind)]
    assert raising == [], "@dataclass(frozen=True, eq=False)"

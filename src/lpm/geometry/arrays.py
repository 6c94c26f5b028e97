"""Value types that hold arrays: arrays that cannot change, equality that answers, a hash that is refused in words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Never, TypeVar

import numpy as np

A = TypeVar("A", bound=np.ndarray[Any, Any])
T = TypeVar("T")


def frozen_array(array: A) -> A:
    """A read-only array of the same values; a copy, unless nobody can write to what is given.

    Args:
        array: Any; a view counts as writeable while what it is a view of can be written to.
    """
    if _is_read_only(array):
        return array
    return handed_over(array.copy(order="K"))


def handed_over(array: A) -> A:
    """Make an array read-only, so that a value type takes it without a copy: a CT is large.

    Args:
        array: Just made, and held by nobody else; nor is what it is a view of, which becomes read-only, too.
    """
    whole: Any = array
    while isinstance(whole, np.ndarray):
        whole.setflags(write=False)
        whole = whole.base
    return array


def read_only_arrays(cls: type[T]) -> type[T]:
    """Decorate a frozen dataclass so that its arrays, alone or in tuples and dicts, are read-only (`frozen_array`).

    Dicts are copied. Records that come out of a pickle own their arrays, which are made read-only in place.
    Tensors stay as they are: torch knows no read-only ones.
    """
    make: Callable[..., None] = cls.__init__

    @functools.wraps(make)
    def __init__(self: T, *args: Any, **kwargs: Any) -> None:  # noqa: N807 (it becomes the class's)
        make(self, *args, **kwargs)
        _replace_arrays(self, frozen_array)

    def __setstate__(self: T, state: dict[str, Any]) -> None:  # noqa: N807
        self.__dict__.update(state)
        _replace_arrays(self, handed_over)

    cls.__init__ = __init__  # type: ignore[assignment]
    cls.__setstate__ = __setstate__  # type: ignore[attr-defined]
    return cls


class ComparedByContent:
    """Base of small value types: equal if of one class and of the same values in every field."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, each.name), getattr(other, each.name)) for each in fields(self))  # type: ignore[arg-type]

    def __hash__(self) -> Never:
        raise TypeError(
            f"{type(self).__name__} is compared by its arrays and has no hash; use a name or id() as the key"
        )


def _is_read_only(array: Any) -> bool:
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return True


def _replace_arrays(record: Any, by: Callable[[Any], Any]) -> None:
    for each in fields(record):
        value = getattr(record, each.name)
        replaced = _with_arrays(value, by)
        if replaced is not value:
            object.__setattr__(record, each.name, replaced)


def _with_arrays(value: Any, by: Callable[[Any], Any]) -> Any:
    if isinstance(value, np.ndarray):
        return by(value)
    if type(value) is tuple:
        replaced = tuple(_with_arrays(each, by) for each in value)
        return value if all(a is b for a, b in zip(value, replaced, strict=True)) else replaced
    if type(value) is dict:  # always another one: the caller may go on filling theirs
        return {key: _with_arrays(each, by) for key, each in value.items()}
    return value


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == other.dtype.kind == "f")
    return bool(one == other)

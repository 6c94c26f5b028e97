"""Any number of threads gives the same, and leaves torch's own number as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lpm.fitting.evidence.points import fit_points
from lpm.fitting.extraction import mean_shape
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import sample_surface
from lpm.model.bundle import ModelBundle
from lpm.model.threads import one_thread, shared_out


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_operations_have_one_thread_while_it_lasts() -> None:
    torch.set_num_threads(3)
    with one_thread() as before:
        assert (before, torch.get_num_threads()) == (3, 1)
    assert torch.get_num_threads() == 3


def test_parts_are_shared_out_in_order_among_as_many_threads_as_torch_may_use() -> None:
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=10)  # breaks if one thread does all

    def named(part: int) -> tuple[int, int]:
        if part < 2:
            both.wait()
        return part, torch.get_num_threads()

    assert shared_out(named, range(5)) == [(part, 1) for part in range(5)]
    assert torch.get_num_threads() == 2


def test_threads_that_overlap_leave_the_usual_number() -> None:
    torch.set_num_threads(3)
    entered, may_leave = threading.Event(), threading.Event()
    seen: list[int] = []

    def other() -> None:
        with one_thread() as usual:
            seen.append(usual)
            entered.set()
            may_leave.wait(10)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    with one_thread() as usual:
        thread.start()
        assert entered.wait(10)
        with one_thread() as nested:
            assert nested == 1
    may_leave.set()
    thread.join()
    assert (usual, seen) == (3, [3, 3])
    assert torch.get_num_threads() == 3


def test_an_error_of_a_part_is_raised_and_the_threads_are_given_back() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        shared_out(lambda part: 1 / part, [1, 0, 2])
    assert torch.get_num_threads() == 2


def test_a_fit_is_the_same_by_any_number_of_threads(tiny_atlas: ModelBundle) -> None:
    lungs = fit_lungs(tiny_atlas, 1)
    for n_threads in (2, 4):
        for name, vertices in fit_lungs(tiny_atlas, n_threads).items():
            np.testing.assert_allclose(vertices, lungs[name], atol=1e-3)


def fit_lungs(model: ModelBundle, n_threads: int) -> dict[str, Floats]:
    """Vertices of the lungs fitted to points on a shape that the model knows."""
    rng = np.random.default_rng(0)
    meshes = mean_shape(model, 6.0).meshes
    points = np.concatenate([sample_surface(mesh, 200, rng=rng).points * 1.05 for mesh in meshes.values()])
    points += rng.normal(0.0, 1.0, points.shape)
    torch.set_num_threads(n_threads)
    return {name: mesh.vertices for name, mesh in fit_points(model, points, spacing_mm=6.0).lungs.items()}

"""What operations ask for, on the meta device: toy steps counted by hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad
from torch.func import vmap

from membench.engine.counter import StepCounter

SIZE = 4000  #: bytes of a vector


def vector() -> Tensor:
    return torch.zeros(1000, device="meta")


def test_memory_that_is_given_back_counts_once() -> None:
    x = vector()
    with StepCounter() as counter:
        for _ in range(10):
            x = x + 1  # the old one is held until the new one is made
    assert counter.bytes == 10 * SIZE
    assert counter.peak_bytes == 2 * SIZE


def test_what_was_there_before_does_not_count() -> None:
    x = vector()
    with StepCounter() as counter:
        x.add_(1)
        x.view(10, 100).mul_(2)
    assert counter.peak_bytes == 0


def test_views_hold_the_memory_that_they_show_and_take_none() -> None:
    x = vector()
    with StepCounter() as counter:
        y = (x + 1).view(10, 100)[0]
        z = x + 2
    assert counter.peak_bytes == 2 * SIZE
    del y, z


def test_a_vector_that_is_held_counts_with_those_that_come_and_go() -> None:
    x = vector()
    with StepCounter() as counter:
        kept = x + 1
        for _ in range(5):
            x = kept * 2
    assert counter.peak_bytes == 3 * SIZE


def five_layers(x: Tensor) -> Tensor:
    for _ in range(5):
        x = x.sin()
    return x.sum()


def test_activations_are_alive_until_the_gradient_has_read_them() -> None:
    """Each layer keeps its input: four are made inside, and the last output is held for the sum.

    Going back, two vectors at most stand beside those that are left.
    """
    x = vector().requires_grad_()
    with StepCounter() as counter:
        torch.autograd.grad(five_layers(x), x)
    assert 5 * SIZE <= counter.peak_bytes < 8 * SIZE


def test_a_gradient_of_torch_func_keeps_all_that_a_further_one_could_need() -> None:
    """The inputs of four layers, five cosines and five products: 14 vectors and two numbers."""
    with StepCounter() as counter:
        grad(five_layers)(vector())
    assert counter.peak_bytes == 14 * SIZE + 8
    assert counter.bytes > counter.peak_bytes  # the last output is given back after the sum


def test_stacked_lanes_take_so_many_times_the_memory_of_one() -> None:
    peaks = []
    for lanes in (1, 7):
        with StepCounter() as counter:
            vmap(grad(lambda x: x.sin().exp().sum()))(torch.zeros(lanes, 1000, device="meta"))
        peaks.append(counter.peak_bytes)
    assert peaks[1] == 7 * peaks[0]


def test_a_product_moves_its_factors_and_its_result() -> None:
    a, b = torch.zeros(20, 30, device="meta"), torch.zeros(30, 50, device="meta")
    with StepCounter() as counter:
        _ = (a @ b).relu()
    assert counter.flops == 2 * 20 * 30 * 50
    assert counter.product_bytes == 4 * (20 * 30 + 30 * 50 + 20 * 50)

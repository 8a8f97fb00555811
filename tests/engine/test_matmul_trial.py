"""The trial of bfloat16: which products it times, and what follows from its times alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from membench.api import Recipe
from membench.engine import matmul_trial
from membench.engine.costs import count_step
from membench.engine.matmul_trial import bfloat16_speed
from membench.engine.matmul_trial import chosen_precision
from membench.engine.matmul_trial import plain_products
from membench.engine.matmul_trial import time_products
from membench.engine.network import meta_module
from membench.engine.products import Product
from membench.engine.step import Program
from membench.engine.step import RunSizes
from membench.testing.toy import CLASSES
from membench.testing.toy import MLP
from membench.testing.toy import SHAPE
from membench.testing.toy import shipped_optimizer

RECIPE = Recipe(batch=20)
SGD = shipped_optimizer("sgd")
FIRST = Product(batch=1, m=20, k=784, n=256)
SECOND = Product(batch=1, m=20, k=256, n=256)


def test_the_products_of_the_plain_step_have_all_of_its_flops() -> None:
    counts = plain_products(MLP, RECIPE, SGD, SHAPE, CLASSES)
    sizes = RunSizes(steps=1, num_classes=CLASSES, num_examples=20, pixel_scale=1.0)
    module = meta_module(MLP, SHAPE, CLASSES)
    program = Program(module=module, parts=(), recipe=RECIPE, optimizer=SGD, sizes=sizes)
    flops = sum(count * product.flops for product, count in counts.items())
    assert flops == count_step(program, SHAPE).flops > 0


def test_each_product_is_timed_in_both_precisions_and_torch_s_settings_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matmul_trial, "TRIAL_SECONDS", 0.0)
    small = Product(batch=1, m=2, k=2, n=2)
    transposed = Product(batch=2, m=64, k=64, n=64, transposed=(True, False))
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    seconds = time_products(Counter([FIRST, transposed, small]))
    assert set(seconds) == {FIRST, transposed}
    for in_float32, in_bfloat16 in seconds.values():
        assert len(in_float32) == len(in_bfloat16) == matmul_trial.MIN_ROUNDS
        assert min(in_float32) > 0 and min(in_bfloat16) > 0
    assert before == (torch.get_num_threads(), torch.get_float32_matmul_precision())


@pytest.mark.parametrize("sizes", [(1 << 15, 64, 64), (64, 1 << 15, 64), (4096, 4096, 4096)])
def test_a_product_that_would_take_too_long_is_cut(sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    cut = matmul_trial._cut(Product(batch=5, m=m, k=k, n=n))
    assert matmul_trial.MAX_FLOPS / 4 < cut.flops <= matmul_trial.MAX_FLOPS


def test_the_speed_weighs_products_by_their_time_in_the_step_and_takes_medians() -> None:
    counts = {FIRST: 1, SECOND: 2}
    seconds = {
        FIRST: ([4.0, 4.0, 90.0], [1.0, 1.0, 1.0]),
        SECOND: ([1.0, 0.1, 1.0], [1.0, 1.0, 70.0]),
    }
    assert bfloat16_speed(counts, seconds) == pytest.approx((4 + 2 * 1) / (1 + 2 * 1))
    assert bfloat16_speed(counts, {}) is None


@pytest.mark.parametrize(
    ("speed", "precision"),
    [(0.5, "highest"), (1.0, "highest"), (1.09, "highest"), (1.1, "medium"), (2.0, "medium")],
)
def test_bfloat16_must_win_by_a_tenth(speed: float, precision: str) -> None:
    assert chosen_precision(speed) == precision


def test_a_step_without_large_products_stays_in_float32() -> None:
    assert time_products({Product(batch=1, m=4, k=4, n=4): 1}) == {}
    assert chosen_precision(None) == "highest"

"""A short trial of how fast this CPU multiplies the matrices of a task's plain step.

Having AVX512-BF16 does not make a CPU faster in bfloat16 (`membench.engine.bf16`): a Xeon whose
hypervisor hides its AMX reaches 77 to 85 GFLOP/s a core, half of what it does in float32. So the
driver of a run times the products of the plain step in both, once per task and machine, and tells
its workers the outcome; see `membench.commands.precision`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from membench.api import Architecture
from membench.api import Optimizer
from membench.api import Recipe
from membench.engine.costs import count_step
from membench.engine.environment import PRECISION
from membench.engine.environment import THREADS
from membench.engine.network import Shape
from membench.engine.network import meta_module
from membench.engine.products import Product
from membench.engine.products import ProductCounter
from membench.engine.step import Program
from membench.engine.step import RunSizes

MARGIN = 1.1  #: bfloat16 must be so many times as fast as float32: its casts are not in the trial
TRIAL_SECONDS = 0.4  #: after which no further round of the trial begins
MIN_ROUNDS = 3
MAX_SHAPES = 6  #: the products with the most FLOPs are timed
MAX_FLOPS = 1 << 27  #: of one timed call: a millisecond
LANES = 5  #: of a step that is timed, as on a CPU (`membench.engine.compiled.GROUP_SIZE`)

Seconds = Sequence[float]  #: of the CPU, for each of several rounds
#: product -> seconds that it takes in float32 and in bfloat16, one of each for each round
Timings = Mapping[Product, tuple[Seconds, Seconds]]


def plain_products(
    architecture: Architecture,
    recipe: Recipe,
    optimizer: Optimizer,
    shape: Shape,
    num_classes: int,
) -> Counter[Product]:
    """Count the products of one lane's step of `none`, on the meta device.

    Args:
        architecture: the network.
        recipe: how it is trained.
        optimizer: the one that the recipe names.
        shape: of an image, [c, h, w].
        num_classes: of the data set.
    """
    module = meta_module(architecture, shape, num_classes)
    sizes = RunSizes(steps=1, num_classes=num_classes, num_examples=recipe.batch, pixel_scale=1.0)
    program = Program(module=module, parts=(), recipe=recipe, optimizer=optimizer, sizes=sizes)
    with ProductCounter() as counter:
        count_step(program, shape)
    return counter.counts


def time_products(products: Mapping[Product, int]) -> dict[Product, tuple[Seconds, Seconds]]:
    """Time the largest products on one thread in float32 and in bfloat16, in turn.

    What is measured is the thread's CPU time, which other processes disturb least.

    Args:
        products: of one lane's step, and how often each is in it.

    Returns:
        A product -> seconds that it takes in float32 and in bfloat16, one of each for each round.
    """
    threads = torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    torch.set_num_threads(THREADS)
    torch.set_float32_matmul_precision(PRECISION[False])
    try:
        end = time.monotonic() + TRIAL_SECONDS
        calls = [_Call(product) for product in _largest(products)]
        for call in calls:  # the first time, kernels are chosen and memory is taken
            call.in_float32()
            call.in_bfloat16()
        rounds: list[dict[Product, tuple[float, float]]] = []
        while calls and (len(rounds) < MIN_ROUNDS or time.monotonic() < end):
            rounds.append({call.product: call.time_both() for call in calls})
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    seconds: dict[Product, tuple[Seconds, Seconds]] = {}
    for call in calls:
        of_rounds = [times[call.product] for times in rounds]
        seconds[call.product] = ([fp32 for fp32, _ in of_rounds], [bf16 for _, bf16 in of_rounds])
    return seconds


def bfloat16_speed(
    products: Mapping[Product, int], seconds: Mapping[Product, tuple[Seconds, Seconds]]
) -> float | None:
    """Return how many times as fast the products are in bfloat16 as in float32.

    Each timed product has the weight of its FLOPs in the step; its time is a median. None if none
    was timed: the step has no large product.

    Args:
        products: of one lane's step, and how often each is in it.
        seconds: what `time_products` returned for them.
    """
    in_float32 = sum(products[p] * median(times) for p, (times, _) in seconds.items())
    in_bfloat16 = sum(products[p] * median(times) for p, (_, times) in seconds.items())
    return in_float32 / in_bfloat16 if in_bfloat16 else None


def chosen_precision(speed: float | None) -> str:
    """Return torch's matmul precision for a step whose products have this speed in bfloat16."""
    return "medium" if speed is not None and speed >= MARGIN else "highest"


class _Call:
    """One timed call: a product of several lanes, cut if it would take too long."""

    def __init__(self, product: Product) -> None:
        self.product = product
        timed = _cut(replace(product, batch=LANES * product.batch))
        self._share = product.flops / timed.flops
        self._a = _factor(timed.batch, timed.m, timed.k, timed.transposed[0])
        self._b = _factor(timed.batch, timed.k, timed.n, timed.transposed[1])
        # the casts keep how a factor lies in memory
        self._a16, self._b16 = self._a.to(torch.bfloat16), self._b.to(torch.bfloat16)

    def in_float32(self) -> None:
        """Multiply in float32."""
        torch.bmm(self._a, self._b)

    def in_bfloat16(self) -> None:
        """Multiply the factors that were rounded to bfloat16."""
        torch.bmm(self._a16, self._b16)

    def time_both(self) -> tuple[float, float]:
        """Return the CPU seconds that the product takes in float32 and in bfloat16."""
        started = time.thread_time()
        self.in_float32()
        between = time.thread_time()
        self.in_bfloat16()
        ended = time.thread_time()
        return self._share * (between - started), self._share * (ended - between)


def _largest(products: Mapping[Product, int]) -> list[Product]:
    """Return the products that are worth timing, those with the most FLOPs in the step first."""
    large = [product for product in products if product.is_large]
    large.sort(key=lambda product: products[product] * product.flops, reverse=True)
    return large[:MAX_SHAPES]


def _cut(product: Product) -> Product:
    """Return the product with fewer matrices, and if need be smaller ones."""
    while product.flops > MAX_FLOPS and product.batch > 1:
        product = replace(product, batch=product.batch - 1)
    while product.flops > MAX_FLOPS:
        longest = max(("m", "k", "n"), key=lambda name: getattr(product, name))
        product = replace(product, **{longest: getattr(product, longest) // 2})
    return product


def _factor(batch: int, rows: int, columns: int, transposed: bool) -> Tensor:
    """Return random matrices, transposed in memory or not."""
    if transposed:
        return torch.randn(batch, columns, rows).transpose(1, 2)
    return torch.randn(batch, rows, columns)

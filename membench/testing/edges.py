"""Checks at the edges: extreme arguments, and batches of another size."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_map

from membench.engine.contract import call
from membench.testing.bench import Bench
from membench.testing.stages import VALUED
from membench.testing.stages import place_at
from membench.testing.subject import Fault
from membench.testing.subject import Subject
from membench.testing.world import leaves


def finite_at_edges(subject: Subject) -> None:
    """At the strongest and the weakest strength, value and gradient of each function on extreme arguments."""
    bench = subject.bench
    for setting in (bench.strongest, bench.strengths[0]):
        for stage in bench.role(*VALUED):
            for edge, args, lane in _edges(bench, setting, stage):
                _check_finite(bench, stage, edge, args, lane)


def _edges(bench: Bench, setting: tuple[float, ...], stage: str) -> list[tuple[str, Any, Any]]:
    """(what is extreme, arguments, lane)."""
    step = bench.step(setting)
    args, lane = bench.give(step, stage)
    if stage == "loss":
        y, sure = args[2], 200 * (args[2] - 0.5)
        right, wrong = ((-(y * z.log_softmax(1)).sum(1), z, y) for z in (sure, -sure))
        return [("logits that are sure and right", right, lane), ("logits that are sure and wrong", wrong, lane)]
    zero = tree_map(torch.zeros_like, args)
    if stage == "batch":
        return [("inputs that are all zero", (zero[0], args[1]), lane)]
    if stage == "grads":
        return [("a gradient of zero", (zero[0], args[1]), lane)]
    name = "activations that are all zero" if stage == "hidden" else "weights that are all zero"
    return [(name, zero, lane)]


def _check_finite(bench: Bench, stage: str, edge: str, args: Any, lane: Any) -> None:
    differentiated = stage in ("perturb", "hidden", "loss", "penalty")
    args = tree_map(lambda v: v.clone().requires_grad_(differentiated), args)
    out = call(bench.parts[0], stage, *args, lane)
    flat = [torch.as_tensor(v) for v in (leaves([out]).values() or [out])]
    if not all(v.isfinite().all() for v in flat):
        raise Fault(f"{stage} is not finite for {edge}", place_at(bench, stage))
    total = sum(v.double().sum() for v in flat)
    if differentiated and total.requires_grad:
        given = [v for v in leaves(list(args)).values() if v.requires_grad]
        for g in torch.autograd.grad(total, given, allow_unused=True):
            if g is not None and not g.isfinite().all():
                raise Fault(f"{stage} has a gradient that is not finite for {edge}", place_at(bench, stage))


def last_batch(subject: Subject) -> None:
    """Five examples where there were eight."""
    _resized(subject.bench, 5)


def batch_of_one(subject: Subject) -> None:
    """Shapes, and finite at the strongest strength."""
    _resized(subject.bench, 1)


def _resized(bench: Bench, batch: int) -> None:
    for stage in bench.roles:
        step = bench.step(bench.strongest, batch=batch)
        out = bench.act(step, stage)
        flat = leaves([out]).values()
        if not all(v.isfinite().all() for v in flat if v.is_floating_point()):
            raise Fault(f"{stage} is not finite for a batch of {batch}", place_at(bench, stage))
    if bench.world(bench.strongest, batch=batch).trained(epochs=1).var["died"].tolist() != [-1]:
        raise Fault(f"training with a batch of {batch} gives a loss that is not finite")

"""Checks that call a regularizer's functions by hand, one lane, without vmap: values, gradients, shapes, edges."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from membench.api import STAGES
from membench.engine.contract import call
from membench.engine.network import inspect_network
from membench.engine.step import Step
from membench.errors import MembenchError
from membench.testing.bench import Bench
from membench.testing.bench import strength_text
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import Subject
from membench.testing.check import source_location
from membench.testing.toy import CLASSES
from membench.testing.toy import CNN
from membench.testing.toy import MLP
from membench.testing.toy import SHAPE
from membench.testing.toy import VIT
from membench.testing.toy import bitwise_equal
from membench.testing.toy import leaves
from membench.testing.toy import max_abs_diff
from membench.testing.watched_lane import ContractViolation

DIFFERENTIATED = ("batch", "perturb", "hidden", "loss", "penalty")
VALUED = tuple(stage for stage in STAGES if stage not in ("init", "update"))


def skip(subject: Subject) -> str | None:
    """Asked of three networks; pure, so twice."""
    reasons = []
    for part in subject.records:
        for network in (MLP, CNN, VIT) if part.skip else ():
            net = inspect_network(network, SHAPE, CLASSES)
            said = part.skip(net)
            if not (said is None or (isinstance(said, str) and said.strip())):
                raise Fault(
                    f"skip returned {said!r} for the {network.name}", source_location(part.skip)
                )
            if part.skip(net) != said:
                raise Fault(
                    f"skip answers differently when asked again about the {network.name}",
                    source_location(part.skip),
                )
            reasons += [f"skips the {network.name}: {said}"] if said else []
    if not any(part.skip for part in subject.records):
        raise NotApplicable("it has no skip")
    return "; ".join(reasons)


def lane_only(subject: Subject) -> None:
    """Also what a function tried and caught the refusal of."""
    bench = subject.bench
    for stage in bench.roles:
        error = bench.first_call(stage)
        if isinstance(error, ContractViolation):
            raise error
        if bench.trespasses:
            raise Fault(f"{stage} reaches for {bench.trespasses[0]}", place_at(bench, stage))


def calls(subject: Subject) -> None:
    """Whatever but a wrong result; that is `shapes`."""
    bench = subject.bench
    for stage in bench.roles:
        error = bench.first_call(stage)
        if error is not None and not _about_shapes(error):
            raise error


def shapes(subject: Subject) -> None:
    """The engine's own check, at the strongest strength."""
    bench = subject.bench
    for stage in bench.roles:
        error = bench.first_call(stage)
        if error is not None:
            raise Fault(str(error), place_at(bench, stage))


def _about_shapes(error: BaseException) -> bool:
    return isinstance(error, MembenchError) and " must return " in str(error)


def place_at(bench: Bench, stage: str) -> str:
    return source_location(getattr(bench.parts[0], stage))


def off_value(subject: Subject) -> None:
    """Bitwise, and the gradient through it."""
    bench = subject.bench
    for stage in bench.role(*VALUED):
        step = bench.step(bench.off)
        args, lane = bench.give(step, stage)
        if stage == "readout" and bench.parts[0].update is not None:
            lane.state = bench.act(step, "update")
        if stage in DIFFERENTIATED:
            args = tree_map(lambda v: v.clone().requires_grad_(), args)
        out = call(step.program.parts[0], stage, *args, lane)
        plain: Any = {"batch": args[:2], "penalty": torch.zeros(())}.get(stage, args[0])
        out = torch.as_tensor(out) if stage == "penalty" else out
        if not bitwise_equal([out], [plain]):
            away = max_abs_diff([out], [plain])
            raise Fault(
                f"{stage} at off ({strength_text(bench.off)}) changes what it is given, by up to {away:.2g}",
                place_at(bench, stage),
            )
        if stage in DIFFERENTIATED and not _same_gradient(args, out, plain):
            raise Fault(
                f"{stage} at off ({strength_text(bench.off)}) changes the gradient, though not the value",
                place_at(bench, stage),
            )


def _same_gradient(args: Any, out: Any, plain: Any) -> bool:
    given = list(leaves(list(args)).values())
    through, identity = (
        torch.autograd.grad(_total(result) + 0 * sum(v.sum() for v in given), given)
        for result in (out, plain)
    )
    return all(torch.equal(g, e) for g, e in zip(through, identity, strict=True))


def _total(tree: Any) -> Tensor:
    """A sum in which every number has a weight of its own."""
    flat = leaves(list(tree) if isinstance(tree, tuple) else [tree]).values()
    return sum((v * torch.cos(1 + torch.arange(v.numel())).reshape(v.shape)).sum() for v in flat)


def labels(subject: Subject) -> None:
    """At every strength."""
    bench = subject.bench
    for setting in (
        bench.strengths[:: max(1, len(bench.strengths) - 1)] if bench.role("batch") else ()
    ):
        y = bench.act(bench.step(setting), "batch")[1]
        low, high = y.min().item(), (y.sum(1) - 1).abs().max().item()
        if low < -1e-6 or high > 1e-4:
            what = (
                f"a label of {low:.3g}" if low < -1e-6 else f"labels that add up to {1 + high:.3g}"
            )
            raise Fault(
                f"batch makes {what} at strength {strength_text(setting)}", place_at(bench, "batch")
            )


def inputs_untouched(subject: Subject) -> None:
    """Arguments, state, initial weights and the lane's tensors: bits and version counters."""
    bench = subject.bench
    for stage in bench.roles:
        step = bench.step(bench.strongest)
        args, lane = bench.give(step, stage)
        fields = {
            n: v
            for n, v in vars(lane).items()
            if isinstance(v, (Tensor, dict, list)) and not n.startswith("_")
        }
        seen = {
            "its arguments": list(args),
            **{f"lane.{name}": value for name, value in fields.items()},
        }
        before = tree_map(torch.clone, seen)
        versions = {path: v._version for path, v in leaves(seen).items()}
        call(step.program.parts[0], stage, *args, lane)
        for name, value in seen.items():
            changed = any(
                v._version != versions[f"/{name}{path}"] for path, v in leaves(value).items()
            )
            if changed or not bitwise_equal(value, before[name]):
                raise Fault(f"{stage} changes {name} in place", place_at(bench, stage))


def penalty_gradient(subject: Subject) -> str:
    """In float64, along two directions, with the draws held fixed; 5 % of the larger is allowed."""
    bench = subject.bench
    bench.role("penalty")
    part = replace(bench.parts[0], batch=None, perturb=None, loss=None, grads=None, weights=None)
    step = _double(bench.step(bench.strongest, parts=(part,)))
    bare = copy.copy(step)
    bare.program = replace(step.program, parts=())

    def penalty(params: dict[str, Tensor]) -> Tensor:
        given = (params, step.x, step.y, step.index, None)
        if part.hidden is not None:
            return step.objective(*given)[0]
        return step.objective(*given)[0] - bare.objective(*given)[0]

    gradient = torch.func.grad(penalty)(step.params)
    worst = 0.0
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        way = {
            k: torch.randn(w.shape, generator=generator, dtype=torch.float64)
            for k, w in step.params.items()
        }
        up, down = (
            {k: w + sign * 1e-4 * way[k] for k, w in step.params.items()} for sign in (1, -1)
        )
        slope = ((penalty(up) - penalty(down)) / 2e-4).item()
        mine = sum((gradient[k] * way[k]).sum() for k in way).item()
        off = abs(slope - mine) / max(abs(slope), abs(mine), 1e-9)
        if off > 0.05:
            raise Fault(
                f"the penalty rises by {slope:.4g} along a direction, its gradient says {mine:.4g}",
                place_at(bench, "penalty"),
            )
        worst = max(worst, off)
    return f"within {worst:.0e}"


def _double(step: Step) -> Step:
    """The step in float64; the draws keep their 24 bits."""
    wide = lambda tree: tree_map(lambda v: v.double() if v.is_floating_point() else v, tree)  # noqa: E731
    names = ("params", "states", "buffers", "x", "y")
    vars(step).update(wide({name: getattr(step, name) for name in names}))
    step.strengths = wide(step.strengths)
    step.common = {
        k: wide(v) if isinstance(v, (Tensor, dict)) else v for k, v in step.common.items()
    }
    step.lr = wide(step.lr)
    return step


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
        return [
            ("logits that are sure and right", right, lane),
            ("logits that are sure and wrong", wrong, lane),
        ]
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
                raise Fault(
                    f"{stage} has a gradient that is not finite for {edge}", place_at(bench, stage)
                )


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

"""Checks that call the functions of a regularizer one by one, in one lane without vmap.

They look at shapes, values and gradients: in an ordinary step, at off, on extreme arguments, and in
batches of other sizes.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from membench.api import STAGES
from membench.engine.contract import call
from membench.engine.network import inspect_network
from membench.engine.step import Step
from membench.errors import MembenchError
from membench.nn import cross_entropy
from membench.testing.bench import EPOCHS
from membench.testing.bench import Bench
from membench.testing.bench import reasons_to_skip
from membench.testing.bench import strength_text
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import source_location
from membench.testing.subject import Subject
from membench.testing.subject import describe_error
from membench.testing.subject import location_in_plugin
from membench.testing.subject import remedy
from membench.testing.toy import CLASSES
from membench.testing.toy import MLP
from membench.testing.toy import NETWORKS
from membench.testing.toy import SHAPE
from membench.testing.toy import bitwise_equal
from membench.testing.toy import leaves
from membench.testing.toy import max_abs_diff
from membench.testing.watched_lane import ContractViolation

#: Stages whose result is a part of the loss, so that gradients flow through them.
DIFFERENTIATED = ("batch", "perturb", "hidden", "loss", "penalty")
#: Stages whose result training or evaluation uses; the others return a state.
VALUED = tuple(stage for stage in STAGES if stage not in ("init", "update"))

#: stage -> the arguments of its function, and what it must return
ARGUMENTS = {
    "batch": ("x", "y", "lane"),
    "perturb": ("params", "lane"),
    "hidden": ("h", "lane"),
    "loss": ("losses", "logits", "y", "lane"),
    "penalty": ("params", "lane"),
    "grads": ("grads", "params", "lane"),
    "weights": ("params", "lane"),
    "init": ("params", "lane"),
    "update": ("params", "lane"),
    "readout": ("params", "lane"),
}
RETURNS = {
    "batch": "x, y, each of the shape and type that it has",
    "perturb": "a dict with the names, shapes and types of params",
    "hidden": "h, of the shape and type that it has",
    "loss": "the losses, [n] float32, one for each example",
    "penalty": "one number: a sum or a mean",
    "grads": "a dict with the names, shapes and types of grads",
    "weights": "a dict with the names, shapes and types of params",
    "init": "a dict of tensors",
    "update": "a dict with the names, shapes and types of lane.state",
    "readout": "a dict with the names, shapes and types of params",
}
SMALLEST_LABEL, LARGEST_LABEL_ERROR = -1e-6, 1e-4  #: allowed for rounding
ROUNDING = 1e-6  #: of the largest number, what off may change: 8 steps of float32
SLOPE_TOLERANCE = 0.05  #: of the larger of the two slopes


def function_location(bench: Bench, stage: str) -> str:
    """Return the place of a single regularizer's function at a stage."""
    return source_location(getattr(bench.parts[0], stage))


# --- an ordinary step -----------------------------------------------------------------------------


def skip(subject: Subject) -> str:
    """Check that `skip` returns None or a reason, the same when asked again, and not always one.

    What it skips of the check's networks is never run there; of all of them, nothing is checked.
    """
    skips = [part.skip for part in subject.records if part.skip]
    if not skips:
        raise NotApplicable("it has no skip")
    for part_skip in skips:
        where = source_location(part_skip)
        for network in NETWORKS:
            net = inspect_network(network, SHAPE, CLASSES)
            reason = part_skip(net)
            if reason is not None and not (isinstance(reason, str) and reason.strip()):
                raise Fault(f"skip returned {reason!r} for the {network.name}", where)
            if part_skip(net) != reason:
                raise Fault(
                    f"skip answers differently when asked again about the {network.name}", where
                )
    reasons = reasons_to_skip(subject.records)
    if len(reasons) == len(NETWORKS):
        raise Fault(
            f"it skips every network of the check, so nothing of it was run: {_listed(reasons)}",
            source_location(skips[0]),
            "let it act where it can: the networks have taps of [n, features], [n, tokens, "
            "features] and [n, c, 4, 4], branches, layer norm and batch norm",
        )
    if MLP.name in reasons:
        return f"checked on the {subject.bench.architecture.name}: it skips {_listed(reasons)}"
    return f"it skips {_listed(reasons)}" if reasons else ""


def _listed(reasons: Mapping[str, str]) -> str:
    """Write networks and the reasons why they are skipped, each reason once."""
    networks: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        networks.setdefault(reason, []).append(name)
    listed = [f"{', '.join(names)} ({reason})" for reason, names in networks.items()]
    return "; ".join(listed)


def lane_only(subject: Subject) -> None:
    """Check that functions use documented fields alone, also where they catch the refusal."""
    bench = subject.bench
    for stage in bench.stages:
        error = bench.first_call_error(stage)
        if isinstance(error, ContractViolation):
            raise error
        if bench.violations:
            raise Fault(
                f"{stage} reaches for {bench.violations[0]}", function_location(bench, stage)
            )


def calls(subject: Subject) -> None:
    """Check that every function can be called. A wrong shape is left to `shapes`."""
    bench = subject.bench
    for stage in bench.stages:
        _check_signature(bench, stage)
        error = bench.first_call_error(stage)
        if error is not None and not _is_about_shapes(error):
            where = location_in_plugin(error, subject.paths)
            what = f"on the {bench.architecture.name}: {describe_error(error, where)}"
            raise Fault(what, where, remedy(error, where)) from error


def _check_signature(bench: Bench, stage: str) -> None:
    """Check that a function takes the arguments of its stage, by position."""
    function = getattr(bench.parts[0], stage)
    expected = ARGUMENTS[stage]
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a function in C, nothing is known
        return
    try:
        signature.bind(*expected)
    except TypeError:
        raise Fault(
            f"{stage} is called with ({', '.join(expected)}), and takes {signature}",
            function_location(bench, stage),
            f"write def {stage}({', '.join(expected)})",
        ) from None


def shapes(subject: Subject) -> None:
    """Check that every function returns the shapes and types that it was given."""
    bench = subject.bench
    for stage in bench.stages:
        error = bench.first_call_error(stage)
        if error is not None:
            what = str(error).removeprefix(f"regularizer {bench.parts[0].name!r}: ")
            mend = f"return {RETURNS[stage]}"
            raise Fault(what, function_location(bench, stage), mend)


def _is_about_shapes(error: BaseException) -> bool:
    return isinstance(error, MembenchError) and " must return " in str(error)


def labels(subject: Subject) -> None:
    """Check that labels stay shares that add up to 1, at the weakest and the strongest strength."""
    bench = subject.bench
    (stage,) = bench.stages_among("batch")
    for setting in dict.fromkeys((bench.strengths[0], bench.strongest)):
        y = bench.call_stage(bench.step(setting), stage)[1]
        low = y.min().item()
        error = (y.sum(1) - 1).abs().max().item()
        if low < SMALLEST_LABEL:
            what = f"a label of {low:.3g}"
        elif error > LARGEST_LABEL_ERROR:
            what = f"labels that add up to {1 + error:.3g}"
        else:
            continue
        raise Fault(
            f"batch makes {what} at strength {strength_text(setting)}",
            function_location(bench, stage),
        )


def inputs_untouched(subject: Subject) -> None:
    """Check that functions leave their arguments, the state and the lane's tensors as they were.

    Bits and version counters are compared, so that writing the old value back shows too.
    """
    bench = subject.bench
    for stage in bench.stages:
        step = bench.step(bench.strongest)
        arguments, lane = bench.stage_arguments(step, stage)
        given: dict[str, Any] = {"its arguments": list(arguments)}
        for name, value in vars(lane).items():
            if isinstance(value, (Tensor, dict, list)) and not name.startswith("_"):
                given[f"lane.{name}"] = value
        before = tree_map(torch.clone, given)
        versions = _versions(given)
        call(step.program.parts[0], stage, *arguments, lane)
        for name, value in given.items():
            written = any(
                version != versions.get(path) for path, version in _versions({name: value}).items()
            )
            if written or not bitwise_equal(value, before[name]):
                raise Fault(f"{stage} changes {name} in place", function_location(bench, stage))


def _versions(tree: Any) -> dict[str, int]:
    """Return how often each tensor of a tree was written in place, by its path."""
    return {path: tensor._version for path, tensor in leaves(tree).items()}


# --- off ------------------------------------------------------------------------------------------


def off_value(subject: Subject) -> str:
    """Check that at off each function is the identity up to rounding, and so is its gradient."""
    bench = subject.bench
    largest = 0.0
    for stage in bench.stages_among(*VALUED):
        step = bench.step(bench.off)
        arguments, lane = bench.stage_arguments(step, stage)
        if stage == "readout" and bench.parts[0].update is not None:
            lane.state = bench.call_stage(step, "update")
        if stage in DIFFERENTIATED:
            arguments = tree_map(lambda v: v.clone().requires_grad_(), arguments)
        inputs = list(leaves(list(arguments)).values())
        if stage == "loss":  # the losses may be computed once more from the logits
            _, logits, y = arguments
            arguments, inputs = (cross_entropy(logits, y), logits, y), [logits]
        result = call(step.program.parts[0], stage, *arguments, lane)

        identity = arguments[0]
        if stage == "batch":
            identity = arguments[:2]
        elif stage == "penalty":
            identity, result = torch.zeros(()), torch.as_tensor(result)
        changes = f"{stage} at off ({strength_text(bench.off)}) changes"
        mend = _mend_off(bench)
        allowed = ROUNDING * _largest(identity)
        difference = max_abs_diff([result], [identity])
        if not difference <= allowed:  # NaN is not
            raise Fault(
                f"{changes} what it is given, by up to {difference:.2g}",
                function_location(bench, stage),
                mend,
            )
        largest = max(largest, difference)
        if stage not in DIFFERENTIATED:
            continue
        gradients = _gradients(_weighted_sum(result), inputs)
        expected = _gradients(_weighted_sum(identity), inputs)
        difference = max_abs_diff(list(gradients), list(expected))
        if not difference <= ROUNDING * _largest(list(expected)):
            raise Fault(
                f"{changes} the gradient, by up to {difference:.2g}, though not the value",
                function_location(bench, stage),
                mend,
            )
        largest = max(largest, difference)
    return f"up to rounding, {largest:.1e}" if largest else "to the last bit"


def _largest(tree: Any) -> float:
    """Return the largest number of a tree, at least 1."""
    sizes = [tensor.abs().max().item() for tensor in leaves([tree]).values() if tensor.numel()]
    return max([1.0, *sizes])


def _mend_off(bench: Bench) -> str:
    """Say how a formula is written that does nothing at this regularizer's off."""
    (off,) = bench.off
    other = "or give another off"
    if off == 0:
        return f"let off leave everything as it is: a mix (1 - s) * plain + s * other, {other}"
    return f"let strength {off:g}, which is off, leave everything as it is, {other}"


def _gradients(value: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the value's gradients, zero in those inputs that it does not depend on."""
    zero = 0 * torch.stack([tensor.sum() for tensor in inputs]).sum()
    return torch.autograd.grad(value + zero, inputs, retain_graph=True)


def _weighted_sum(tree: Any) -> Tensor:
    """Add up all numbers of a tree, each with a weight that depends on its place."""
    total = torch.zeros(())
    for tensor in leaves(list(tree) if isinstance(tree, tuple) else [tree]).values():
        weights = torch.cos(1 + torch.arange(tensor.numel())).reshape(tensor.shape)
        total = total + (tensor * weights).sum()
    return total


# --- the gradient of a penalty --------------------------------------------------------------------


def penalty_gradient(subject: Subject) -> str:
    """Check that the penalty's gradient is that of finite differences.

    Computed in float64 along two random directions, with the draws held fixed. A part that the
    file holds constant by `detach` or `no_grad`, as published methods do, is worth a warning; a
    penalty without any gradient is a fault.
    """
    bench = subject.bench
    bench.stages_among("penalty")
    part = replace(bench.parts[0], batch=None, perturb=None, loss=None, grads=None, weights=None)
    step = _in_float64(bench.step(bench.strongest, parts=(part,)))
    plain_step = copy.copy(step)
    plain_step.program = replace(step.program, parts=())

    def penalty(params: dict[str, Tensor]) -> Tensor:
        value: Tensor = step.objective(params, step.x, step.y, step.index, None)[0]
        if part.hidden is not None:  # without it the network would be another
            return value
        return value - plain_step.objective(params, step.x, step.y, step.index, None)[0]

    gradient = torch.func.grad(penalty)(step.params)
    worst = 0.0
    for seed in range(2):
        direction = _random_direction(step.params, seed)
        higher = {k: w + 1e-4 * direction[k] for k, w in step.params.items()}
        lower = {k: w - 1e-4 * direction[k] for k, w in step.params.items()}
        measured = ((penalty(higher) - penalty(lower)) / 2e-4).item()
        promised = sum((gradient[k] * direction[k]).sum().item() for k in direction)
        error = abs(measured - promised) / max(abs(measured), abs(promised), 1e-9)
        if error > SLOPE_TOLERANCE:
            raise _slope_fault(subject, measured, promised)
        worst = max(worst, error)
    return f"within {worst:.0e}"


def _slope_fault(subject: Subject, measured: float, promised: float) -> Fault:
    """Make the fault of a penalty whose gradient is another than its slope."""
    where = function_location(subject.bench, "penalty")
    what = (
        f"the penalty rises by {measured:.4g} along a direction, its gradient says {promised:.4g}"
    )
    if not holds_constant(subject.paths) or abs(promised) < 1e-9:
        return Fault(what, where)
    return Fault(
        f"{what}: a part of it is held constant",
        where,
        "nothing, if the method's source has it so (a target, an adversarial direction); else no "
        "detach and no no_grad between params and the penalty",
        warns=True,
    )


def holds_constant(paths: Iterable[str]) -> bool:
    """Tell whether files stop a gradient, by the words for it."""
    for path in paths:
        for node in ast.walk(ast.parse(Path(path).read_bytes())):
            if isinstance(node, ast.Attribute) and node.attr in ("detach", "no_grad"):
                return True
    return False


def _random_direction(params: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    direction = {}
    for name, weights in params.items():
        direction[name] = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    return direction


def _in_float64(step: Step) -> Step:
    """Turn all numbers of the step to float64, in place; its draws keep their 24 bits."""

    def to_float64(tree: Any) -> Any:
        return tree_map(lambda v: v.double() if v.is_floating_point() else v, tree)

    for name in ("params", "states", "buffers", "x", "y", "strengths", "lr"):
        vars(step)[name] = to_float64(getattr(step, name))
    common = {}
    for name, value in step.common.items():
        common[name] = to_float64(value) if isinstance(value, (Tensor, dict)) else value
    step.common = common
    return step


# --- extreme arguments ----------------------------------------------------------------------------


def finite_at_edges(subject: Subject) -> None:
    """Check that values and gradients are finite on extreme arguments, weak and strong."""
    bench = subject.bench
    for setting in (bench.strongest, bench.strengths[0]):
        for stage in bench.stages_among(*VALUED):
            arguments, lane = bench.stage_arguments(bench.step(setting), stage)
            for edge, extreme in _extreme_arguments(stage, arguments):
                _check_finite(bench, stage, edge, extreme, lane)


def _extreme_arguments(
    stage: str, arguments: tuple[Any, ...]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield (what is extreme, the function's tensors), made from those of an ordinary step."""
    if stage == "loss":
        y = arguments[2]
        confident = 200 * (y - 0.5)
        for logits, which in ((confident, "right"), (-confident, "wrong")):
            losses = -(y * logits.log_softmax(1)).sum(1)
            yield f"logits that are sure and {which}", (losses, logits, y)
        return
    zero = tree_map(torch.zeros_like, arguments)
    if stage == "batch":
        yield "inputs that are all zero", (zero[0], arguments[1])
    elif stage == "grads":
        yield "a gradient of zero", (zero[0], arguments[1])
    elif stage == "hidden":
        yield "activations that are all zero", zero
    else:
        yield "weights that are all zero", zero


def _check_finite(bench: Bench, stage: str, edge: str, arguments: Any, lane: Any) -> None:
    differentiated = stage in ("perturb", "hidden", "loss", "penalty")
    arguments = tree_map(lambda v: v.clone().requires_grad_(differentiated), arguments)
    result = call(bench.parts[0], stage, *arguments, lane)
    values = list(leaves([torch.as_tensor(result) if stage == "penalty" else result]).values())
    if not all(value.isfinite().all() for value in values):
        raise Fault(f"{stage} is not finite for {edge}", function_location(bench, stage))
    total = sum((value.double().sum() for value in values), torch.zeros(()))
    if not (differentiated and total.requires_grad):
        return
    inputs = [tensor for tensor in leaves(list(arguments)).values() if tensor.requires_grad]
    for gradient in torch.autograd.grad(total, inputs, allow_unused=True):
        if gradient is not None and not gradient.isfinite().all():
            raise Fault(
                f"{stage} has a gradient that is not finite for {edge}",
                function_location(bench, stage),
            )


# --- the natural end of the grid -----------------------------------------------------------------


def limit(subject: Subject) -> str:
    """Check that training at the limit, the strongest value that makes sense, stays finite."""
    bench = subject.bench
    (strongest,) = subject.entry.limits if len(bench.parts) == 1 else (None,)
    if strongest is None:
        raise NotApplicable("it gives none, or its parts do")
    trainer = bench.toy_run((strongest,)).trained(epochs=EPOCHS)
    finite = trainer.evaluate(trainer.data.rows, trainer.data.labels).finite
    if trainer.state["diverged_at"].tolist() != [-1] or not finite.all():
        raise Fault(f"at limit ({strongest:g}) loss, weights or logits are not finite")
    return f"{strongest:g}"


# --- batches of other sizes -----------------------------------------------------------------------


def last_batch(subject: Subject) -> None:
    """Check that a batch of five instead of eight examples works, by hand and in training."""
    _check_batch_size(subject.bench, 5)


def batch_of_one(subject: Subject) -> None:
    """Check that a batch of one example works, by hand and in training, and stays finite."""
    _check_batch_size(subject.bench, 1)


def _check_batch_size(bench: Bench, batch: int) -> None:
    for stage in bench.stages:
        step = bench.step(bench.strongest, batch=batch)
        values = leaves([bench.call_stage(step, stage)]).values()
        if not all(value.isfinite().all() for value in values if value.is_floating_point()):
            raise Fault(
                f"{stage} is not finite for a batch of {batch}", function_location(bench, stage)
            )
    trainer = bench.toy_run(bench.strongest, batch=batch).trained(epochs=1)
    if trainer.state["diverged_at"].tolist() != [-1]:
        raise Fault(f"training with a batch of {batch} gives a loss that is not finite")

"""What would go wrong on a GPU, seen on any device while a step runs: waits for the host, tensors elsewhere.

The checks of strangers' plugins use these, and membench's own tests of its engine.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
import torch._dynamo
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils._pytree import tree_map

from membench.engine.contract import call
from membench.engine.costs import relative_cost
from membench.engine.trainer import Trainer
from membench.testing.bench import stage_inputs
from membench.testing.check import Fault
from membench.testing.check import source_location
from membench.testing.subject import Subject
from membench.testing.toy import SHAPE
from membench.testing.toy import ToyRun
from membench.testing.training_checks import source_of_stage

#: Operations whose result, or its shape, the host must know before it can go on.
WAITS = (
    *("_local_scalar_dense", "item", "is_nonzero", "equal", "_linalg_check_errors"),
    *("nonzero", "masked_select", "bincount"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
)
INDEXED = (
    "index",
    "index_put",
    "index_put_",
    "_index_put_impl_",
    "_unsafe_index",
    "_unsafe_index_put",
)
COPIES = ("_to_copy", "copy", "copy_", "_copy_from")
MASKS = (torch.bool, torch.uint8)


class Refused(AssertionError):
    """A guard has seen what it is there to see."""


def tensors(tree: Any) -> list[Tensor]:
    """All tensors in an operation's arguments or results."""
    return [v for v in tree_leaves(tree) if isinstance(v, Tensor)]


def refuse_waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """
    Raises:
        Refused: on a GPU the operation makes the host wait.
    """
    name = func._overloadpacket.__name__
    counted = name == "repeat_interleave" and kwargs.get("output_size") is None
    if name in WAITS or counted:
        raise Refused(f"{func} waits for the device")
    if name in INDEXED and any(i is not None and i.dtype in MASKS for i in args[1]):
        raise Refused(f"{func} by a mask waits for the device; use torch.where")
    if name == "lift_fresh":
        raise Refused(
            "a tensor of Python values is copied from the host; use new_full or full_like"
        )


class SyncGuard(TorchDispatchMode):
    """Refuses, on any device, what makes the host wait on a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        refuse_waits(func, args, kwargs)
        out = func(*args, **kwargs)
        kinds = {v.device.type for v in tensors((args, out))}
        if func._overloadpacket.__name__ in COPIES and len(kinds) > 1:
            raise Refused(f"{func} copies between {' and '.join(sorted(kinds))}")
        return out


class PlacementGuard(TorchDispatchMode):
    """Refuses every tensor that is not on the one device: what `torch.arange(n)` gives where it says no device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.numbers: list[
            Tensor
        ] = []  #: what functorch makes of a Python number: a kernel's argument, never a copy

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default and isinstance(args[0], (int, float)):
            self.numbers.append(out)
        seen = [
            v
            for v in tensors((args, kwargs, out))
            if all(v is not number for number in self.numbers)
        ]
        elsewhere = {v.device.type for v in seen} - {self.device}
        if elsewhere:
            raise Refused(
                f"{func} has a tensor on {elsewhere.pop()}, not on {self.device}; name the device"
            )
        return out


MAX_COST, MAX_SECONDS = 10.0, 40.0  #: times the plain step: its arithmetic, its operations


def no_wait(subject: Subject) -> None:
    """One epoch under a guard that sees every operation."""
    bench = subject.bench
    world = bench.toy_run(bench.off, bench.strongest)
    trainer, order = world.trainer(), world.orders()[0][:, :1]
    with SyncGuard():
        trainer.train_epoch(order)
        trainer.evaluate(trainer.data.rows, trainer.data.labels)


def one_device(subject: Subject) -> None:
    """The whole on the meta device, which has no memory: what is made elsewhere shows."""
    bench = subject.bench
    world = bench.toy_run(bench.off, bench.strongest)
    here = world.trainer()
    far = lambda tree: tree_map(lambda v: v.to("meta"), tree)  # noqa: E731
    weights = [
        {name: w[lane].to("meta") for name, w in here.constants["initial"].items()}
        for lane in range(2)
    ]
    data = here.data.to("meta")
    fixed, order = (
        far({k: here.constants[k] for k in ("strengths", "key")}),
        world.orders()[0][:, :1].to("meta"),
    )
    try:
        with PlacementGuard("meta"):
            Trainer(here.program, weights, fixed["strengths"], fixed["key"], data).train_epoch(
                order
            )
    except Refused:
        raise
    except (NotImplementedError, RuntimeError, TypeError) as error:
        if "meta" in str(error).lower():
            raise Fault(
                "a function reads values, or makes a tensor, on the host: on a meta tensor there are none"
            ) from error
        raise


def no_warnings(subject: Subject) -> None:
    """A stacked step, eagerly."""
    bench = subject.bench
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        world = bench.toy_run(bench.off, bench.strongest)
        world.trainer().train_epoch(world.orders()[0][:, :1])
    for warning in seen:
        raise Fault(
            f"{warning.category.__name__}: {str(warning.message).splitlines()[0][:300]}",
            source_of_stage(bench),
        )


class Operations(TorchDispatchMode):
    """How many operations run inside."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def cost(subject: Subject) -> str:
    """Arithmetic as the board counts it, and the number of operations: a loop in Python has many small ones."""
    bench = subject.bench
    world = bench.toy_run(bench.strongest)
    work = relative_cost(world.program, SHAPE)
    operations = _operations(world) / _operations(replace(world, regularizers=()))
    said = f"{work:.2f}x the arithmetic of a plain step, {operations:.1f}x its operations"
    if work > MAX_COST or operations > MAX_SECONDS:
        raise Fault(f"a step has {said}", source_of_stage(bench))
    return said


def _operations(world: ToyRun) -> int:
    trainer, order = world.trainer(), world.orders()[0][:, :1]
    with Operations() as counter:
        trainer.train_epoch(order)
    return counter.count


def one_graph(subject: Subject) -> None:
    """Traced, not translated; each function by itself, in a tenth of the time of the whole step."""
    bench = subject.bench
    for stage in bench.stages:
        step = bench.step(bench.strongest)
        args, fields = stage_inputs(step, stage)
        part = bench.parts[0]

        def act(
            args: Any, step: Any = step, stage: str = stage, fields: Any = fields, part: Any = part
        ) -> Any:
            return call(part, stage, *args, step.lane(0, stage, **dict(fields)))

        torch._dynamo.reset()
        try:
            torch.compile(act, fullgraph=True, dynamic=False, backend="eager")(args)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise Fault(
                f"{stage} cannot be traced: {reason[:300]}", source_location(getattr(part, stage))
            ) from error

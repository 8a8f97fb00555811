"""Checks of what costs time or fails on a GPU: waits for the host, tensors elsewhere, graph breaks.

Guards see it on any device, while a step runs: `SyncGuard` refuses operations that make the host
wait, `PlacementGuard` refuses tensors on another device. membench's tests of its engine use them.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from membench.api import Architecture
from membench.engine.costs import relative_cost
from membench.engine.tracing import trace
from membench.engine.trainer import Trainer
from membench.engine.trainer import step_in_place
from membench.testing import optimizer_checks
from membench.testing.bench import plain_toy_run
from membench.testing.check import Fault
from membench.testing.check import source_location
from membench.testing.subject import Subject
from membench.testing.subject import location_in_plugin
from membench.testing.toy import MLP
from membench.testing.toy import SHAPE
from membench.testing.toy import ToyRun
from membench.testing.training_checks import DROPOUT
from membench.testing.training_checks import source_of_stage

# --- guards ---------------------------------------------------------------------------------------

#: Operations whose result, or its shape, the host must know before it can go on.
WAITS = (
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "equal",
    "_linalg_check_errors",
    "nonzero",
    "masked_select",
    "bincount",
    "_unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "unique_dim_consecutive",
)
#: Operations that wait if they are given a mask.
INDEXED = (
    "index",
    "index_put",
    "index_put_",
    "_index_put_impl_",
    "_unsafe_index",
    "_unsafe_index_put",
)
MASKS = (torch.bool, torch.uint8)
#: Operations that wait if they copy from one device to another.
COPIES = ("_to_copy", "copy", "copy_", "_copy_from")


class Refused(AssertionError):
    """A guard has seen what it is there to see."""


def tensors(tree: Any) -> list[Tensor]:
    """Return all tensors in an operation's arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def refuse_waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse an operation after which a GPU's host waits for the result.

    Args:
        func: The operation, as a dispatch mode gets it.
        args: Its arguments by position.
        kwargs: Its arguments by name.

    Raises:
        Refused: The operation makes the host wait.
    """
    name = func._overloadpacket.__name__
    counts_repeats = name == "repeat_interleave" and kwargs.get("output_size") is None
    if name in WAITS or counts_repeats:
        raise Refused(f"{func} waits for the device")
    if name in INDEXED:
        for index in args[1]:
            if index is not None and index.dtype in MASKS:
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
        devices = {tensor.device.type for tensor in tensors((args, out))}
        if func._overloadpacket.__name__ in COPIES and len(devices) > 1:
            raise Refused(f"{func} copies between {' and '.join(sorted(devices))}")
        return out


class PlacementGuard(TorchDispatchMode):
    """Refuses every tensor that is not on one device, such as that of a bare `torch.arange(n)`.

    Args:
        device: The device's type.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        #: What functorch makes of a Python number: a kernel's argument, never a copy.
        self.numbers: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default and isinstance(args[0], (int, float)):
            self.numbers.append(out)
        for tensor in tensors((args, kwargs, out)):
            is_number = any(tensor is number for number in self.numbers)
            if tensor.device.type != self.device and not is_number:
                raise Refused(f"{func} has a tensor on {tensor.device.type}, not on {self.device}")
        return out


# --- waits and devices ----------------------------------------------------------------------------

LANES = 2  #: of a regularizer's run here: off and the strongest strength


def no_wait(subject: Subject) -> None:
    """Check that neither a step nor an evaluation makes a GPU wait for the host."""
    run = _toy_run(subject)
    trainer, order = run.trainer(), _first_step(run)
    with SyncGuard():
        trainer.train_epoch(order)
        trainer.evaluate(trainer.data.rows, trainer.data.labels)


def one_device(subject: Subject) -> None:
    """Check that a step makes every tensor on the lane's device.

    All of it stands on the meta device, which has no memory, so that what is made elsewhere shows.
    """
    trainer = _toy_run(subject).trainer()
    weights = []
    for lane in range(len(trainer.data.rows)):
        initial = trainer.constants["initial"]
        weights.append({name: w[lane].to("meta") for name, w in initial.items()})
    strengths = trainer.constants["strengths"].to("meta")
    keys = trainer.constants["key"].to("meta")
    data = trainer.data.to("meta")
    order = _first_step(_toy_run(subject)).to("meta")
    try:
        with PlacementGuard("meta"):
            Trainer(trainer.program, weights, strengths, keys, data).train_epoch(order)
    except Refused as error:
        raise _fault_on_a_gpu(subject, error, str(error)) from error
    except (NotImplementedError, RuntimeError, TypeError) as error:
        if "meta" not in str(error).lower():
            raise
        what = "a function reads values, or makes a tensor, on the host"
        raise _fault_on_a_gpu(subject, error, what) from error


def _fault_on_a_gpu(subject: Subject, error: BaseException, what: str) -> Fault:
    """Make the fault of what trains on a CPU only: a warning where there is no GPU to fail on."""
    trains_here = not (subject.ours or torch.cuda.is_available())
    where = location_in_plugin(error, subject.paths)
    return Fault(f"{what}: it trains on a CPU, and fails on a GPU", where, warns=trains_here)


def _toy_run(subject: Subject) -> ToyRun:
    """Describe lanes of the subject: a regularizer's off and strongest, an optimizer's."""
    if subject.entry.kind == "optimizers":
        return optimizer_checks.toy_run(subject.records[0])
    bench = subject.bench
    return bench.toy_run(bench.off, bench.strongest)


def _first_location(subject: Subject) -> str:
    """Return the place of the function that acts first in a step."""
    if subject.entry.kind == "optimizers":
        return source_location(subject.records[0].update)
    return source_of_stage(subject.bench)


def _first_step(run: ToyRun) -> Tensor:
    """Return the batches of the first step alone, [lanes, 1, batch]."""
    return run.orders()[0][:, :1]


# --- compilation, warnings, cost ------------------------------------------------------------------


def prepare_steps() -> None:
    """Trace steps of the network that nearly every regularizer is checked on, and count one.

    What torch keeps of a trace, the result's shape of each operation on tensors of given shapes,
    then stands for the traces of all regularizers: so lanes and sizes are those of the checks.
    """
    for parts in ((), (DROPOUT,)):
        _trace_step(plain_toy_run(MLP, LANES, parts))
    relative_cost(plain_toy_run(MLP, 1).program, SHAPE)
    _plain_operations(MLP)


def _trace_step(run: ToyRun) -> None:
    trainer, index = run.trainer(), _first_step(run)[:, 0]
    arguments = trainer.arguments(slice(None), index, trainer.step_index)
    trace(partial(step_in_place, trainer.program), arguments)


def one_graph(subject: Subject) -> None:
    """Check that the compiler takes a step in one graph: it runs on tensors that have no values."""
    try:
        _trace_step(_toy_run(subject))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        where = location_in_plugin(error, subject.paths) or _first_location(subject)
        raise Fault(f"a step cannot be traced: {reason[:300]}", where) from error


def no_warnings(subject: Subject) -> None:
    """Check that a stacked step raises no warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = _toy_run(subject)
        run.trainer().train_epoch(_first_step(run))
    for warning in caught:
        message = str(warning.message).splitlines()[0][:300]
        raise Fault(f"{warning.category.__name__}: {message}", _first_location(subject))


MAX_ARITHMETIC = 10.0  #: times that of a plain step
MAX_OPERATIONS = 40.0  #: times those of a plain step


class OperationCounter(TorchDispatchMode):
    """Counts the operations that run inside."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def cost(subject: Subject) -> str:
    """Check that a step has at most 10 times the arithmetic of a plain one, and 40 its operations.

    Arithmetic is counted as the board does; a loop in Python shows in its many small operations.
    """
    bench = subject.bench
    run = bench.toy_run(bench.strongest)
    arithmetic = relative_cost(run.program, SHAPE)
    if arithmetic is None:
        raise Fault("the arithmetic of a step cannot be counted", source_of_stage(bench))
    operations = _count_operations(run) / _plain_operations(run.architecture)
    remark = f"{arithmetic:.2f}x the arithmetic of a plain step, {operations:.1f}x its operations"
    if arithmetic > MAX_ARITHMETIC or operations > MAX_OPERATIONS:
        raise Fault(f"a step has {remark}", source_of_stage(bench))
    return remark


@lru_cache(maxsize=16)
def _plain_operations(architecture: Architecture) -> int:
    """Count the operations of one step without a regularizer."""
    return _count_operations(plain_toy_run(architecture, 1))


def _count_operations(run: ToyRun) -> int:
    """Count the operations of one step."""
    trainer, order = run.trainer(), _first_step(run)
    with OperationCounter() as counter:
        trainer.train_epoch(order)
    return counter.count

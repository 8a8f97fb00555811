"""Checks of what would go wrong or slow on a GPU and in the compiler, without either."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
import torch._dynamo
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from membench.engine.contract import call
from membench.engine.costs import relative_cost
from membench.engine.trainer import LaneData
from membench.engine.trainer import Trainer
from membench.testing.bench import inputs
from membench.testing.guards import PlacementGuard
from membench.testing.guards import Refused
from membench.testing.guards import SyncGuard
from membench.testing.networks import SHAPE
from membench.testing.runs import home
from membench.testing.subject import Fault
from membench.testing.subject import Subject
from membench.testing.subject import place
from membench.testing.world import World

DEAREST, SLOWEST = 10.0, 40.0  #: times the plain step: its arithmetic, its operations


def no_wait(subject: Subject) -> None:
    """One epoch under a guard that sees every operation."""
    bench = subject.bench
    world = bench.world(bench.off, bench.strongest)
    trainer, order = world.trainer(), world.orders()[0][:, :1]
    with SyncGuard():
        trainer.train_epoch(order)
        trainer.evaluate(trainer.data.rows, trainer.data.labels)


def one_device(subject: Subject) -> None:
    """The whole on the meta device, which has no memory: what is made elsewhere shows."""
    bench = subject.bench
    world = bench.world(bench.off, bench.strongest)
    here = world.trainer()
    far = lambda tree: tree_map(lambda v: v.to("meta"), tree)  # noqa: E731
    weights = [{name: w[lane].to("meta") for name, w in here.fixed["initial"].items()} for lane in range(2)]
    data = LaneData(*(v.to("meta") for v in vars(here.data).values()))
    fixed, order = far({k: here.fixed[k] for k in ("strengths", "key")}), world.orders()[0][:, :1].to("meta")
    try:
        with PlacementGuard("meta"):
            Trainer(here.program, weights, fixed["strengths"], fixed["key"], data).train_epoch(order)
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
        world = bench.world(bench.off, bench.strongest)
        world.trainer().train_epoch(world.orders()[0][:, :1])
    for warning in seen:
        raise Fault(f"{warning.category.__name__}: {str(warning.message).splitlines()[0][:300]}", home(bench))


class Operations(TorchDispatchMode):
    """How many operations run inside."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def cost(subject: Subject) -> str:
    """Arithmetic as the board counts it, and the number of operations: a loop in Python has many small ones."""
    bench = subject.bench
    world = bench.world(bench.strongest)
    work = relative_cost(world.program, SHAPE)
    operations = _operations(world) / _operations(replace(world, regularizers=()))
    said = f"{work:.2f}x the arithmetic of a plain step, {operations:.1f}x its operations"
    if work > DEAREST or operations > SLOWEST:
        raise Fault(f"a step has {said}", home(bench))
    return said


def _operations(world: World) -> int:
    trainer, order = world.trainer(), world.orders()[0][:, :1]
    with Operations() as counter:
        trainer.train_epoch(order)
    return counter.count


def one_graph(subject: Subject) -> None:
    """Traced, not translated; each function by itself, in a tenth of the time of the whole step."""
    bench = subject.bench
    for stage in bench.roles:
        step = bench.step(bench.strongest)
        args, fields = inputs(step, stage)
        part = bench.parts[0]

        def act(args: Any, step: Any = step, stage: str = stage, fields: Any = fields, part: Any = part) -> Any:
            return call(part, stage, *args, step.lane(0, stage, **dict(fields)))

        torch._dynamo.reset()
        try:
            torch.compile(act, fullgraph=True, dynamic=False, backend="eager")(args)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise Fault(f"{stage} cannot be traced: {reason[:300]}", place(getattr(part, stage))) from error

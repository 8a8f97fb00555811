"""Stand-ins for a GPU, to see recompilations, stale graphs and waits without one.

Used by test_guards.py on the CPU, which runs everywhere, and by test_gpu.py where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager
from torch.utils._python_dispatch import TorchDispatchMode

from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Split
from membench.engine import compiled
from membench.engine import spoilt
from membench.engine.train import train_pack
from membench.engine.trainer import Trainer
from membench.records import Cell
from membench.records import Record
from membench.testing.gpu_checks import PlacementGuard
from membench.testing.gpu_checks import Refused
from membench.testing.gpu_checks import SyncGuard
from membench.testing.gpu_checks import refuse_waits
from membench.testing.gpu_checks import tensors
from support.engine import Plugins
from support.engine import ToyRun
from support.engine import blobs
from support.engine import leaves
from support.engine import pack
from support.engine import parts
from support.engine import registry

#: those of `membench.testing`, for the tests that use this module
__all__ = ["PlacementGuard", "Refused", "SyncGuard"]

#: every shipped regularizer, the controls and the compositions too
NAMES = tuple(registry().regularizers)
#: Those that every regularizer is tried on; the others are in test_architectures.py, with a few.
ARCHITECTURES = ("cnn", "mlp")
PACK_SIGNALS = ("real", "randY", "mixed@0.4", "randX")


class Tape(TorchDispatchMode):
    """A CUDA graph without a GPU: the operations of one run, replayed on the same memory.

    As with a real graph, the capture leaves all memory as it was and refuses what waits; every
    number that Python computed is a constant of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, ...]] = []
        self.before: list[tuple[Tensor, Tensor]] = []  #: what was written over, with its old values

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        refuse_waits(func, args, kwargs)
        written = [
            i
            for i, a in enumerate(func._schema.arguments)
            if a.alias_info and a.alias_info.is_write
        ]
        self.before += [(args[i], args[i].clone()) for i in written if i < len(args)]
        out = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, out))
        return out

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for tensor, values in reversed(self.before):
            tensor.copy_(values)

    def replay(self) -> None:
        for func, args, kwargs, out in self.operations:
            for old, new in zip(tensors(out), tensors(func(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():  # neither a view nor written in place
                    old.copy_(new)


class Tf32Products(TorchDispatchMode):
    """Matrix products as a GPU computes them in TF32: factors of 10 bits of mantissa, fp32 sums."""

    PRODUCTS = (
        torch.ops.aten.mm.default,
        torch.ops.aten.bmm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.baddbmm.default,
    )
    DROPPED = 23 - 10  #: bits of a float32's mantissa

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.PRODUCTS:
            *others, left, right = args
            args = (*others, self.rounded(left), self.rounded(right))
        return func(*args, **(kwargs or {}))

    def rounded(self, factor: Tensor) -> Tensor:
        """Round to the nearest number that the shorter mantissa has."""
        bits = factor.contiguous().view(torch.int32) + (1 << (self.DROPPED - 1))
        return (bits & -(1 << self.DROPPED)).view(torch.float32)


class FakeCudaTensor(Tensor):
    """A tensor on the CPU whose device reads `cuda`; results computed from it are ordinary."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = torch.device("cuda")


class FakeStreams:
    """torch's notion of the current stream; a stream is a name, and does nothing."""

    def __init__(self) -> None:
        self.current = self.make("default")

    @staticmethod
    def make(name: str = "side") -> SimpleNamespace:
        """A stream of its own."""
        return SimpleNamespace(name=name, wait_stream=lambda other: None, synchronize=lambda: None)

    def set_current(self, stream: SimpleNamespace) -> None:
        """`torch.cuda.set_stream`."""
        self.current = stream

    @contextmanager
    def use(self, stream: SimpleNamespace) -> Iterator[None]:
        """`torch.cuda.stream`."""
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextmanager
    def capture(self, graph: Any, **how: Any) -> Iterator[None]:
        """`torch.cuda.graph`: on a stream of its own, given back if the capture ends well."""
        with self.use(self.make("capture")), graph:
            yield


def fake_cuda(monkeypatch: pytest.MonkeyPatch, graph: Callable[[], Any] = Tape) -> FakeStreams:
    """CUDA graphs are tapes, streams do nothing, and the compiler gives the step back as it is."""
    streams = FakeStreams()
    monkeypatch.setattr(torch.cuda, "Stream", lambda *how, **more: streams.make())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *which: streams.current)
    monkeypatch.setattr(torch.cuda, "set_stream", streams.set_current)
    monkeypatch.setattr(torch.cuda, "stream", streams.use)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", streams.capture)
    monkeypatch.setattr(spoilt, "_spoilt", False)  # given back after the test
    without_compiler(monkeypatch)
    return streams


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is captured is the eager step, rehearsed once like a compiled one."""

    def bind(
        self: compiled.CompiledStep, rehearsed: Any, trees: Any, index: Tensor
    ) -> Callable[[Tensor], None]:
        def step(other: Tensor) -> None:
            assert other.stride() == index.stride()  # a compiled program would refuse it
            self._step(*(other if tree is index else tree for tree in trees))

        self._step(*rehearsed)
        return step

    monkeypatch.setattr(compiled.CompiledStep, "bind", bind)


@contextmanager
def one_graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trace programs without compiling; none, or a second one, is an error."""
    graphs = []

    def lower(graph: torch.fx.GraphModule, inputs: list[Tensor], options: dict) -> Callable:
        graphs.append(graph)
        return aot_eager(graph, inputs)

    monkeypatch.setattr(compiled, "lower", lower)
    yield
    if len(graphs) != 1:
        raise Refused(f"{len(graphs)} graphs")


def toy_regularizer(name: str = "toy", **stages: Any) -> Regularizer:
    """A regularizer of the test's own."""
    return Regularizer(name, (1.0,), **stages)


def toy_run_of(name: str, architecture: str = "mlp") -> ToyRun:
    """Two lanes of a shipped regularizer at its first two strengths, on a shipped architecture."""
    strengths = tuple(s for s in registry().regularizers[name].strengths if s)[:2] or ((), ())
    return ToyRun(parts(name), strengths, registry().architecture(architecture))


def toy_run_with(**stages: Any) -> ToyRun:
    """Two lanes of a regularizer of the test's own."""
    return ToyRun((toy_regularizer(**stages),), ((0.5,), (1.0,)))


def lanes_on(toy_run: ToyRun, device: str) -> tuple[Any, ...]:
    """What a `Trainer` of the toy run's lanes takes, all of it on the device."""
    here = toy_run.trainer()
    data = here.data.to(device)
    initial = here.constants["initial"]
    weights = [
        {name: w[lane].to(device) for name, w in initial.items()} for lane in range(len(data.rows))
    ]
    return (
        here.program,
        weights,
        here.constants["strengths"].to(device),
        here.constants["key"].to(device),
        data,
    )


def orders_on(toy_run: ToyRun, device: str, epochs: int = 2) -> list[Tensor]:
    """The toy run's orders, on the device."""
    return [order.to(device) for order in toy_run.orders(epochs=epochs)]


PACK_RECIPE = Recipe(lr=0.1, batch=10, epochs=12)
PACK_SPLIT = Split(test=18, train=30, validation=12)
#: The losses of a pack on two devices, apart at most: products at the same precision, all 36 steps;
#: products in full fp32 and in TF32, 18 steps. Later, steps that follow the sign of a gradient
#: (adversarial) or its direction (sam) have carried TF32's rounding to 0.2.
SAME_PRECISION, TF32_EARLY = 1e-2, 2e-2
EARLY_EPOCHS = 6


def pack_records(
    device: str, compiled: bool, name: str, signals: tuple[str, ...] = PACK_SIGNALS
) -> list[Record]:
    """Records of a small pack of one regularizer: 36 steps of two seeds on each signal."""
    strength = registry().regularizers[name].strengths[0]
    cells = []
    for signal in signals:
        for seed in (0, 1):
            cells.append(Cell("blobs", "mlp", name, strength, signal, seed))
    plugins = Plugins(datasets={"blobs": blobs()})
    return train_pack(pack(cells, PACK_RECIPE, PACK_SPLIT, compiled), plugins, device)


def early_losses(record: Record) -> list[float]:
    """The losses while TF32 is still near full fp32."""
    return [
        loss
        for epoch, loss in zip(record.epochs, record.loss, strict=True)
        if epoch <= EARLY_EPOCHS
    ]


def trained(trainer: Trainer, orders: Iterable[Tensor]) -> Trainer:
    """The trainer, moved on by some epochs."""
    for order in orders:
        trainer.train_epoch(order)
    return trainer


def trained_on(toy_run: ToyRun, device: str, epochs: int = 2) -> Trainer:
    """The toy run's lanes, trained eagerly on the device."""
    return trained(Trainer(*lanes_on(toy_run, device)), orders_on(toy_run, device, epochs))


def largest_difference(one: Any, other: Any) -> float:
    """The largest difference between two trees of tensors, on whatever devices they are."""
    one, other = leaves(one), leaves(other)
    assert one.keys() == other.keys()
    gaps = [(one[name].cpu().double() - other[name].cpu().double()).abs().max() for name in one]
    return torch.stack(gaps).max().item()  # NaN if anything is; Python's max would drop it

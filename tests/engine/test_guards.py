"""The GPU path, checked without a GPU: waits, devices, graph breaks and stale replays."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from support.cuda import ARCHITECTURES
from support.cuda import NAMES
from support.cuda import FakeCudaTensor
from support.cuda import PlacementGuard
from support.cuda import Refused
from support.cuda import SyncGuard
from support.cuda import Tape
from support.cuda import fake_cuda
from support.cuda import lanes_on
from support.cuda import largest_difference
from support.cuda import one_graph
from support.cuda import orders_on
from support.cuda import toy_run_of
from support.cuda import toy_run_with
from support.cuda import trained
from support.cuda import trained_on
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import parts
from torch import Tensor

from membench.api import STAGES
from membench.engine import compiled
from membench.engine.capture import CapturedStep
from membench.engine.spoilt import is_process_spoilt
from membench.engine.trainer import Trainer

pytestmark = pytest.mark.usefixtures("worker_like")

every_regularizer = pytest.mark.parametrize("name", NAMES)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
KEPT = torch.tensor(0.5)
#: a regularizer and strengths with draws in every step: what is stale shows in the numbers
NOISY = (parts("input-noise"), ((0.5,), (1.0,)))


# --- nothing waits for the device, nothing leaves it ----------------------------------------------


@pytest.mark.slow  # tests/plugins/test_contract.py asks it of each on the mlp
@every_regularizer
def test_a_run_of_the_cnn_neither_waits_for_the_device_nor_leaves_it(name: str) -> None:
    """A device without memory shows both, from the initial states to an evaluation.

    The second of the two steps has a state. The shipped checks no-wait and one-device do the same
    on an MLP (tests/plugins/test_contract.py).
    """
    toy_run = toy_run_of(name, "cnn")
    lanes, orders = lanes_on(toy_run, "meta"), orders_on(toy_run, "meta", epochs=1)
    with PlacementGuard("meta"), SyncGuard():
        trainer = trained(Trainer(*lanes), [order[:, :2] for order in orders])
        right, loss, finite = trainer.evaluate(trainer.data.rows, trainer.data.labels)
    assert {v.device.type for v in (right, loss, finite)} == {"meta"}


def ramp(h: Tensor) -> Tensor:
    """[n] 0, 1, ...: the same in all lanes, so that vmap does not refuse to read values."""
    return torch.arange(h.shape[0], dtype=torch.float32, device=h.device)


def masked(h: Tensor, mask: Callable[[Tensor], Tensor]) -> Tensor:
    """h plus a column whose entries are written by a mask."""
    column = ramp(h)
    column[mask(column)] = ramp(h)[: h.shape[0] // 2]
    return h + column[:, None]


WAITING = {
    "the step's number": lambda h, lane: h * lane.step.item(),
    "a float": lambda h, lane: h * float(lane.progress),
    "a branch": lambda h, lane: h if lane.step > 1 else 2 * h,
    "equal": lambda h, lane: h * torch.equal(ramp(h), ramp(h)),
    "nonzero": lambda h, lane: h + ramp(h).nonzero().sum(),
    "where of one argument": lambda h, lane: h + torch.where(ramp(h) > 1)[0].sum(),
    "masked_select": lambda h, lane: h + ramp(h).masked_select(ramp(h) > 1).sum(),
    "unique": lambda h, lane: h + ramp(h).unique().sum(),
    "unique by row": lambda h, lane: h + ramp(h)[:, None].unique(dim=0).sum(),
    "unique_consecutive": lambda h, lane: h + ramp(h).unique_consecutive().sum(),
    "bincount": lambda h, lane: h + ramp(h).to(torch.int64).bincount().sum(),
    "repeats by a tensor": lambda h, lane: (
        h + ramp(h).repeat_interleave(ramp(h).to(torch.int64)).sum()
    ),
    "a mask read": lambda h, lane: h + ramp(h)[ramp(h) > 1].sum(),
    "a mask of bytes": lambda h, lane: (
        h + torch.ops.aten.index(ramp(h), [(ramp(h) > 1).to(torch.uint8)]).sum()
    ),
    "a mask write": lambda h, lane: masked(h, lambda column: column < h.shape[0] // 2),
    "a copy to another device": lambda h, lane: h + ramp(h).to("meta").sum(),
    "a constant from Python": lambda h, lane: h * torch.tensor(0.5, device=h.device),
    "an inverse that is checked": lambda h, lane: (
        h + torch.linalg.inv(torch.diag(1 + ramp(h))).sum()
    ),
}


@pytest.mark.parametrize("what", WAITING)
@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8")
def test_the_guard_refuses_a_regularizer_that_waits(what: str) -> None:
    toy_run = toy_run_with(hidden=WAITING[what])
    trainer, orders = toy_run.trainer(), toy_run.orders()
    with (
        SyncGuard(),
        pytest.raises(Refused, match=r"waits for the device|copies between|copied from the host"),
    ):
        trained(trainer, orders)
    if what != "a copy to another device":
        trained(toy_run.trainer(), orders)  # the guard refuses it, not vmap


@pytest.mark.parametrize(
    "stage", ["batch", "hidden", "loss", "penalty", "grads", "weights", "update"]
)
def test_the_guard_looks_into_every_stage(stage: str) -> None:
    def act(*args: Any) -> Any:
        assert args[-1].step.item() >= 0
        return {"batch": args[:2], "penalty": 0, "update": {}}.get(stage, args[0])

    toy_run = toy_run_with(**{stage: act})
    trained(toy_run.trainer(), toy_run.orders())
    trainer, orders = toy_run.trainer(), toy_run.orders()
    with SyncGuard(), pytest.raises(Refused, match="_local_scalar_dense"):
        trained(trainer, orders)


STRAY = {
    "arange": {"hidden": lambda h, lane: h * (torch.arange(h.shape[1]) < 3)},
    "zeros": {
        "penalty": lambda params, lane: torch.zeros(()) + sum(w.sum() for w in params.values())
    },
    "a number": {"loss": lambda losses, logits, y, lane: losses * torch.tensor(0.5)},
    "a state": {
        "init": lambda params, lane: {"seen": torch.zeros(lane.num_examples)},
        "update": lambda params, lane: {"seen": lane.state["seen"] + 1},
    },
    "the way there": {"batch": lambda x, y, lane: (x * torch.ones(1).to(x.device), y)},
}


@pytest.mark.parametrize("what", STRAY)
def test_a_tensor_made_without_a_device_is_refused(what: str) -> None:
    toy_run = toy_run_with(**STRAY[what])
    trained(toy_run.trainer(), toy_run.orders())  # on a CPU nothing shows
    lanes, orders = lanes_on(toy_run, "meta"), orders_on(toy_run, "meta")
    with (
        PlacementGuard("meta"),
        pytest.raises(Refused, match="on cpu, not on meta"),
    ):
        trained(Trainer(*lanes), orders)


VALUES = {
    "a list": lambda x, y, lane: (x * lane.step[None].tolist()[0], y),
    "an array": lambda x, y, lane: (x * lane.step.numpy().item(), y),
    "an array by NumPy": lambda x, y, lane: (x * np.asarray(lane.progress).item(), y),
}


@pytest.mark.parametrize("what", VALUES)
def test_values_read_past_the_dispatcher_are_refused_where_there_are_none(what: str) -> None:
    """On a CPU, lists and NumPy read memory, unseen by dispatch modes; meta tensors have none."""
    toy_run = toy_run_with(batch=VALUES[what])
    trained(toy_run.trainer(), toy_run.orders())
    with pytest.raises((NotImplementedError, TypeError), match="meta"):
        trained_on(toy_run, "meta")


# --- one graph ------------------------------------------------------------------------------------


def check_one_graph(toy_run: ToyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    eager, trainer, orders = toy_run.trainer(), toy_run.trainer(), toy_run.orders(epochs=2)
    with one_graph(monkeypatch):
        assert trainer.compile(orders[0]) == ""
        trained(trainer, orders)
    assert (
        largest_difference(trainer.state["params"], trained(eager, orders).state["params"]) < 1e-5
    )


#: One regularizer for each stage.
ONE_PER_STAGE = (
    "mixup",
    "weight-noise",
    "dropout",
    "label-smoothing",
    "l1",
    "gradient-clipping",
    "max-norm",
    "ema",
)


def test_a_step_with_every_stage_is_one_graph_that_is_traced_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The shipped check one-graph traces the functions of every regularizer one by one."""
    regularizers = tuple(parts(name)[0] for name in ONE_PER_STAGE)
    assert {stage for part in regularizers for stage in part.acts_on} == set(STAGES)
    strengths = tuple(tuple(part.strengths[i] for part in regularizers) for i in range(2))
    check_one_graph(ToyRun(regularizers, strengths), monkeypatch)


@pytest.mark.slow
@every_architecture
@every_regularizer
def test_the_step_is_one_graph_that_is_traced_once(
    name: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_one_graph(toy_run_of(name, architecture), monkeypatch)


@pytest.mark.parametrize(
    "untraceable",
    [lambda h: h * KEPT, lambda h: h * (1.0 if h.detach().sum() > 0 else 0.5)],
    ids=["a tensor that a module keeps", "a branch on a value"],
)
def test_a_step_that_cannot_be_traced_stays_eager_and_says_so(
    untraceable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(grads: Any, params: Any, lane: Any) -> Any:
        return {name: untraceable(grad) for name, grad in grads.items()}

    toy_run = toy_run_with(grads=act)
    trainer = toy_run.trainer()
    with pytest.raises(Refused, match="0 graphs"), one_graph(monkeypatch):
        note = trainer.compile(toy_run.orders()[0])
    assert note.startswith("ran uncompiled: ") and not trainer.groups


def test_a_program_is_compiled_once_for_all_packs_of_one_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the widths of a plan's packs are equal."""
    widths = []

    def lower(graph: torch.fx.GraphModule, inputs: list[Tensor], options: dict) -> Any:
        widths.append(len(inputs[0]))
        return graph

    monkeypatch.setattr(compiled, "lower", lower)
    toy_run = toy_run_with(hidden=lambda h, lane: h * lane.strength)
    program, weights, strengths, keys, data = lanes_on(toy_run, "cpu")
    for width in (1, 2, 1, 2):
        lanes = slice(width)
        trainer = Trainer(
            program, weights[lanes], strengths[lanes], keys[lanes], data.of_lanes(lanes)
        )
        assert trainer.compile(toy_run.orders()[0][lanes]) == ""
    assert widths == [1, 2]


# --- the captured step ----------------------------------------------------------------------------


def failing_graph(error: Exception, first: Exception | None = None) -> type[Tape]:
    """A graph whose capture fails at its end, maybe because of what failed first."""

    class Failing(Tape):
        def __exit__(self, *raised: Any) -> None:
            super().__exit__(*raised)
            if first is not None:
                error.__context__ = first
            raise error

    return Failing


class TestCapture:
    """With a tape for a graph; test_gpu.py does the same with real ones."""

    def captured(self, toy_run: ToyRun, monkeypatch: pytest.MonkeyPatch) -> Trainer:
        fake_cuda(monkeypatch)
        trainer = toy_run.trainer()
        assert trainer.compile(toy_run.orders()[0].as_subclass(FakeCudaTensor)) == ""
        assert trainer.graph is not None
        return trainer

    @every_regularizer
    def test_replays_train_the_numbers_of_the_plain_loop(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy_run = toy_run_of(name)
        trainer, orders = self.captured(toy_run, monkeypatch), toy_run.orders(epochs=3)
        # the capture has trained nothing
        assert bitwise_equal(trainer.state, toy_run.trainer().state) and trainer.step_index == 0
        trained(trainer, orders)
        plain = trained_on(toy_run, "cpu", epochs=3)
        assert bitwise_equal(trainer.state, plain.state)
        assert trainer.step_index == plain.step_index == 9

    def test_a_replay_reads_the_new_epoch_s_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        toy_run = ToyRun(*NOISY)
        first, second = toy_run.orders(epochs=2)
        trainer = trained(self.captured(toy_run, monkeypatch), [first, second])
        assert bitwise_equal(trainer.state, trained(toy_run.trainer(), [first, second]).state)
        assert not bitwise_equal(trainer.state, trained(toy_run.trainer(), [first, first]).state)

    def test_the_caller_may_reuse_the_memory_of_an_order(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_cuda(monkeypatch)
        toy_run = ToyRun(*NOISY)
        trainer, order = toy_run.trainer(), toy_run.orders()[0]
        captured = CapturedStep(trainer.step, lambda index: None, order[:, 0].clone())
        given = order.clone()
        captured.index.zero_()  # what it was captured with does not matter either
        captured.epoch(given)
        given.zero_()
        assert bitwise_equal(trainer.state, trained(toy_run.trainer(), [order]).state)

    def test_a_replay_runs_no_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Numbers from Python are constants of a capture; running Python again would hide it."""
        calls = count(1)
        toy_run = toy_run_with(hidden=lambda h, lane: h * (1 + 1 / next(calls)))
        trainer = self.captured(toy_run, monkeypatch)
        used = next(calls)
        trained(trainer, toy_run.orders())
        assert next(calls) == used + 1

    def test_a_capture_that_fails_leaves_the_eager_step_and_says_why(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It fails at the end of the first step, in an update that waits."""

        def update(params: dict[str, Tensor], lane: Any) -> dict[str, Tensor]:
            return {"n": lane.state["n"] + (lane.step.item() >= 0)}

        toy_run = toy_run_with(init=lambda params, lane: {"n": lane.step * 0}, update=update)
        fake_cuda(monkeypatch)
        self.check_eager(
            toy_run,
            "ran uncompiled: Refused: aten._local_scalar_dense.default waits for the device",
        )

    @pytest.mark.parametrize(
        "why", ["operation not permitted when stream is capturing\nCompile with ...", "no memory"]
    )
    def test_a_failed_capture_leaves_the_eager_step(
        self, why: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_cuda(monkeypatch, failing_graph(RuntimeError(why)))
        self.check_eager(ToyRun(*NOISY), f"ran uncompiled: RuntimeError: {why.splitlines()[0]}")

    def test_a_failed_capture_gives_the_stream_back_and_spoils_the_process(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """torch ends a capture before it gives the stream back, and raises there."""
        streams = fake_cuda(monkeypatch, failing_graph(RuntimeError("no")))
        before = streams.current
        toy_run = ToyRun(*NOISY)
        toy_run.trainer().compile(toy_run.orders()[0].as_subclass(FakeCudaTensor))
        assert streams.current is before
        assert is_process_spoilt()

    def test_a_capture_that_succeeds_spoils_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.captured(ToyRun(*NOISY), monkeypatch)
        assert not is_process_spoilt()

    @pytest.mark.parametrize("way", ["compile", "capture"])
    def test_memory_that_is_short_in_a_capture_is_not_a_reason_to_run_eagerly(
        self, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The eager step takes as much; `train_pack` trains fewer lanes at once."""
        fake_cuda(monkeypatch, failing_graph(RuntimeError("capture"), torch.OutOfMemoryError("x")))
        toy_run = ToyRun(*NOISY)
        with pytest.raises(torch.OutOfMemoryError):
            getattr(toy_run.trainer(), way)(toy_run.orders()[0].as_subclass(FakeCudaTensor))

    @pytest.mark.parametrize("name", ["none", "dropout", "ema", "mixup", "sam"])
    def test_the_eager_step_is_captured_without_a_compiler(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_cuda(monkeypatch)
        monkeypatch.setattr(torch, "compile", None)
        toy_run = toy_run_of(name)
        trainer, orders = toy_run.trainer(), toy_run.orders(epochs=2)
        assert trainer.capture(orders[0]) == ""
        assert bitwise_equal(trainer.state, toy_run.trainer().state) and trainer.step_index == 0
        trained(trainer, orders)
        plain = trained_on(toy_run, "cpu", epochs=2)
        assert bitwise_equal(trainer.state, plain.state)
        assert trainer.step_index == plain.step_index == 6

    def test_an_eager_step_that_cannot_be_captured_is_launched_anew_and_says_why(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_cuda(monkeypatch, failing_graph(RuntimeError("not permitted\nmore")))
        toy_run = ToyRun(*NOISY)
        trainer, orders = toy_run.trainer(), toy_run.orders(epochs=2)
        note = trainer.capture(orders[0])
        assert note == "ran without a CUDA graph: RuntimeError: not permitted"
        plain = trained(toy_run.trainer(), orders)
        assert bitwise_equal(trained(trainer, orders).state, plain.state)

    def check_eager(self, toy_run: ToyRun, note: str) -> None:
        trainer, orders = toy_run.trainer(), toy_run.orders(epochs=2)
        assert trainer.compile(orders[0].as_subclass(FakeCudaTensor)) == note
        assert trainer.graph is None and trainer.step_index == 0
        assert bitwise_equal(trainer.state, toy_run.trainer().state)
        assert bitwise_equal(
            trained(trainer, orders).state, trained(toy_run.trainer(), orders).state
        )

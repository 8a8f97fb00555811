"""On a GPU, `pytest -m gpu`: steps do not wait, are captured, and give the CPU's numbers.

Never run by the default tests; what can be known without a GPU is in test_guards.py.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from support.cuda import ARCHITECTURES
from support.cuda import NAMES
from support.cuda import SAME_PRECISION
from support.cuda import TF32_EARLY
from support.cuda import early_losses
from support.cuda import lanes_on
from support.cuda import largest_difference
from support.cuda import orders_on
from support.cuda import pack_records
from support.cuda import toy_run_of
from support.cuda import toy_run_with
from support.cuda import trained
from support.cuda import trained_on
from support.cuda import without_compiler
from support.engine import Plugins
from support.engine import ToyRun
from support.engine import blobs
from support.engine import pack
from support.engine import registry
from torch import Tensor

from membench.api import Recipe
from membench.api import Split
from membench.engine import card
from membench.engine import costs
from membench.engine import draws
from membench.engine import environment
from membench.engine.train import Run
from membench.engine.trainer import Trainer
from membench.records import Cell
from membench.records import Record

#: Tolerances of weights and momenta after six steps, for the same kernels and for sums in another
#: order. On a CPU, weights that start 3e-7 (relative) apart end 1e-5 apart at most, over all
#: regularizers and architectures.
SAME, NEAR = 1e-5, 1e-4
WIDTHS = (1, 8, 32, 128)
EPOCHS = 10  #: that a throughput is timed over, after one that is not


@pytest.fixture(autouse=True, scope="module")
def cuda(worker_like: None) -> None:
    """Not asked on import: an old driver warns, and a warning would fail the collection."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")


pytestmark = [
    pytest.mark.gpu,
    # the compiler's advice; full fp32 is on purpose
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
]
every_regularizer = pytest.mark.parametrize("name", NAMES)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def captured(toy_run: ToyRun, epochs: int = 2) -> Trainer:
    """The toy run's lanes on the GPU, trained by replaying a graph."""
    trainer, orders = Trainer(*lanes_on(toy_run, "cuda")), orders_on(toy_run, "cuda", epochs)
    assert trainer.compile(orders[0]) == ""
    assert trainer.graph is not None
    return trained(trainer, orders)


# --- nothing waits --------------------------------------------------------------------------------


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """torch's own guard; it warns once that it does not see everything yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_debug_mode_sees_a_regularizer_that_waits() -> None:
    toy_run = toy_run_with(hidden=lambda h, lane: h * lane.step.item())
    trainer, orders = Trainer(*lanes_on(toy_run, "cuda")), orders_on(toy_run, "cuda")
    with waiting_is_an_error(), pytest.raises(RuntimeError, match="synchronizing"):
        trained(trainer, orders)


@every_architecture
@every_regularizer
def test_the_step_never_waits_for_the_device(name: str, architecture: str) -> None:
    toy_run = toy_run_of(name, architecture)
    trainer, (first, second) = Trainer(*lanes_on(toy_run, "cuda")), orders_on(toy_run, "cuda")
    trainer.train_epoch(first)  # libraries set themselves up, and may wait
    with waiting_is_an_error():
        trainer.train_epoch(second)


@pytest.mark.parametrize("architecture", sorted({*registry().architectures} - {*ARCHITECTURES}))
def test_the_step_of_a_larger_network_never_waits_either(architecture: str) -> None:
    test_the_step_never_waits_for_the_device("dropout", architecture)


def test_an_epoch_returns_before_the_device_has_done_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without_compiler(monkeypatch)
    toy_run = toy_run_of("dropout")
    trainer, order = captured(toy_run), orders_on(toy_run, "cuda")[0]
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # cycles: about a second
    trainer.train_epoch(order)
    assert not torch.cuda.current_stream().query()
    torch.cuda.synchronize()
    assert trainer.step_index == 9


# --- the captured step ----------------------------------------------------------------------------


@every_architecture
@every_regularizer
def test_a_replay_is_the_eager_step(
    name: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured without the compiler, so that only the capture can make a difference."""
    without_compiler(monkeypatch)
    toy_run = toy_run_of(name, architecture)
    replayed, eager = captured(toy_run, epochs=3), trained_on(toy_run, "cuda", epochs=3)
    assert replayed.step_index == eager.step_index == 9
    assert largest_difference(replayed.state, eager.state) <= SAME


@every_regularizer
def test_a_replay_of_the_compiled_step_is_the_eager_step(name: str) -> None:
    toy_run = toy_run_of(name)
    assert largest_difference(captured(toy_run).state, trained_on(toy_run, "cuda").state) <= NEAR


@pytest.mark.parametrize("name", ["none", "dropout", "sam"])
def test_a_replay_of_the_cnn_s_compiled_step_is_the_eager_step(name: str) -> None:
    toy_run = toy_run_of(name, "cnn")
    assert largest_difference(captured(toy_run).state, trained_on(toy_run, "cuda").state) <= NEAR


def test_a_replay_takes_no_more_memory() -> None:
    toy_run = toy_run_of("dropout")
    trainer, orders = captured(toy_run), orders_on(toy_run, "cuda", epochs=5)
    before = torch.cuda.memory_allocated()
    trained(trainer, orders)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before


# --- the CPU's numbers ----------------------------------------------------------------------------


KEYS = [[-(2**31)], [-1], [0], [12345], [2**31 - 1]]


def drawn(device: str) -> dict[str, Tensor]:
    """Draws of each kind, for whole batches and for some rows, from stacked keys as in a step."""
    keys, rows = (
        torch.tensor(KEYS, dtype=torch.int32, device=device),
        torch.tensor([6, 0, 3], device=device),
    )

    def of(draw: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.func.vmap(draw)(keys)

    return {
        "keys": of(lambda key: draws.chain_tensor(draws.chain_tensor(key, 7), key)),
        "bits": of(lambda key: draws.bits(key, (7, 1000))),
        "rows": of(lambda key: draws.bits(key, (3, 1000), rows)),
        "uniform": of(lambda key: draws.uniform(key, (7, 1000))),
        "order": of(lambda key: draws.permutation(key, 1000)),
    }


def test_draws_are_those_of_the_cpu_to_the_last_bit() -> None:
    here, there = drawn("cpu"), drawn("cuda")
    for kind, values in here.items():
        assert torch.equal(values, there[kind].cpu()), kind


def test_compiled_draws_are_those_of_the_cpu_to_the_last_bit() -> None:
    key = torch.tensor([12345], dtype=torch.int32)
    draw = torch.compile(
        lambda key: draws.uniform(draws.chain_tensor(key, 3), (100, 784)), fullgraph=True
    )
    assert torch.equal(
        draw(key.cuda()).cpu(), draws.uniform(draws.chain_tensor(key, 3), (100, 784))
    )


def test_normal_draws_are_those_of_the_cpu_to_six_digits() -> None:
    """log and cos are each device's own."""
    key = torch.tensor([12345], dtype=torch.int32)
    assert torch.allclose(
        draws.normal(key.cuda(), (100, 784)).cpu(), draws.normal(key, (100, 784)), atol=5e-6
    )


@every_architecture
@every_regularizer
def test_a_lane_ends_near_the_same_lane_on_the_cpu(name: str, architecture: str) -> None:
    toy_run = toy_run_of(name, architecture)
    here, there = trained_on(toy_run, "cpu"), trained_on(toy_run, "cuda")
    assert largest_difference(here.state, there.state) <= NEAR
    for mine, theirs in zip(read(here), read(there), strict=True):
        assert torch.allclose(mine, theirs.cpu(), atol=1e-3)


def read(trainer: Trainer) -> tuple[Tensor, Tensor]:
    """Loss and finite, [L], of an evaluation: lane by lane on a CPU, of all at once on a GPU."""
    _, loss, finite = trainer.evaluate(trainer.data.rows, trainer.data.labels)
    return loss, finite.float()


# --- packs ----------------------------------------------------------------------------------------


def assert_alike(records: list[Record], on_cpu: list[Record]) -> None:
    """What does not depend on a device's arithmetic."""
    for record, expected in zip(records, on_cpu, strict=True):
        assert (record.status, record.reason) == ("ok", "")
        assert record.versions["device"] == torch.cuda.get_device_name()
        for name in ("key", "arrays", "epochs", "cost", "num_wrong"):
            assert getattr(record, name) == getattr(expected, name)


#: (packs are compiled, compiling pays): how lanes are trained on a GPU
WAYS = {"eager": (False, False), "captured": (True, False), "compiled": (True, True)}
compared = pytest.mark.parametrize("name", ["dropout", "dropout+adversarial", "ema", "sam"])


def records_in(way: str, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Records of a small pack on the GPU, trained in one of the ways, whatever would be quicker."""
    compiled, pays = WAYS[way]
    monkeypatch.setattr(card, "compiling_pays", lambda kernels, written, steps: pays)
    records = pack_records("cuda", compiled, name)
    assert {record.versions["compiled"] for record in records} == {pays}
    assert {record.versions["captured"] for record in records} == {compiled}
    return records


@pytest.mark.parametrize("way", list(WAYS))
@compared
def test_a_pack_s_records_are_near_those_of_the_cpu(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In full fp32, 36 steps on; at most one of 18 test images is answered another way."""
    monkeypatch.setitem(environment.PRECISION, True, "highest")
    on_cpu, records = pack_records("cpu", False, name), records_in(way, name, monkeypatch)
    assert_alike(records, on_cpu)
    for record, expected in zip(records, on_cpu, strict=True):
        assert record.versions["matmul"] == "ieee"
        assert record.loss == pytest.approx(expected.loss, abs=SAME_PRECISION)
        assert record.test[-1] == pytest.approx(expected.test[-1], abs=1.5 / 18)


@pytest.mark.parametrize("way", ["captured", "compiled"])
@compared
def test_a_pack_s_first_losses_in_tf32_are_near_those_of_full_fp32(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a run's own precision. test_tf32.py holds the same bound without a GPU."""
    on_cpu, records = pack_records("cpu", False, name), records_in(way, name, monkeypatch)
    assert_alike(records, on_cpu)
    for record, expected in zip(records, on_cpu, strict=True):
        assert record.versions["matmul"] == "tf32"
        assert early_losses(record) == pytest.approx(early_losses(expected), abs=TF32_EARLY)


def wide(width: int, device: str) -> Run:
    """A pack of the `quick` suite's size, on as many seeds as it has lanes.

    Its images are drawn here: mnist5k comes with a package that a GPU machine may not have.
    """
    strength = registry().regularizers["dropout"].strengths[2]
    cells = [Cell("bright", "mlp", "dropout", strength, "real", seed) for seed in range(width)]
    recipe = Recipe(lr=0.02, batch=100, epochs=EPOCHS + 1)
    split = Split(test=2000, train=1000, validation=1000)
    images = blobs(n=5000, classes=10, shape=(1, 28, 28))
    plugins = Plugins(architectures={}, datasets={"bright": images})
    return Run(pack(cells, recipe, split, compiled=True), plugins, torch.device(device))


def throughput(run: Run, wait: Callable[[], None]) -> float:
    """Lane-steps a second of the compiled step over `EPOCHS` epochs; orders are on the device."""
    trainer, (first, *rest) = (
        run.trainer(),
        [run.data.order(epoch) for epoch in range(1, EPOCHS + 2)],
    )
    assert trainer.compile(first) == ""
    trainer.train_epoch(first)
    wait()
    started = time.perf_counter()
    trained(trainer, rest)
    wait()
    seconds = time.perf_counter() - started
    _, loss, finite = trainer.evaluate(run.data.rows["test"], run.data.labels["test"])
    assert finite.all() and (loss < 1.5).all()  # of 2.3 untrained: what was timed has trained
    return len(run.pack.cells) * sum(order.shape[1] for order in rest) / seconds


@dataclass(frozen=True)
class Width:
    """What was measured of packs of one width."""

    lanes: int
    rate: float  #: lane-steps a second
    used: int  #: bytes at the peak, of training and evaluation
    planned: int  #: bytes that `costs.lane_memory` reckons with
    free: int  #: bytes before


def measured(lanes: int) -> Width:
    gc.collect()
    torch.cuda.empty_cache()
    free, held = torch.cuda.mem_get_info()[0], torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    run = wide(lanes, "cuda")
    rate = throughput(run, torch.cuda.synchronize)
    planned = lanes * costs.lane_memory(run.program(), run.data.shape)
    return Width(lanes, rate, torch.cuda.max_memory_reserved() - held, planned, free)


def table(widths: list[Width]) -> str:
    names = ("lanes", "lane-steps/s", "us/lane-step", "over 1 lane", "MiB", "planned", "free")
    head = "{:>6}{:>15}{:>14}{:>13}{:>9}{:>10}{:>10}".format(*names)
    sizes = [tuple(n / 2**20 for n in (w.used, w.planned, w.free)) for w in widths]
    numbers = [
        (w.lanes, w.rate, 1e6 / w.rate, w.rate / widths[0].rate, *size)
        for w, size in zip(widths, sizes, strict=True)
    ]
    row = "{:>6}{:>15,.0f}{:>14.2f}{:>12.1f}x{:>9,.0f}{:>10,.0f}{:>10,.0f}"
    return "\n".join([head, *(row.format(*n) for n in numbers)])


def test_a_wide_pack_trains_more_lanes_a_second_in_the_memory_that_is_free(
    capsys: pytest.CaptureFixture[str],
) -> None:
    widths = [measured(lanes) for lanes in WIDTHS]
    with capsys.disabled():
        print(
            f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}: 28x28/mlp/dropout,"
            " batch 100"
        )
        print(table(widths))
    assert all(w.used < w.free for w in widths)
    # of fewer lanes, what every pack takes is most of it
    assert all(w.used < w.planned for w in widths if w.lanes >= 15)
    assert widths[-1].rate > 2 * widths[0].rate


def test_a_pack_leaves_no_memory_behind() -> None:
    """What the first one loads (kernels, workspaces) may stay; the next ones add nothing."""
    held = []
    for _ in range(3):
        pack_records("cuda", True, "dropout")
        gc.collect()
        held.append(torch.cuda.memory_allocated())
    assert held[2] == held[1]


# --- last, for what a broken capture may leave behind ---------------------------------------------


def test_a_step_that_cannot_be_captured_runs_eagerly_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_compiler(monkeypatch)
    toy_run = toy_run_with(hidden=lambda h, lane: h * (1 + lane.step.item()))
    trainer, orders = Trainer(*lanes_on(toy_run, "cuda")), orders_on(toy_run, "cuda")
    assert trainer.compile(orders[0]).startswith("ran uncompiled: ")
    assert trainer.graph is None and trainer.step_index == 0
    trained(trainer, orders)
    assert (
        trainer.step_index == 6
        and largest_difference(trainer.state, trained_on(toy_run, "cuda").state) <= SAME
    )

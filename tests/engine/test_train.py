"""From a pack to its records: what is read when, what cells share, and how a cell can end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cuda import Tape
from support.cuda import fake_cuda
from support.engine import CLASSES
from support.engine import Plugins
from support.engine import blobs
from support.engine import pack
from support.engine import parts
from support.engine import registry
from support.engine import shipped_optimizer
from support.suites import shipped_suite
from torch import Tensor

from membench.api import Arrays
from membench.api import Dataset
from membench.api import Lane
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Split
from membench.data import draw_run
from membench.data import load_arrays
from membench.engine import costs
from membench.engine.environment import worker_environment
from membench.engine.numerics import numerics_digest
from membench.engine.pack_data import image_bytes
from membench.engine.pack_data import lane_key
from membench.engine.schedule import checkpoints
from membench.engine.schedule import control_epochs
from membench.engine.step import Program
from membench.engine.step import RunSizes
from membench.engine.train import Run
from membench.engine.train import train_pack
from membench.engine.trainer import Trainer
from membench.errors import InputsChangedError
from membench.errors import LaneError
from membench.errors import MembenchError
from membench.planning.plan import make_plan
from membench.records import Cell
from membench.records import Record
from membench.records import digest
from membench.records import parse_signal
from membench.rng import Draws
from membench.rng import chain
from membench.rng import word
from membench.scoring import score
from membench.text import explain

pytestmark = pytest.mark.usefixtures("worker_like")

RECIPE = Recipe(lr=0.1, batch=10, epochs=12)
SPLIT = Split(test=18, train=30, validation=12)
REAL, NOISE, INPUTS = ("real", "randY", "randX")


def cell(regularizer: str = "none", *strength: float, signal: str = REAL, seed: int = 0) -> Cell:
    return Cell("blobs", "mlp", regularizer, strength, signal, seed)


def source(**regularizers: Regularizer) -> Plugins:
    return Plugins({name: (r,) for name, r in regularizers.items()}, datasets={"blobs": blobs()})


def trained(
    *cells: Cell, recipe: Recipe = RECIPE, compiled: bool = False, **regularizers: Regularizer
) -> list[Record]:
    return train_pack(pack(cells, recipe, SPLIT, compiled), source(**regularizers), "cpu")


@cache
def plain() -> Record:
    return trained(cell())[0]


def numbers(record: Record) -> Record:
    """What the cell itself decides, without its neighbours and the clock."""
    return replace(record, pack="", seconds=0.0)


def bits(text: str, n: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:n].astype(bool)


# --- records --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> list[Record]:
    cells = [
        Cell("digits", "mlp", "dropout", (s,), w, 0)
        for s, w in ((0.5, REAL), (0.5, "mixed@0.4"), (0.1, NOISE))
    ]
    return train_pack(
        pack(cells, Recipe(lr=0.1, batch=20, epochs=8), Split(797, 100, 200)), registry(), "cpu"
    )


def test_a_record_says_which_cell_it_is_of_and_how_it_was_made(digits: list[Record]) -> None:
    for r in digits:
        assert r.key == r.id == r.cell.id and (r.status, r.reason) == ("ok", "")
        assert r.pack == f"{digits[0].id} x3" and r.seconds > 0
        assert r.env == digest(r.versions) and r.versions["torch"] == torch.__version__
        assert (r.num_classes, r.num_train, r.num_test) == (10, 100, 797)
        assert (r.steps, r.cost) == (5 * 8, 1.0)
        assert Record.from_json(json.loads(json.dumps(r.to_json()))) == r
        name, level = parse_signal(r.signal)
        arrays, signal = load_arrays(registry().dataset("digits")), registry().signal(name)
        s = draw_run(arrays, Split(797, 100, 200), signal, level, "digits/mlp", 0)
        assert r.arrays == s.digest and r.num_wrong == s.wrong.sum()
        assert r.label_share == np.bincount(s.train.y).max() / 100


def test_curves_have_a_value_at_each_checkpoint(digits: list[Record]) -> None:
    for r in digits:
        assert r.epochs == checkpoints(8)
        assert {len(c) for c in (r.train, r.loss, r.val, r.test, r.wrong)} == {len(r.epochs)}
        assert all(0 <= v <= 1 for v in (*r.train, *r.val)) and all(v > 0 for v in r.loss)
        # 8 is also where the compute is equal
        assert [v is not None for v in r.test] == [e == 8 for e in r.epochs]


def test_bits_are_the_last_accuracies(digits: list[Record]) -> None:
    for r in digits:
        assert bits(r.train_bits, 100).mean() == pytest.approx(r.train[-1])
        assert bits(r.test_bits, 797).mean() == pytest.approx(r.test[-1])


def test_the_share_of_wrong_labels_learned_is_recorded_where_there_are_some(
    digits: list[Record],
) -> None:
    real, mixed, noise = digits
    assert set(real.wrong) == {None} and real.num_wrong == 0
    for r in (mixed, noise):
        assert all(0 <= v <= 1 for v in r.wrong) and r.num_wrong > 0


def test_real_digits_are_learned_and_carry_over_and_random_labels_do_not(
    digits: list[Record],
) -> None:
    real, _, noise = digits
    assert real.train[-1] > 0.8 and real.test[-1] > 0.6
    assert noise.test[-1] < 0.3 and noise.loss[-1] < noise.loss[0]


def test_none_is_evaluated_and_tested_at_every_control_epoch() -> None:
    r = plain()
    assert r.epochs == control_epochs(12) == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
    assert None not in r.test and r.cost == 1.0


def test_an_expensive_regularizer_is_also_tested_at_the_budget_s_compute() -> None:
    (r,) = trained(cell("sam", 0.1))
    assert r.cost == 2.0
    assert r.epochs == tuple(sorted({*checkpoints(12), 6}))
    assert [e for e, v in zip(r.epochs, r.test, strict=True) if v is not None] == [6, 12]


def test_progress_is_reported_when_the_training_begins_and_after_every_epoch() -> None:
    told: list[float] = []
    train_pack(pack([cell()], RECIPE, SPLIT), source(), "cpu", told.append)
    assert told == pytest.approx([e / 12 for e in range(13)])


def test_a_step_that_cannot_be_counted_without_memory_is_counted_on_a_cpu() -> None:
    """A tensor made without naming the device costs no pack."""

    def fade(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
        return x * (1 - lane.strength * torch.arange(x.shape[-1]) / 99), y

    part = Regularizer("fade", (0.1, 0.2, 0.3, 0.4, 0.5), batch=fade)
    (r,) = train_pack(pack([cell("fade", 0.3)], RECIPE, SPLIT), source(fade=part), "cpu")
    assert (r.status, r.cost, r.reason) == ("ok", 1.0, "")


def test_a_step_that_cannot_be_counted_at_all_counts_as_the_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(costs, "relative_cost", lambda program, shape: None)
    (r,) = trained(cell())
    assert (r.status, r.cost) == ("ok", 1.0)
    assert "cannot be counted" in r.reason


def test_examples_that_fill_no_batch_are_left_out_for_an_epoch() -> None:
    (r,) = trained(cell(), recipe=replace(RECIPE, batch=8, epochs=2))
    assert r.steps == 2 * (30 // 8)


def test_a_pack_that_is_not_compiled_does_not_load_the_compiler() -> None:
    """Inductor takes 1 to 2 s to load."""
    code = (
        "import sys, membench.engine.train; sys.exit('torch._inductor.compile_fx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- what cells share -----------------------------------------------------------------------------


def run_of(*cells: Cell) -> Run:
    return Run(pack(cells, RECIPE, SPLIT), source(), torch.device("cpu"))


def test_an_epoch_shows_every_example_once_in_a_new_order() -> None:
    run = run_of(cell(), cell(seed=1))
    orders = [run.data.order(e).flatten(1) for e in range(3)]
    assert all(sorted(row) == list(range(30)) for order in orders for row in order.tolist())
    assert len({tuple(row) for order in orders for row in order.tolist()}) == 6


def test_weights_and_order_are_the_seed_s_whatever_is_trained() -> None:
    cells = [cell(), cell(signal=NOISE), cell(signal="mixed@0.4")]
    run = run_of(*cells)
    trainer, order = run.trainer(), run.data.order(3)
    for k, w in trainer.state["params"].items():
        assert torch.equal(w[0], w[1]) and torch.equal(w[0], w[2]), k
    assert torch.equal(order[0], order[1])
    assert (
        lane_key(cell("dropout", 0.5), False)
        == lane_key(cell(signal=NOISE), False)
        != lane_key(cell(seed=1), False)
    )
    assert lane_key(replace(cell(), architecture="cnn"), False) != lane_key(cell(), False)


def test_a_cell_s_record_does_not_depend_on_the_other_cells_or_its_position() -> None:
    alone, other = plain(), cell(signal=NOISE, seed=3)
    assert numbers(trained(other, cell())[1]) == numbers(alone)
    assert numbers(trained(cell(), other, cell(seed=1))[0]) == numbers(alone)


def test_the_same_cell_twice_gives_the_same_numbers() -> None:
    assert numbers(trained(cell())[0]) == numbers(plain())


def test_a_placebo_is_none_from_other_weights_in_another_order() -> None:
    one, two, again = trained(cell("placebo", 1.0), cell("placebo", 2.0), cell("placebo", 1.0))
    assert one.arrays == two.arrays == plain().arrays
    assert len({one.loss[-1], two.loss[-1], plain().loss[-1]}) == 3
    assert one.loss == again.loss
    assert one.cost == 1.0
    run = run_of(cell("placebo", 1.0), cell("placebo", 2.0), cell("placebo", 1.0, signal=NOISE))
    order, weights = run.data.order(1), run.trainer().state["params"]["first.weight"]
    assert not torch.equal(order[0], order[1]) and not torch.equal(weights[0], weights[1])
    assert torch.equal(order[0], order[2]) and torch.equal(weights[0], weights[2])
    assert (
        lane_key(cell("placebo", 1.0), True)
        != lane_key(cell(), False)
        == word("task", "blobs/mlp", 0)
    )


def test_a_composition_s_strengths_reach_its_parts() -> None:
    (both,) = trained(cell("dropout+adversarial", 0.5, 0.0))
    (alone,) = trained(cell("dropout", 0.5))
    assert (both.train, both.loss, both.val) == (alone.train, alone.loss, alone.val)
    assert both.cost > alone.cost == 1.0


def test_ema_is_evaluated_at_its_average_and_trains_as_none() -> None:
    (slow,) = trained(cell("ema", 0.9))
    common = sorted(set(slow.epochs) & set(plain().epochs))

    def at(record: Record, epoch: int) -> float:
        return record.loss[record.epochs.index(epoch)]

    assert all(at(slow, e) > at(plain(), e) for e in common)  # the average lags behind
    (fast,) = trained(cell("ema", 1e-9))
    assert [at(fast, e) for e in common] == pytest.approx(
        [at(plain(), e) for e in common], rel=1e-4
    )


def test_inputs_that_a_signal_made_are_trained_on_and_the_real_ones_evaluated() -> None:
    random, real = trained(cell(signal=INPUTS), cell())
    assert numbers(real) == numbers(plain())
    assert (random.status, set(random.wrong)) == ("ok", {None}) and random.arrays != real.arrays
    # noise is fitted, and says nothing of real images
    assert random.train[-1] > 0.9 and random.val[-1] < real.val[-1]
    run = run_of(cell(signal=INPUTS), cell(), cell(signal=INPUTS, seed=1))
    trainer = run.trainer()
    assert run.data.rows["train"][[0, 2]].flatten().tolist() == list(range(60, 120))
    assert run.data.rows["val"].max() < 60 and run.data.rows["test"].max() < 60
    for lane, s in ((0, run.data.runs[0]), (2, run.data.runs[2])):
        assert torch.equal(
            trainer.data.images[run.data.rows["train"][lane]], torch.from_numpy(s.train.x)
        )
    own = run.data.runs[1].train.rows
    assert np.array_equal(trainer.data.images[run.data.rows["train"][1]], run.data.images[own])


def test_inputs_that_a_signal_made_are_held_once_for_all_strengths_of_a_seed() -> None:
    strengths = (0.1, 0.3, 0.5)
    cells = [cell("dropout", s, signal=INPUTS, seed=seed) for s in strengths for seed in (0, 1)]
    data = run_of(*cells).data
    images = data.tensors.images
    assert len(images) == 60 + 2 * 30
    assert image_bytes(data.images, data.runs) == images.numel() * images.element_size()
    for lane, run in enumerate(data.runs):
        assert torch.equal(images[data.rows["train"][lane]], torch.from_numpy(run.train.x))


def test_images_stay_bytes_where_no_signal_makes_others() -> None:
    data = run_of(cell(), cell(signal=NOISE)).data
    assert data.tensors.images.dtype == torch.uint8
    assert image_bytes(data.images, data.runs) == data.tensors.images.numel()


@pytest.mark.parametrize("share", [None, 0.5])
def test_an_epoch_s_order_is_each_lane_s_own_permutation(share: float | None) -> None:
    """As drawn on the host, lane by lane."""
    split = replace(SPLIT, share=share)
    cells = [
        cell("dropout", s, signal=w, seed=i)
        for s in (0.1, 0.5)
        for w in (REAL, NOISE)
        for i in (0, 1, 2)
    ]
    data = Run(pack(cells, RECIPE, split), source(), torch.device("cpu")).data
    steps = split.trained // RECIPE.batch
    for epoch in (1, 7):
        order = data.order(epoch)
        assert order.dtype == torch.int64 and order.is_contiguous()
        assert order.shape == (len(cells), steps, RECIPE.batch)
        for lane, key in enumerate(data.lane_keys):
            expected = Draws(chain(key, epoch)).permutation("order", split.trained)
            if share is not None:
                expected = np.flatnonzero(data.trained[lane])[expected]
            assert order[lane].flatten().tolist() == expected[: steps * RECIPE.batch].tolist()


def test_an_epoch_s_order_moves_to_the_device_once_for_each_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = run_of(*(cell("dropout", s, seed=i) for s in (0.1, 0.3, 0.5) for i in (0, 1))).data
    moved = []
    upload = data._upload
    monkeypatch.setattr(data, "_upload", lambda array: (moved.append(array), upload(array))[1])
    data.order(1)
    assert [(array.shape, array.dtype) for array in moved] == [((2, 30), np.int32)]


def test_the_next_order_is_drawn_before_a_reading_waits_for_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_of(cell())
    trainer, happened = run.trainer(), []
    order, train_epoch, read = run.data.order, trainer.train_epoch, run._read

    def spy(what: str, function: Callable) -> Callable:
        def call(*args: Any, **more: Any) -> Any:
            happened.append(what)
            return function(*args, **more)

        return call

    monkeypatch.setattr(run.data, "order", spy("order", order))
    monkeypatch.setattr(trainer, "train_epoch", spy("train", train_epoch))
    monkeypatch.setattr(run, "_read", spy("read", read))
    run.train(trainer, 1.0, lambda share: None)
    assert happened[:7] == ["order", "train", "order", "read", "train", "order", "read"]
    assert happened[-2:] == ["train", "read"]


# --- how a cell can end ---------------------------------------------------------------------------


def bomb(stage: str, at: int) -> Regularizer:
    """At step `at` the lanes of strength 1 are divided by zero."""

    def size(lane: Any) -> Any:
        return 1 - lane.strength * (lane.step == at)

    acts: dict[str, Callable] = {
        "loss": lambda losses, logits, y, lane: losses / size(lane),
        "weights": lambda params, lane: {k: w / size(lane) for k, w in params.items()},
    }
    return Regularizer("bomb", (1.0,), **{stage: acts[stage]})


def test_a_cell_whose_loss_is_not_finite_has_diverged_and_its_neighbour_has_not() -> None:
    died, alive = trained(cell("bomb", 1.0), cell("bomb", 0.0), bomb=bomb("loss", 7))
    assert (died.status, died.reason, died.steps) == ("diverged", "not finite: loss at step 7", 7)
    assert (died.epochs, died.train, died.test_bits) == ((), (), "")
    assert (died.key, died.num_train, died.arrays) == (died.id, 30, plain().arrays)
    assert (alive.status, alive.steps) == ("ok", 36)
    assert numbers(alive) == numbers(trained(cell("bomb", 0.0), bomb=bomb("loss", 7))[0])


def test_a_cell_that_is_not_finite_after_its_last_step_has_diverged() -> None:
    (died,) = trained(cell("bomb", 1.0), bomb=bomb("weights", 35))
    assert (died.status, died.reason) == ("diverged", "not finite: weights or logits at the end")


def test_a_record_of_a_diverged_cell_is_json() -> None:
    (died,) = trained(cell("bomb", 1.0), bomb=bomb("loss", 0))
    assert died.steps == 0
    assert Record.from_json(json.loads(json.dumps(died.to_json(), allow_nan=False))) == died


def test_an_error_that_a_plugin_raises_points_at_the_plugin() -> None:
    def hidden(h: Any, lane: Any) -> Any:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing") as error:
        trained(cell("mine", 1.0), mine=Regularizer("mine", (1.0,), hidden=hidden))
    line = hidden.__code__.co_firstlineno + 1
    assert (
        explain(error.value) == f"ValueError: no such thing (engine/{Path(__file__).name}:{line})"
    )


def test_a_lane_error_points_at_the_plugin() -> None:
    def hidden(h: Any, lane: Any) -> Any:
        return h + lane.x

    with pytest.raises(LaneError) as error:
        trained(cell("mine", 1.0), mine=Regularizer("mine", (1.0,), hidden=hidden))
    line = hidden.__code__.co_firstlineno + 1
    assert explain(error.value).startswith(
        "LaneError: lane.x is not there in stage 'hidden': it is in loss, penalty"
    )
    assert explain(error.value).endswith(f"(engine/{Path(__file__).name}:{line})")


def test_a_broken_promise_names_the_plugin() -> None:
    with pytest.raises(MembenchError, match="regularizer 'mine': hidden must return"):
        trained(cell("mine", 1.0), mine=Regularizer("mine", (1.0,), hidden=lambda h, lane: h.sum()))


@pytest.mark.parametrize(
    ("chosen", "expected"), [("highest", "highest"), ("medium", "medium"), ("", "medium")]
)
def test_a_compiled_pack_is_trained_at_the_precision_that_it_was_given_and_says_so(
    monkeypatch: pytest.MonkeyPatch, chosen: str, expected: str
) -> None:
    """Products are rounded to bfloat16 at `medium` only, whatever the CPU could do."""
    options: dict[str, Any] = {}

    class NoProgram:
        def bind(self, *arguments: Any) -> None:
            options["torch"] = torch.get_float32_matmul_precision()
            raise RuntimeError("not compiled here")

    def no_program(*arguments: Any, **others: Any) -> NoProgram:
        options.update(others)
        return NoProgram()

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr("membench.engine.compiled.compiled_step", no_program)
    given = pack([cell()], RECIPE, SPLIT, compiled=True, precision=chosen)
    (record,) = train_pack(given, source(), "cpu")
    assert (options["bfloat16"], options["torch"]) == (expected == "medium", expected)
    usual = worker_environment(torch.device("cpu"), compiled=True)
    assert record.versions == {**usual, "precision": expected}
    assert record.env == digest(record.versions)


def test_a_program_that_cannot_be_compiled_is_in_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr("membench.engine.compiled.lower", fails)
    (r,) = trained(cell("dropout", 0.5), compiled=True, recipe=replace(RECIPE, lr=0.0999))
    assert (r.status, r.reason) == ("ok", "ran uncompiled: RuntimeError: no C++ compiler")


def test_a_batch_larger_than_the_training_set_is_refused() -> None:
    with pytest.raises(MembenchError, match="blobs/mlp: 30 training images fill no batch of 31"):
        trained(cell(), recipe=replace(RECIPE, batch=31))


def test_lanes_that_do_not_fit_into_memory_train_in_parts_with_the_same_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells, shares = [cell(signal=s, seed=i) for s in (REAL, NOISE) for i in (0, 1, 2, 3)], []
    whole = trained(*cells)
    # beside so much, the data are nothing
    monkeypatch.setattr(costs, "lane_memory", lambda program, shape: 1 << 30)
    for room, widths in ((3.5, [2] * 4), (6.5, [4] * 2), (0.1, [1] * 8)):
        monkeypatch.setattr(costs, "free_memory", lambda device, room=room: int(room * (1 << 30)))
        shares.clear()
        parts = train_pack(pack(cells, RECIPE, SPLIT), source(), "cpu", shares.append)
        assert [numbers(r) for r in parts] == [numbers(r) for r in whole]
        assert [int(name.split(" x")[1]) for name in dict.fromkeys(r.pack for r in parts)] == widths
        assert (
            shares == sorted(shares)
            and shares[-1] == 1
            and len(shares) == len(widths) * (1 + RECIPE.epochs)
        )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["torch", "cublas"],
)
def test_a_pack_that_runs_out_of_memory_trains_in_halves_and_says_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is memory for three lanes, which shows in their first steps."""
    tried: list[int] = []
    shares: list[float] = []
    train = Run.train

    def train_few(run: Run, *args: Any) -> Any:
        tried.append(len(run.pack.cells))
        if len(run.pack.cells) > 3:
            raise error
        return train(run, *args)

    cells = [cell(signal=s, seed=i) for s in (REAL, NOISE) for i in (0, 1, 2, 3)]
    short = pack(cells, replace(RECIPE, epochs=2), SPLIT)
    whole = train_pack(short, source(), "cpu")
    monkeypatch.setattr(Run, "train", train_few)
    records = train_pack(short, source(), "cpu", shares.append)
    assert tried == [8, 4, 2, 2, 2, 2]
    assert {r.reason for r in records} == {"out of memory at 4 lanes: trained 2 at a time"}
    assert [numbers(replace(r, reason="")) for r in records] == [numbers(r) for r in whole]
    assert shares == sorted(shares) and shares[-1] == 1


def test_a_pack_of_one_lane_that_runs_out_of_memory_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def compile_none(trainer: Trainer, order: torch.Tensor) -> str:
        tried.append(len(order))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "compile", compile_none)
    with pytest.raises(torch.OutOfMemoryError):
        trained(cell(), cell(seed=1), cell(seed=2), compiled=True)
    assert tried == [3, 1]  # two lanes and one would be two programs


def on_a_gpu(steps: int, *cells: Cell) -> Run:
    """A run that believes that it is on a GPU, and to have so many steps."""
    run = Run(pack(cells, RECIPE, SPLIT, compiled=True), source(), torch.device("cpu"))
    run.device, run.steps = torch.device("cuda"), steps
    return run


def test_a_gpu_compiles_only_where_that_pays_and_alike_for_all_entries_of_a_task() -> None:
    for name, strength in (("none", ()), ("sam", (0.1,)), ("dropout", (0.5,))):
        assert not on_a_gpu(500, cell(name, *strength)).is_compiled
        assert on_a_gpu(1_000_000, cell(name, *strength)).is_compiled
    for compiled in (True, False):
        run = Run(pack([cell()], RECIPE, SPLIT, compiled), source(), torch.device("cpu"))
        assert run.is_compiled == compiled


def test_what_is_not_compiled_on_a_gpu_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tape for a graph; the numbers are the eager step's."""
    fake_cuda(monkeypatch)
    monkeypatch.setattr(Run, "is_compiled", False)
    monkeypatch.setattr(torch, "compile", None)
    replays = []
    replay = Tape.replay
    monkeypatch.setattr(Tape, "replay", lambda tape: (replays.append(1), replay(tape)))
    (captured,) = trained(cell(), compiled=True)
    assert len(replays) == 36
    assert captured.reason == ""
    assert not captured.versions["compiled"]
    assert captured.train == plain().train and captured.val == plain().val
    assert captured.loss == pytest.approx(plain().loss, rel=1e-4)  # at another precision


@pytest.mark.parametrize(
    ("signal", "lanes_that_fit"), [(REAL, 8), (INPUTS, 8)], ids=["shared", "made"]
)
def test_images_that_lanes_share_count_once_against_the_memory(
    signal: str, lanes_that_fit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight lanes that take next to nothing fit into little more than what all of them share."""
    monkeypatch.setattr(costs, "lane_memory", lambda program, shape: 1000)
    cells = [cell("dropout", s / 10, signal=signal) for s in range(1, 9)]
    data = run_of(*cells).data
    shared = data.tensors.images.numel() * data.tensors.images.element_size()
    for room, widest in ((shared + 8 * 4000, lanes_that_fit), (shared - 1, 1)):
        monkeypatch.setattr(costs, "free_memory", lambda device, room=room: room)
        records = train_pack(pack(cells, replace(RECIPE, epochs=1), SPLIT), source(), "cpu")
        assert {r.pack for r in records} == {f"{r.id} x{widest}" for r in records[::widest]}


@pytest.mark.parametrize(("arrays", "error"), [("a hash", InputsChangedError), ("", MembenchError)])
def test_data_that_are_missing_where_a_pack_is_trained_end_the_run_if_they_were_planned(
    arrays: str, error: type[MembenchError]
) -> None:
    """On a node of a cluster, each further pack would lack them too."""

    def load(folder: Path) -> Arrays:
        raise FileNotFoundError("membench data fetch blobs")

    plugins = Plugins(datasets={"blobs": Dataset("blobs", load=load)})
    with pytest.raises(error, match="data set 'blobs' is missing") as caught:
        train_pack(pack([cell()], RECIPE, SPLIT, arrays=arrays), plugins, "cpu")
    assert type(caught.value) is error


def test_packs_are_not_split_on_a_cpu() -> None:
    assert costs.free_memory(torch.device("cpu")) is None


def test_memory_that_torch_has_cached_counts_as_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 900)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)
    assert costs.free_memory(torch.device("cuda")) == costs.MEMORY_SHARE * 800


def test_workers_of_one_gpu_share_its_memory_whoever_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares: list[float] = []
    device = torch.device("cuda")
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, where: shares.append(share)
    )
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda where: shares[-1])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda where: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda where: 0)
    costs.share_memory(torch.device("cpu"), 2)
    assert shares == []
    costs.share_memory(device, 2)
    for free, usable in ((1000, 500), (600, 500), (300, 300)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda where, free=free: (free, 1000))
        assert costs.free_memory(device) == costs.MEMORY_SHARE * usable


def test_a_lane_s_memory_is_its_state_twice_and_what_is_alive_in_a_step_and_in_a_reading() -> None:
    run = Run(pack([cell()], RECIPE, SPLIT), source(), torch.device("cpu"))
    weights = 4 * sum(w[0].numel() for w in run.trainer().state["params"].values())
    lane = costs.lane_memory(run.program(), run.data.shape)
    kept = 3 * weights  # weights, momentum, initial
    # of a step the gradients and both anew; of both the images, as bytes were read and standardised
    alive = 3 * weights + 4 * (RECIPE.batch + SPLIT.train) * 64
    step = costs.count_step(run.program(), run.data.shape)
    assert 2 * kept + alive < lane < 2 * kept + 4 * alive
    assert alive < 2 * step.peak_bytes < step.bytes * 2


def test_memory_of_averaged_weights_with_batch_norm_does_not_grow_with_the_data() -> None:
    """Their running statistics are taken anew from all training images, a batch at a time."""
    lanes = []
    for train in (30, 3000):
        split = replace(SPLIT, train=train)
        module = registry().architecture("resnet8").build((1, 8, 8), CLASSES)
        sizes = RunSizes(steps=10, num_classes=CLASSES, num_examples=split.train, pixel_scale=1.0)
        program = Program(
            module=module,
            parts=parts("ema"),
            recipe=RECIPE,
            optimizer=shipped_optimizer("sgd"),
            sizes=sizes,
        )
        lanes.append(costs.lane_memory(program, (1, 8, 8)))
    assert lanes[1] < 30 * lanes[0]  # 100 times the images; a reading takes 500 of them


def test_a_missing_data_set_is_one_line() -> None:
    def load(folder: Path) -> Any:
        raise FileNotFoundError("fetch it with `membench data`")

    plugins = Plugins(datasets={"blobs": Dataset("blobs", load)})
    with pytest.raises(MembenchError, match="data set 'blobs' is missing: fetch it"):
        train_pack(pack([cell()], RECIPE, SPLIT), plugins, "cpu")


@pytest.mark.slow
def test_a_compiled_pack_gives_the_eager_one_s_accuracies() -> None:
    names = [("none",), ("dropout", 0.3), ("ema", 0.9)]
    for name in names:
        (eager,), (compiled,) = (trained(cell(*name), compiled=c) for c in (False, True))
        assert compiled.reason == "" and compiled.versions["compiled"]
        assert compiled.loss == pytest.approx(eager.loss, rel=1e-3)
        assert compiled.val[-1] == pytest.approx(eager.val[-1], abs=0.1)


def test_the_data_of_the_tests_can_be_learned() -> None:
    assert plain().train[-1] == 1.0 and plain().test[-1] > 0.8 and plain().num_classes == CLASSES
    assert len(parts("none")) == 0


def test_the_plain_network_of_smoke_passes_the_gate_on_development_seeds() -> None:
    suite = replace(shipped_suite("smoke"), choosing=(1000,), confirming=(1001, 1002))
    plan = make_plan(
        suite, registry(), lambda name: "", lambda *names: None, lambda cell: "/none/" in cell
    )
    (alone,) = (pack for pack in plan.packs() if pack.cells[0].regularizer == "none")
    (gate,) = score(plan.manifest, train_pack(alone, registry(), "cpu")).gates
    assert (gate.choosing, gate.confirming) == ((1000,), (1001, 1002))
    assert gate.reasons == ()


def test_a_record_has_the_digest_of_the_process_beside_its_environment_and_not_in_it() -> None:
    (record,) = trained(cell())
    assert record.numerics == numerics_digest(torch.device("cpu"), compiled=False)
    assert record.env == digest(record.versions)
    assert "numerics" not in record.versions

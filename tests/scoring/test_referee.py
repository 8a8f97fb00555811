"""The board against an independent recomputation from the records (tests/support/referee.py).

`compare` holds one board against it, number by number; `compare_folder` does so for the board of a
folder of records, as those that are committed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import boards
from support.boards import Effect
from support.boards import Machine
from support.referee import LESS
from support.referee import STOPPING
from support.referee import Line
from support.referee import Place
from support.referee import Referee
from support.referee import Setting
from support.referee import Sum
from support.referee import Value
from support.referee import Verdict
from support.referee import add_up
from support.scoring import all_cells

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.scoring import Board
from membench.scoring import choose
from membench.scoring import score
from membench.scoring.types import FULL
from membench.scoring.types import Confirmed
from membench.scoring.types import Interval
from membench.scoring.types import Row
from membench.scoring.types import TaskScore
from membench.store.store import Store

HERE = Path(__file__).parents[2]
COMMITTED = sorted((HERE / "leaderboard").glob("**/records/*.plan.json"))


def near(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)


def same(interval: Interval | None, expected: Sum | None) -> bool:
    """Hold an interval against the referee's."""
    if interval is None or expected is None:
        return interval is None and expected is None
    half = None if np.isnan(expected.error) else expected.half
    return interval.mean == near(expected.mean) and interval.half == near(half)


def compare(manifest: Manifest, records: Sequence[Record]) -> Board:
    """Hold a board against the referee, and return it."""
    board = score(manifest, records)
    compare_board(board, Referee(manifest, records).verdict())
    return board


def compare_board(board: Board, verdict: Verdict) -> None:
    """Hold all numbers of a board against the referee's."""
    for gate in board.gates:
        expected = verdict.gates[gate.task]
        assert (gate.env, gate.valid, gate.pending) == tuple(
            expected[name] for name in ("env", "valid", "pending")
        )
        assert gate.weight == near(expected["weight"])
        assert gate.values == near(expected["values"])
        for name in ("choosing", "confirming", "dropped"):
            assert getattr(gate, name) == expected.get(name, type(getattr(gate, name))())
    assert board.ranked == (verdict.has_ranks and bool(verdict.order))
    assert [row.entry for row in board.rows] == verdict.order
    rows = [*board.rows, *board.unranked, *board.skipped, *board.control_rows, *board.full_rows]
    assert {row.entry for row in rows} == set(verdict.lines)
    for row in rows:
        compare_row(row, verdict.lines[row.entry], is_ranked=board.ranked and row in board.rows)
    for (name, task), task_score in board.scores.items():
        compare_task(task_score, verdict.lines[name].places[task])


def compare_row(row: Row, line: Line, is_ranked: bool) -> None:
    """Hold a row against the referee's.

    Args:
        row: of the board.
        line: of the referee.
        is_ranked: it has ranks and claims.
    """
    places = line.places.values()
    assert row.envs == {task: place.env for task, place in line.places.items()}
    for name in ("failed", "done", "cells"):
        if line.name != STOPPING:
            assert getattr(row, name) == sum(getattr(place, name) for place in places), name
    assert row.skipped == {t: place.skipped for t, place in line.places.items() if place.skipped}
    numbers = line.numbers
    if not numbers:
        assert row.H is None and row.R is None and row.reason
        return
    for name in ("H", "S", "dA", "R", "dA_recovery"):
        assert same(getattr(row, name), numbers.get(name)), (row.entry, name)
    for signal, interval in row.noisy.items():
        assert same(interval, numbers[f"noisy {signal}"])
    for name in ("H_edge", "R_edge", "cost", "H_equal", "R_equal", "extra", "image_half"):
        assert getattr(row, name) == near(numbers[name]), (row.entry, name)
    assert (row.confirmed_runs, row.confirmed_failed) == (numbers["runs"], numbers["failed"])
    for name in ("held_back", "recovery"):
        chosen = getattr(row, f"chosen_{name}")
        for task, setting in numbers[name].items():
            if not line.places[task].skipped and line.name != STOPPING:
                assert chosen[task] == setting.label
    for name in ("excess_H", "excess_R", "stopping_H", "stopping_R"):
        compare_excess(row, line, name, is_ranked)
    if is_ranked:
        compare_ranks_and_claim(row, line)
    else:
        assert (row.rank_H, row.rank_R, row.claim, row.on_front) == (None, None, None, None)


def compare_excess(row: Row, line: Line, name: str, is_ranked: bool) -> None:
    """Hold an excess over a control against the referee's.

    Args:
        row: of the board.
        line: of the referee.
        name: of the field.
        is_ranked: the row has ranks and claims.
    """
    excess, expected = getattr(row, name), line.numbers[name]
    if line.name in (LESS, STOPPING):
        assert excess is None  # the controls themselves
        return
    if excess is None or expected is None:
        assert excess is None and expected is None, (row.entry, name)
        return
    assert same(excess.value, expected[0]), (row.entry, name)
    assert excess.p == (near(line.numbers[f"{name} p"]) if is_ranked else None)
    assert excess.significant == (line.numbers[f"{name} says"] if is_ranked else None)


def compare_ranks_and_claim(row: Row, line: Line) -> None:
    """Hold what only ranked rows have against the referee's."""
    numbers = line.numbers
    for name in ("rank_H", "rank_R", "first_H", "first_R", "on_front"):
        assert getattr(row, name) == numbers[name], (row.entry, name)
    claim = row.claim
    assert claim is not None
    assert (claim.p, claim.holds) == (near(numbers["p"]), numbers["holds"])
    assert claim.H_bound == near(numbers["H"].bound)
    assert claim.dA_bound == near(numbers["dA"].bound)
    for signal, bound in claim.noisy_bounds.items():
        assert bound == near(numbers[f"noisy {signal}"].bound)
    by_task = {task: setting.values["dA"].x for task, setting in numbers["held_back"].items()}
    assert claim.dA_by_task == near(by_task)


def compare_task(task_score: TaskScore, place: Place) -> None:
    """Hold an entry's numbers on one task against the referee's."""
    assert (task_score.env, task_score.complete) == (place.env, place.complete)
    assert task_score.skipped == place.skipped
    if place.options:
        assert [point.label for point in task_score.points] == [o.label for o in place.options]
        assert [point.failed for point in task_score.points] == [o.failed for o in place.options]
    if task_score.held_back is None or task_score.recovery is None:
        assert place.settings is None
        return
    assert place.settings is not None
    for shown, setting in zip(
        (task_score.held_back, task_score.recovery), place.settings, strict=True
    ):
        compare_setting(shown, setting)


def compare_setting(shown: Confirmed, setting: Setting) -> None:
    """Hold one setting's numbers on the confirming seeds against the referee's."""
    assert shown.strength == setting.strength
    assert shown.edge == setting.edge
    for name in ("H", "S", "dA", "R"):
        assert same(getattr(shown, name), alone(setting.values.get(name)))
    for signal, interval in shown.noisy.items():
        assert same(interval, alone(setting.values[f"noisy {signal}"]))
    assert {"real": shown.real, **shown.noisy_test} == near(setting.A)
    assert (shown.fit, shown.wrong) == (near(setting.fit), near(setting.M))
    assert (shown.runs, shown.failed, shown.cost) == (setting.runs, setting.failed, setting.cost)
    assert (shown.H_equal, shown.R_equal) == (
        near(setting.equal.get("H")),
        near(setting.equal.get("R")),
    )
    assert shown.extra == near(setting.extra)


def alone(value: Value | None) -> Sum | None:
    """The mean and error of one task."""
    if value is None:
        return None
    if value.n < 2:
        return Sum(mean=value.x)
    return add_up([(1.0, value.x, [(value.variance, value.n - 1)])])


def compare_folder(plan: Path) -> Board:
    """Hold the board of a committed plan, beside its records, against the referee."""
    store = Store(plan.parent)
    suite = plan.name.removesuffix(".plan.json")
    return compare(store.manifests()[suite], list(store.read().records.values()))


# --- generated boards -----------------------------------------------------------------------------

EFFECTS = (
    Effect("strong", "model", noise=0.9, real=0.01),
    Effect("mild", "data", noise=0.5, real=0.0, cost=1.6),
    Effect("mild-too", "data", noise=0.52, real=0.005),
    Effect("costly", "loss", noise=0.8, real=0.4),
    Effect("nothing", "loss", noise=0.0, real=0.02),
)
WIDE = (3, 4, 5, 6, 7, 8, 9, 10)


def make_board(
    effects: Sequence[Effect] = EFFECTS,
    machines: Sequence[Machine] = (boards.MACHINE,),
    change: Callable[[Record], Record] = lambda record: record,
    entries: Callable[[Entry], Entry] = lambda entry: entry,
    **options: Any,
) -> tuple[Manifest, list[Record]]:
    """Plan both phases and make their records, whose numbers scatter widely from seed to seed.

    Args:
        effects: the regularizers.
        machines: that run the suite.
        change: of each record.
        entries: change of each entry of the plan.
        options: of `boards.manifest`.
    """
    plan = boards.manifest(effects, machines=(), **options)
    plan = replace(
        plan,
        entries=tuple(entries(entry) for entry in plan.entries),
        envs=tuple(machine.env for machine in machines),
    )
    cells = all_cells(plan)
    plan = replace(plan, cells={cell.id: digest(cell.id) for cell in cells})
    made = boards.records(plan, effects, machines=machines)
    made = [change(scatter(record)) for record in made]
    planned = {cell.id for cell in cells if not cell.strength or cell.seed in plan.choosing}
    first_phase = replace(plan, cells={i: key for i, key in plan.cells.items() if i in planned})
    for machine in machines:
        here = [record for record in made if record.env == machine.env or not record.versions]
        choices = choose(first_phase, here)
        for cell in cells:
            for name in (cell.regularizer, cell.regularizer + FULL):
                choice = choices.get((cell.task, name))
                if choice and cell.seed in plan.confirming and cell.strength in choice.strengths:
                    planned.add(cell.id)
    cells_of_plan = {i: key for i, key in plan.cells.items() if i in planned}
    return replace(plan, cells=cells_of_plan), made


def scatter(record: Record) -> Record:
    """Add noise to the accuracies of a run, more to some entries; `none` stays within the gate."""
    rng = np.random.default_rng(int(digest([record.id, record.env])[:12], 16))
    spread = {"none": 0.004, "costly": 0.03}.get(record.regularizer, 0.012)

    def moved(curve: tuple[float | None, ...], spread: float) -> tuple[float | None, ...]:
        noise = rng.normal(0, spread) + rng.normal(0, spread / 3, len(curve))
        values = np.clip(np.array(curve, dtype=float) + noise, 0, 1).tolist()
        return tuple(None if np.isnan(value) else value for value in values)

    return replace(
        record,
        val=moved(record.val, spread),
        test=moved(record.test, spread),
        wrong=moved(record.wrong, spread if record.regularizer != "none" else 0.001),
        label_share=0.1 + 0.02 * rng.random(),
    )


def failing(record: Record) -> Record:
    """Let some runs of the entries and one of `none` fail."""
    draw = int(digest([record.id, "fails"])[:8], 16) / 16**8
    if record.regularizer == "none":
        is_out = record.id == "mnist5k/mlp/none/mixed@0.4/seed4"
        return boards.broken(record, "timeout", "600 s") if is_out else record
    if record.regularizer in ("mild", "low-lr") and draw < 0.02:
        return boards.broken(record, "diverged")
    if record.regularizer == "strong" and record.seed > 2 and record.signal == "randY":
        return boards.broken(record) if draw < 0.3 else record
    if record.regularizer == "costly" and draw < 0.02:
        return replace(boards.broken(record), versions={}, env="")
    return record


def cannot_act(record: Record) -> Record:
    """Let one entry find out that it cannot act on a task."""
    if record.regularizer == "mild" and record.architecture == "mlp":
        return replace(boards.broken(record, "skipped", "no taps"), reason="no taps")
    return record


def lowest_rate_is_best(record: Record) -> Record:
    """Let the first control choose the lowest rate, an end of its grid."""
    if record.regularizer != "low-lr" or record.strength != (10.0,) or record.signal == "randY":
        return record
    best = (0.97,) * len(record.epochs)
    return replace(record, val=best, test=best)


def first_epoch_is_best(record: Record) -> Record:
    """Let the second control choose the first epoch of the runs on noise."""
    if record.regularizer != "none" or record.signal != "mixed@0.4":
        return record
    return replace(record, val=(1.0, *record.val[1:]))


def one_task_is_invalid(record: Record) -> Record:
    """Let `none` fit random labels of one task too slowly."""
    if (record.regularizer, record.architecture, record.signal) != ("none", "cnn", "randY"):
        return record
    return replace(record, train=tuple(min(fit, 0.97) for fit in record.train))


def second_machine_is_worse(record: Record) -> Record:
    """Let `none` fail the gate on one task of another machine, and at four seeds of the other."""
    if record.regularizer != "none" or record.env != HERE_AND_THERE[1].env:
        return record
    if record.architecture == "cnn" and record.signal == "randY":
        return replace(record, train=tuple(min(fit, 0.97) for fit in record.train))
    return boards.broken(record) if record.seed in (3, 5, 6, 7) else record


def few_seeds_elsewhere(record: Record) -> Record:
    """Let `none` fail at four seeds of another machine."""
    is_there = record.regularizer == "none" and record.env == HERE_AND_THERE[1].env
    return boards.broken(record) if is_there and record.seed in (0, 3, 5, 6, 7) else record


def skips(entry: Entry) -> Entry:
    """Let one entry say on which tasks it cannot act, and another that it can on none."""
    if entry.name == "strong":
        return replace(entry, skipped={"mnist5k/cnn": "no batch norm"})
    if entry.name == "nothing":
        return replace(entry, skipped={"mnist5k/cnn": "no taps", "mnist5k/mlp": "no taps"})
    return entry


PAIR = Entry(
    name="strong+mild",
    group="composition",
    strengths=tuple((value, value) for value in boards.GRID),
    full=tuple(product(boards.GRID, boards.GRID[:3])),
    limits=(0.8, None),
)


def with_pair(entry: Entry) -> Entry:
    """Give one grid a natural end, and make a composition of another entry."""
    if entry.name == PAIR.name:
        return PAIR
    return replace(entry, limits=(0.8,)) if entry.name == "strong" else entry


BOTH = Effect("strong+mild", "composition", noise=0.95, real=0.0)
HERE_AND_THERE = (
    Machine(name="one", entries=("strong", "mild", "low-lr", "placebo")),
    Machine(name="two", entries=("mild-too", "costly", "mild")),
    Machine(name="three", entries=("nothing", "low-lr")),
)

BOARDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "failures": {"change": failing, "confirming": WIDE},
    "three machines": {"machines": HERE_AND_THERE},
    "three machines with failures": {
        "machines": HERE_AND_THERE,
        "change": failing,
        "confirming": WIDE,
    },
    "a machine whose own gate fails": {
        "machines": HERE_AND_THERE,
        "change": second_machine_is_worse,
    },
    "a machine with few seeds": {
        "machines": HERE_AND_THERE,
        "change": few_seeds_elsewhere,
        "confirming": WIDE,
    },
    "the lowest rate is best": {"change": lowest_rate_is_best, "tasks": ("mnist5k/mlp",)},
    "the first epoch is best": {"change": first_epoch_is_best, "tasks": ("mnist5k/mlp",)},
    "one task is invalid": {"change": one_task_is_invalid},
    "two levels and further signals": {
        "levels": (0.4, 0.2),
        "further": ("randX", "pair-flip@0.4"),
    },
    "noise of one's own, without random labels": {
        "signals": ("real", "pair-flip@0.4", "randX", "pair-flip@0.3"),
        "noisy": ("pair-flip@0.4", "pair-flip@0.3"),
    },
    "noise of one's own beside random labels": {
        "signals": ("real", "randY", "pair-flip@0.4"),
        "noisy": ("pair-flip@0.4",),
        "change": failing,
        "confirming": WIDE,
    },
    "two data sets": {"tasks": ("mnist5k/mlp", "mnist5k/cnn", "fashion-mnist/mlp")},
    "a full grid": {
        "effects": (*EFFECTS, BOTH),
        "entries": with_pair,
        "tasks": ("mnist5k/mlp",),
    },
    "entries that cannot act": {"entries": skips},
    "an entry that finds that it cannot act": {"change": cannot_act},
    "two confirming seeds": {"choosing": (0,), "confirming": (1, 2)},
    "one entry": {"effects": EFFECTS[:1]},
}


@pytest.mark.parametrize("name", BOARDS)
def test_the_board_equals_an_independent_recomputation(name: str) -> None:
    compare(*make_board(**BOARDS[name]))


def test_one_run_that_differs_is_noticed() -> None:
    manifest, records = make_board(effects=EFFECTS[:2], tasks=("mnist5k/mlp",))
    board = score(manifest, records)
    confirmed = board.scores["strong", "mnist5k/mlp"].held_back
    assert confirmed is not None
    cell = f"mnist5k/mlp/strong[{confirmed.label}]/mixed@0.4/seed7"
    place = next(i for i, record in enumerate(records) if record.id == cell)
    wrong = records[place].wrong
    records[place] = replace(records[place], wrong=(*wrong[:-1], (wrong[-1] or 0.0) + 1e-6))
    with pytest.raises(AssertionError):
        compare_board(board, Referee(manifest, records).verdict())


def test_the_board_of_a_folder_is_read_as_it_was_stored(tmp_path: Path) -> None:
    manifest, records = make_board(effects=EFFECTS[:2], tasks=("mnist5k/mlp",))
    planned = set(manifest.cells.values())
    store = Store(tmp_path)
    with store.writer() as writer:
        writer.append([record for record in records if record.key in planned])
    store.write_manifest(manifest)
    store.merge()
    assert compare_folder(tmp_path / "quick.plan.json") == score(manifest, records)


@pytest.mark.parametrize("plan", COMMITTED, ids=lambda plan: str(plan.relative_to(HERE)))
def test_each_committed_board_equals_an_independent_recomputation(plan: Path) -> None:
    assert compare_folder(plan).rows

"""How long a run has still to go, told from its events: by hand, and on simulated runs."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

import pytest
from support.cli import REPO
from support.records import make_record
from support.trainers import make_pack

from membench.execution.forecast import UNKNOWN_COST
from membench.execution.forecast import Expected
from membench.execution.forecast import Experience
from membench.execution.forecast import Forecast
from membench.execution.protocol import Event
from membench.execution.queue import Queue
from membench.planning.packs import Pack
from membench.planning.packs import ProgramId
from membench.records import Cell
from membench.records import Record

PLAIN = make_pack("none", width=10, epochs=10)  # 100 steps
COSTLY = make_pack("costly", width=10, epochs=10)
COSTS = {PLAIN.program: 1.0, COSTLY.program: 3.0}


def told(forecast: Forecast, pack: Pack, *news: tuple[str, float, float], worker: int = 0) -> None:
    for kind, now, done in news:
        forecast.update(Event(kind=kind, worker=worker, pack=pack, done=done), now)


def test_what_is_left_takes_as_long_as_what_was_done_compilation_apart() -> None:
    forecast = Forecast(workers=1, experience=Experience(costs=COSTS))
    forecast.plan([PLAIN, replace(COSTLY), make_pack("none", index=1, width=10, epochs=10)])
    assert forecast.seconds_left(0) is None
    told(forecast, PLAIN, ("started", 0, 0))
    assert forecast.is_compiling(0)
    told(forecast, PLAIN, ("progress", 7, 0.0))
    assert not forecast.is_compiling(0)
    assert forecast.seconds_left(7) is None, "nothing tells how fast it is"
    told(forecast, PLAIN, ("progress", 17, 0.5))  # 5 plain steps a second
    assert forecast.seconds_left(17) == pytest.approx(10 + 20 + 3 * 20 + 7)
    assert forecast.seconds_left(21) == pytest.approx(6 + 20 + 3 * 20 + 7), "time has passed"
    told(forecast, PLAIN, ("stored", 32, 1.0))  # 4 plain steps a second
    assert forecast.seconds_left(32) == pytest.approx(25 + 3 * 25 + 7)


def test_workers_share_the_work_and_none_ends_before_its_pack() -> None:
    forecast = Forecast(
        workers=4, experience=Experience(costs=COSTS, seconds={("d", "a", ()): 0.1})
    )
    forecast.plan([PLAIN, COSTLY])
    assert forecast.seconds_left(0) == pytest.approx(30)
    forecast.expect(Expected(cells=40, steps={COSTLY.program: 400}))
    assert forecast.seconds_left(0) == pytest.approx((10 + 30 + 120) / 4)


def test_a_pack_that_is_tried_again_is_to_be_done_again_and_a_failed_one_is_done_with() -> None:
    forecast = Forecast(
        workers=1, experience=Experience(costs=COSTS, seconds={("d", "a", ()): 0.1})
    )
    forecast.plan([PLAIN])
    told(forecast, PLAIN, ("started", 0, 0), ("retry", 1, 0))
    assert forecast.seconds_left(1) == pytest.approx(10)
    told(forecast, PLAIN, ("started", 1, 0), ("failed", 2, 0))
    assert forecast.seconds_left(2) == 0


def test_a_pack_that_is_about_to_end_is_still_trained_and_counts_once() -> None:
    forecast = Forecast(
        workers=1, experience=Experience(costs=COSTS, seconds={("d", "a", ()): 0.1})
    )
    forecast.plan([PLAIN, make_pack("none", index=1, width=10, epochs=10)])
    told(forecast, PLAIN, ("started", 0, 0), ("progress", 0, 0.0), ("progress", 8, 0.8))
    assert forecast.seconds_left(8) == pytest.approx(2 + 10)
    told(forecast, PLAIN, ("ending", 8, 0))
    assert forecast.seconds_left(8) == pytest.approx(2 + 10)
    told(forecast, PLAIN, ("stored", 10, 1.0))
    assert forecast.seconds_left(10) == pytest.approx(10)


def record(cell_id: str, env: str, cost: float, seconds: float, status: str = "ok") -> Record:
    task, name, signal, seed = cell_id.rsplit("/", 3)
    dataset, architecture = task.split("/")
    cell = Cell(dataset, architecture, name, (0.5,), signal, int(seed))
    return make_record(cell, env=env, cost=cost, steps=100, seconds=seconds, status=status)


def test_costs_come_from_records_of_any_machine_and_speeds_from_this_one_s() -> None:
    records = [
        record("d/a/none/real/0", "here", cost=1.0, seconds=5.0),
        record("d/a/none/real/0", "there", cost=1.0, seconds=1.0),
        record("d/a/costly/real/0", "there", cost=3.0, seconds=1.0),
        record("d/b/cheap/real/0", "here", cost=2.0, seconds=1.0, status="failed"),
    ]
    experience = Experience.of_records(records, ["here"])
    assert experience.seconds == {("d", "a", ()): 0.05}
    assert experience.elsewhere == {("d", "a", ()): 2 / 400}
    assert experience.cost(("d", "a", "costly")) == 3.0
    assert experience.cost(("d", "b", "costly")) == 3.0, "as elsewhere"
    assert experience.cost(("d", "a", "new")) == 3.0, "as the others"
    assert experience.cost(("d", "a", "none")) == Experience().cost(("d", "a", "none")) == 1.0
    assert Experience().cost(("d", "a", "new")) == UNKNOWN_COST


def test_a_task_that_nothing_here_tells_of_takes_what_another_machine_says_by_comparison() -> None:
    """A probe at each checkpoint may take most of a study's time, and few of its steps."""
    probed = replace(PLAIN, probes=("csr",))
    other, strange = make_pack("none", 0, 10, 10, "d/b"), make_pack("none", 0, 10, 10, "d/c")
    there = {("d", "a", ()): 0.01, ("d", "a", ("csr",)): 1.0, ("d", "b", ()): 0.04}
    forecast = Forecast(workers=1, experience=Experience(elsewhere=there))
    forecast.plan([PLAIN])
    told(forecast, PLAIN, ("started", 0, 0), ("progress", 0, 0.0), ("stored", 2, 1.0))
    forecast.plan([other])
    assert forecast.seconds_left(2) == pytest.approx(100 * 0.04 * 2), "half as fast as there"
    told(forecast, other, ("started", 2, 0), ("failed", 2, 0))
    forecast.plan([strange])
    assert forecast.seconds_left(2) == pytest.approx(100 * 0.02), "as what is known here"
    told(forecast, strange, ("started", 2, 0), ("failed", 2, 0))
    forecast.plan([probed])
    told(forecast, probed, ("started", 2, 0), ("progress", 2, 0.0), ("stored", 202, 1.0))
    forecast.plan([strange])
    assert forecast.seconds_left(202) == pytest.approx(100 * 0.02), "as others without probes"
    told(forecast, strange, ("started", 202, 0), ("progress", 202, 0.0), ("stored", 1002, 1.0))
    forecast.plan([make_pack("none", 0, 10, 10, "d/e")])
    assert forecast.seconds_left(1002) == pytest.approx(100 * (0.02 * 8) ** 0.5), "geometric mean"
    told(forecast, make_pack("none", 0, 10, 10, "d/e"), ("started", 1002, 0), ("failed", 1002, 0))
    forecast.plan([replace(strange, probes=("csr",))])
    assert forecast.seconds_left(1002) == pytest.approx(100 * 2), "as others with these probes"
    told(forecast, replace(strange, probes=("csr",)), ("started", 1002, 0), ("failed", 1002, 0))
    forecast.plan([replace(strange, probes=("norms",))])
    assert forecast.seconds_left(1002) == pytest.approx(100 * 8), "as the network without probes"
    told(forecast, replace(strange, probes=("norms",)), ("started", 1002, 0), ("failed", 1002, 0))
    forecast.plan([replace(make_pack("none", 0, 10, 10, "d/e"), probes=("norms",))])
    assert forecast.seconds_left(1002) == pytest.approx(100 * (0.02 * 8) ** 0.5), "as the plain"


@dataclass(frozen=True)
class World:
    """What a simulated machine takes for the packs of a run."""

    seconds: Mapping[ProgramId, float]  #: of a cell
    compiling: float

    def duration(self, pack: Pack) -> float:
        return len(pack.cells) * self.seconds[pack.program]


def make_packs(
    programs: Iterable[ProgramId], epochs: Mapping[str, int]
) -> tuple[list[Pack], dict[ProgramId, list[Pack]]]:
    """The choosing packs of a suite, and by program those that confirm it."""
    choosing, confirming = [], {}
    for dataset, architecture, name in programs:
        task = f"{dataset}/{architecture}"
        packs = [make_pack(name, i, 15, epochs[task], task) for i in range(5)]
        choosing += packs[:3]
        if name != "none":
            confirming[packs[0].program] = packs[3:]
    return choosing, confirming


def simulate(
    world: World,
    choosing: list[Pack],
    confirming: dict[ProgramId, list[Pack]],
    experience: Experience,
    workers: int = 2,
) -> tuple[dict[float, float | None], float]:
    """Train all packs; return what was forecast every ten seconds, and how long it took."""
    forecast, queue = Forecast(workers, experience), Queue(choosing)
    waiting = dict(confirming)
    left = dict.fromkeys(confirming, 3)

    def expected() -> Expected:
        steps = {p: sum(15 * pack.recipe.steps(10) for pack in waiting[p]) for p in waiting}
        return Expected(steps=steps)

    forecast.plan(choosing)
    forecast.expect(expected())
    free, busy, compiled = list(range(workers)), [], [set() for _ in range(workers)]
    running: dict[int, Pack] = {}
    forecasts: dict[float, float | None] = {}
    now = 0.0
    while queue or running:
        while free and queue:
            worker = free.pop()
            pack = queue.take(compiled[worker], [p.program for p in running.values()])
            running[worker] = pack
            told(forecast, pack, ("started", now, 0.0), worker=worker)
            begun = now + (0.3 if pack.program in compiled[worker] else world.compiling)
            compiled[worker].add(pack.program)
            heapq.heappush(busy, (begun, worker, "progress", 0.0))
            for step in range(1, 10):
                when = begun + world.duration(pack) * step / 10
                heapq.heappush(busy, (when, worker, "progress", step / 10))
            heapq.heappush(busy, (begun + world.duration(pack), worker, "stored", 1.0))
        when, worker, kind, done = heapq.heappop(busy)
        while len(forecasts) * 10 < when:
            forecasts[len(forecasts) * 10.0] = forecast.seconds_left(len(forecasts) * 10.0)
        now, pack = when, running[worker]
        told(forecast, pack, (kind, now, done), worker=worker)
        if kind == "stored":
            del running[worker]
            free.append(worker)
            if pack.program in left:
                left[pack.program] -= 1
                if left[pack.program] == 0:
                    further = waiting.pop(pack.program)
                    queue.add(further)
                    forecast.plan(further)
                    forecast.expect(expected())
    return forecasts, now


def assert_known_in_time(forecasts: Mapping[float, float | None], end: float) -> None:
    assert end > 600
    for now, seconds in forecasts.items():
        if 120 <= now <= end - 60:
            assert seconds is not None
            assert 1 / 1.5 <= seconds / (end - now) <= 1.5, f"at {now:.0f} of {end:.0f} s"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("knows_costs", [True, False])
def test_after_two_minutes_the_time_left_is_known_within_a_factor_of_one_and_a_half(
    seed: int, knows_costs: bool
) -> None:
    draw = random.Random(seed)
    epochs = {"d/a": 500, "d/b": 400}
    speeds = {"d/a": draw.uniform(0.002, 0.01), "d/b": draw.uniform(0.002, 0.01)}
    costs, seconds = {}, {}
    for task, steps in epochs.items():
        for name in ("none", "low-lr", *(f"r{i}" for i in range(30))):
            program = (*task.split("/"), name)
            costs[program] = 1.0 if name == "none" else draw.uniform(0.9, 2.1)
            seconds[program] = costs[program] * steps * speeds[task]
    world = World(seconds, compiling=draw.uniform(0.3, 8))
    experience = Experience(costs=costs if knows_costs else {})
    assert_known_in_time(*simulate(world, *make_packs(seconds, epochs), experience))


def test_the_time_of_the_committed_board_would_have_been_known_in_time() -> None:
    """The seconds of a cell are those that it took; the costs of the steps tell little of them."""
    lines = (REPO / "leaderboard" / "timing.md").read_text().split("## quick")[1].splitlines()
    rows = [[word.strip() for word in line.split("|")[1:-1]] for line in lines if "|" in line]
    tasks = [title.partition(",")[0] for title in rows[0][1:3]]
    seconds = {}
    for name, *of_tasks in rows[2:]:
        for task, text in zip(tasks, of_tasks[:2], strict=True):
            if text not in ("", "—"):
                seconds[(*task.split("/"), name)] = float(text)
    assert len(seconds) > 100
    packs = make_packs(seconds, {"mnist5k/mlp": 500, "mnist5k/cnn": 400})
    assert_known_in_time(*simulate(World(seconds, 5.0), *packs, Experience()))

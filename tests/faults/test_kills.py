"""Two hundred kills of drivers, workers and reapers, at times that a seed decides (R1, R2, R9).

The driver's pool, its workers, reapers and the server that forks them are those of any run; a
trainer notes each pack that it begins, and what it returns is known beforehand.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import command_line
from support.processes import processes_with
from support.processes import wait_until
from support.trainers import REPO
from support.trainers import make_pack
from support.trainers import make_records

from membench.records import Record
from membench.store.store import Store

SLOTS = 2
NEW_PACKS = 12  #: of each round
#: A driver of `n` packs that trains those which are not stored.
DRIVER = """
import sys
from pathlib import Path
from support.trainers import local_workers, make_pack
from membench.execution.forkserver import ForkServer
from membench.execution.pool import run_packs
from membench.execution.worker import worker_command, worker_environ
from membench.store.store import Store

folder, n, forking = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "forked"
store = Store(folder)
there = {key for key, _ in store.read().records}
packs = [make_pack("note-slowly", i) for i in range(n)]
missing = [pack for pack in packs if not there.issuperset(pack.keys)]
server = ForkServer()
if forking:
    server.start(["membench.execution.worker", "support.trainers"], worker_environ())
command = worker_command(folder, trainer="support.trainers:train")
try:
    run_packs(
        missing,
        store=store,
        factory=local_workers(command, server if forking else None),
        workers=2,
        time_limit=100,
        retries_on_death=1000,
        on_event=lambda event: print(event.kind, event.pack.id, flush=True),
    )
finally:
    server.close()
"""


def victims(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield what may be killed: each worker and each reaper that knows this folder."""
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        try:
            knows = str(folder).encode() in (path / "environ").read_bytes()
            name = (path / "comm").read_text().strip()
        except OSError:
            continue
        line = command_line(pid)
        if not knows or not line:
            continue
        if name == "membench-reaper" or "reaper.py" in line:
            yield "reaper", pid
        elif name == "membench-worker" or "-m membench.execution.worker" in line:
            yield "worker", pid


KINDS = ("driver", "worker", "reaper")


class Killer(threading.Thread):
    """Kills something of a run now and then, the driver last."""

    def __init__(self, driver: subprocess.Popen[str], folder: Path, rng: random.Random) -> None:
        super().__init__()
        self.killed: Counter[str] = Counter()
        self._driver, self._folder, self._rng = driver, folder, rng

    def run(self) -> None:
        for _ in range(self._rng.randrange(1, 6)):
            time.sleep(self._rng.uniform(0, 0.4))
            found = sorted(victims(self._folder))
            if found and self._driver.poll() is None:
                self._kill(*self._rng.choice(found))
        time.sleep(self._rng.uniform(0, 0.4))
        if self._driver.poll() is None:
            self._kill("driver", self._driver.pid)

    def _kill(self, kind: str, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.killed[kind] += 1


@pytest.mark.slow
def test_no_acknowledged_record_is_lost_by_two_hundred_kills_and_each_costs_what_is_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes"
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{REPO / 'tests'}")
    monkeypatch.setenv("POOL_TEST_NOTES", str(notes))
    store = Store(tmp_path / "records")
    killed: Counter[str] = Counter()
    acknowledged: set[str] = set()
    rounds = 0
    # A fast machine has trained all packs of a round before its driver's turn.
    while killed.total() < 200 or min(killed[kind] for kind in KINDS) < 30:
        rounds += 1
        how = "forked" if rounds % 2 else "spawned"
        command = [sys.executable, "-c", DRIVER, store.folder, str(NEW_PACKS * rounds), how]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            killer = None
            for line in driver.stdout:  # the last one may have been cut by the kill
                if killer is None:  # the imports are over
                    killer = Killer(driver, tmp_path, random.Random(rounds))
                    killer.start()
                if line.startswith("stored") and line.endswith("\n"):
                    acknowledged.add(line.split(" ", 1)[1].strip())
        killer.join()
        killed += killer.killed
        assert driver.returncode in (0, -signal.SIGKILL)
        wait_until(lambda: not processes_with(tmp_path), seconds=10)
        if rounds % 5 == 0:
            store.merge()
        check_that_nothing_is_lost(store, acknowledged, NEW_PACKS * rounds)
    begun = Counter(line.split(" ", 1)[1] for line in notes.read_text().splitlines())
    again = begun.total() - len(begun)
    print(
        f"{rounds} rounds, killed {dict(killed)}: {len(acknowledged)} packs acknowledged, none "
        f"lost; {again} of {len(begun)} packs executed once more, one at most {max(begun.values())}"
        " times"
    )
    assert len(acknowledged) > 50
    assert again <= SLOTS * killed["driver"] + killed["worker"] + killed["reaper"]


def check_that_nothing_is_lost(store: Store, acknowledged: set[str], packs: int) -> None:
    """Every acknowledged pack is there; every record is the one that its trainer returned."""
    expected: dict[str, Record] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for index in range(packs):
        pack = make_pack("note-slowly", index)
        keys[pack.id] = pack.keys
        expected.update({record.key: record for record in make_records(pack)})
    contents = store.read()
    assert contents.conflicts == ()
    there = {key: record for (key, _), record in contents.records.items()}
    assert all(expected[key] == record for key, record in there.items())
    assert {key for pack_id in acknowledged for key in keys[pack_id]} <= there.keys()

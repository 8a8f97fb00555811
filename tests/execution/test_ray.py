"""A Ray cluster of two nodes: whatever is killed, nothing acknowledged is lost and nobody survives.

Drivers are processes of their own, as with a user. `-s` prints how long it took until each fault
was noticed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.processes import wait_until
from support.ray_cluster import TestCluster
from support.ray_cluster import children_of_hosts
from support.ray_cluster import environment
from support.ray_cluster import raylet
from support.ray_cluster import survivors
from support.trainers import make_pack

from membench.scoring import complete_pairs
from membench.store.store import Store

# not `importorskip`: the modes of Ray are those of its first import, and the cluster sets them
has_ray = find_spec("ray") is not None
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not has_ray, reason="needs the extra `ray`")]

GONE_SECONDS = 30.0  #: for all of a host to be gone, on a busy machine
LEASE_SECONDS = 60.0 + GONE_SECONDS  #: for a host that neither Ray nor the driver can reach

DRIVER = """
# a DRIVER of the tests
import signal
import sys
from pathlib import Path
from support.ray_cluster import stub_task
from support.trainers import make_pack
from membench.execution.pool import run_packs
from membench.execution import ray_workers
from membench.execution.ray_workers import Cluster, RayWorkers
from membench.store.store import Store

# tests that were started in the background have SIGINT ignored, and their children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
store, address, time_limit, silence, *names = sys.argv[1:]
ray_workers.SILENCE = float(silence)
store, cluster = Store(Path(store)), Cluster(address)
factory = RayWorkers(cluster, stub_task(), {"num_cpus": 1}, store)

def tell(event):
    print(event.kind, event.pack.id, event.reason, flush=True)

packs = [make_pack(name, i) for i, name in enumerate(names)]
summary = run_packs(packs, store=store, factory=factory, workers=2, time_limit=float(time_limit),
                    on_event=tell, on_notice=print)
print("summary", summary.ok, summary.failed, summary.timeout, summary.interrupted, flush=True)
cluster.close()
"""


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    tmp_path_factory.getbasetemp()  # before `TMPDIR` is another one
    folder = Path(tempfile.mkdtemp(prefix="mr", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        try:
            cluster = TestCluster(folder)
            yield cluster
            cluster.close()
            assert not survivors(folder)
        finally:
            shutil.rmtree(folder)


@pytest.fixture
def cluster(whole_cluster: TestCluster) -> Iterator[TestCluster]:
    whole_cluster.have_nodes(2)
    (whole_cluster.folder / "notes").unlink(missing_ok=True)
    yield whole_cluster
    started = time.monotonic()
    wait_until(lambda: not survivors(whole_cluster.folder), LEASE_SECONDS)
    print(f"nobody is left after {time.monotonic() - started:.1f} s")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


@pytest.fixture
def drive(cluster: TestCluster, store: Store) -> Iterator[Callable[..., Driver]]:
    """Start a driver; it is ended with the test."""
    drivers: list[Driver] = []

    def start(*names: str, **options: float) -> Driver:
        drivers.append(Driver(cluster, store, *names, **options))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.process.kill()
        driver.process.communicate()


class Driver:
    """A run of packs in a process of its own, whose lines are read as they come."""

    def __init__(
        self,
        cluster: TestCluster,
        store: Store,
        *names: str,
        limit: float = 100,
        silence: float = 60,
    ) -> None:
        self.lines: list[str] = []
        self.store = store
        self.names = names
        command = [sys.executable, "-c", DRIVER, str(store.folder), cluster.address]
        command += [str(limit), str(silence)]
        self.process = subprocess.Popen(
            [*command, *names], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def read_until(self, start: str) -> str:
        """Return the first line from here on that starts so."""
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith(start):
                return line.strip()
        raise AssertionError(f"no {start!r}: {self.lines}, {self.process.stderr.read()}")

    def end(self) -> str:
        """Return the summary, once the process has ended and said nothing on stderr."""
        summary = self.read_until("summary")
        _, errors = self.process.communicate(timeout=60)
        assert errors == ""
        return summary

    def kinds(self) -> Counter[str]:
        return Counter(line.split(" ")[0] for line in self.lines)

    def check_acknowledged(self) -> None:
        """Check that every pack that was told to be stored is, and that no record is torn."""
        contents = self.store.read()
        ids = {record.id for record in contents.records.values() if record.status == "ok"}
        for line in self.lines:
            if line.startswith("stored "):
                name = line.split(" ")[1].split("/")[2].partition("[")[0]
                index = self.names.index(name) if self.names.count(name) == 1 else None
                cells = [line.split(" ")[1]]
                if index is not None:
                    cells = [cell.id for cell in make_pack(name, index).cells]
                assert ids.issuperset(cells), line
        assert not contents.conflicts


def statuses(store: Store) -> Counter[str]:
    return Counter(f"{r.regularizer} {r.status}" for r in store.read().records.values())


def test_every_pack_is_trained_once_and_no_folder_is_left(
    cluster: TestCluster, drive: Callable[..., Driver], store: Store
) -> None:
    driver = drive("good", "good", "raise", "good", "diverging")
    assert driver.end() == "summary 6 2 0 False"
    assert statuses(store) == {"good ok": 6, "raise failed": 2, "diverging diverged": 2}
    assert driver.kinds()["retry"] == 0
    assert list((cluster.folder / "tmp").iterdir()) == []


def kill_worker(cluster: TestCluster) -> None:
    (pid,) = children_of_hosts(cluster.folder)["worker"][:1]
    os.kill(pid, signal.SIGKILL)


def kill_reapers(cluster: TestCluster) -> None:
    for pid in children_of_hosts(cluster.folder)["reaper"]:
        os.kill(pid, signal.SIGKILL)


def kill_hosts(cluster: TestCluster) -> None:
    for pid in children_of_hosts(cluster.folder)["host"]:
        os.kill(pid, signal.SIGKILL)


def remove_node(cluster: TestCluster) -> None:
    (pid,) = children_of_hosts(cluster.folder)["worker"]
    cluster.remove(cluster.node_of(pid))


def kill_raylet(cluster: TestCluster) -> None:
    (pid,) = children_of_hosts(cluster.folder)["worker"]
    raylet(cluster.node_of(pid)).kill()


@pytest.mark.parametrize(
    "strike", [kill_worker, kill_reapers, kill_hosts, remove_node, kill_raylet]
)
def test_a_pack_whose_worker_host_or_node_is_killed_is_trained_by_another(
    cluster: TestCluster,
    drive: Callable[..., Driver],
    store: Store,
    strike: Callable[[TestCluster], None],
) -> None:
    driver = drive("nearly-done")
    driver.read_until("progress")  # what is told within one call of the host is one line
    started = time.monotonic()
    strike(cluster)
    reason = driver.read_until("retry")
    print(f"{strike.__name__}: noticed after {time.monotonic() - started:.1f} s: {reason}")
    driver.read_until("progress")
    (cluster.folder / "notes").touch()
    assert driver.end() == "summary 2 0 0 False"
    driver.check_acknowledged()
    assert statuses(store) == {"nearly-done ok": 2}


def test_a_node_that_does_not_answer_counts_as_lost_and_what_wakes_up_there_ends(
    cluster: TestCluster, drive: Callable[..., Driver], store: Store
) -> None:
    driver = drive("nearly-done", silence=4)
    driver.read_until("progress")  # what is told within one call of the host is one line
    (frozen,) = children_of_hosts(cluster.folder)["host"]
    os.kill(frozen, signal.SIGSTOP)
    assert driver.read_until("retry").endswith("its node does not answer")
    driver.read_until("progress")
    (cluster.folder / "notes").touch()
    assert driver.end() == "summary 2 0 0 False"
    assert statuses(store) == {"nearly-done ok": 2}
    with contextlib.suppress(ProcessLookupError):  # Ray may have killed it all the same
        os.kill(frozen, signal.SIGCONT)


def test_the_death_of_the_driver_s_own_raylet_loses_nothing(
    cluster: TestCluster, drive: Callable[..., Driver], store: Store
) -> None:
    """Nor does it fill the terminal with what Ray has to say about it."""
    driver = drive("good", "nearly-done", "slow", "slow")
    driver.read_until("stored")
    raylet(cluster.head).kill()
    (cluster.folder / "notes").touch()
    assert driver.end() == "summary 8 0 0 False"
    assert driver.kinds().keys() <= {"started", "progress", "retry", "stored", "summary"}
    driver.check_acknowledged()


@pytest.mark.parametrize("packs", [("good", "far-from-done"), ("children", "hold-the-gil")])
def test_nobody_survives_a_driver_that_is_killed_and_what_it_told_is_stored(
    cluster: TestCluster, drive: Callable[..., Driver], store: Store, packs: tuple[str, str]
) -> None:
    notes = cluster.folder / "notes"
    driver = drive(*packs)
    if packs[0] == "good":
        driver.read_until("stored")
        wait_until(lambda: children_of_hosts(cluster.folder)["worker"], 60)
    else:  # a worker with children and one that holds the GIL in C
        wait_until(lambda: notes.exists() and notes.read_text().count("child") == 2, 60)
        driver.read_until("started d/a/hold-the-gil")
    driver.process.kill()
    started = time.monotonic()
    wait_until(lambda: not survivors(cluster.folder), GONE_SECONDS)
    print(f"driver killed with {packs}: all gone after {time.monotonic() - started:.1f} s")
    driver.lines += driver.process.stdout.read().splitlines()
    driver.check_acknowledged()


@pytest.mark.parametrize("behaviour", ["hang", "leave"])
def test_a_pack_that_hangs_ends_at_its_time_limit_and_costs_itself(
    drive: Callable[..., Driver], store: Store, behaviour: str
) -> None:
    driver = drive(behaviour, "good", "good", limit=5)
    assert driver.end() == "summary 4 0 2 False"
    assert statuses(store) == {"good ok": 4, f"{behaviour} timeout": 2}


def test_ctrl_c_ends_a_run_with_a_summary(drive: Callable[..., Driver], store: Store) -> None:
    driver = drive("good", "hang", "good")
    driver.read_until("stored")
    driver.process.send_signal(signal.SIGINT)
    assert driver.end().endswith("True")
    driver.check_acknowledged()


# --- the whole command ---------------------------------------------------------------------------

SUITE = """
from membench import Recipe, Split, Suite, hookimpl

@hookimpl
def register():
    return [Suite(
        "pair", datasets=("DATA",), architectures=("ARCHITECTURE",),
        signals=("real", "mixed@0.4", "randY"), choosing=(0,), confirming=(1,), width=6,
        splits={"DATA": Split(test=100, train=60, validation=100)},
        recipes={("DATA", "ARCHITECTURE"): Recipe(lr=0.1, batch=30, epochs=2)},
        compiled=COMPILED,
    )]
"""
#: the same numbers wherever it is trained, and a helper beside it that travels too
SHRINKING = """
from membench import Regularizer, hookimpl
from _factor import factor

def shrink(params, lane):
    return {name: w * factor(lane.strength) for name, w in params.items()}

@hookimpl
def register():
    return [Regularizer("shrinking", strengths=(0.1, 0.3, 0.5, 0.7, 0.9), weights=shrink)]
"""
FACTOR = "def factor(strength):\n    return 1 - 0.01 * strength\n"
#: With MEET, a folder, its processes wait there for those of the other kind of node: a node that
#: begins seconds before the other one would train all there is.
DATASET = """
import os
import time
from pathlib import Path
import numpy as np
from membench import Arrays, Dataset, hookimpl

def meet(folder):
    Path(folder, os.environ.get("MKL_CBWR", "usual")).touch()
    end = time.monotonic() + 60
    while len(os.listdir(folder)) < 2 and time.monotonic() < end:
        time.sleep(0.01)

def load(folder):
    if "MEET" in os.environ:
        meet(os.environ["MEET"])
    kept = np.load(folder / "arrays.npz")
    return Arrays(kept["x"], kept["y"], 10)

@hookimpl
def register():
    return [Dataset("mine", load=load, summary="Mine.", source="Made up.")]
"""


def write_suite(folder: Path, data: str, architecture: str, compiled: bool) -> None:
    text = SUITE.replace("DATA", data).replace("ARCHITECTURE", architecture)
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    (folder / "plugins" / "pair.py").write_text(text.replace("COMPILED", str(compiled)))
    (folder / "plugins" / "shrinking.py").write_text(SHRINKING)
    (folder / "plugins" / "_factor.py").write_text(FACTOR)


def membench(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "membench", *words],
        cwd=folder,
        env={**os.environ, "CI": "1", "COLUMNS": "100", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on stderr, but that the cluster is busy, as it is where the machine is."""
    return [line for line in done.stderr.splitlines() if not line.startswith("waiting until")]


def measured(records: Path) -> list[dict[str, object]]:
    """All fields of all records but when and on what they were made."""
    found = [record.to_json() for record in Store(records).read().records.values()]
    for record in found:
        for name in ("seconds", "reason"):
            del record[name]
    return sorted(found, key=lambda record: str(record["id"]))


def test_one_plan_gives_the_same_records_and_the_same_board_here_and_in_a_cluster(
    cluster: TestCluster, tmp_path: Path
) -> None:
    """A compiled cnn, with the precision of one store, and a plugin with a helper that travel."""
    write_suite(tmp_path, "digits", "cnn", compiled=True)
    words = ["run", "--suite", "pair", "-k", "shrinking", "-n", "2"]
    here = membench(tmp_path, *words, "--out", "here")
    assert here.returncode == 0, here.stderr
    decisions = tmp_path / "here" / "records" / "decisions.json"
    if decisions.exists():
        (tmp_path / "there" / "records").mkdir(parents=True)
        shutil.copy(decisions, tmp_path / "there" / "records")
    in_cluster = ["--engine", "ray", "--address", cluster.address]
    there = membench(tmp_path, *words, "--out", "there", *in_cluster)
    assert (there.returncode, complaints(there)) == (0, complaints(here))
    records = measured(tmp_path / "here" / "records")
    assert records == measured(tmp_path / "there" / "records")
    assert {record["versions"]["compiled"] for record in records} == {True}
    names = {(record["architecture"], record["regularizer"]) for record in records}
    assert names == {("cnn", "none"), ("cnn", "shrinking"), ("cnn", "low-lr")}
    for name in ("README.md", "index.html"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    print(f"{len(records)} records are equal, and so are both pages")


@pytest.fixture
def eager(tmp_path: Path) -> list[str]:
    """Write an eager suite on a data set that is found by its folder; the words that run it."""
    write_suite(tmp_path, "mine", "small-mlp", compiled=False)
    (tmp_path / "plugins" / "mine.py").write_text(DATASET)
    return ["run", "--suite", "pair", "-k", "shrinking", "-n", "2", "--engine", "ray"]


def write_arrays(folder: Path, seed: int) -> None:
    (folder / "mine").mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 255, (400, 1, 8, 8)).astype(np.uint8)
    np.savez(folder / "mine" / "arrays.npz", x=x, y=np.arange(400) % 10)


@pytest.mark.parametrize("there", ["the same", "other", "none"])
def test_a_node_with_other_data_stores_nothing_of_them(
    cluster: TestCluster, tmp_path: Path, eager: list[str], there: str
) -> None:
    write_arrays(tmp_path / "data", seed=0)
    shutil.rmtree(cluster.folder / "data")
    if there != "none":
        write_arrays(cluster.folder / "data", seed=0 if there == "the same" else 1)
    words = [*eager, "--address", cluster.address, "--out", "out"]
    done = membench(tmp_path, *words, MEMBENCH_DATA=str(tmp_path / "data"))
    records = measured(tmp_path / "out" / "records")
    if there == "the same":
        assert done.returncode == 0 and {record["status"] for record in records} == {"ok"}
        return
    assert (done.returncode, records) == (1, [])
    what = "is not the one that was planned" if there == "other" else "is missing: .*was there when"
    assert re.search(f"node .*: data set 'mine' {what}", done.stderr), done.stderr


def test_nodes_of_two_kinds_train_entries_of_their_own_and_no_row_mixes_them(
    cluster: TestCluster, tmp_path: Path, eager: list[str]
) -> None:
    for folder in (tmp_path / "data", cluster.folder / "data"):
        write_arrays(folder, seed=0)
    (tmp_path / "meet").mkdir()
    for node in list(cluster.nodes):
        cluster.remove(node)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEET", str(tmp_path / "meet"))
        cluster.have_nodes(1)
        patch.setenv("MKL_CBWR", "COMPATIBLE")  # another environment
        cluster.have_nodes(2)
    names = ("shrinking", "mixup", "input-noise", "label-smoothing", "weight-decay", "dropout")
    words = [*eager, "-k", " or ".join(names), "--address", cluster.address, "--out", "out"]
    done = membench(tmp_path, *words, MEMBENCH_DATA=str(tmp_path / "data"))
    for node in list(cluster.nodes):
        cluster.remove(node)
    assert (done.returncode, complaints(done)) == (0, [])
    kinds: dict[str, set[str]] = {}
    for record in measured(tmp_path / "out" / "records"):
        kinds.setdefault(record["regularizer"], set()).add(record["env"])
    assert all(len(kinds[name]) == 1 for name in names)
    both = {env for name in names for env in kinds[name]}
    assert len(both) == 2 and kinds["none"] == kinds["low-lr"] == both
    store = Store(tmp_path / "out" / "records")
    complete = complete_pairs(store.manifests()["pair"], store.read().records.values())
    assert {len(complete["mine/small-mlp", name]) for name in names} == {1}


def test_a_node_without_a_plugin_s_package_stores_nothing_of_it(
    cluster: TestCluster, tmp_path: Path, eager: list[str]
) -> None:
    for folder in (tmp_path / "data", cluster.folder / "data"):
        write_arrays(folder, seed=0)
    installed = tmp_path / "installed"
    installed.mkdir()
    shutil.move(tmp_path / "plugins" / "shrinking.py", installed / "shrinking.py")
    shutil.move(tmp_path / "plugins" / "_factor.py", installed / "_factor.py")
    words = [*eager, "--address", cluster.address, "--out", "out", "-p", "shrinking"]
    paths = os.pathsep.join([os.environ["PYTHONPATH"], str(installed)])
    data = str(tmp_path / "data")
    done = membench(tmp_path, *words, MEMBENCH_DATA=data, PYTHONPATH=paths)
    assert done.returncode != 0
    assert re.search("node .*shrinking", done.stderr), done.stderr
    names = {record["regularizer"] for record in measured(tmp_path / "out" / "records")}
    assert "shrinking" not in names

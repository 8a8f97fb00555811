"""`--sandbox`: what a hostile plugin reaches, what is believed of it, and that nothing falls back.

What cannot be made without bubblewrap is skipped where there is none.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import sandboxed
from support.cli import Cli
from support.processes import DAEMONS
from support.processes import processes_with
from support.processes import wait_until
from support.sandboxed import VERSIONS
from support.sandboxed import make_records
from support.sandboxed import skip_without_sandbox
from support.trainers import make_pack

from membench.errors import ExitCode
from membench.execution import reaper
from membench.execution import sandbox as sandbox_module
from membench.execution.checked_pack import CheckedPack
from membench.execution.local import LocalWorkers
from membench.execution.pool import run_packs
from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news
from membench.execution.protocol import Event
from membench.execution.sandbox import Sandbox
from membench.execution.sandboxed import SandboxedWorkers
from membench.execution.summary import Summary
from membench.execution.worker import worker_command
from membench.execution.worker import worker_environ
from membench.files import cache_folder
from membench.planning.packs import Pack
from membench.records import Record
from membench.records import digest
from membench.registry.cache import PluginCache
from membench.registry.discovery import PluginSource
from membench.registry.discovery import shipped_folder
from membench.store.shards import encode
from membench.store.store import Store

#: Tries each misdeed and prints which of them it got away with.
HOSTILE = r"""
import json, os, socket, sys
plan = json.loads(sys.argv[1])
done = []
def attempt(name, misdeed):
    try:
        misdeed()
    except BaseException as error:
        return
    done.append(name)
def write(path):
    with open(path, "a") as file:
        file.write("x")
for path in plan["secret"]:
    attempt("read " + path, lambda: open(path).read())
for path in plan["write"]:
    attempt("write " + path, lambda: write(path))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", plan["port"]), timeout=2))
attempt("connect abstract", lambda: socket.socket(socket.AF_UNIX).connect("\0" + plan["abstract"]))
attempt("kill", lambda: os.kill(plan["pid"], 0))
attempt("see", lambda: os.stat(f"/proc/{plan['pid']}/environ"))
attempt("mount", lambda: os.unshare(0x10000000) if hasattr(os, "unshare") else 1 / 0)
done += [name for name in os.environ if "SECRET" in name]
processes = [name for name in os.listdir("/proc") if name.isdigit()]
write("/tmp/own")
print(json.dumps({"done": done, "processes": len(processes), "read": open(plan["own"]).read()}))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a key in it, a project with a plugin, and a cache; outside of `/tmp` inside."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_rsa").write_text("the key")
    # as where Python or a data set lies above a home
    monkeypatch.setattr(sandbox_module, "_SYSTEM", (*sandbox_module._SYSTEM, str(tmp_path)))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MEMBENCH_CACHE", str(home / ".cache" / "membench"))
    monkeypatch.setenv("AWS_SECRET", "s3cr3t")
    project = home / "project"
    (project / "plugins").mkdir(parents=True)
    (project / "plugins" / "own.py").write_text("own file")
    monkeypatch.chdir(project)
    return home


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of this machine on which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_inside_a_plugin_reaches_nothing_but_its_own_file_and_its_scratch(
    home: Path, listener: int
) -> None:
    skip_without_sandbox()
    project = home / "project"
    own = str(project / "plugins" / "own.py")
    records = project / "leaderboard" / "records" / "shards"
    records.mkdir(parents=True)
    (project / "notes.txt").write_text("mine")
    (cache_folder() / "compiled").mkdir(parents=True, exist_ok=True)
    (cache_folder() / "compiled" / "kernel.so").write_text("code")
    PluginCache.open().write()
    plan = {
        "secret": [
            str(home / ".ssh" / "id_rsa"),
            str(project / "notes.txt"),
            "/etc/shadow",
            f"/proc/{os.getpid()}/environ",
        ],
        "write": [
            own,
            str(project / "plugins" / "beside.py"),
            str(records / "shard.jsonl"),
            str(cache_folder() / "compiled" / "kernel.so"),
            str(PluginCache.open().path),
            str(shipped_folder() / "more.py"),
            str(Path(sandbox_module.__file__).parent / "more.py"),
            f"{sys.prefix}/more.py",
            "/usr/more",
            "/more",
            "/dev/more",
        ],
        "port": listener,
        "abstract": "membench-test",
        "pid": os.getpid(),
        "own": own,
    }
    at_home = [path for path in plan["write"] if path.startswith(str(home))]
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0membench-test")
        abstract.listen()
        before = contents_of(home)
        sandbox = Sandbox.open(None)
        boxed = run_hostile(
            plan, sandbox.environ(os.environ), lambda c: sandbox.command(c, (), [own])
        )
        contents = contents_of(home)
        bare = run_hostile(plan | {"write": at_home}, os.environ, lambda command: command)
    # The folder of its file is in memory there, as this test's is below /tmp.
    assert boxed["done"] == [f"write {project / 'plugins' / 'beside.py'}"]
    assert contents == before
    assert boxed["read"] == "own file"
    assert boxed["processes"] <= 3
    # Without a sandbox the same program gets away with all of it, so that this test can fail.
    assert [f"write {path}" for path in at_home if f"write {path}" not in bare["done"]] == []
    assert {"connect", "connect abstract", "kill", "see", "AWS_SECRET"} <= set(bare["done"])
    assert f"read {home}/.ssh/id_rsa" in bare["done"]


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_hostile(
    plan: dict[str, Any], environ: Mapping[str, str], place: Callable[[list[str]], list[str]]
) -> dict[str, Any]:
    command = [sys.executable, "-I", "-S", "-c", HOSTILE, json.dumps(plan)]
    done = subprocess.run(
        place(command), env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_plugin_that_is_a_module_of_a_package_is_imported_by_its_name(home: Path) -> None:
    skip_without_sandbox()
    package = home / "project" / "pack" / "inner"
    package.mkdir(parents=True)
    (package / "plugin.py").write_text("from pack.beside import WORD\nprint(WORD)\n")
    (package.parent / "beside.py").write_text("WORD = 'found'\n")
    source = PluginSource(package / "plugin.py", "pack", "pack.inner.plugin")
    sandbox = Sandbox.open(None)
    command = [sys.executable, "-S", "-c", "import pack.inner.plugin"]
    done = subprocess.run(
        sandbox.command(command, [source]),
        env=sandbox.environ(os.environ, [source]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("found\n", 0), done.stderr


def test_variables_that_may_hold_a_secret_stay_outside(home: Path) -> None:
    environ = {"HF_TOKEN": "x", "WANDB_API_KEY": "x", "OMP_NUM_THREADS": "1", "PATH": "/bin"}
    inside = Sandbox(data=home / "sets").environ(environ)
    assert "x" not in inside.values()
    assert (inside["OMP_NUM_THREADS"], inside["PATH"]) == ("1", "/bin")
    assert inside["HOME"] == inside["TMPDIR"] == "/tmp"
    assert inside["MEMBENCH_DATA"] == str(home / "sets")


# --- nothing falls back ---------------------------------------------------------------------------


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have another bwrap than that of the machine."""
    sandbox_module._help.cache_clear()
    folder.mkdir()
    (folder / "bwrap").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_without_bubblewrap_a_run_is_refused_in_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = cli("run", "--suite", "smoke", "-k", "none", "--sandbox")
    assert (code, out) == (ExitCode.USAGE, "")
    assert err.startswith(
        "membench: --sandbox needs bubblewrap: install it (apt install bubblewrap"
    )
    assert err.count("\n") == 1
    assert not (tmp_path / "leaderboard").exists()


def test_where_the_kernel_forbids_namespaces_a_run_is_refused_with_the_reason(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbids = "echo bwrap: No permissions to create new namespace >&2; exit 1"
    program(tmp_path / "bin", monkeypatch, forbids)
    code, out, err = cli("run", "--suite", "smoke", "-k", "none", "--sandbox")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "cannot make a sandbox here: bwrap: No permissions to create new namespace" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "leaderboard").exists()


def test_a_cluster_of_ray_is_no_sandbox(cli: Cli) -> None:
    code, _, err = cli("run", "--suite", "smoke", "-k", "none", "--sandbox", "--engine", "ray")
    assert code == ExitCode.USAGE
    assert err.startswith("membench: --sandbox: Ray's workers have none")


# --- what is believed of a pack ------------------------------------------------------------------

PACK = make_pack("mine", file="/mine.py")


def said(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What is passed on of messages about a pack of two cells."""
    checked = CheckedPack(PACK, [VERSIONS])
    return [passed for message in messages for passed in checked.take(message)]


def records_sent(records: Sequence[Record]) -> list[dict[str, Any]]:
    lines = [{"kind": "record", "line": encode(record).decode()} for record in records]
    return [*lines, {"kind": "stored", "counts": {"ok": 99}, "last": True}]


def test_the_records_of_a_pack_are_taken_and_counted_here() -> None:
    checked = CheckedPack(PACK, [VERSIONS])
    (stored,) = [
        passed for each in records_sent(make_records(PACK)) for passed in checked.take(each)
    ]
    assert stored == {"kind": "stored", "counts": {"ok": 2}, "reason": "", "last": True}
    assert checked.records == make_records(PACK)


def test_a_diverged_record_is_taken() -> None:
    curves = dict.fromkeys(("epochs", "train", "loss", "val", "test", "wrong"), ())
    bits = {"train_bits": "", "test_bits": ""}
    records = [replace(r, status="diverged", **curves, **bits) for r in make_records(PACK)]
    (stored,) = said(*records_sent(records))
    assert (stored["kind"], stored["counts"]) == ("stored", {"diverged": 2})


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "ab" * 32},
        {"id": "d/a/none/real/seed0"},
        {"regularizer": "none"},
        {"seed": 7},
        {"pack": "another"},
        {"versions": {"device": "mine"}, "env": digest({"device": "mine"})},
        {"env": "ab" * 32},
        {"status": "splendid"},
        {"reason": "two\nlines"},
        {"epochs": (2, 1)},
        {"epochs": ("1", "2")},
        {"train": (0.5,)},
        {"train": (0.5, 1.5)},
        {"val": (0.5, "0.6")},
        {"test": (None, -0.1)},
        {"loss": (2.0, None)},
        {"num_train": 11},
        {"num_wrong": -1},
        {"steps": True},
        {"train_bits": "ff"},
        {"test_bits": "zz00"},
        {"probes": {"margin": {"all": (1.0, 2.0)}}},
        {"probes": {"margin": {"all": "x"}}},
    ],
    ids=str,
)
def test_a_record_that_is_not_of_the_pack_or_has_no_such_values_costs_the_pack(
    changes: dict[str, Any],
) -> None:
    first, second = make_records(PACK)
    (raised,) = said(*records_sent([first, replace(second, **changes)]))
    assert raised["kind"] == "raised"
    assert raised["reason"].startswith("what it sent is refused: ")


@pytest.mark.parametrize("line", ['{"a":1}', "", "[]", "\ud800", 7, None, "[" * 100_000])
def test_a_line_that_is_no_record_costs_the_pack(line: object) -> None:
    (raised,) = said({"kind": "record", "line": line}, {"kind": "stored"})
    assert raised["kind"] == "raised"


def test_numbers_that_are_none_are_refused_though_json_has_them() -> None:
    sent = records_sent(make_records(PACK))
    text = sent[1]["line"].replace('"seconds":0.1', '"seconds":NaN')
    value = json.loads(text)
    del value["crc"]
    import zlib

    rest = json.dumps(value, sort_keys=True, separators=(",", ":"))
    start = rest.index(',"dataset"')
    crc = zlib.crc32(rest.encode())
    sent[1]["line"] = f'{rest[:start]},"crc":"{crc:08x}"{rest[start:]}\n'
    (raised,) = said(*sent)
    assert raised["reason"].endswith("has a value that is no number")


def test_more_records_than_cells_are_refused_and_not_kept() -> None:
    one = records_sent(make_records(PACK))[0]
    checked = CheckedPack(PACK, [VERSIONS])
    for _ in range(100):
        assert list(checked.take(one)) == []
    assert len(checked._lines) == len(PACK.keys) + 1
    (raised,) = checked.take({"kind": "stored"})
    assert raised["kind"] == "raised"


@pytest.mark.parametrize(
    ("message", "passed"),
    [
        ({"kind": "started", "versions": VERSIONS}, [{"kind": "started", "versions": VERSIONS}]),
        ({"kind": "started", "versions": {"device": "mine"}}, []),
        ({"kind": "started", "versions": [1]}, []),
        ({"kind": "progress", "done": 1}, [{"kind": "progress", "done": 1.0}]),
        ({"kind": "progress", "done": float("nan")}, []),
        ({"kind": "progress", "done": "0.5"}, []),
        ({"kind": "progress"}, []),
        (
            {"kind": "broken", "reason": "\x1b[31mno", "code": 11},
            [{"kind": "raised", "reason": "[31mno"}],
        ),
        ({"kind": "raised", "reason": {"a": 1}}, [{"kind": "raised", "reason": ""}]),
        ({"kind": "raised"}, [{"kind": "raised", "reason": ""}]),
    ],
)
def test_messages_are_passed_on_in_the_form_of_an_honest_worker_s(
    message: dict[str, Any], passed: list[dict[str, Any]]
) -> None:
    assert said(message) == passed


# --- workers -------------------------------------------------------------------------------------


@pytest.fixture
def train_packs(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Summary, dict[str, Record], list[Event]]]:
    """Train packs with the pool of a run, strangers' in a sandbox, and a trainer without torch."""
    skip_without_sandbox()
    tests = Path(sandboxed.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{tests.parent}{os.pathsep}{tests}")
    trainer = "support.sandboxed:train"

    def run(*packs: Pack, **options: Any) -> tuple[Summary, dict[str, Record], list[Event]]:
        store = Store(tmp_path / "records")
        outside = worker_command(store.folder, trainer=trainer)
        factory = SandboxedWorkers(
            local=LocalWorkers(command=outside, environ=worker_environ()),
            sandbox=Sandbox.open(None),
            command=lambda plugins: worker_command(None, plugins=plugins, trainer=trainer),
            requested=(),
            environments=lambda compiled, precision: [VERSIONS],
            store=store,
        )
        events: list[Event] = []
        summary = run_packs(
            packs,
            store=store,
            factory=factory,
            workers=2,
            time_limit=options.get("time_limit", 60),
            on_event=events.append,
        )
        records = {key: record for (key, _), record in store.read().records.items()}
        return summary, records, events

    return run


def test_a_stranger_s_pack_gives_the_same_records_and_its_worker_never_writes_the_store(
    train_packs: Callable[..., tuple[Summary, dict[str, Record], list[Event]]], tmp_path: Path
) -> None:
    ours, theirs = make_pack("ours"), make_pack("theirs", file=str(tmp_path / "theirs.py"))
    summary, records, events = train_packs(ours, theirs)
    assert summary.ok == 4
    for pack in (ours, theirs):
        assert [records[key] for key in pack.keys] == make_records(pack)
    assert {event.kind for event in events} == {"started", "progress", "stored"}


def child(program: str, **environ: str) -> ChildProcess:
    """Start a program in a sandbox, behind a reaper as a worker is."""
    sandbox = Sandbox.open(None)
    command = [sys.executable, "-I", "-S", "-c", program]
    return ChildProcess.spawn(
        lambda fd: sandbox.command(command),
        environ={**sandbox.environ(os.environ), **environ},
        message_kinds=(),
        time_limit=30,
    )


@pytest.mark.parametrize("how", ["the child is killed", "its reaper is killed first"])
def test_daemons_end_with_the_sandbox_whatever_is_killed(how: str, tmp_path: Path) -> None:
    skip_without_sandbox()
    process = child(DAEMONS + "time.sleep(303)", MEMBENCH_TEST_MARK=str(tmp_path))
    try:
        while "\n" not in process.output:
            wait_for_news([process])
            process.receive()
        sleeping = [line for line in processes_with(tmp_path) if "sleep 303" in line]
        assert len(sleeping) == 1  # a daemon that is seen outside by its command
        if how == "the child is killed":
            process.kill()
        else:
            os.kill(process._group, signal.SIGKILL)
        wait_until(lambda: not processes_with(tmp_path))
    finally:
        process.close()


@pytest.mark.slow
def test_the_memory_of_a_worker_in_a_sandbox_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_sandbox()
    monkeypatch.setenv(reaper.MEMORY_LIMIT, "0.2")
    process = child("x = bytearray(300_000_000)\nimport time\ntime.sleep(60)")
    try:
        while process.alive:
            wait_for_news([process])
            process.kill_if_overdue()
            process.receive()
        assert "more than the 0.2 GB of MEMBENCH_WORKER_MEMORY" in process.exit_reason
    finally:
        process.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        ("says-it-is-broken", "[31mall is lost"),
        ("says-it-is-stored", "what it sent is refused: it is not of the pack's cells"),
        ("says-it-raised", ""),
        ("sends-others", "what it sent is refused: its checksum does not match"),
        ("connects", "ConnectionRefusedError: [Errno 111] Connection refused"),
        ("crashes", "worker died: killed by SIGSEGV"),
    ],
)
def test_what_a_stranger_s_worker_says_costs_its_own_pack(
    train_packs: Callable[..., tuple[Summary, dict[str, Record], list[Event]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    listener: int,
    misdeed: str,
    reason: str,
) -> None:
    monkeypatch.setenv("MEMBENCH_TEST_PORT", str(listener))
    ours, theirs = make_pack("ours"), make_pack(misdeed, file=str(tmp_path / "theirs.py"))
    summary, records, _ = train_packs(ours, theirs)
    assert (summary.ok, summary.failed) == (2, 2)
    assert [records[key] for key in ours.keys] == make_records(ours)
    assert summary.failures[0].reason.startswith(reason)


@pytest.mark.slow
def test_babble_is_dropped_and_the_pack_is_stored(
    train_packs: Callable[..., tuple[Summary, dict[str, Record], list[Event]]], tmp_path: Path
) -> None:
    theirs = make_pack("babbles", file=str(tmp_path / "theirs.py"))
    summary, records, _ = train_packs(theirs)
    assert summary.ok == 2
    assert [records[key] for key in theirs.keys] == make_records(theirs)

"""`membench run --sandbox` with hostile plugins: they get nothing, the others keep their numbers.

Whole runs, which take a minute or two: slow.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli import REPO
from support.sandboxed import skip_without_sandbox

from membench.records import Record
from membench.store.store import Store

pytestmark = pytest.mark.slow

GOOD = """\
'''Shrinking: w <- (1 - lr s) w after each step.  Nobody, 2026.'''
from membench import Regularizer, hookimpl


def weights(params, lane):
    return {name: w * (1 - lane.lr * lane.strength) for name, w in params.items()}


@hookimpl
def register():
    return [Regularizer("good", strengths=(0.01, 0.03, 0.1, 0.3, 1.0), weights=weights)]
"""

#: Misbehaves at import, when `skip` is asked, and in a stage; says on the standard error where it
#: got away with something.
HOSTILE = """\
import json, os, signal, socket, sys
from pathlib import Path
from membench import Regularizer, hookimpl

PLAN = json.loads('''PLAN_TEXT''')


def misbehave(where):
    def attempt(name, misdeed):
        try:
            misdeed()
        except BaseException:
            return
        print("GOT AWAY", where, name, file=sys.stderr, flush=True)

    def append(path):
        with open(path, "a") as file:
            file.write("garbage\\\\n")

    attempt("read", lambda: open(PLAN["key"]).read())
    attempt("connect", lambda: socket.create_connection(("127.0.0.1", PLAN["port"]), timeout=2))
    for name in os.environ:
        if "SECRET" in name:
            print("GOT AWAY", where, name, file=sys.stderr)
    for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
        if int(pid) not in (1, os.getpid()):
            try:
                is_driver = "support.tiny" in Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
            if is_driver:
                attempt("kill", lambda: os.kill(int(pid), 0))
    for folder in PLAN["folders"]:
        attempt("write in " + folder, lambda: append(folder + "/more.py"))
        for path in Path(folder).rglob("*"):
            if path.is_file():
                attempt("append to " + str(path), lambda: append(path))
    attempt("unlink", lambda: os.unlink(PLAN["key"]))


misbehave("import")


def skip(net):
    misbehave("skip")


def weights(params, lane):
    misbehave("stage")
    return {name: w * (1 - lane.lr * lane.strength) for name, w in params.items()}


@hookimpl
def register():
    grid = (0.01, 0.03, 0.1, 0.3, 1.0)
    return [Regularizer("evil", strengths=grid, weights=weights, skip=skip)]
"""


def measured(folder: Path) -> dict[str, Record]:
    """The records by id, without what differs from run to run: the time."""
    records = {}
    for record in Store(folder / "records").read().records.values():
        fields = record.to_json()
        del fields["seconds"]
        records[record.id] = fields
    return records


@pytest.fixture
def tiny(
    tmp_path: Path, environ: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run membench with the suite `tiny` in a project in a home with a key."""
    skip_without_sandbox()
    home = tmp_path / "home"
    (home / "project" / "plugins").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_rsa").write_text("the key")
    env = {
        **environ,
        "HOME": str(home),
        "MEMBENCH_CACHE": str(home / ".cache" / "membench"),
        "AWS_SECRET": "s3cr3t",
        "GIT_DIR": "/nonexistent",
        "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'tests'}",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "support.tiny", "run", "--suite", "tiny", "-n", "2", *words],
            cwd=home / "project",
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=560,
        )

    return run


def test_a_hostile_plugin_gets_away_with_nothing_and_the_others_are_measured_as_without_it(
    tiny: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    project = home / "project"
    (project / "plugins" / "good.py").write_text(GOOD)
    alone = tiny("-k", "good", "--out", "alone")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plan = {
            "key": str(home / ".ssh" / "id_rsa"),
            "port": listener.getsockname()[1],
            "folders": [str(project / "out"), str(project / "alone"), str(home / ".cache")],
        }
        text = HOSTILE.replace("PLAN_TEXT", json.dumps(plan))
        (project / "plugins" / "evil.py").write_text(text)
        # a file that is refused is not remembered: every process that reads plugins would read it
        (project / "plugins" / "refused.py").write_text(text + "\nraise ValueError('refused')\n")
        boxed = tiny("-k", "good or evil", "--out", "out", "--sandbox", "-v")
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    output = boxed.stdout + boxed.stderr
    assert boxed.returncode == 1, output
    assert "plugins/refused.py: cannot be loaded" in output
    # Folders below /tmp are in memory inside, where it may write: what counts is what is here.
    got_away = [line for line in output.splitlines() if "GOT AWAY" in line]
    assert [line for line in got_away if not re.search("write in|append to", line)] == []
    for path in home.rglob("*"):
        assert path.name != "more.py"
        assert not path.is_file() or b"garbage" not in path.read_bytes() or path.suffix == ".py"
    assert (home / ".ssh" / "id_rsa").read_text() == "the key"
    honest = measured(project / "alone")
    together = measured(project / "out")
    assert len(honest) > 30
    assert {key: together[key] for key in honest} == honest
    evil = {key.replace("evil", "good"): r for key, r in together.items() if "/evil[" in key}
    assert {r["status"] for r in evil.values()} == {"ok"}
    for name, record in evil.items():  # it does what `good` does, and its numbers are those
        if name in honest:
            assert (record["train"], record["loss"]) == (
                honest[name]["train"],
                honest[name]["loss"],
            )


def test_a_compiled_suite_gives_the_same_records_in_a_sandbox(
    tiny: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    project = tmp_path / "home" / "project"
    (project / "plugins" / "good.py").write_text(GOOD)
    compiled = (REPO / "tests" / "support" / "tiny_suite.py").read_text()
    compiled = compiled.replace('"tiny"', '"tiny-compiled"').replace(
        "compiled=False", "compiled=True"
    )
    (project / "plugins" / "suite.py").write_text(compiled)
    words = ("--suite", "tiny-compiled", "-k", "good")
    for out, *more in (("plain",), ("boxed", "--sandbox")):
        done = tiny(*words, "--out", out, *more)
        assert done.returncode == 0, done.stdout + done.stderr
    plain = measured(project / "plain")
    assert all(record["versions"]["compiled"] for record in plain.values())
    assert measured(project / "boxed") == plain

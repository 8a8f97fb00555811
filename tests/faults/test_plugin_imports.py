"""A plugin's file that misbehaves when it is imported costs one line that names it (R7, R8)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes import processes_with
from support.processes import wait_until
from support.workspace import Workspace
from support.workspace import empty_workspace
from support.workspace import shrinking

from membench.registry import apart


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return empty_workspace(tmp_path, monkeypatch)


#: What the file does, with what is said of it.
MISDEEDS = {
    "os._exit": ("import os\nos._exit(3)", "it ends its process, with exit status 3"),
    "exit of 0": ("import os\nos._exit(0)", "it ends its process, with exit status 0"),
    "segfault": ("import ctypes\nctypes.string_at(0)", "it crashes its process, by SIGSEGV"),
    "abort": ("import os\nos.abort()", "it crashes its process, by SIGABRT"),
    "KeyboardInterrupt": ("x = 1\nraise KeyboardInterrupt", "line 2: KeyboardInterrupt"),
    "endless": ("while True: ...", "its import takes over 0.3 s"),
    "endless output": ("while True: print('x' * 9999)", "its import takes over 0.3 s"),
    "endless in C": ("import re\nre.match('(a+)+$', 30 * 'a' + 'b')", "takes over 0.3 s"),
    "deaf": (
        "import signal, time\n"
        "for n in (2, 14, 15): signal.signal(n, signal.SIG_IGN)\n"
        "time.sleep(99)",
        "its import takes over 0.3 s",
    ),
    "thread": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(99,), name='mine').start()\n" + shrinking("bad"),
        "it starts a thread (mine) that keeps the process alive",
    ),
    "chdir": ("import os\nos.chdir('/')\n" + shrinking("bad"), "it changes the working folder"),
    "builtins": (
        "import builtins\nbuiltins.open = None\n" + shrinking("bad"),
        "it replaces Python's open",
    ),
    "gone folder": (
        "import os, tempfile\nd = tempfile.mkdtemp()\nos.chdir(d)\nos.rmdir(d)\n"
        + shrinking("bad"),
        "it changes the working folder",
    ),
    "memory": (
        "import resource as r\nr.setrlimit(r.RLIMIT_AS, (1 << 20, 1 << 20))\nbytes(1 << 30)",
        "line 3: MemoryError",
    ),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_what_a_file_does_when_it_is_imported_costs_itself_one_line(
    misdeed: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "takes over" in MISDEEDS[misdeed][1]:
        workspace.write("plugins/good.py", shrinking("good"))
        workspace.discover()  # good is remembered: the short limit is for the other alone
        monkeypatch.setattr(apart, "TIME_LIMIT", 0.3)
    text, said = MISDEEDS[misdeed]
    folder = os.getcwd()
    message = workspace.problem_of(text)
    assert message.startswith("cannot be loaded: ")
    assert said in message
    assert message.endswith("; correct the file or remove it")
    assert os.getcwd() == folder
    assert workspace.discover().problems  # it is not remembered as a file without records


def test_nothing_of_a_child_is_left(workspace: Workspace, tmp_path: Path) -> None:
    """Nor of what the plugin started; not even where that holds the pipes."""
    text = "import subprocess\nsubprocess.Popen(['sleep', '987'])\n"
    workspace.write("plugins/a.py", text + shrinking("a"))
    descriptors = os.listdir("/proc/self/fd")
    assert "a" in workspace.discover().regularizers
    wait_until(lambda: not processes_with(tmp_path))
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_plugin_that_forks_is_read_once(workspace: Workspace) -> None:
    workspace.write("plugins/a.py", "import os\nos.fork()\n" + shrinking("a"))
    assert list(workspace.discover().regularizers) == ["none", "a"]


def test_this_process_imports_no_plugin_to_list_it(workspace: Workspace) -> None:
    before = set(sys.modules)
    workspace.write("plugins/a.py", "import colorsys, wave\n" + shrinking("a"))
    assert "a" in workspace.discover().regularizers
    assert not [name for name in set(sys.modules) - before if "plugin_a" in name]


def test_commands_name_the_file_and_go_on(tmp_path: Path, cli: Callable) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "bad.py").write_text("import os\nos._exit(0)")
    code, out, err = cli("list", "regularizers")
    assert code == 1
    assert "label-smoothing" in out
    assert "plugins/bad.py: cannot be loaded: it ends its process, with exit status 0" in err

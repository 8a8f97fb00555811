"""Importing plugins: what an entry says, what is said of a broken file, and when it happens."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from support.workspace import Workspace
from support.workspace import registering
from support.workspace import shrinking

from membench.api import Regularizer
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.registry import loading

ALL_KINDS = '''"""One of each."""
from membench import Architecture, Dataset, Optimizer, Recipe, Signal, hookimpl

def act(*args): ...

@hookimpl
def register():
    yield Architecture("net", act, recipe=Recipe(lr=0.5))
    yield Dataset("dots", act, fetch=act)
    yield Signal("randY", act, noise="labels", summary="Random labels.", source="Zhang 2017")
    yield Optimizer("still", act, act)
'''


def test_an_entry_describes_its_record(workspace: Workspace) -> None:
    path = workspace.write("plugins/shrink.py", shrinking("shrink"))
    entry = workspace.discover().regularizers["shrink"]
    assert (entry.kind, entry.group, entry.acts_on) == ("regularizers", "weights", ("weights",))
    assert entry.summary == "Shrink the weights"
    assert entry.source == 'A. Author, "Shrinking", 2020.'
    assert (entry.origin, entry.path) == ("plugins/shrink.py", str(path.resolve()))
    assert entry.strengths == ((0.1,), (0.3,), (0.5,), (0.7,), (0.9,))
    assert (entry.off, entry.limits) == ((0.0,), (None,))
    assert (entry.version, entry.redraw, entry.has_skip, entry.parts) == (1, False, False, ())


def test_each_kind_of_record_has_its_table(workspace: Workspace) -> None:
    workspace.write("plugins/all.py", ALL_KINDS)
    registry = workspace.discover()
    assert registry.architectures["net"].recipe["lr"] == 0.5
    assert registry.datasets["dots"].has_fetch
    signal = registry.signals["randY"]
    assert (signal.noise, signal.acts_on) == ("labels", ("labels",))
    assert (signal.summary, signal.source) == ("Random labels", "Zhang 2017")
    assert registry.architecture("net").name == "net"
    assert registry.dataset("dots").name == "dots"
    assert registry.signal("randY@0.4").name == "randY"
    assert registry.optimizers["still"].code_hash == registry.signals["randY"].code_hash
    assert registry.optimizer("still").name == "still"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import no_such_module",
            "cannot be loaded: line 1: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("x = 1\nx = (", "line 2: SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(0)", "line 2: it calls sys.exit; correct the file or remove it"),
        (
            "class Odd(BaseException): ...\nraise Odd('a\\nb\\x1b[31m')",
            "line 2: membench_plugin_bad",
        ),
        ("raise ValueError('a\\n\\x1b[31mb')", "line 1: ValueError: a [31mb; correct"),
        ("raise ValueError('x' * 10000)", "xxx...; correct the file"),
        ("x = 1\0", "cannot be loaded"),
        ("def register():\n    return []", "has no @hookimpl; write it above `def register():`"),
        (
            "from membench import hookimpl\n@hookimpl\ndef registr(): ...",
            "@hookimpl is on registr(), but the only hook",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef membench_run_finished(): ...",
            "or give an observer with --observer, from another folder",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef register(add): ...",
            "write `def register():`",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef register(): ...",
            "register() returned None; return a list",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef register(): return 'ab'",
            "returned one str; return a list",
        ),
        (
            "from membench import hookimpl\n@hookimpl\ndef register(): return [1 / 0]",
            "line 3: ZeroDivisionError",
        ),
        (
            registering("grid('x')").replace("[grid('x')]", "grid('x')"),
            "returned one Regularizer",
        ),
        (
            registering("grid('x', hiden=act)"),
            "Regularizer has no field 'hiden': did you mean hidden?; correct the file",
        ),
        (
            registering("grid('x', zzzzz=act)"),
            "Regularizer has no field 'zzzzz': it takes name, strengths, ",
        ),
        (
            registering("3"),
            "register() returned an int among its records; return a list of Regularizer, ",
        ),
        (registering("grid"), "register() returned a function among its records"),
    ],
)
def test_a_broken_plugin_gets_one_line_and_the_others_are_loaded(
    workspace: Workspace, text: str, message: str
) -> None:
    assert message in workspace.problem_of(text)


def test_a_refused_record_does_not_affect_the_valid_ones_of_its_file(workspace: Workspace) -> None:
    workspace.problem_of(registering("grid('fine', strengths=(1, 2, 3, 4, math.inf)), grid('Bad')"))
    registry = workspace.discover()
    assert registry.regularizers["fine"].strengths[-1] == (float("inf"),)
    loading._imported.clear()
    assert registry.regularizer("fine")[0].name == "fine"


def test_a_problem_is_reported_in_every_run(workspace: Workspace) -> None:
    workspace.problem_of(registering("grid('fine'), grid('Bad')"))
    assert len(workspace.discover().problems) == 1


def test_ctrl_c_during_an_import_is_not_a_problem_of_the_plugin(workspace: Workspace) -> None:
    """The signal comes to membench, while the plugin is being imported for ever."""
    text = f"import os\nos.kill({os.getpid()}, {int(signal.SIGINT)})\nwhile True: ..."
    workspace.write("plugins/a.py", text)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            workspace.discover()
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_broken_link_is_a_problem(workspace: Workspace) -> None:
    (workspace.folder / "plugins").mkdir()
    (workspace.folder / "plugins" / "a.py").symlink_to("nowhere.py")
    (problem,) = workspace.discover().problems
    assert "FileNotFoundError" in problem.message


def test_text_that_a_plugin_prints_goes_to_stderr(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.write("plugins/a.py", "print('hello')\n" + shrinking("a"))
    workspace.discover()
    out, err = capsys.readouterr()
    assert (out, err) == ("", "hello\n")


def test_a_process_imports_a_plugin_once(workspace: Workspace) -> None:
    workspace.write("plugins/a.py", shrinking("a"))
    (first,) = workspace.discover().regularizer("a")
    (second,) = workspace.discover_again().regularizer("a")
    assert isinstance(first, Regularizer)
    assert first.weights is second.weights


def test_a_plugin_that_changed_since_it_was_read_is_not_run(workspace: Workspace) -> None:
    path = workspace.write("plugins/a.py", shrinking("a"))
    registry = workspace.discover()
    loading._imported.clear()
    stat = path.stat()
    path.write_text(path.read_text().replace("1 - ", "1 + "))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as on a file system with coarse times
    message = r"plugins/a.py: a has changed since it was read; run the command again"
    with pytest.raises(MembenchError, match=message):
        registry.regularizer("a")
    assert workspace.discover().regularizer("a")[0].name == "a"


def test_a_plugin_that_broke_since_it_was_read_gets_the_reason(workspace: Workspace) -> None:
    workspace.write("plugins/a.py", shrinking("a"))
    registry = workspace.discover()
    assert registry.regularizer("a")[0].name == "a"
    workspace.write("plugins/a.py", "1 / 0")
    assert registry.regularizer("a")[0].name == "a"  # this process keeps what it imported
    loading._imported.clear()
    message = r"plugins/a.py: cannot be loaded: line 1: ZeroDivisionError"
    with pytest.raises(MembenchError, match=message) as caught:
        registry.regularizer("a")
    assert caught.value.code == ExitCode.FAILED


def test_a_grid_that_changed_in_a_helper_module_is_noticed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(workspace.folder))
    workspace.write("mb_test_grid.py", "GRID = (1, 2, 3, 4, 5)")
    plugin = registering("grid('a', strengths=mb_test_grid.GRID)")
    workspace.write("plugins/a.py", "import mb_test_grid\n" + plugin)
    registry = workspace.discover()
    assert registry.regularizer("a")[0].name == "a"
    loading._imported.clear()
    sys.modules["mb_test_grid"].GRID = (2, 3, 4, 5, 6)
    with pytest.raises(MembenchError, match="has changed"):
        registry.regularizer("a")
    assert workspace.discover().regularizers["a"].strengths[0] == (2.0,)
    del sys.modules["mb_test_grid"]

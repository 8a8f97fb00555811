"""The registry: names that are looked up, names that are taken, and imports that are not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.workspace import Workspace
from support.workspace import registering
from support.workspace import shrinking

from membench.api import Recipe
from membench.api import Split
from membench.api import Suite
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.registry import loading


def test_an_unknown_name_brings_the_nearest_one(workspace: Workspace) -> None:
    workspace.write("plugins/a.py", shrinking("dropout"))
    registry = workspace.discover()
    with pytest.raises(MembenchError, match="unknown regularizer 'dropuot': did you mean dropout"):
        registry.regularizer("dropuot")
    with pytest.raises(MembenchError, match="unknown dataset 'mnist'"):
        registry.dataset("mnist")


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        ("part", "signal 'part' needs a level: write part@0.4, for example"),
        ("part@", "signal 'part@': a level is above 0 and at most 1: write part@0.4, for example"),
        (
            "part@0",
            "signal 'part@0': a level is above 0 and at most 1: write part@0.4, for example",
        ),
        ("part@1.5", "signal 'part@1.5': a level is above 0 and at most 1"),
        ("part@nan", "signal 'part@nan': a level is above 0 and at most 1"),
        ("part@half", "signal 'part@half': a level is above 0 and at most 1"),
        ("part@0.40", "signal 'part@0.40': write part@0.4"),
        ("whole@0.4", "signal 'whole@0.4': whole takes no level; write whole, or give its"),
        ("whole@", "signal 'whole@': whole takes no level; write whole"),
        ("hole", "unknown signal 'hole': did you mean whole"),
    ],
)
def test_a_signal_has_a_level_if_and_only_if_it_takes_one(
    workspace: Workspace, signal: str, message: str
) -> None:
    workspace.write("plugins/a.py", registering("Signal('part', act, levels=True)"))
    workspace.write("plugins/b.py", registering("Signal('whole', act)"))
    registry = workspace.discover()
    assert registry.problems == ()
    with pytest.raises(MembenchError) as caught:
        registry.signal_entry(signal)
    assert str(caught.value).startswith(message)
    assert caught.value.code == ExitCode.USAGE == 4
    assert registry.signal_entry("part@0.4") is registry.entry("signals", "part")
    assert registry.signal_entry("part@1").levels
    assert registry.signal_entry("whole") is registry.entry("signals", "whole")


def test_none_is_built_in_and_has_no_parts(workspace: Workspace) -> None:
    registry = workspace.discover()
    none = registry.regularizers["none"]
    assert registry.regularizer("none") == ()
    assert (none.group, none.strengths) == ("baseline", ())


def test_the_same_code_in_two_files_is_one_plugin(workspace: Workspace) -> None:
    workspace.write("plugins/a.py", shrinking("a"))
    workspace.write("copy.py", "# a copy\n" + shrinking("a").replace("2020", "2021"))
    registry = workspace.discover("copy.py")
    assert registry.problems == ()
    assert registry.regularizers["a"].origin == "plugins/a.py"


def test_other_code_under_a_taken_name_is_refused(workspace: Workspace) -> None:
    workspace.write("plugins/a.py", shrinking("a"))
    workspace.write("other.py", shrinking("a").replace("1 - ", "1 + "))
    registry = workspace.discover("other.py")
    (problem,) = registry.problems
    assert str(problem) == (
        "other.py: regularizer 'a' is already registered by plugins/a.py; "
        "rename it, or remove one of the two"
    )
    assert registry.regularizers["a"].origin == "plugins/a.py"


def test_a_suite_is_what_its_file_says_and_a_remembered_one_needs_no_import(
    workspace: Workspace,
) -> None:
    fields = "probes=('csr',), width=7, compiled=False, version=3, summary='Two dots.', source='Me'"
    workspace.write("plugins/a.py", registering(f"suite({fields})"))
    expected = Suite(
        "small",
        datasets=("dots",),
        architectures=("mlp",),
        signals=("real", "mixed@0.4", "randY"),
        choosing=(0, 1),
        confirming=(2, 3),
        splits={"dots": Split(20, 30, 10)},
        recipes={("dots", "mlp"): Recipe(lr=0.1)},
        width=7,
        compiled=False,
        probes=("csr",),
        summary="Two dots",
        source="Me",
        version=3,
    )
    assert workspace.discover().suite("small") == expected
    remembered = workspace.discover()
    assert remembered.suite("small") == expected
    assert loading._imported == {}
    (live,) = loading.load_records(remembered.entry("suites", "small"))
    assert live.splits == expected.splits


def test_an_unknown_suite_brings_the_nearest_one(workspace: Workspace) -> None:
    workspace.write("plugins/a.py", registering("suite()"))
    with pytest.raises(MembenchError, match="unknown suite 'smal': did you mean small"):
        workspace.discover().suite("smal")


def test_listing_and_selecting_import_no_torch() -> None:
    code = (
        "import sys, membench.registry.registry, membench.planning.select, membench.commands.list; "
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"

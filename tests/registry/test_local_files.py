"""Plugins in several files: what they import, when it is read anew, and whom it reaches."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.workspace import Workspace

from membench.api import Recipe
from membench.api import Split
from membench.errors import InputsChangedError
from membench.execution.worker import _check_code
from membench.planning.keys import CodeOfPlan
from membench.planning.packs import Pack
from membench.records import Cell
from membench.registry import loading

PLUGIN = '''"""Scale the weights."""
from membench import Regularizer, hookimpl
IMPORT

def scale(params, lane):
    return {name: w * factor() for name, w in params.items()}

@hookimpl
def register():
    return [Regularizer("NAME", strengths=(0.1, 0.2, 0.3, 0.4, 0.5), weights=scale)]
'''
HELPER = "def factor():\n    return 0.5\n"
FORMS = (
    "from _parts import factor",
    "from ._parts import factor",
    "from . import _parts; factor = _parts.factor",
)


def plugin(name: str = "scale", statement: str = FORMS[0]) -> str:
    return PLUGIN.replace("NAME", name).replace("IMPORT", statement)


def factor_of(workspace: Workspace, name: str = "scale") -> float:
    """Apply the plugin to a weight of 1."""
    registry = workspace.discover()
    assert registry.problems == ()
    (record,) = registry.regularizer(name)
    return record.weights({"w": 1.0}, None)["w"]


@pytest.mark.parametrize("statement", FORMS)
def test_a_plugin_imports_a_file_beside_it(workspace: Workspace, statement: str) -> None:
    workspace.write("plugins/_parts.py", HELPER)
    workspace.write("plugins/scale.py", plugin(statement=statement))
    before = list(sys.path)
    assert factor_of(workspace) == 0.5
    assert sys.path == before
    assert not list(workspace.folder.glob("plugins/__pycache__"))


@pytest.mark.parametrize("statement", FORMS)
def test_an_edited_helper_is_read_anew_though_it_kept_size_and_time(
    workspace: Workspace, statement: str
) -> None:
    path = workspace.write("plugins/_parts.py", HELPER)
    workspace.write("plugins/scale.py", plugin(statement=statement))
    before = workspace.discover().regularizers["scale"].code_hash
    assert factor_of(workspace) == 0.5
    stat = path.stat()
    path.write_text(HELPER.replace("0.5", "0.7"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert workspace.discover().regularizers["scale"].code_hash != before
    assert factor_of(workspace) == 0.7


def test_a_comment_in_a_helper_leaves_the_hash_as_it_is(workspace: Workspace) -> None:
    path = workspace.write("plugins/_parts.py", HELPER)
    workspace.write("plugins/scale.py", plugin())
    before = workspace.discover().regularizers["scale"]
    path.write_text('"""Half."""\n' + HELPER)
    assert workspace.discover().regularizers["scale"] == before


def test_a_helper_that_comes_into_being_is_noticed(workspace: Workspace) -> None:
    workspace.write("plugins/_parts.py", HELPER)
    statement = (
        "from _parts import factor\ntry:\n    from ._late import factor\nexcept ImportError: ..."
    )
    workspace.write("plugins/scale.py", plugin(statement=statement))
    before = workspace.discover().regularizers["scale"].code_hash
    assert factor_of(workspace) == 0.5
    workspace.write("plugins/_late.py", HELPER.replace("0.5", "0.9"))
    assert workspace.discover().regularizers["scale"].code_hash != before
    assert factor_of(workspace) == 0.9


def test_a_record_whose_helper_changed_since_it_was_read_is_not_loaded(
    workspace: Workspace,
) -> None:
    path = workspace.write("plugins/_parts.py", HELPER)
    workspace.write("plugins/scale.py", plugin())
    registry = workspace.discover()
    loading._imported.clear()
    path.write_text(HELPER.replace("0.5", "0.7"))
    with pytest.raises(InputsChangedError, match="scale has changed since it was read"):
        registry.regularizer("scale")


def test_helpers_of_one_name_in_two_folders_stay_apart(workspace: Workspace) -> None:
    for folder, value in (("a", "0.5"), ("b", "0.7")):
        workspace.write(f"plugins/{folder}/_parts.py", HELPER.replace("0.5", value))
        workspace.write(f"plugins/{folder}/{folder}.py", plugin(f"scale-{folder}"))
    loading._imported.clear()
    assert factor_of(workspace, "scale-a") == 0.5
    assert factor_of(workspace, "scale-b") == 0.7
    assert factor_of(workspace, "scale-a") == 0.5


def test_what_is_installed_comes_before_a_file_of_the_same_name(workspace: Workspace) -> None:
    workspace.write("plugins/scale.py", plugin(statement="import wave\nfactor = lambda: 0.5"))
    workspace.write("plugins/wave.py", plugin("wave", "factor = lambda: 0.3"))
    assert factor_of(workspace) == 0.5
    assert not Path(sys.modules["wave"].__file__).is_relative_to(workspace.folder)


def test_the_code_of_a_plan_names_the_helper_files(workspace: Workspace) -> None:
    helper = workspace.write("plugins/_parts.py", HELPER)
    path = workspace.write("plugins/scale.py", plugin())
    code = CodeOfPlan(workspace.discover())._look_up("regularizers", "scale")
    assert code.foreign_files == (str(path.resolve()), str(helper.resolve()))
    for _ in ("imported", "cached"):
        assert workspace.discover().regularizers["scale"].helpers == ("_parts.py",)


def test_a_worker_refuses_a_pack_whose_helper_was_edited_after_it_was_planned(
    workspace: Workspace,
) -> None:
    path = workspace.write("plugins/_parts.py", HELPER)
    workspace.write("plugins/scale.py", plugin())
    planned = CodeOfPlan(workspace.discover())._look_up("regularizers", "scale")
    cell = Cell("digits", "small-mlp", "scale", (0.1,), "real", 0)
    split = Split(400, 30, 200)
    pack = Pack(
        cells=(cell,), keys=("1",), recipe=Recipe(), split=split, compiled=False, code=(planned,)
    )
    _check_code(pack, workspace.discover())
    path.write_text(HELPER.replace("0.5", "0.7"))
    with pytest.raises(InputsChangedError, match=r"'scale' .*_parts.py.* is not the one"):
        _check_code(pack, workspace.discover())


STUDY = '''"""A study."""
from membench import *
from . import _parts

def build(shape, num_classes):
    return _parts.factor()

def analyse(results):
    return 1

ARM = Arm("main", "dots", ("net",), ("real",), (0,), Split(1, 1, 1), Recipe())
STUDIES = [
    Study("s", {"quick": (ARM,)}, analyse, "It holds.", records=(Architecture("net", build),))
]

@hookimpl
def register():
    return STUDIES
'''


def test_a_study_s_private_record_covers_the_helpers_of_the_study(workspace: Workspace) -> None:
    helper = workspace.write("plugins/_parts.py", HELPER)
    path = workspace.write("plugins/study.py", STUDY)

    def private_hash() -> str:
        registry = workspace.discover().for_study("s")
        assert registry.problems == ()
        assert registry.architecture("net").build((1, 1, 1), 2) in (0.5, 0.7)
        return registry.architectures["net"].code_hash

    before = private_hash()
    path.write_text(STUDY.replace("return 1", "return 2").replace("(shape", "(shape: tuple"))
    assert private_hash() == before
    helper.write_text(HELPER.replace("0.5", "0.7"))
    assert private_hash() != before


def test_a_broken_helper_is_named_as_the_plugin_s_problem(workspace: Workspace) -> None:
    workspace.write("plugins/_parts.py", "x = (")
    workspace.write("plugins/scale.py", plugin())
    (problem,) = workspace.discover().problems
    assert "plugins/scale.py: cannot be loaded" in str(problem)
    assert "line 3: SyntaxError: '(' was never closed (_parts.py, line 1)" in str(problem)

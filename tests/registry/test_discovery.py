"""Where plugins are found, and what is said of those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.workspace import Workspace
from support.workspace import shrinking

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.registry import discovery
from membench.registry.discovery import is_shipped
from membench.registry.discovery import shipped_folder
from membench.registry.discovery import shipped_sources
from membench.registry.registry import discover

ENTRY_POINT_OBJECT = """
from membench import Regularizer, hookimpl
class Plugin:
    @hookimpl
    def register(self):
        return [Regularizer("e", strengths=(1, 2, 3, 4, 5), weights=max)]
plugin = Plugin()
"""


def write_distribution(workspace: Workspace, entry_points: str) -> None:
    """Install a distribution with entry points into the folder `site`."""
    metadata = "Name: some-dist\nVersion: 1.0\n"
    workspace.write("site/dist-1.0.dist-info/METADATA", metadata)
    workspace.write("site/dist-1.0.dist-info/entry_points.txt", f"[membench]\n{entry_points}\n")


def test_folders_are_searched_recursively_without_private_and_hidden_files(
    workspace: Workspace,
) -> None:
    for path in ("a.py", "deep/er/b.py", "_c.py", "_drafts/d.py", ".ipynb_checkpoints/e.py"):
        workspace.write(f"plugins/{path}", shrinking(Path(path).stem.strip("_")))
    registry = workspace.discover()
    assert list(registry.regularizers) == ["none", "a", "b"]
    assert registry.problems == ()


def test_plugins_are_found_in_folders_modules_entry_points_and_configuration(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.write("shipped/a.py", shrinking("a"))
    workspace.write("plugins/b.py", shrinking("b"))
    workspace.write("more/c.py", shrinking("c"))
    workspace.write("site/mb_test_module.py", shrinking("d"))
    workspace.write("site/mb_test_object.py", ENTRY_POINT_OBJECT)
    write_distribution(workspace, "x = mb_test_object:plugin")
    workspace.write("other/f.py", shrinking("f"))
    workspace.write("pyproject.toml", '[tool.membench]\nplugins = ["other/f.py"]\n')
    monkeypatch.syspath_prepend(str(workspace.folder / "site"))
    for _ in ("imported", "cached"):
        registry = workspace.discover("more", "mb_test_module")
        origins = {name: entry.origin for name, entry in registry.regularizers.items()}
        assert registry.problems == ()
        assert origins == {
            "none": "membench",
            "a": "shipped/a.py",
            "b": "plugins/b.py",
            "c": "more/c.py",
            "d": "mb_test_module",
            "e": "some-dist",
            "f": "other/f.py",
        }
        for name in "abcdef":
            assert registry.regularizer(name)[0].name == name


def test_a_module_is_found_without_importing_its_parent_package(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.write("site/mb_test_pack/__init__.py", "raise RuntimeError('imported')")
    workspace.write("site/mb_test_pack/module.py", shrinking("a"))
    monkeypatch.syspath_prepend(str(workspace.folder / "site"))
    (problem,) = workspace.discover("mb_test_pack.module").problems
    # The module was found; its parent is imported, and fails, only when the plugin is imported.
    assert "RuntimeError: imported" in problem.message


def test_one_file_found_twice_is_one_plugin(workspace: Workspace) -> None:
    path = workspace.write("plugins/a.py", shrinking("a"))
    (workspace.folder / "link.py").symlink_to(path)
    workspace.shipped.symlink_to(path.parent)
    registry = workspace.discover("plugins/a.py", "link.py")
    assert registry.problems == ()
    assert list(registry.regularizers) == ["none", "a"]


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ("gone.py", "-p gone.py: no such Python file"),
        ("no.such.module", "no module named 'no.such.module'"),
        ("math", "no Python file"),
        ("notes.txt/", "no such Python file"),
    ],
)
def test_a_requested_plugin_that_does_not_exist_is_a_usage_error(
    workspace: Workspace, requested: str, message: str
) -> None:
    with pytest.raises(MembenchError, match=message) as caught:
        workspace.discover(requested)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tool.membench]\nplugins = ["gone.py"]', "gone.py: no such Python file"),
        (
            "[tool.membench]\nplugins = 3",
            'pyproject.toml: write [tool.membench] with plugins = ["file.py", ',
        ),
        ("[tool.membench\n", "pyproject.toml: cannot be read: "),
        ("tool = 3", "pyproject.toml: "),
    ],
)
def test_a_damaged_configuration_is_a_problem(
    workspace: Workspace, text: str, message: str
) -> None:
    workspace.write("pyproject.toml", text)
    (problem,) = workspace.discover().problems
    assert str(problem).startswith(message)


def test_an_entry_point_that_leads_nowhere_is_a_problem(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(workspace, "x = mb_test_gone\ny = not a module")
    monkeypatch.syspath_prepend(str(workspace.folder / "site"))
    missing, malformed = workspace.discover().problems
    assert str(missing).startswith("some-dist: no module named 'mb_test_gone'")
    assert "must be module or module:object" in str(malformed)


def test_the_shipped_plugins_have_no_problem(workspace: Workspace) -> None:
    registry = discover(folder=workspace.folder)
    assert registry.problems == ()
    assert shipped_folder().is_dir()


def test_in_a_checkout_only_the_folders_of_kinds_hold_what_ships(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`membench new` writes beside them: that file must not be imported by every command."""
    assert is_shipped(str(shipped_folder() / "regularizers" / "dropout.py"))
    assert not is_shipped(str(shipped_folder() / "mine.py"))
    monkeypatch.setattr(discovery, "PACKAGE", workspace.folder / "membench")
    workspace.write("plugins/regularizers/a.py", shrinking("a"))
    workspace.write("plugins/mine.py", "import os\nos._exit(3)")
    assert [source.path.name for source in shipped_sources()] == ["a.py"]
    registry = discover((), workspace.folder, workspace.folder / "plugins")
    assert list(registry.regularizers) == ["none", "a"]
    (problem,) = registry.problems
    assert problem.origin == "plugins/mine.py"
    assert "it ends its process, with exit status 3" in problem.message

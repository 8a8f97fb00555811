"""What is remembered of plugins between processes, and when it is forgotten."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.workspace import Workspace
from support.workspace import shrinking

from membench.files import cache_folder


@pytest.fixture
def imports(workspace: Workspace) -> Callable[[], int]:
    """Write the plugin `a`, which logs its imports, and return how to count them."""
    log = workspace.folder / "log"
    log.write_text("")
    plugin = f"with open({str(log)!r}, 'a') as log: log.write('x')\n" + shrinking("a")
    workspace.write("plugins/a.py", plugin)
    return lambda: len(log.read_text())


def test_a_remembered_plugin_is_not_imported_until_it_is_loaded(
    workspace: Workspace, imports: Callable[[], int]
) -> None:
    first = workspace.discover()
    second = workspace.discover()
    assert imports() == 1
    assert second == first
    assert second.regularizer("a")[0].name == "a"
    assert imports() == 2


def test_an_edited_plugin_is_read_again(workspace: Workspace, imports: Callable[[], int]) -> None:
    before = workspace.discover().regularizers["a"]
    path = Path(before.path)
    path.write_text(path.read_text().replace("0.9", "0.99"))
    after = workspace.discover().regularizers["a"]
    assert after.strengths[-1] == (0.99,)
    assert after.code_hash != before.code_hash
    assert imports() == 2


def test_a_file_that_changed_and_kept_size_and_time_is_read_anew(workspace: Workspace) -> None:
    """As by `touch -r`, `rsync -t` or a container that is built again."""
    path = workspace.write("plugins/a.py", shrinking("a"))
    before = workspace.discover().regularizers["a"].code_hash
    stat = path.stat()
    path.write_text(path.read_text().replace("1 - ", "1 + "))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert workspace.discover().regularizers["a"].code_hash != before


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"0" * 64 + b"\n{}", b"[" * 100_000])
def test_a_damaged_cache_is_rebuilt(
    workspace: Workspace, imports: Callable[[], int], damage: bytes
) -> None:
    expected = workspace.discover()
    (file,) = cache_folder().iterdir()
    file.write_bytes(damage)
    assert workspace.discover() == expected
    assert workspace.discover() == expected
    assert imports() == 2


def test_a_cache_that_cannot_be_written_is_no_error(
    workspace: Workspace, imports: Callable[[], int]
) -> None:
    cache_folder().write_text("a file where the folder should be")
    assert workspace.discover() == workspace.discover()
    assert imports() == 2


@pytest.mark.usefixtures("imports")
def test_a_deleted_plugin_is_forgotten(workspace: Workspace) -> None:
    path = Path(workspace.discover().regularizers["a"].path)
    path.rename(workspace.folder / "plugins" / "b.py")
    assert workspace.discover().regularizers["a"].origin == "plugins/b.py"
    (file,) = cache_folder().iterdir()
    assert str(path) not in file.read_text()


@pytest.mark.parametrize(
    ("membench_cache", "xdg_cache_home", "expected"),
    [("/a/b", "/c", "/a/b"), ("", "/c", "/c/membench"), ("", "not/absolute", "~/.cache/membench")],
)
def test_the_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, membench_cache: str, xdg_cache_home: str, expected: str
) -> None:
    monkeypatch.setenv("MEMBENCH_CACHE", membench_cache)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg_cache_home)
    assert cache_folder() == Path(expected).expanduser()

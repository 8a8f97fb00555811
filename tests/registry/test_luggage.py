"""Plugin files that travel: what is laid out elsewhere is the same code, or is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.workspace import Workspace
from support.workspace import shrinking

from membench.errors import MembenchError
from membench.registry import loading
from membench.registry.luggage import pack_luggage
from membench.registry.registry import discover


def test_plugins_have_the_same_hashes_where_they_are_unpacked(
    workspace: Workspace, tmp_path: Path
) -> None:
    helper = shrinking("helped").replace(
        "from membench", "from _sizes import ONE\nfrom membench", 1
    )
    workspace.write("shipped/ships.py", shrinking("ships"))
    workspace.write("plugins/sub/mine.py", helper)
    workspace.write("plugins/sub/_sizes.py", "ONE = 1\n")
    workspace.write("named/theirs.py", shrinking("theirs"))
    workspace.write("pyproject.toml", '[tool.membench]\nplugins = ["listed.py"]\n')
    workspace.write("listed.py", shrinking("listed"))
    workspace.write("plugins/broken.py", "def\n")
    workspace.write("notes.txt", "stays at home")
    here = workspace.discover("named/theirs.py").regularizers
    luggage = pack_luggage(["named/theirs.py"], workspace.folder, workspace.shipped)
    names = {Path(name).name for name in luggage.files}
    assert names == {"mine.py", "_sizes.py", "theirs.py", "listed.py"}

    root = tmp_path / "there"
    folder = luggage.unpack(root)
    loading._imported.clear()
    there = discover(luggage.requested(root), folder, workspace.shipped).regularizers
    assert there.keys() == here.keys() == {"none", "ships", "helped", "theirs", "listed"}
    assert {n: e.code_hash for n, e in there.items()} == {n: e.code_hash for n, e in here.items()}


def test_a_file_that_comes_damaged_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write("plugins/mine.py", shrinking("mine"))
    luggage = pack_luggage([], workspace.folder, workspace.shipped)
    (name,) = luggage.files
    changed = replace(luggage, files={name: luggage.files[name].replace(b"0.1", b"0.2")})
    with pytest.raises(MembenchError, match=r"mine\.py came damaged"):
        changed.unpack(tmp_path / "there")


def test_an_installed_module_travels_by_its_name_alone(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a_package.py").write_text(shrinking("packaged"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    luggage = pack_luggage(["a_package"], workspace.folder, workspace.shipped)
    assert (luggage.files, luggage.plugins) == ({}, ("a_package",))
    assert luggage.requested(tmp_path) == ["a_package"]

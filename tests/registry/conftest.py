"""The working folder of the registry's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.workspace import Workspace

from membench.registry import loading


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Nothing shipped, nothing cached, nothing imported before."""
    monkeypatch.setenv("MEMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_imported", {})
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Workspace(folder=folder, shipped=folder / "shipped")
